"""What a session asks of the world: is this password right, give me this message, remove those, begin TLS.

Each errand ends in the reply, or raises ConnectionError when the client is gone or was told so much already that only hanging up is
honest. A message that another session removed, and a disk that refuses, cost one command.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from postroom.errors import DiskError, NoSuchMessage, StoreError
from postroom.mailstore import MailStore
from postroom.providers import PostofficeProvider
from postroom.site import Log
from postroom_net.authentication import Authentication, Authenticator
from postroom_net.lines import DotStuffer, dot_ended
from postroom_net.login import Login, Principal, Refused
from postroom_net.sasl import Binding, Challenge, Fault
from postroom_pop3.maildrop import Locks, Maildrop, TopCut
from postroom_pop3.session import Action, Bulk, CheckPassword, Close, Commit, Prove, Retrieve, Said, Session, StartTls, Top, Try
from postroom_pop3.settings import Pop3Settings

if TYPE_CHECKING:
    from postroom_ops.metrics import Metrics

SERVICE: Final = "pop3"  # as logins are counted and told
PIECE: Final = 256 * 1024  # octets of a message in memory at a time
_HEAD: Final = 16 * 1024  # octets TOP looks at first


class Counts:
    """What is counted of all sessions of the service."""

    def __init__(self, metrics: Metrics) -> None:
        told = "Logins, by what was said"
        self.connections = metrics.counter("pop3_connections_total", "Connections that were served")
        self.logged_in = metrics.counter("pop3_logins_total", told, outcome="ok")
        self.refused = metrics.counter("pop3_logins_total", told, outcome="refused")
        self.retrieved = metrics.counter("pop3_retrieved_messages_total", "Messages sent whole, each once a session; counted at its end")
        self.octets = metrics.counter("pop3_retrieved_octets_total", "Octets of messages sent, by RETR and TOP; counted at a session's end")
        self.deleted = metrics.counter("pop3_deleted_messages_total", "Messages removed at the end of sessions")


@dataclass(frozen=True)
class World:
    """Whom a session's errands go to."""

    settings: Pop3Settings
    login: Login
    store: MailStore
    postoffices: PostofficeProvider
    locks: Locks
    log: Log
    tls: ssl.SSLContext | None
    authenticator: Authenticator
    counts: Counts


class Wire(Protocol):
    """The connection as errands see it."""

    async def send(self, data: bytes) -> None:
        """Write, by and by; waits while the peer does not read. ConnectionError when it is gone."""

    def flush(self) -> None:
        """Write at once what `send` still holds."""

    async def start_tls(self, context: ssl.SSLContext) -> Binding | None:
        """What a login may be tied to from now on. ConnectionError where the handshake fails."""


@dataclass(slots=True)
class Errands:
    """Those of one session, and what they came to, for the log."""

    world: World
    session: Session
    wire: Wire
    peer: str
    login: str = ""
    octets: int = 0
    deleted: int = field(default=0)
    _trial: Authentication | None = None  # the SASL exchange under way

    async def carry_out(self, action: Action) -> Said:
        """The reply, or what is left to say of it."""
        match action:
            case Retrieve(number):
                return await self._retrieve(number)
            case Top(number, lines):
                return await self._in_pieces(number, TopCut(lines))
            case CheckPassword(login, password):
                self.wire.flush()
                return await self._log_in(login, await self.world.login.verify(login, password, self.peer, SERVICE))
            case Prove(login, check):
                self.wire.flush()
                return await self._log_in(login, await self.world.login.prove(login, check, self.peer, SERVICE))
            case Try():
                self.wire.flush()
                return await self._try(action)
            case Bulk(pieces):
                return await self._bulk(pieces)
            case Commit():
                return await self._commit()
            case StartTls(reply):
                return await self._start_tls(reply)
            case Close():
                return action

    def at_once(self, action: Action) -> bytes | None:
        """The whole reply, where nothing has to be waited for; else None: carry it out."""
        if not isinstance(action, Retrieve) or self._drop.octets[action.number - 1] > PIECE:
            return None
        try:
            text = self._drop.peek(action.number, PIECE)
        except (NoSuchMessage, DiskError) as error:
            return self._cannot(error)
        except Exception:  # our own mistake: `carry_out` meets it again, and there the end of the session is told
            return None
        return None if text is None else self._whole(action.number, text)

    @property
    def _drop(self) -> Maildrop:
        assert self.session.maildrop is not None, "the session asks for messages in TRANSACTION only"
        return self.session.maildrop

    async def _log_in(self, login: str, verdict: Principal | Refused) -> Said:
        said = await self._let_in(login, verdict)
        counts = self.world.counts
        (counts.refused if self.session.maildrop is None else counts.logged_in).inc()
        return said

    async def _try(self, action: Try) -> Said:
        trial = self._trial
        if trial is None or trial.exchange is not action.exchange:
            trial = self._trial = self.world.authenticator.carries(action.exchange, self.peer)
        verdict = await trial.go(action.step)
        if isinstance(verdict, Challenge):
            return self.session.challenged(action.exchange, verdict)
        self._trial = None
        return self.session.failed(verdict) if isinstance(verdict, Fault) else await self._log_in(trial.name, verdict)

    async def _let_in(self, login: str, verdict: Principal | Refused) -> Said:
        if isinstance(verdict, Refused):
            self.world.log.warning("pop3.login_refused", login=login[:100], peer=self.peer, reason=verdict.reason)
            return self.session.refused(verdict)
        try:
            return await self._open(verdict)
        except (StoreError, DiskError) as error:
            self.world.log.error("pop3.mailbox_refused", login=verdict.username, peer=self.peer, error=str(error))
            return self.session.out_of_order()

    async def _open(self, who: Principal) -> Said:
        """The maildrop of who has logged in. Whether there is one is the provider's word."""
        record = await self.world.postoffices.mailboxes.get(who.postoffice, who.mailbox)
        if record is None or not record.status:
            return self.session.no_mailbox()
        drop = await Maildrop.open(self.world.store, self.world.locks, record.postoffice, record.mailbox)
        if drop is None:
            return self.session.in_use()
        self.login = who.username
        return self.session.accepted(drop)

    async def _retrieve(self, number: int) -> bytes:
        """The whole message; up to a piece in one read."""
        drop = self._drop
        if drop.octets[number - 1] > PIECE:
            return await self._in_pieces(number, None)
        try:
            text = await drop.read(number)
        except (NoSuchMessage, DiskError) as error:
            return self._cannot(error)
        await self.wire.send(self._whole(number, text))
        return b""

    def _whole(self, number: int, text: bytes) -> bytes:
        octets = len(text) if text.endswith(b"\r\n") or not text else len(text) + 2
        self._drop.retrieved.add(number)
        self.octets += octets
        return b"+OK %d octets\r\n%b" % (octets, dot_ended(text))

    async def _in_pieces(self, number: int, cut: TopCut | None) -> bytes:
        """A message larger than we want to hold, or the top of one."""
        drop, stuffer = self._drop, DotStuffer()
        size, offset, step = drop.octets[number - 1], 0, PIECE if cut is None else _HEAD
        while offset < size or not offset:
            try:
                first = b"" if offset else await self._announced(number, cut)
                text = await drop.read(number, offset, step)
            except (NoSuchMessage, DiskError) as error:
                if offset:
                    raise ConnectionAbortedError(f"message {number} could not be read to its end: {error}") from error
                return self._cannot(error)
            offset, step = offset + len(text), PIECE
            wanted = text if cut is None else cut.piece(text)
            self.octets += len(wanted)
            await self.wire.send(first + stuffer.piece(wanted))
            if not text or (cut is not None and cut.done):
                break
        if cut is None:
            drop.retrieved.add(number)
        return stuffer.end()

    async def _announced(self, number: int, cut: TopCut | None) -> bytes:
        """The reply's first line, with the octets that will be sent."""
        if cut is not None:
            return b"+OK\r\n"
        size = self._drop.octets[number - 1]
        ended = await self._drop.read(number, size - 2, 2) == b"\r\n"
        return b"+OK %d octets\r\n" % (size if ended else size + 2)

    def _cannot(self, error: Exception) -> bytes:
        if isinstance(error, NoSuchMessage):
            return self.session.gone()
        self.world.log.error("pop3.message_refused", login=self.login, peer=self.peer, error=str(error))
        return self.session.unreadable()

    async def _bulk(self, pieces: Iterator[bytes]) -> bytes:
        for piece in pieces:
            await self.wire.send(piece)
            await asyncio.sleep(0)  # a thousand rows are a millisecond: let others in between
        return b""

    async def _commit(self) -> Said:
        drop = self._drop
        try:
            await drop.commit(mark_read=self.world.settings.mark_read)
            self.deleted = len(drop.deleted)
        except (StoreError, DiskError) as error:
            self.world.log.error("pop3.update_refused", login=self.login, peer=self.peer, error=str(error))
            return self.session.committed(False)
        finally:
            drop.release()  # before the reply: the client may be back at once, at another worker
        return self.session.committed(True)

    async def _start_tls(self, reply: bytes) -> bytes:
        assert self.world.tls is not None, "STLS is offered with a certificate only"
        await self.wire.send(reply)
        self.wire.flush()
        self.session.secured(await self.wire.start_tls(self.world.tls))
        return b""
