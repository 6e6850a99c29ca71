"""One client's connection: octets to commands, commands to the session, answers to the client.

A packet's commands are carried out one after the other by a task that ends with the last of them, all answers to a packet in few writes; while
an answer is long, nothing more is read than a buffer holds, and the answer waits for a peer that does not read. A client that idles has neither
task nor buffer: what its folder's change makes of news is written where the change is told. The task is never cancelled by a client that hangs up:
what was begun is done to its end, and everything stops at its next write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final, cast

from postroom_imap4 import grammar
from postroom_imap4.commands import Wrong
from postroom_imap4.compressing import BadStream, Deflate
from postroom_imap4.framing import AFTER_LOGIN, BEFORE_LOGIN, Continue, Frame, Framer, Limits
from postroom_imap4.replies import bye
from postroom_imap4.selected import Gone
from postroom_imap4.session import Session
from postroom_imap4.world import World
from postroom_net.binding import binding_of
from postroom_net.hall import Hall
from postroom_net.sasl import Binding
from postroom_net.sealed import TakeOver, begin_tls
from postroom_net.settings import passes

HANDSHAKE: Final = 30.0  # seconds a TLS handshake may take
_OCTETS: Final = 64 * 1024  # that may wait while a command is carried out; beyond, we stop reading
_PIECE: Final = 128 * 1024  # octets of answers that are gathered before they are written
_AT_ONCE: Final = 50  # commands between two turns of the loop
_LONG: Final = 8 * 1024  # octets of news after which the others get their turn


@dataclass(eq=False)
class House(Hall["Connection"]):
    """What all connections of the service share."""

    world: World
    after_login: Limits = field(default=AFTER_LOGIN, init=False)

    def __post_init__(self) -> None:
        self.after_login = replace(AFTER_LOGIN, message=self.world.settings.append_limit)


class Connection(asyncio.Protocol):
    """The object the event loop calls. `take_over`: TLS was there before the first octet, and the peer is admitted already; `starttls`: it may
    be begun by command."""

    __slots__ = (
        "_admitted", "_before", "_deflate", "_dirty", "_eof", "_expanding", "_framer", "_has_moved", "_held", "_latest", "_lost", "_news", "_out", "_paused", "_room", "_sent",
        "_take_over", "_task", "_waiter", "deadline", "house", "peer", "session", "starttls", "transport",
    )  # fmt: skip

    session: Session
    transport: asyncio.Transport

    def __init__(self, house: House, take_over: TakeOver | None = None, *, starttls: bool = False) -> None:
        self.house, self.starttls = house, starttls
        self._take_over = take_over
        self.deadline = self._latest = 0.0  # the latter is that of the login
        self.peer = ""
        self._framer = Framer(BEFORE_LOGIN, house.world.spills.begin)
        self._out: list[bytes] = []
        self._held = 0  # octets in _out
        self._sent = 0  # octets
        self._before = 0  # octets received before the login, or since the client logged out
        self._deflate: Deflate | None = None  # there when both sides compress
        self._expanding = False  # `_expand` will be called soon
        self._task: asyncio.Task[None] | None = None
        self._news: Iterator[bytes] | None = None  # what of an idling client's news is not written yet
        self._admitted = self._lost = self._eof = self._paused = self._dirty = False
        self._has_moved = False  # the folder that an idling client watches is not where it was
        self._room: asyncio.Future[None] | None = None  # there while the peer does not read what we wrote
        self._waiter: asyncio.Future[None] | None = None  # there while a command waits for a line

    # The event loop's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.peer = str((self.transport.get_extra_info("peername") or ("",))[0])
        is_sealed = self._take_over is not None
        self._admitted = is_sealed or self.house.limits.admit(self.peer)
        if self._take_over is not None:
            self._take_over()
            self._take_over = None
        if not self._admitted or self.house.draining:
            self._turn_away()
            return
        world = self.house.world
        starttls = self.starttls and world.tls is not None
        self.session = Session(world, self, self.peer, tls=is_sealed, secure=self._line_is_trusted(), starttls=starttls)
        if is_sealed:
            self.session.binding = self._binding()
        world.counts.connections.inc()
        self._await_login()
        self._alive()
        self.house.enter(self)
        self._write(self.session.greeting())

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        self._alive()
        if self._deflate is None:
            self._heard(data)
        else:
            self._deflate.push(data)
            if not self._expanding:
                self._expand()

    def eof_received(self) -> bool:
        """A client may half-close behind its last command: what is under way is ended first. TLS has no half-close."""
        self._eof = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        has_more = self._deflate is not None and self._deflate.has_more
        return (self._task is not None or has_more) and not self.session.tls

    def connection_lost(self, error: Exception | None) -> None:
        self._lost = True
        self.resume_writing()
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        if self._task is None:
            self._leave()

    def pause_writing(self) -> None:
        self._room = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
        if self._task is None and not self._lost:
            self._push()

    # Life

    def expire(self) -> None:
        """The autologout timer (RFC 9051 section 5.4), or a command takes long: it is waited for, a peer that does not read is not."""
        if self._task is not None and self._room is None and self._waiter is None:
            self._write(self.session.progress.sign())
            self._watch_work()
            return
        self.session.ended = "idle"
        self.session.leave()
        if self._room is None:
            self._write(bye("you were silent for too long"))
            self.transport.close()
        else:
            self.transport.abort()

    def depart(self) -> None:
        """The worker is about to stop: who has nothing under way goes now."""
        if self._task is None and not self.transport.is_closing():
            self._hang_up("the server is restarting; come again", b"UNAVAILABLE")

    def cut(self) -> None:
        """Hang up, whatever is under way."""
        self.session.leave()
        self.transport.abort()

    def _turn_away(self) -> None:
        why = "too many connections"
        if self._admitted:
            self.house.limits.release(self.peer)
            self._admitted, why = False, "the server is restarting"
        self.transport.write(bye(f"{why}; try again later", b"UNAVAILABLE"))
        self.transport.close()

    def _line_is_trusted(self) -> bool:
        """Whether the operator lets passwords pass here without TLS."""
        return passes(self.house.world.settings.plaintext, self.peer)

    def _binding(self) -> Binding | None:
        return binding_of(self.transport.get_extra_info("ssl_object"), always=self.house.world.settings.binding == "always")

    def _await_login(self) -> None:
        """From now on the client has so many seconds and octets to log in, be it again."""
        world = self.house.world
        self._before, self._latest = 0, world.clock.monotonic() + world.settings.login_seconds

    def _alive(self) -> None:
        """The client said or read something. Before it has logged in that gives it no more time."""
        world = self.house.world
        self.deadline = self._latest if self.session.who is None else world.clock.monotonic() + world.settings.idle_seconds

    def _watch_work(self) -> None:
        """While a command is under way, look again soon."""
        world = self.house.world
        self.deadline = world.clock.monotonic() + world.settings.progress_seconds
        self.house.wheel.watch(self)

    def _is_too_much(self, octets: int) -> bool:
        """Whether who has not logged in has said more than anybody needs to (case 28)."""
        self._before += octets
        if self._before <= self.house.world.settings.login_octets:
            return False
        self._hang_up("too much was said before a login")
        return True

    def _leave(self) -> None:
        """Connection and task have ended: nothing of ours stays behind."""
        self._framer.close()
        if not self._admitted:
            return
        self._admitted = False
        self.session.leave()
        self.house.leave(self, self.peer)
        self._tell()
        self._news = None
        self.session.forget()
        del self.session  # it knows this connection, and neither is to wait for the collector

    def _tell(self) -> None:
        """The session's line in the log, where somebody had logged in, and its part in the counts."""
        session, counts = self.session, self.house.world.counts
        counts.commands.inc(session.commands)
        counts.octets.inc(self._sent)
        if not session.login:
            return
        self.house.world.log.info(
            "imap4.session",
            login=session.login,
            peer=self.peer,
            tls=session.tls,
            ended=session.ended,
            client=session.client,
            commands=session.commands,
            appended=session.appended,
            octets=self._sent,
        )

    def _hang_up(self, why: str, code: bytes = b"") -> None:
        self.session.over, self.session.ended = True, "closed"
        self.session.leave()
        self._out.append(bye(why, code))
        self.flush()
        self.transport.close()

    # Reading

    def _heard(self, data: bytes) -> None:
        """What the client said, as it meant it."""
        if self.session.who is None and self._is_too_much(len(data)):
            return
        self._framer.feed(data)
        if self._task is None:
            self._go_on()
        elif self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
        elif self._is_full():
            self._pause()

    def _is_full(self) -> bool:
        """Whether enough waits for the command under way to end."""
        return self._task is not None and self._waiter is None and self._framer.held > _OCTETS

    def _pause(self) -> None:
        if not self._paused:
            self._paused = True
            self.transport.pause_reading()

    def _read_on(self) -> None:
        """What came compressed goes first; then the client may say more, or is bidden farewell."""
        if self._deflate is not None and self._deflate.has_more:
            if not self._expanding:
                self._expanding = True
                asyncio.get_running_loop().call_soon(self._expand)
        elif self._eof and self._task is None:
            self.transport.close()
        elif self._paused and not self._is_full():
            self._paused = False
            self.transport.resume_reading()

    def _expand(self) -> None:
        """Hear a slice of what came compressed, and nothing more from the wire until the rest is heard: in the next turns of the loop, or when a
        command has ended (case 29)."""
        self._expanding = False
        if self._deflate is None or self._lost or self.transport.is_closing():
            return
        if self._is_full() or (self._deflate.halts and self._task is not None):
            self._pause()
            return
        try:
            data = self._deflate.slice()
        except BadStream as error:
            self._cannot_expand(str(error))
            return
        if data:
            self._heard(data)
        if self._deflate.has_more:
            self._pause()
        self._read_on()

    def _cannot_expand(self, why: str) -> None:
        if self._task is None:
            self._hang_up(why)
        else:
            self.transport.abort()

    # Answering

    def _go_on(self) -> None:
        """Answer what waits, by a task where it is a command, or news that must be looked for."""
        said = self._next()
        if said is None and not self._has_news():
            self.flush()
            return
        until = self.deadline if said is None else None
        self._watch_work()
        self._task = asyncio.get_running_loop().create_task(self._serve(said, until))

    def _has_news(self) -> bool:
        """Whether something has changed for a client that watches; for one that idles, the folder that it watched."""
        if not self._dirty or (self.session.watch is None and not self._has_moved):
            return False
        return self._room is None and not self.session.over and not self.transport.is_closing()

    def _next(self) -> Frame | Wrong | None:
        """The next command; what is no command, and can be answered at once, is."""
        while not self.transport.is_closing():
            if self.session.idles:
                line = self._framer.take_line()
                if line is None:
                    return None
                self._send_now(b"".join(self._news or ()) + self.session.end_idle(line))
                self._news = None
                self._dirty = self._dirty and self.session.watch is not None  # who watches is told after IDLE too
                continue
            said = self._framer.take()
            if not isinstance(said, Continue):
                return said
            self._send_now(b"+ %b\r\n" % said.text)
        return None

    async def _serve(self, said: Frame | Wrong | None, until: float | None) -> None:
        """Carry out commands until none is left, and tell the news behind them. `until`: when a client's silence ends, which news do not break."""
        done = 0
        try:
            while (said is not None or self._has_news()) and not self._lost:
                if said is None:
                    self._dirty = self._has_moved = False
                    await self.session.push()
                else:
                    until = None
                    await self._carry_out(said)
                if self._has_ended():
                    break
                done += 1
                if done % _AT_ONCE == 0 or self._held >= _PIECE:
                    await self._give_way()
                said = self._next()
            self.flush()
        except ConnectionError as error:
            self.house.world.log.debug("imap4.lost", login=self.session.login, peer=self.peer, error=str(error))
            self.transport.abort()
        except Exception as error:  # ends this session, not the service
            what = f"{type(error).__name__}: {error}"
            self.house.world.log.error("imap4.broken", login=self.session.login, peer=self.peer, error=what)
            self.transport.abort()
        finally:
            self._task = None
            self._rest(until)

    async def _carry_out(self, said: Frame | Wrong) -> None:
        if isinstance(said, Wrong):
            await self.session.refuse(said)
        else:
            await self._command(said)
        self._framer.limits = BEFORE_LOGIN if self.session.who is None else self.house.after_login

    async def _command(self, frame: Frame) -> None:
        modes = self.session.modes
        try:
            read = grammar.read(frame, utf8=modes.utf8, is_rev2=modes.rev2)
            if isinstance(read, Wrong):
                await self.session.refuse(read)
            else:
                await self.session.perform(read)
        finally:
            frame.close()

    def _has_ended(self) -> bool:
        """Whether nothing more is to be read from this client."""
        if not self.session.over and self._framer.is_lost:
            self._hang_up("this cannot be followed any more")
        elif not self.session.over and self.house.draining:
            self._hang_up("the server is restarting; come again", b"UNAVAILABLE")
        elif self.session.over:
            self.flush()
            self.transport.close()
        return self.session.over

    def _rest(self, until: float | None) -> None:
        """Nothing is under way any more."""
        if self._lost:
            self._leave()
        elif not self.transport.is_closing():
            if until is None:
                self._alive()
            else:
                self.deadline = until
            self._read_on()
            if self._dirty:
                self.woken()

    # What a session asks of the wire

    async def send(self, data: bytes) -> None:
        self._out.append(data)
        self._held += len(data)
        if self._held >= _PIECE or self._room is not None:
            await self._give_way()

    async def _give_way(self) -> None:
        """Write what there is, let the others have their turn, and wait for a peer that does not read."""
        self.flush()
        if self._room is None:
            await asyncio.sleep(0)
        else:
            await asyncio.shield(self._room)
        if self._lost or self.transport.is_closing():
            raise ConnectionResetError("the client is gone")

    def flush(self) -> None:
        if self._out and not self.transport.is_closing():
            data = b"".join(self._out) if len(self._out) > 1 else self._out[0]
            if self._deflate is not None:
                data = self._deflate.squeezed(data)
            self._sent += len(data)
            self.transport.write(data)
        self._out.clear()
        self._held = 0

    async def line(self) -> bytes:
        self.flush()
        while (line := self._framer.take_line()) is None:
            if self._lost or self._eof or self.transport.is_closing():
                raise ConnectionResetError("the client left while it was asked")
            self._waiter = asyncio.get_running_loop().create_future()
            self.deadline = self._latest
            try:
                await self._waiter
            finally:
                self._waiter = None
        return line

    async def start_tls(self) -> Binding | None:
        context = self.house.world.tls
        assert context is not None, "STARTTLS is offered with a certificate only"
        self.flush()
        self.transport.pause_reading()
        self._framer.rest()  # what stood behind STARTTLS in the clear is not obeyed (RFC 9051 section 6.2.1; case 21)
        try:
            self.transport = await begin_tls(self.transport, self, context, HANDSHAKE)
        except BaseException:
            self._lost = True
            raise
        self._paused = False
        return self._binding()

    def compress(self) -> None:
        self.flush()
        self._deflate = Deflate()
        self._deflate.push(self._framer.rest())  # heard when the command has ended

    def plain(self) -> None:
        self._await_login()
        deflate, self._deflate = self._deflate, None
        if deflate is None:
            return
        data = deflate.last(b"".join(self._out))
        self._out.clear()
        self._held = 0
        self._sent += len(data)
        if not self.transport.is_closing():
            self.transport.write(data)
        self._framer.feed(deflate.rest())

    # News of an idling client's folder

    def woken(self) -> None:
        """Something changed that the client wants to know of. Who does not read is told when it does."""
        self._dirty = True
        if self._task is None and self._room is None and self._news is None:
            self._push()

    def _push(self) -> None:
        """Write the news, in pieces where they are long; those of a client that watches are looked for by a task."""
        if self._lost:
            return
        if self.session.watch is not None:
            self._go_on()
            return
        try:
            while self.session.idles and not self.transport.is_closing() and self._room is None:
                if self._news is None:
                    if not self._dirty:
                        return
                    self._dirty = False
                    self._news = self.session.news.at_once()
                for piece in self._news:
                    self._write(piece)
                    if len(piece) > _LONG:
                        asyncio.get_running_loop().call_soon(self._push)
                        return
                self._news = None
        except Gone:
            self._dirty = self._has_moved = True
            self._go_on()
        except Exception as error:  # ends this session, not the service
            what = f"{type(error).__name__}: {error}"
            self.house.world.log.error("imap4.broken", login=self.session.login, peer=self.peer, error=what)
            self.transport.abort()

    def _send_now(self, data: bytes) -> None:
        self._out.append(data)
        self._held += len(data)
        if self._task is None:
            self.flush()

    def _write(self, data: bytes) -> None:
        """At once, behind what `send` holds."""
        if data:
            self._out.append(data)
            self.flush()
