"""A client's session: its states, and one command after the other (RFC 9051 section 3).

`perform` carries a command out and sends everything the client is to hear of it, the tagged response last, news of the selected folder right
before it. What each command does stands in the files `doing_*.py`, `deeds.py` is the table; what the client hears when, in `news.py`. Errors of
the client's or the world's making are a NO or BAD; others end the session, not the service. The session never reads from the wire but through
`Wire.line`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from postroom.mailstore import Mailbox
from postroom_disk.disk import DamagedFile
from postroom_imap4 import doing_login
from postroom_imap4.commands import Command, Tagged, Wrong
from postroom_imap4.deeds import DEEDS, Deed, When
from postroom_imap4.ledger import Ledger
from postroom_imap4.news import News
from postroom_imap4.progress import Progress
from postroom_imap4.reach import Reach
from postroom_imap4.replies import NO_NUMBERS, Ended, bad, bye, no, refusal, untagged
from postroom_imap4.selected import Gone, Modes, Selected
from postroom_imap4.watching import Watch
from postroom_imap4.wire import Wire
from postroom_imap4.world import World
from postroom_net.login import Principal
from postroom_net.sasl import Binding

_NOT_OFFERED: Final = bad("this command is not offered")


class Session:
    """One client's."""

    __slots__ = (
        "_idle_tag", "_reach", "appended", "bad", "binding", "client", "commands", "compressed", "ended", "failed", "login", "mailbox", "modes", "news", "over", "peer",
        "progress", "secure", "selected", "starttls", "tag", "tls", "watch", "who", "wire", "world",
    )  # fmt: skip

    def __init__(self, world: World, wire: Wire, peer: str, *, tls: bool, secure: bool, starttls: bool) -> None:
        """`secure`: passwords may be said here; `starttls`: TLS may be begun by command."""
        self.world: World = world
        self.wire: Wire = wire
        self.peer = peer
        self.tls, self.secure, self.starttls = tls, secure or tls, starttls
        self.binding: Binding | None = None  # what names the TLS channel
        self.compressed = False
        self.who: Principal | None = None
        self.mailbox: Mailbox | None = None
        self.selected: Selected | None = None
        self.modes = Modes()
        self.news = News(self)
        self.watch: Watch | None = None  # from the first NOTIFY on
        self.progress = Progress()
        self.tag = b""  # of the command under way
        self._idle_tag = b""  # of the IDLE under way
        self._reach: Reach | None = None
        self.over = False  # nothing more will be said
        self.ended = "lost"  # why, for the log
        self.bad = self.failed = 0
        self.commands = self.appended = 0
        self.client = ""  # what it says of itself
        self.login = ""  # who logged in last, for the log

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

    @property
    def idles(self) -> bool:
        """Whether an IDLE is under way."""
        return bool(self._idle_tag)

    def greeting(self) -> bytes:
        """The first line, with the capabilities (RFC 9051 section 7.1)."""
        return untagged(f"{self.world.host} IMAP4 ready", b"CAPABILITY " + doing_login.capabilities(self))

    # Commands

    async def perform(self, tagged: Tagged) -> None:
        """Carry it out and answer. ConnectionError where the client is gone."""
        self.tag, command = tagged.tag, tagged.command
        self.commands += 1
        deed = DEEDS.get(type(command))
        try:
            ended = _NOT_OFFERED if deed is None else await self._done(deed, command)
            if ended is not None and self.selected is not None:
                ended = await self._with_news(ended, deed, command)
        except Gone as gone:
            await self.end(str(gone), b"UNAVAILABLE")
            return
        if ended is not None:
            await self._answer(ended, tagged.tag)
        if self.watch is not None and self.watch.is_due:
            self.wire.woken()

    async def refuse(self, wrong: Wrong) -> None:
        """What could not be read as a command."""
        if wrong.empties and self.selected is not None:
            self.selected.saved = ()
        await self._answer(no(wrong.text, wrong.code) if wrong.is_no else bad(wrong.text, wrong.code), wrong.tag or b"*")

    async def _done(self, deed: Deed, command: Command) -> Ended | None:
        if (wrong := self._not_now(deed, command)) is not None:
            return wrong
        self.progress.begin(self.tag, slow=deed.slow)
        try:
            await self.news.before(command, deed)
            return await deed.do(self, command)
        except Exception as error:
            if isinstance(error, Gone) or (ended := refusal(error)) is None:
                raise
            if isinstance(error, DamagedFile):
                self.world.log.error("imap4.damaged", login=self.login, peer=self.peer, error=str(error))
            return ended
        finally:
            self.progress.silence()

    def _not_now(self, deed: Deed, command: Command) -> Ended | None:
        if deed.when is When.BEFORE and self.who is not None:
            return bad("you have logged in already")
        if deed.when in (When.AFTER, When.SELECTED) and self.who is None:
            return bad("log in first")
        if deed.when is When.SELECTED and self.selected is None:
            return bad("select a folder first")
        if self.modes.uidonly and deed.counts(command):
            return NO_NUMBERS
        return None

    async def _with_news(self, ended: Ended, deed: Deed | None, command: Command) -> Ended:
        """Tell them; the answer, which says so where a message that the client counts is gone and may not be told gone with it. Gone."""
        counts = deed is not None and deed.counts(command)
        await self.tell(may_expunge=deed is None or not (counts and deed.hides))
        if (
            self.modes.qresync and self.folder.holds
        ):  # MODSEQs may have been told that are beyond those of the ends (RFC 7162 sections 3.2 and 6)
            await self.wire.send(untagged("expunged messages are not told yet", b"HIGHESTMODSEQ %d" % max(1, self.folder.whole)))
        if counts and ended.is_ok and not ended.code and self.folder.holds:
            return Ended(ended.status, ended.text, b"EXPUNGEISSUED")  # RFC 5530
        return ended

    async def _answer(self, ended: Ended, tag: bytes) -> None:
        """The last word on what the client said; and on the session, where it makes too many mistakes."""
        self._count(ended)
        await self.wire.send(ended.line(tag))
        if self.over:
            return
        if self.bad >= self.world.settings.bad_commands:
            await self.end("too many mistakes")
        elif self.failed >= self.world.settings.failed_logins:
            await self.end("too many failed logins")

    def _count(self, ended: Ended) -> None:
        """Mistakes in a row."""
        self.bad = self.bad + 1 if ended.status == b"BAD" else 0

    async def end(self, why: str, code: bytes = b"") -> None:
        """Say BYE; whoever drives the session hangs up."""
        self.over, self.ended = True, "closed"
        self.leave()
        await self.wire.send(bye(why, code))

    # What deeds ask

    async def tell(self, *, may_expunge: bool) -> None:
        """News of the selected folder. Gone."""
        await self.news.tell(may_expunge=may_expunge)

    async def send_all(self, pieces: Iterator[bytes]) -> None:
        for piece in pieces:
            if piece:
                await self.wire.send(piece)

    def noted(self, enter: Callable[[Ledger], None]) -> None:
        """The client did something that it need not be notified of."""
        if self.watch is not None:
            enter(self.watch.ledger)

    def condstore(self) -> bytes:
        """The client said something that enables CONDSTORE; what it is to be told (RFC 7162 section 3.1)."""
        if self.modes.condstore:
            return b""
        self.modes.condstore = True
        return self.highest()

    def highest(self) -> bytes:
        """HIGHESTMODSEQ of the selected folder, if there is one."""
        return b"" if self.selected is None else untagged("noted", b"HIGHESTMODSEQ %d" % max(1, self.selected.view.status.modseq))

    def deselect(self) -> None:
        if self.selected is not None and self.watch is not None:
            self.watch.left(self.selected)
        self.selected = None

    def leave(self) -> None:
        """Nobody is to be woken any more."""
        self.news.unfollow()
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.end()

    def forget(self) -> None:
        """The client is gone: what was held for it goes now. The session is of no use any more."""
        self.reset()
        del self.news  # it knows this session

    def reset(self) -> None:
        """As before the login: what was enabled, selected and said is forgotten (RFC 8437 section 3)."""
        self.leave()
        self.who = self.mailbox = self.selected = self._reach = None
        self.modes = Modes()

    # Between commands: IDLE (RFC 2177) and NOTIFY (RFC 5465)

    def begin_idle(self) -> None:
        """From now on the wire is `woken` when the folder changes, as it is for a session that watches in any case."""
        self._idle_tag = self.tag
        self.news.follow()

    def end_idle(self, line: bytes) -> bytes:
        """The client's line; the answer."""
        self.news.unfollow()
        tag, self._idle_tag = self._idle_tag, b""
        ended = Ended(b"OK", "done") if line.strip().upper() == b"DONE" else bad("DONE ends IDLE")
        self._count(ended)
        return ended.line(tag)

    async def push(self) -> None:
        """Tell what is new outside of any command. Ends the session where the selected folder is gone."""
        try:
            await self.news.between()
        except Gone as gone:
            await self.end(str(gone), b"UNAVAILABLE")
