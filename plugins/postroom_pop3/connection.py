"""One client's connection: octets to the session, its actions to the errands, replies to the client.

Commands that need nothing from the world are answered where the packet arrives, all replies to a packet in one write. The first that
needs something starts a task, which then serves whatever else has arrived. The task is never cancelled by a client that hangs up: a
login is judged to its end, an UPDATE is carried out, everything else stops at its next write. The maildrop's lock is given back when
connection and task have both ended, or after the UPDATE.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from typing import Final, cast

from postroom.clock import Clock
from postroom_net.binding import TlsBinding, binding_of
from postroom_net.hall import Hall
from postroom_net.lines import LineBuffer
from postroom_net.sasl import MAXIMUM, Binding
from postroom_net.sealed import TakeOver, begin_tls
from postroom_net.settings import passes
from postroom_pop3.errands import PIECE, Errands, World
from postroom_pop3.session import Action, Bulk, Close, Offers, Session, StartTls

_LINES: Final = 1000  # commands that may wait while one is carried out; beyond, we stop reading
_OCTETS: Final = 64 * 1024  # and octets that may come in
_AT_ONCE: Final = 200  # commands answered in one turn of the loop
HANDSHAKE: Final = 30.0  # seconds a TLS handshake may take


@dataclass(eq=False)
class House(Hall["Connection"]):
    """What all connections of the service share."""

    host: str
    world: World
    clock: Clock


class Connection(asyncio.Protocol):
    """The object the event loop calls. `take_over`: TLS was there before the first octet, and the peer is admitted already; `stls`: it may
    be begun by command."""

    session: Session
    transport: asyncio.Transport

    def __init__(self, house: House, take_over: TakeOver | None = None, *, stls: bool = False) -> None:
        self.house, self.stls = house, stls
        self._take_over = take_over
        self.deadline = self._latest = 0.0  # the latter is that of the login
        self.peer = ""
        self.errands: Errands
        self._buffer = LineBuffer(MAXIMUM + 64)  # AUTH's initial response comes on the command line
        self._out: list[bytes] = []
        self._held = 0  # octets in _out
        self._answered = 0  # commands in this turn of the loop
        self._came = 0  # octets since the task began
        self._task: asyncio.Task[None] | None = None
        self._admitted = self._lost = self._eof = False
        self._room: asyncio.Future[None] | None = None  # there while the peer does not read what we wrote
        self._ended = "lost"

    # The event loop's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.peer = str((self.transport.get_extra_info("peername") or ("",))[0])
        self._admitted = self._take_over is not None or self.house.limits.admit(self.peer)
        if self._take_over is not None:
            self._take_over()
        if not self._admitted or self.house.draining:
            self._turn_away()
            return
        self.session = Session(self._offers(), tls=self._take_over is not None, secure=self._line_is_trusted(), binding=self._binding())
        self.errands = Errands(self.house.world, self.session, self, self.peer)
        self.house.world.counts.connections.inc()
        self._latest = self.house.clock.monotonic() + self.house.world.settings.login_seconds
        self._alive()
        self.house.enter(self)
        self.transport.write(self.session.greeting())

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._alive()
        self._buffer.feed(data)
        if self._task is not None:
            self._came += len(data)
            if len(self._buffer) > _LINES or self._came > _OCTETS:
                self.transport.pause_reading()
            return
        self._answered = 0
        action = self._answer()
        if action is None:
            self.flush()
        else:
            self._task = asyncio.get_running_loop().create_task(self._serve(action))

    def eof_received(self) -> bool:
        """A client may half-close behind its last command: what is under way is ended first. TLS has no half-close."""
        self._eof = True
        return self._task is not None and not self.session.tls

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self.resume_writing()
        if self._task is None:
            self._leave()

    def pause_writing(self) -> None:
        self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)

    # Life

    def expire(self) -> None:
        """The autologout timer (RFC 1939 section 3): close without UPDATE. A login or an UPDATE under way is waited for, a peer that
        does not read is not."""
        if self._task is not None and self._room is None:
            self._alive()
            self.house.wheel.watch(self)
            return
        self._ended = "idle"
        self.transport.abort()

    def depart(self) -> None:
        """The worker is about to stop: who has not logged in goes now, who has may end the session."""
        if self.session.maildrop is None and self._task is None:
            self._hang_up(Close(b"-ERR [SYS/TEMP] the server is restarting; come again\r\n"))

    def cut(self) -> None:
        """Hang up, without UPDATE; one that is under way is carried out."""
        self.transport.abort()

    def _offers(self) -> Offers:
        world = self.house.world
        limits = world.settings.bad_commands, world.settings.failed_logins
        return Offers(self.house.host, world.authenticator.mechanisms, self.stls and world.tls is not None, world.settings.apop, *limits)

    def _binding(self) -> TlsBinding | None:
        """What a login may be tied to."""
        tls: ssl.SSLObject | None = self.transport.get_extra_info("ssl_object")
        return binding_of(tls, always=self.house.world.settings.binding == "always")

    def _turn_away(self) -> None:
        why = b"too many connections; try again later"
        if self._admitted:  # accepted in the turn in which the drain began
            self.house.limits.release(self.peer)
            self._admitted, why = False, b"the server is restarting"
        self.transport.write(b"-ERR [SYS/TEMP] %b\r\n" % why)
        self.transport.close()

    def _line_is_trusted(self) -> bool:
        """Whether the operator lets passwords pass here without TLS."""
        return passes(self.house.world.settings.plaintext, self.peer)

    def _alive(self) -> None:
        """The client said or read something. Before it has logged in that gives it no more time."""
        idle = self.house.world.settings.idle_seconds
        self.deadline = self._latest if self.session.maildrop is None else self.house.clock.monotonic() + idle

    def _leave(self) -> None:
        """Connection and task have ended: nothing of ours stays behind."""
        if not self._admitted:
            return
        self._admitted = False
        self.house.leave(self, self.peer)
        if self.session.maildrop is not None:
            self.session.maildrop.release()
            self._tell()
        del self.errands  # they know this connection, and neither is to wait for the collector

    def _tell(self) -> None:
        """The session's line in the log, and its part in the counts."""
        errands, drop, counts = self.errands, self.session.maildrop, self.house.world.counts
        counts.retrieved.inc(len(drop.retrieved) if drop is not None else 0)
        counts.octets.inc(errands.octets)
        counts.deleted.inc(errands.deleted)
        self.house.world.log.info(
            "pop3.session",
            login=errands.login,
            peer=self.peer,
            tls=self.session.tls,
            ended=self._ended,
            retrieved=len(drop.retrieved) if drop is not None else 0,
            octets=errands.octets,
            deleted=errands.deleted,
        )

    def _hang_up(self, close: Close) -> None:
        self._ended = "quit" if close.reply.startswith(b"+OK") else "closed"
        self._out.append(close.reply)
        self.flush()
        self.transport.close()

    # Answering

    def _answer(self) -> Action | None:
        """Answer what can be answered at once; the first action that needs the world or time, or None when no line is left."""
        while (line := self._next()) is not None:
            if not isinstance(line, bytes):
                return line
            said = self.session.line(line)
            if isinstance(said, bytes):
                self._out.append(said)
                self._held += len(said)
            elif isinstance(said, StartTls) and self._is_injected():
                self._hang_up(self.session.injected())
                return None
            elif isinstance(said, Close):
                self._hang_up(said)
                return None
            elif (reply := self.errands.at_once(said)) is None:
                return said
            else:
                self._out.append(reply)
                self._held += len(reply)
        return None

    def _next(self) -> bytes | Action | None:
        """The next line. Where the peer does not read, or has had its turn, that must wait: for an action that sends nothing more."""
        if len(self._buffer) and (self._answered >= _AT_ONCE or self._held >= PIECE or self._room is not None):
            self._answered = 0
            return Bulk(iter((b"",)))
        self._answered += 1
        return self._buffer.take()

    def _is_injected(self) -> bool:
        """Whether anything came behind STLS in the clear. From here on nothing is read before the handshake reads it."""
        self.transport.pause_reading()
        return self._buffer.clear()

    async def _serve(self, first: Action) -> None:
        """Carry out actions until no line is left."""
        action: Action | None = first
        try:
            while action is not None and not self._lost:
                said = await self.errands.carry_out(action)
                if isinstance(said, bytes):
                    self._out.append(said)
                    action = self._answer()
                elif isinstance(said, Close):
                    self._hang_up(said)
                    break
            self.flush()
        except ConnectionError as error:
            self.house.world.log.debug("pop3.lost", login=self.errands.login, peer=self.peer, error=str(error))
            self.transport.abort()
        except Exception as error:  # ends this session, not the service
            what = f"{type(error).__name__}: {error}"
            self.house.world.log.error("pop3.broken", login=self.errands.login, peer=self.peer, error=what)
            self.transport.abort()
        finally:
            self._task = None
            self._rest()

    def _rest(self) -> None:
        """Nothing is under way any more."""
        self._came = 0
        if self._lost:
            self._leave()
        elif self._eof:
            self.transport.close()
        elif not self.transport.is_closing():
            self._alive()
            self.transport.resume_reading()

    # What errands ask of the wire

    async def send(self, data: bytes) -> None:
        self._out.append(data)
        self._held += len(data)
        if self._held < PIECE and self._room is None:
            return
        self.flush()
        if self._room is None:
            await asyncio.sleep(0)
        else:
            await asyncio.shield(self._room)
        if self._lost or self.transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._alive()

    def flush(self) -> None:
        if self._out and not self.transport.is_closing():
            self.transport.write(b"".join(self._out) if len(self._out) > 1 else self._out[0])
        self._out.clear()
        self._held = 0

    async def start_tls(self, context: ssl.SSLContext) -> Binding | None:
        try:
            self.transport = await begin_tls(self.transport, self, context, HANDSHAKE)
        except BaseException:
            self._lost = True
            raise
        return self._binding()
