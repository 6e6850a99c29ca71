"""A client's session: its states, what may be said in which, and one command after the other (RFC 9051 section 3).

`perform` carries a command out and sends everything the client is to hear of it, the tagged response last, news of the selected folder right
before it. What each command does stands in the files `doing_*.py`; `DEEDS` is the table. Errors of the client's or the world's making are a
NO or BAD; others end the session, not the service. The session never reads from the wire but through `Wire.line`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Final, Protocol, TypeVar

from postroom.errors import NoSuchFolder, StoreError
from postroom.mailstore import Folder, Mailbox
from postroom_disk.disk import DamagedFile, DiskError
from postroom_imap4 import (
    attributes,
    commands,
    compressing,
    doing_acl,
    doing_append,
    doing_folders,
    doing_login,
    doing_messages,
    doing_notify,
    doing_quota,
    doing_search,
    doing_select,
)
from postroom_imap4.answers import quoted
from postroom_imap4.commands import Command, Tagged, Wrong
from postroom_imap4.ledger import Ledger
from postroom_imap4.reach import Reach
from postroom_imap4.replies import NO_NUMBERS, Ended, bad, bye, no, refusal, untagged
from postroom_imap4.selected import Gone, Modes, Selected
from postroom_imap4.watching import Watch
from postroom_imap4.world import World
from postroom_net.login import Principal
from postroom_net.sasl import Binding


class Wire(Protocol):
    """The connection as a session sees it."""

    async def send(self, data: bytes) -> None:
        """Write, by and by; waits while the peer does not read. ConnectionError when it is gone."""

    def flush(self) -> None:
        """Write at once what `send` still holds."""

    async def line(self) -> bytes:
        """The client's next line where it answers no command, without its end; lines.TOO_LONG for one too long."""

    async def start_tls(self) -> Binding | None:
        """Forget what was received, begin TLS; what names the channel. ConnectionError where the handshake fails."""

    def compress(self) -> None:
        """From the next octet on both sides compress (RFC 4978); what was received already is the client's first."""

    def plain(self) -> None:
        """What was sent is the last that is compressed, and what the client said the last of its (RFC 8437 section 4.1)."""

    def woken(self) -> None:
        """The folder that an idling client watches has changed."""


class When(Enum):
    """In which state a command may be said."""

    ANY = "any"
    BEFORE = "before login"
    AFTER = "after login"
    SELECTED = "with a folder selected"


@dataclass(frozen=True, slots=True)
class Deed:
    """What is done for a class of commands. None ends nothing: the answer comes later, as that of IDLE."""

    do: Callable[..., Awaitable[Ended | None]]
    when: When
    numbers: bool  # names messages by number unless `by_uid`
    hides: bool  # and then no EXPUNGE may be told with its answer (RFC 9051 section 7.5.1)
    slow: bool  # may take long without a word: signs of life are sent meanwhile


class Session:
    """One client's."""

    __slots__ = (
        "_followed", "_reach", "_unfollow", "appended", "bad", "binding", "client", "commands", "compressed", "ended", "failed", "idle_tag", "login", "mailbox", "modes", "over", "peer", "progress",
        "secure", "selected", "slow", "starttls", "tag", "tls", "watch", "who", "wire", "world",
    )  # fmt: skip

    def __init__(self, world: World, wire: Wire, peer: str, *, tls: bool, secure: bool, starttls: bool) -> None:
        """`secure`: passwords may be said here; `starttls`: TLS may be begun by command."""
        self.world: World = world
        self.wire: Wire = wire
        self.peer = peer
        self.tls, self.secure, self.starttls = tls, secure or tls, starttls
        self.binding: Binding | None = None  # what names the TLS channel
        self.who: Principal | None = None
        self.mailbox: Mailbox | None = None
        self.selected: Selected | None = None
        self.modes = Modes()
        self.tag = b""  # of the command under way
        self.slow = False
        self.progress: tuple[int, int] | None = None  # of what the command under way goes through: how many are done, of how many
        self.compressed = False
        self.idle_tag = b""  # of the IDLE under way
        self.over = False  # nothing more will be said
        self.ended = "lost"  # why, for the log
        self.bad = self.failed = 0
        self.commands = self.appended = 0
        self.client = ""  # what it says of itself
        self.login = ""  # who logged in last, for the log
        self._unfollow: Callable[[], None] | None = None
        self._followed: tuple[Folder, str] | None = None  # what `_unfollow` ends, and under which name
        self.watch: Watch | None = None  # from the first NOTIFY on
        self._reach: Reach | None = None

    @property
    def reach(self) -> Reach:
        """What who has logged in can reach, and may do there."""
        if self._reach is None:
            self._reach = Reach(self.world.sharing, self.box)
        return self._reach

    @property
    def box(self) -> Mailbox:
        """The mailbox of who has logged in."""
        assert self.mailbox is not None, "the table of deeds asks for a login first"
        return self.mailbox

    @property
    def folder(self) -> Selected:
        """What is selected."""
        assert self.selected is not None, "the table of deeds asks for a selected folder first"
        return self.selected

    def greeting(self) -> bytes:
        """The first line, with the capabilities (RFC 9051 section 7.1)."""
        return untagged(f"{self.world.host} IMAP4 ready", b"CAPABILITY " + doing_login.capabilities(self))

    # Commands

    async def perform(self, tagged: Tagged) -> None:
        """Carry it out and answer. ConnectionError where the client is gone."""
        self.tag, command = tagged.tag, tagged.command
        self.commands += 1
        deed = DEEDS.get(type(command))
        by_number = deed is not None and deed.numbers and not getattr(command, "by_uid", False)
        try:
            ended = bad("this command is not offered") if deed is None else await self._done(deed, command, by_number)
            if ended is not None and self.selected is not None:
                await self.tell(may_expunge=not (by_number and deed is not None and deed.hides))
                if by_number and ended.is_ok and not ended.code and self.selected is not None and self.selected.holds:
                    ended = Ended(ended.status, ended.text, b"EXPUNGEISSUED")  # RFC 5530
        except Gone as gone:
            await self.end(str(gone), b"UNAVAILABLE")
            return
        if ended is not None:
            self._count(ended)
            await self.wire.send(ended.line(tagged.tag))
            await self._give_up()
        if self.watch is not None and self.watch.is_due:
            self.wire.woken()

    async def _done(self, deed: Deed, command: Command, by_number: bool) -> Ended | None:
        if (wrong := self._not_now(deed, by_number)) is not None:
            return wrong
        self.slow, self.progress = deed.slow, None
        if self.watch is not None:
            self.watch.thawed = type(command) in _CHANGING
        try:
            await self._follow_rename()
            await self._judge(has_to_read=type(command) not in _LEAVE)
            if deed.numbers and not by_number and self.selected is not None and self._is_behind(command):
                await self.tell(may_expunge=True)
            return await deed.do(self, command)
        except Exception as error:
            if isinstance(error, Gone) or (ended := refusal(error)) is None:
                raise
            if isinstance(error, DamagedFile):
                self.world.log.error("imap4.damaged", login=self.login, peer=self.peer, error=str(error))
            return ended
        finally:
            self.slow = False

    async def _judge(self, *, has_to_read: bool) -> None:
        """What the login may do with the selected folder now (RFC 4314 section 5.1.1); its flags are told anew where that has changed. Gone where
        it may not even read."""
        selected = self.selected
        if selected is None or selected.place is None:
            return
        try:
            found = await self.reach.rights(selected.place.beside(selected.folder.name))
        except NoSuchFolder as error:
            if has_to_read:
                raise Gone(str(error)) from error
            return
        if found == selected.rights:
            return
        selected.rights = found
        if has_to_read and "r" not in found:
            raise Gone(f"you may not read {selected.name} any more")
        await self.wire.send(selected.flags_lines())

    async def _may_watch(self) -> None:
        """Whether news of the selected folder may be told still. Gone."""
        try:
            await self._judge(has_to_read=True)
        except (StoreError, DiskError) as error:
            raise Gone(str(error)) from error

    def _is_behind(self, command: Command) -> bool:
        """Whether the client must hear the news first: a UID that another session was told of is known here too. A STORE is told afterwards
        what others changed before it, so that its own change is the last word, but for messages this session has not seen."""
        if not isinstance(command, commands.Store):
            return True
        known = self.folder.view.status.uidnext
        return any(max(run) >= known for run in command.numbers.runs)

    def _not_now(self, deed: Deed, by_number: bool) -> Ended | None:
        if deed.when is When.BEFORE and self.who is not None:
            return bad("you have logged in already")
        if deed.when in (When.AFTER, When.SELECTED) and self.who is None:
            return bad("log in first")
        if deed.when is When.SELECTED and self.selected is None:
            return bad("select a folder first")
        if by_number and self.modes.uidonly:
            return NO_NUMBERS
        return None

    async def refuse(self, wrong: Wrong) -> None:
        """What could not be read as a command."""
        ended = no(wrong.text, wrong.code) if wrong.is_no else bad(wrong.text, wrong.code)
        self._count(ended)
        await self.wire.send(ended.line(wrong.tag or b"*"))
        await self._give_up()

    def _count(self, ended: Ended) -> None:
        """Mistakes in a row."""
        self.bad = self.bad + 1 if ended.status == b"BAD" else 0

    async def _give_up(self) -> None:
        if self.over:
            return
        if self.bad >= self.world.settings.bad_commands:
            await self.end("too many mistakes")
        elif self.failed >= self.world.settings.failed_logins:
            await self.end("too many failed logins")

    async def end(self, why: str, code: bytes = b"") -> None:
        """Say BYE; whoever drives the session hangs up."""
        self.over, self.ended = True, "closed"
        self.leave()
        await self.wire.send(bye(why, code))

    # The selected folder

    async def tell(self, *, may_expunge: bool) -> None:
        """News of the selected folder. Gone."""
        watch, selected = self.watch, self.folder
        if watch is None:
            await self.send_all(await self._pieces(may_expunge))
        elif not watch.is_frozen:
            slow, self.slow = self.slow, False  # no sign of life comes within a literal
            watch.meet(selected)
            await self.send_all(await self._pieces(may_expunge))
            async for piece in watch.fetched(selected):
                await self.wire.send(piece)
            self.slow = slow

    async def _pieces(self, may_expunge: bool) -> Iterator[bytes]:
        try:
            return self.folder.pieces(may_expunge=may_expunge)
        except Gone:
            if not await self._find_again():
                raise
            return self.folder.pieces(may_expunge=may_expunge)

    async def _follow_rename(self) -> None:
        """The selected folder stays selected where another worker renamed it, for it is the same one (RFC 8474 section 4.1)."""
        if self.selected is not None:
            try:
                self.selected.look()
            except Gone:
                if await self._find_again():  # else whoever needs it tells that it is gone
                    await self.tell(may_expunge=False)

    async def _find_again(self) -> bool:
        """A view of it from before cannot be read any more, so whoever calls this tells the news, also a client that wants none."""
        selected = self.folder
        if self.watch is not None:
            self.watch.thawed = True
        box = self.box if selected.place is None else selected.place.box
        try:
            return selected.moved(await box.folder(selected.folder.name, object_id=selected.view.status.object_id))
        except (StoreError, DiskError):
            return False

    def went_on(self, done: int, goal: int) -> None:
        """The command under way is so far; told with the next sign of life."""
        self.progress = (done, goal)

    def sign_of_life(self) -> bytes:
        """What a client is told while a command takes long (RFC 9585 section 4); nothing where an answer has begun."""
        if not self.slow:
            return b""
        tag = quoted(self.tag) if b"]" not in self.tag else b"NIL"
        done, goal = self.progress or (0, 0)
        state = b"%d %d" % (done, goal) if done < goal else b"NIL NIL"
        return untagged("still at it", b"INPROGRESS (%b %b)" % (tag, state))

    def noted(self, enter: Callable[[Ledger], None]) -> None:
        """The client did something that it need not be notified of."""
        if self.watch is not None:
            enter(self.watch.ledger)

    async def send_all(self, pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            if piece:
                await self.wire.send(piece)

    def condstore(self) -> bytes:
        """The client said something that enables CONDSTORE; what it is to be told (RFC 7162 section 3.1)."""
        if self.modes.condstore:
            return b""
        self.modes.condstore = True
        return b"" if self.selected is None else untagged("noted", b"HIGHESTMODSEQ %d" % max(1, self.selected.view.status.modseq))

    def deselect(self) -> None:
        if self.selected is not None and self.watch is not None:
            self.watch.left(self.selected)
        self.selected = None

    # IDLE (RFC 2177), and NOTIFY (RFC 5465)

    def begin_idle(self) -> None:
        """From now on the wire is `woken` when the folder changes, as it is for a session that watches in any case."""
        self.idle_tag = self.tag
        self._follow()

    def _follow(self) -> None:
        """Follow the selected folder, by whatever name it goes now."""
        if self.selected is None or self.watch is not None or not self.idle_tag:
            return
        folder = self.selected.folder
        if self._followed != (folder, folder.name):
            self._unfollow_it()
            self._followed, self._unfollow = (folder, folder.name), folder.follow(self.wire.woken)

    def _unfollow_it(self) -> None:
        unfollow, self._unfollow, self._followed = self._unfollow, None, None
        if unfollow is not None:
            unfollow()

    def pushed(self) -> Iterator[bytes]:
        """What an idling client is to be told now. Gone: `push` may know where the folder is, and whether it may still be read."""
        if self.selected is None:
            return iter(())
        if self.selected.place is not None and not self.selected.place.is_own:
            raise Gone("whether it may still be read is to be asked of the disk")
        pieces = self.selected.pieces(may_expunge=True)
        self._follow()
        return pieces

    async def push(self) -> None:
        """Tell between commands what a client that watches, or idles, is to be told now. Ends the session where the selected folder is gone."""
        watch, idles = self.watch, bool(self.idle_tag)
        if watch is not None:
            watch.thawed = False
        try:
            if self.selected is not None and (idles if watch is None else watch.may_tell_selected):
                await self._may_watch()
                await self.tell(may_expunge=idles or watch is None or not watch.wishes.delays)
                self._follow()
            if watch is not None:
                async for lines in watch.news():
                    if lines:
                        await self.wire.send(lines)
        except Gone as gone:
            await self.end(str(gone), b"UNAVAILABLE")

    def end_idle(self, line: bytes) -> bytes:
        """The client's line; the answer."""
        self._unfollow_it()
        tag, self.idle_tag = self.idle_tag, b""
        ended = Ended(b"OK", "done") if line.strip().upper() == b"DONE" else bad("DONE ends IDLE")
        self._count(ended)
        return ended.line(tag)

    def leave(self) -> None:
        """Nobody is to be woken any more."""
        self._unfollow_it()
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.end()

    def reset(self) -> None:
        """As before the login: what was enabled, selected and said is forgotten (RFC 8437 section 3)."""
        self.leave()
        self.who = self.mailbox = self.selected = self._reach = None
        self.modes = Modes()


_CHANGING: Final = (commands.Append, commands.Copy, commands.Expunge, commands.Replace, commands.Store)  # the selected folder, perhaps
_LEAVE: Final = (commands.Logout, commands.Unauthenticate, commands.Select, commands.Close, commands.Unselect)  # need no right to read

C = TypeVar("C")


def _deed(
    command: type[C],
    do: Callable[[Session, C], Awaitable[Ended | None]],
    when: When,
    *,
    numbers: bool = False,
    hides: bool = False,
    slow: bool = False,
) -> tuple[type[C], Deed]:
    return command, Deed(do, when, numbers or hides, hides, slow)


DEEDS: Final[dict[type, Deed]] = dict[type, Deed](
    (
        _deed(commands.Capability, doing_login.capability, When.ANY),
        _deed(commands.Noop, doing_login.noop, When.ANY),
        _deed(commands.Logout, doing_login.logout, When.ANY),
        _deed(commands.Id, doing_login.identify, When.ANY),
        _deed(commands.StartTls, doing_login.start_tls, When.BEFORE),
        _deed(commands.Authenticate, doing_login.authenticate, When.BEFORE),
        _deed(commands.LogIn, doing_login.log_in, When.BEFORE),
        _deed(commands.Unauthenticate, doing_login.unauthenticate, When.AFTER),
        _deed(commands.Enable, doing_login.enable, When.AFTER),
        _deed(commands.Namespace, doing_folders.namespace, When.AFTER),
        _deed(commands.Select, doing_select.select, When.AFTER),
        _deed(commands.Create, doing_folders.create, When.AFTER),
        _deed(commands.Delete, doing_folders.delete, When.AFTER),
        _deed(commands.Rename, doing_folders.rename, When.AFTER),
        _deed(commands.Subscribe, doing_folders.subscribe, When.AFTER),
        _deed(commands.List, doing_folders.list_folders, When.AFTER),
        _deed(commands.Status, doing_folders.status, When.AFTER),
        _deed(commands.Append, doing_append.append, When.AFTER, slow=True),
        _deed(commands.Idle, doing_select.idle, When.AFTER),
        _deed(commands.Compress, compressing.compress, When.AFTER),
        _deed(commands.GetQuota, doing_quota.get_quota, When.AFTER),
        _deed(commands.GetQuotaRoot, doing_quota.get_quota_root, When.AFTER),
        _deed(commands.SetQuota, doing_quota.set_quota, When.AFTER),
        _deed(commands.GetMetadata, attributes.get_metadata, When.AFTER),
        _deed(commands.SetMetadata, attributes.set_metadata, When.AFTER, slow=True),
        _deed(commands.SetAcl, doing_acl.set_acl, When.AFTER, slow=True),
        _deed(commands.GetAcl, doing_acl.get_acl, When.AFTER),
        _deed(commands.ListRights, doing_acl.list_rights, When.AFTER),
        _deed(commands.MyRights, doing_acl.my_rights, When.AFTER),
        _deed(commands.Notify, doing_notify.notify, When.AFTER, slow=True),
        _deed(commands.Check, doing_login.noop, When.SELECTED),
        _deed(commands.Close, doing_select.close, When.SELECTED, slow=True),
        _deed(commands.Unselect, doing_select.unselect, When.SELECTED),
        _deed(commands.Expunge, doing_messages.expunge, When.SELECTED, slow=True),
        _deed(commands.Fetch, doing_messages.fetch, When.SELECTED, hides=True),
        _deed(commands.Store, doing_messages.store, When.SELECTED, hides=True),
        _deed(commands.Copy, doing_messages.copy, When.SELECTED, numbers=True, slow=True),
        _deed(commands.Replace, doing_append.replace, When.SELECTED, numbers=True, slow=True),
        _deed(commands.Search, doing_search.search, When.AFTER, hides=True, slow=True),
        _deed(commands.Sort, doing_search.sort, When.SELECTED, hides=True, slow=True),
        _deed(commands.Thread, doing_search.thread, When.SELECTED, hides=True, slow=True),
    )
)
