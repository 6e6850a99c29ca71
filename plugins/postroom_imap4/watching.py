"""What a session that said NOTIFY watches, and what it tells between commands (RFC 5465).

The store hints which folder of a mailbox changed; nothing is asked before. News are the difference between what the client knows (ledger.py) and
what is so now, so that hints may be doubled, or many told as one. A hint that was lost is made good at a command of the client's some
minutes later. Costs nothing to sessions without NOTIFY.
A folder that cannot be asked is passed over; ConnectionError and whatever else is raised ends the session, as with a command.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from postroom.errors import NoSuchFolder, StoreError
from postroom.mailstore import FolderStatus
from postroom_disk.disk import DiskError
from postroom_imap4 import notifying, special_uses
from postroom_imap4.fetching import Fetching
from postroom_imap4.ledger import Kept, Known, Ledger, Names
from postroom_imap4.listing import Tree, key_of
from postroom_imap4.notifying import MESSAGES, Wishes
from postroom_imap4.replies import untagged
from postroom_imap4.rights import NotPermitted
from postroom_imap4.sights import Sight

if TYPE_CHECKING:
    from postroom_imap4.selected import Selected
    from postroom_imap4.session import Session

_AT_ONCE: Final = 20  # folders between two turns of the loop
_AGAIN: Final = 300.0  # seconds after which all is looked at again, hint or no hint
OVERFLOW: Final = b"NOTIFICATIONOVERFLOW"


class TooMany(Exception):
    """More folders would have to be watched than one session may."""


class Watch:
    """One session's, from a NOTIFY to the next."""

    def __init__(self, session: Session, wishes: Wishes) -> None:
        """Nothing is followed before `begin`."""
        self.session, self.wishes = session, wishes
        self.sight = Sight(session, self.hinted)
        self.ledger = Ledger(wishes, self.sight.is_own)
        self.thawed = False  # a command is under way that changes the selected folder: then it is told what is new whatever was wished
        self._dirty: set[str] = set()  # keys of known folders
        self._others: dict[str, str] = {}  # object ids by key, of known folders in whose place another lies
        self._tree = self._is_selected_dirty = False
        self._met: Selected | None = None
        self._told = 0  # UIDNEXT up to which new messages of `_met` were told with what is to be fetched
        self._looked = session.world.clock.monotonic()

    # Beginning and end

    async def begin(self, *, tells: bool) -> AsyncIterator[bytes]:
        """Take note of how everything is; with `tells` the STATUS of each folder that has message events (section 3.1). TooMany."""
        if self.wishes.others or self.wishes.selected:
            self.sight.follow(self.wishes)
        if not self.wishes.others:
            return
        names, subscriptions, unread = await self._seen()
        self.ledger.listed(names, subscriptions, {}, unread)
        for line in await self._lines(dict.fromkeys([bar.name for bar in self.ledger.barred.values()], "")):  # section 3.1
            yield line
        unmet = self.ledger.unmet()
        if len(unmet) > self._most:
            raise TooMany
        for number, name in enumerate(unmet, 1):
            known, events = await self._met_anew(name), self.ledger.events(name)
            if tells and known is not None and events & MESSAGES and not self._is_selected(key_of(name)):
                yield self._status_line(known, notifying.items_at_first(events))
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        if self.wishes.wants("ServerMetadataChange"):
            self.ledger.server = await self.sight.attributes("")

    def end(self) -> None:
        self.sight.close()

    @property
    def _most(self) -> int:
        return self.session.world.settings.notify_folders

    # Hints

    def hinted(self, name: str) -> None:
        """Something changed there; "": in the tree of folders, in subscriptions or annotations."""
        key, is_known = key_of(name), key_of(name) in self.ledger.known
        if not name:
            self._tree, self._is_selected_dirty = self.wishes.others, True
        elif self._is_selected(key):
            self._is_selected_dirty = True
            if is_known and self.wishes.wants("MailboxMetadataChange"):
                self._dirty.add(key)
            elif self.is_frozen:
                return
        elif is_known:
            self._dirty.add(key)
        elif self.wishes.others and key not in self.ledger.names and self.sight.is_own(name):
            self._tree = True
        else:
            return
        self.session.wire.woken()

    def _is_selected(self, key: str) -> bool:
        selected = self.session.selected
        return selected is not None and key_of(selected.name) == key

    # The selected folder

    @property
    def is_frozen(self) -> bool:
        """Whether the selected folder stays for the client as it is (section 3.1)."""
        return not self.wishes.selected and not self.thawed

    @property
    def may_tell_selected(self) -> bool:
        """Whether there may be news of the selected folder that are to be told between commands."""
        return self._is_selected_dirty and not self.is_frozen

    def meet(self, selected: Selected) -> None:
        """Before its news are told: arrivals from now on are to be fetched, and flags are told as wished."""
        self.sight.see(selected)
        self._is_selected_dirty, self.ledger.selected = False, key_of(selected.name)
        selected.tells_flags = self.thawed or "FlagChange" in self.wishes.selected
        if self._met is not selected:
            self._met, self._told = selected, selected.view.status.uidnext

    async def fetched(self, selected: Selected) -> AsyncIterator[bytes]:
        """What is to be told of each message that came (section 5.2), but of those this client put there. \\Seen is not set by it."""
        own = self.ledger.own(selected.name)
        view, first = selected.view, self._told
        self._told = view.status.uidnext
        if not self.wishes.fetch or self._told == first:
            return
        spans = selected.spans([uid for uid in view.uids[bisect_left(view.uids, first) :] if uid not in own])
        modes = self.session.modes
        fetching = Fetching(selected.folder, view, modseq=modes.condstore, uidonly=modes.uidonly, utf8=modes.utf8_names)
        with suppress(NoSuchFolder):  # gone this moment; the next look finds it out
            async for piece in fetching.pieces(spans, self.wishes.fetch, by_uid=True):
                yield piece

    def left(self, selected: Selected) -> None:
        """The client has it no more selected: from now on its messages are told as those of any other folder."""
        if (known := self.ledger.known.get(key_of(selected.name))) is not None:
            known.status = selected.view.status
            self._dirty.add(key_of(selected.name))
            self.session.wire.woken()
        self.ledger.own(selected.name)
        self._met, self.ledger.selected = None, ""

    # All others

    @property
    def is_due(self) -> bool:
        """Whether the time has come to look at everything again."""
        return self.wishes.others and self.session.world.clock.monotonic() - self._looked >= _AGAIN

    async def news(self) -> AsyncIterator[bytes]:
        """All that is new outside of the selected folder."""
        if self.is_due:
            self._looked, self._tree = self.session.world.clock.monotonic(), True
            self._dirty.update(self.ledger.known)
        done = 0
        while self._tree or self._dirty:
            if self._tree:
                self._tree = False
                async for line in self._tree_news():
                    yield line
            else:
                yield await self._folder_news(self._dirty.pop())
            done += 1
            if done % _AT_ONCE == 0:
                await asyncio.sleep(0)

    async def _folder_news(self, key: str) -> bytes:
        known = self.ledger.known.get(key)
        if known is None:
            return b""
        events = self.ledger.events(known.name)
        try:
            status = await self._status(known.name)
            kept = await self.sight.attributes(known.name) if "MailboxMetadataChange" in events else {}
        except (NoSuchFolder, NotPermitted):
            self._tree = True
            return b""
        except (StoreError, DiskError):
            return b""
        if known.object_id not in ("", status.object_id):
            self._others[key], self._tree = status.object_id, True
            return b""
        known.object_id = status.object_id
        told, known.kept = self._entries(known.name, known.kept, kept), kept
        if events & MESSAGES and not self._is_selected(key):
            items = self.ledger.counted(known, status, condstore=self.session.modes.condstore)
            told = (self._status_line(known, items) if items else b"") + told
        return told

    def _entries(self, name: str, before: Kept | None, now: Kept) -> bytes:
        changed = notifying.entries_changed(before, now) if before is not None else []
        return notifying.metadata_line(name, changed, self._utf8) if changed else b""

    async def _tree_news(self) -> AsyncIterator[bytes]:
        """Folders that came, went or have another name; subscriptions; annotations of the server."""
        try:
            names, subscriptions, unread = await self._seen()
            ids, self._others = self._others, {}
            ids.update(await self._ids([name for key, name in names.items() if key not in self.ledger.names]))
            told = self.ledger.listed(names, subscriptions, ids, unread, await self._withdrawn(names))
            self._dirty.update(self.ledger.replaced(ids))
            for line in await self._lines(told):
                yield line
        except (StoreError, DiskError):
            return
        async for line in self._meet_others():
            yield line
        if self.wishes.wants("ServerMetadataChange"):
            with suppress(DiskError):
                before, self.ledger.server = self.ledger.server, await self.sight.attributes("")
                yield self._entries("", before, self.ledger.server)

    async def _meet_others(self) -> AsyncIterator[bytes]:
        """Folders that have events now and had none: what is in them is news."""
        for number, name in enumerate(self.ledger.unmet(), 1):
            if len(self.ledger.known) >= self._most:
                yield self._overflow()
                return
            known, events = await self._met_anew(name), self.ledger.events(name)
            if known is not None and known.status is not None and events & MESSAGES and not self._is_selected(key_of(name)):
                items = notifying.items_at_meeting(events, known.status)
                yield self._status_line(known, items) if items else b""
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)

    def _overflow(self) -> bytes:
        """From now on as after NOTIFY NONE (section 5.8)."""
        self.end()
        self.wishes = Wishes()
        self.ledger = Ledger(self.wishes, self.sight.is_own)
        self._dirty.clear()
        self._tree = False
        return untagged("there are too many folders to watch", OVERFLOW)

    # Looking

    async def _seen(self) -> tuple[dict[str, str], dict[str, str], set[str]]:
        """The names in sight, and those subscribed to; keys of those in sight that may not be read."""
        seen = await self.sight.names(self.wishes)
        names = {key_of(name): name for name in seen}
        subscriptions = {key_of(name): name for name in await self.session.box.subscriptions()}
        return names, subscriptions, {key_of(name) for name, may_read in seen.items() if not may_read}

    async def _withdrawn(self, names: Names) -> set[str]:
        """Keys of the folders that went out of the client's sight, and are where they were."""
        found = set()
        for number, (key, (name, object_id)) in enumerate(self.ledger.out_of_sight(names).items(), 1):
            if not self.sight.is_own(name) and await self.sight.is_there(name, object_id):
                found.add(key)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    async def _ids(self, names: list[str]) -> dict[str, str]:
        found = {}
        for number, name in enumerate(names, 1):
            with suppress(StoreError, DiskError):
                found[key_of(name)] = (await self._status(name)).object_id
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        return found

    async def _met_anew(self, name: str) -> Known | None:
        """A folder as it is now, known from here on; None for one that cannot be asked."""
        try:
            status = await self._status(name)
            kept = await self.sight.attributes(name) if "MailboxMetadataChange" in self.ledger.events(name) else None
        except (StoreError, DiskError):
            return None
        self.ledger.known[key_of(name)] = known = Known(name, status.object_id, status, kept)
        return known

    async def _status(self, name: str) -> FolderStatus:
        return (await self.sight.folder(name)).view().status

    async def _lines(self, told: Mapping[str, str]) -> list[bytes]:
        """LIST for these names, with what they were called before; all attributes are as they are (section 5.5)."""
        if not told:
            return []
        own = [name for name in self.ledger.names.values() if self.sight.is_own(name)]
        uses = await special_uses.of_mailbox(self.session.box, own)
        tree = Tree(list(self.ledger.names.values()), self.ledger.subscriptions.values(), uses)
        barred = self.ledger.barred
        return [notifying.list_line(tree.about(name), self._utf8, old, is_barred=key_of(name) in barred) for name, old in told.items()]

    def _status_line(self, known: Known, items: list[str]) -> bytes:
        assert known.status is not None
        return notifying.status_line(known.status, items, self._utf8, known.name)

    @property
    def _utf8(self) -> bool:
        return self.session.modes.utf8_names
