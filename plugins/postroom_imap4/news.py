"""What a client hears of its selected folder, and when: before a command, with its answer, between commands.

The folder is followed through a rename, for it is the same one (RFC 8474 section 4.1). `Gone` is raised where it cannot be found again, or the
login may not read it any more; whoever drives the session ends it then, because clients do not understand NO there (RFC 4314 section 5.1.1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from postroom.errors import NoSuchFolder, StoreError
from postroom.mailstore import Folder
from postroom_disk.disk import DiskError
from postroom_imap4.commands import Command, Store
from postroom_imap4.selected import Gone, Selected

if TYPE_CHECKING:
    from postroom_imap4.deeds import Deed
    from postroom_imap4.session import Session


class News:
    """One session's. Asks the session what is selected, watched and allowed, and drives nothing."""

    __slots__ = ("_followed", "_session", "_unfollow")

    def __init__(self, session: Session) -> None:
        self._session = session
        self._unfollow: Callable[[], None] | None = None
        self._followed: tuple[Folder, str] | None = None  # what `_unfollow` ends, and under which name

    # With a command

    async def before(self, command: Command, deed: Deed) -> None:
        """What is true of the folder as the command begins, and what the client must hear before it."""
        session = self._session
        if session.watch is not None:
            session.watch.thawed = deed.changes
        await self._follow_rename()
        await self._judge(has_to_read=not deed.leaves)
        if deed.numbers and not deed.counts(command) and session.selected is not None and _is_behind(session.selected, command):
            await self.tell(may_expunge=True)

    async def tell(self, *, may_expunge: bool) -> None:
        """All of it that is new, now; nothing where the client wants the folder to stand still (RFC 5465 section 3.1)."""
        session = self._session
        watch, selected = session.watch, session.folder
        if watch is None:
            await session.send_all(await self._pieces(may_expunge))
        elif not watch.is_frozen:
            with session.progress.silent():  # no sign of life comes within a literal
                watch.meet(selected)
                await session.send_all(await self._pieces(may_expunge))
                async for piece in watch.fetched(selected):
                    await session.wire.send(piece)

    async def _pieces(self, may_expunge: bool) -> Iterator[bytes]:
        selected = self._session.folder
        try:
            return selected.pieces(may_expunge=may_expunge)
        except Gone:
            if not await self._find_again():
                raise
            return selected.pieces(may_expunge=may_expunge)

    # Between commands

    async def between(self) -> None:
        """Tell what a client that watches, or idles, is to be told now."""
        session = self._session
        watch, idles = session.watch, session.idles
        if watch is not None:
            watch.thawed = False
        if session.selected is not None and (idles if watch is None else watch.may_tell_selected):
            await self._may_be_read()
            await self.tell(may_expunge=idles or watch is None or not watch.wishes.delays)
            self.follow()
        if watch is not None:
            async for lines in watch.news():
                if lines:
                    await session.wire.send(lines)

    def at_once(self) -> Iterator[bytes]:
        """What an idling client is to be told, where nothing has to be waited for; Gone: `between` may know more."""
        selected = self._session.selected
        if selected is None:
            return iter(())
        if selected.place is not None and not selected.place.is_own:
            raise Gone("whether it may still be read is to be asked of the disk")
        pieces = selected.pieces(may_expunge=True)
        self.follow()
        return pieces

    def follow(self) -> None:
        """Wake the wire when the folder changes, by whatever name it goes now. A session that watches is woken in any case."""
        session = self._session
        if session.selected is None or session.watch is not None or not session.idles:
            return
        folder = session.selected.folder
        if self._followed != (folder, folder.name):
            self.unfollow()
            self._followed, self._unfollow = (folder, folder.name), folder.follow(session.wire.woken)

    def unfollow(self) -> None:
        unfollow, self._unfollow, self._followed = self._unfollow, None, None
        if unfollow is not None:
            unfollow()

    # Where the folder is, and whose

    async def _follow_rename(self) -> None:
        """Where another worker renamed it."""
        if (selected := self._session.selected) is not None:
            try:
                selected.look()
            except Gone:
                if await self._find_again():  # else whoever needs it tells that it is gone
                    await self.tell(may_expunge=False)

    async def _find_again(self) -> bool:
        """A view of it from before cannot be read any more, so whoever calls this tells the news, also a client that wants none."""
        session = self._session
        selected = session.folder
        if session.watch is not None:
            session.watch.thawed = True
        box = session.box if selected.place is None else selected.place.box
        try:
            return selected.moved(await box.folder(selected.folder.name, object_id=selected.view.status.object_id))
        except (StoreError, DiskError):
            return False

    async def _judge(self, *, has_to_read: bool) -> None:
        """What the login may do with it now (RFC 4314 section 5.1.1); its flags are told anew where that has changed. Gone where it may not
        even read."""
        session = self._session
        selected = session.selected
        if selected is None or selected.place is None:
            return
        try:
            found = await session.reach.rights(selected.place.beside(selected.folder.name))
        except NoSuchFolder as error:
            if has_to_read:
                raise Gone(str(error)) from error
            return
        if found == selected.rights:
            return
        selected.rights = found
        if has_to_read and "r" not in found:
            raise Gone(f"you may not read {selected.name} any more")
        await session.wire.send(selected.flags_lines())

    async def _may_be_read(self) -> None:
        """Whether it may be told of still. Gone."""
        try:
            await self._judge(has_to_read=True)
        except (StoreError, DiskError) as error:
            raise Gone(str(error)) from error


def _is_behind(selected: Selected, command: Command) -> bool:
    """Whether the client must hear the news first: a UID that another session was told of is known here too. A STORE is told afterwards what
    others changed before it, so that its own change is the last word, but for messages this session has not seen."""
    if not isinstance(command, Store):
        return True
    known = selected.view.status.uidnext
    return any(max(run) >= known for run in command.numbers.runs)
