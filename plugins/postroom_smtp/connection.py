"""One connection of a peer: an asyncio Protocol that feeds a session and does what it wants done.

Replies to one packet leave in one write. A peer that does not read is not read from; one that is slow, silent or too long here meets
its deadline on the wheel all connections share: a packet leaves the time at which it came, and only the wheel's rare look makes a deadline
of it. A task runs only while something waits: a hook, an acceptance, a handshake. When the peer goes, what it began goes too, save a
message already handed to the kernel.
"""

from __future__ import annotations

import asyncio
import ssl
from enum import Enum
from typing import cast

from postroom_net.binding import TlsBinding, binding_of
from postroom_net.sealed import TakeOver
from postroom_smtp import proxy, replies
from postroom_smtp.access import address_of, plain_ip
from postroom_smtp.house import House
from postroom_smtp.session import Door, Session, known_peer
from postroom_smtp.settings import Listen
from postroom_smtp.wants import Ask, Commit, Prove, Start, Wish

_LINGER = 30.0  # seconds a closing connection has to read our last words
_AHEAD = 64 * 1024  # octets a peer may send while an answer is being thought about


class Stage(Enum):
    """How far a connection is."""

    PROXY = "proxy"  # a PROXY header is owed to us
    GREETING = "greeting"  # nothing was said; whoever speaks now is early
    TALKING = "talking"
    CLOSED = "closed"  # whatever still comes is dropped


class Connection(asyncio.Protocol):
    """Owned by its transport; `House.connections` lists it while it lives. `take_over`: to be called where the house has admitted the peer
    already, before its handshake."""

    __slots__ = (
        "_admitted", "_door", "_early", "_earned", "_ends", "_hearer", "_house", "_impatient", "_ip", "_is_full", "_is_held", "_listen",
        "_progress", "_session", "_stage", "_take_over", "_transport", "deadline", "task",
    )  # fmt: skip

    def __init__(self, house: House, listen: Listen, door: Door, take_over: TakeOver | None = None) -> None:
        self._house, self._listen, self._door = house, listen, door
        self._ip = ""
        self._stage = Stage.GREETING
        self._take_over = take_over
        self._admitted = self._is_full = self._is_held = False
        self._early = b""
        self._progress = 0
        self.task: asyncio.Task[None] | None = None
        self._impatient: asyncio.Future[None] | None = None
        self._session: Session | None = None
        self._hearer: Session | None = None  # the session, while what comes is for its ears: from the greeting to our last words

    # ------------------------------------------------------------ the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        house = self._house
        self._transport = cast(asyncio.Transport, transport)
        now = self._earned = house.monotonic()  # when the peer last earned time, see `_due`
        self._ends = now + house.limits.session_seconds
        self.deadline = now + house.settings.handshake_seconds
        peername = transport.get_extra_info("peername")
        if not peername:  # gone before we looked
            return self._transport.abort()
        house.connections.add(self)
        if self._take_over is not None:
            self._admitted = True
            self._take_over()
        ip = plain_ip(str(peername[0]))
        proxies = self._listen.proxy
        if proxies and any(address_of(ip) in network for network in proxies):
            self._ip, self._stage = ip, Stage.PROXY
            return house.wheel.watch(self)
        return self._enter(ip)

    def data_received(self, data: bytes) -> None:
        session = self._hearer
        if session is None:
            return self._not_yet(data)
        try:
            session.receive(data)
        except Exception as error:
            return self._stumble(error)
        if self.task is None:
            self._go_on(session)
        elif session.waiting > _AHEAD:
            self._hold(True)
        return None

    def eof_received(self) -> bool:
        """The peer will say no more. While it waits for an answer the other direction stays open (TLS has no such half)."""
        return self.task is not None and not self._is_secure

    def pause_writing(self) -> None:
        self._is_full = True
        self._hold(True)

    def resume_writing(self) -> None:
        self._is_full = False
        self._hold(False)

    def connection_lost(self, exc: Exception | None) -> None:
        house, session = self._house, self._session
        if self not in house.connections:
            return
        house.connections.discard(self)
        if not house.connections:
            house.empty.set()
        house.wheel.forget(self)
        self._stage, self._hearer = Stage.CLOSED, None
        if self._admitted:
            house.release(self._ip)
        if session is not None:
            session.forget()
            if isinstance(session.want, Commit):
                return  # its message is the kernel's now; nobody hears the answer
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    # ------------------------------------------------------------ before the conversation

    def _not_yet(self, data: bytes) -> None:
        if self._stage is Stage.PROXY:
            self._early += data
            self._read_proxy_header()
        elif self._stage is Stage.GREETING:
            self._early += data[: _AHEAD - len(self._early)]
            if self._house.settings.greet_delay:
                self._house.log.info("smtp.early_talker", peer=self._ip)
                self._close(replies.EARLY_TALKER)

    def _read_proxy_header(self) -> None:
        try:
            found = proxy.parse(self._early)
        except proxy.ProxyError as error:
            self._house.log.warning("smtp.bad_proxy_header", peer=self._ip, error=str(error))
            return self._close()
        if found is None:
            return None
        rest, self._early = self._early[found.length :], b""
        self._stage = Stage.GREETING
        self._enter(str(address_of(found.ip)) if found.ip else self._ip)
        if rest:
            self.data_received(rest)
        return None

    def _enter(self, ip: str) -> None:
        """Decide whether this address is served at all."""
        house = self._house
        self._ip = ip
        if not self._admitted and (refusal := house.admit(ip)) is not None:
            house.log.info("smtp.turned_away", peer=ip, reply=refusal.decode().rstrip())
            return self._close(refusal)
        self._admitted = True
        decision = house.decide(ip)
        if not decision.may_connect:
            house.log.info("smtp.denied", peer=ip, row=str(decision.row.origin or decision.row.mask) if decision.row else "not listed")
            return self._close(replies.NOT_WELCOME)
        listen = self._listen
        is_sealed = listen.tls == "implicit"  # the handshake came before connection_made
        peer = known_peer(ip, "", _cipher_of(self._transport) if is_sealed else "", decision.may_relay or ip in house.seen)
        self._session = Session(house, peer, self._door, self._binding() if is_sealed and self._door.login else None)
        if not house.settings.greet_delay:
            return self._talk(self._session)
        self.deadline = house.monotonic() + house.settings.greet_delay
        return house.wheel.watch(self)

    def _talk(self, session: Session) -> None:
        """From now on the session speaks and hears."""
        house = self._house
        self._stage, self._hearer = Stage.TALKING, session
        now = self._earned = house.monotonic()
        self.deadline = min(now + house.patience, max(self._ends, now))
        house.wheel.watch(self)
        session.greet()
        if self._early:
            session.receive(self._early)
            self._early = b""
        self._go_on(session)

    # ------------------------------------------------------------ the conversation

    def _go_on(self, session: Session) -> None:
        """Send what was said, see what is wanted, and note what the peer earned: a command earns time by being complete, a message by
        its octets."""
        if out := session.out:
            self._transport.write(b"".join(out))
            out.clear()
        want = session.want
        if want is None:
            if session.progress != self._progress:
                self._progress, self._earned = session.progress, self._house.monotonic()
        elif want is Wish.HANGUP:
            self._close()
        elif self.task is None:
            if want is Wish.UPGRADE:
                self._transport.pause_reading()  # not one octet of the handshake may come to us; start_tls resumes
            self.task = asyncio.get_running_loop().create_task(self._attend(session))

    def _due(self, session: Session) -> float:
        """When this peer's time is up (RFC 5321 section 4.5.3.2), as far as is known now."""
        limits, earned = self._house.limits, self._earned
        if session.reader is None or session.transaction is None:
            return min(earned + limits.command_seconds, max(self._ends, earned))
        slowest = session.reading_since + limits.data_seconds + session.transaction.taken / limits.data_rate
        return min(earned + limits.data_seconds, slowest)

    def _move_deadline(self, deadline: float) -> None:
        sooner = deadline < self.deadline
        self.deadline = deadline
        if sooner:
            self._house.wheel.watch(self)

    async def _attend(self, session: Session) -> None:
        """Do what is wanted, one thing after the other, until the session can go on by itself."""
        house = self._house
        try:
            while (want := session.want) is not None and want is not Wish.HANGUP:
                if isinstance(want, Commit):
                    session.answer(await house.take(want))
                elif isinstance(want, Ask):
                    session.answer(await house.ask(want))
                elif isinstance(want, Prove):
                    session.judged(await house.prove(want, session.peer))
                elif isinstance(want, Start):
                    session.answer(await house.start(want))
                elif want is Wish.RELIEF:
                    session.answer(await self._relief())
                else:
                    await self._secure(session)
                if session.want is not None and session.out and self._hearer is not None:  # else `_go_on` sends it, at the end
                    self._transport.write(b"".join(session.out))
                    session.out.clear()
        except asyncio.CancelledError:
            self._close()
            raise
        except Exception as error:
            self._stumble(error)
        finally:
            self.task = None
            if self._is_held:
                self._hold(False)
        if self._hearer is not None:
            self._progress = -1  # whatever we waited for, the peer has its full time again
            self._go_on(session)

    def _stumble(self, error: Exception) -> None:
        """What nobody foresaw ends this connection and no other."""
        session = self._session
        content = session.transaction.content if session is not None and session.transaction is not None else None
        facts = {"id": content.id} if content is not None else {}
        self._house.log.error("smtp.connection_failed", peer=self._ip, error=f"{type(error).__name__}: {error}", **facts)
        said = session.out if session is not None else []  # an answer to the message before may be among it
        if session is not None:
            session.forget()
        self._close(b"".join([*said, replies.BROKEN]))

    async def _relief(self) -> bytes | None:
        """Wait until delivery has caught up, or the peer's patience is at its end."""
        house = self._house
        self._impatient = asyncio.get_running_loop().create_future()
        relieved = asyncio.ensure_future(house.intake.relieved())
        self._move_deadline(house.monotonic() + house.settings.relief_seconds)
        try:
            await asyncio.wait((relieved, self._impatient), return_when=asyncio.FIRST_COMPLETED)
            return None if relieved.done() and not relieved.exception() else replies.OVERLOADED
        finally:
            relieved.cancel()
            self._impatient.cancel()
            self._impatient = None
            self._look_again(self.deadline, house.monotonic())

    # ------------------------------------------------------------ TLS, RFC 3207 and RFC 8314

    @property
    def _is_secure(self) -> bool:
        return self._session is not None and bool(self._session.peer.tls)

    async def _secure(self, session: Session) -> None:
        """The handshake. What the peer sent in the clear after STARTTLS never reaches the session."""
        house = self._house
        context = house.tls.server_context()
        if context is None:
            return session.hang_up(replies.TLS_UNAVAILABLE)
        loop, seconds = asyncio.get_running_loop(), house.settings.handshake_seconds
        try:
            upgraded = await loop.start_tls(self._transport, self, context, server_side=True, ssl_handshake_timeout=seconds)
        except (OSError, ssl.SSLError) as error:  # TimeoutError is one
            house.handshake_failed(self._ip, error)
            upgraded = None
        except BaseException:
            self._vanish(session)
            raise
        if upgraded is None:
            return self._vanish(session)
        self._transport = upgraded
        session.secured(_cipher_of(upgraded), self._binding() if self._door.login else None)
        return None

    def _vanish(self, session: Session) -> None:
        """The handshake came to nothing. The transport was not ours any more, so it tells us nothing."""
        session.hang_up()
        self._transport.abort()
        self.connection_lost(None)

    def _binding(self) -> TlsBinding | None:
        """What a login may be tied to."""
        return binding_of(self._transport.get_extra_info("ssl_object"), always=self._house.settings.auth.binding == "always")

    # ------------------------------------------------------------ the end

    def _hold(self, hold: bool) -> None:
        """Stop reading while the peer does not read us or sends far ahead; go on when neither is so."""
        if hold == self._is_held or (not hold and (self._is_full or self._stage is Stage.CLOSED)):
            return
        self._is_held = hold
        if hold:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def expire(self) -> None:
        """The wheel's call: the deadline has passed, or it is time to look whether it has."""
        house, session, now = self._house, self._session, self._house.monotonic()
        if self._impatient is not None and not self._impatient.done():
            self._impatient.set_result(None)
        elif self._stage is Stage.GREETING and self.task is None and session is not None:
            return self._talk(session)
        elif self._stage is not Stage.TALKING or session is None:
            self._transport.abort()  # a PROXY header that never came; or last words that nobody reads
        elif self.task is None:
            if (due := self._due(session)) > now:
                return self._look_again(due, now)
            self._time_out(session)
        if self._hearer is not None:
            return self._look_again(now + _LINGER, now)
        if self in house.connections:
            self.deadline = now + _LINGER
            house.wheel.watch(self)
        return None

    def _look_again(self, due: float, now: float) -> None:
        """Have the wheel call when the peer's time is up, and before that as often as it could turn out to be up sooner: what is
        earned from here on lasts for `patience` or longer, save that a session beyond its end gets no time for another command."""
        self.deadline = now if now >= self._ends else min(due, now + self._house.patience, self._ends)
        self._house.wheel.watch(self)

    def _time_out(self, session: Session) -> None:
        if session.is_reading:
            session.hang_up(replies.TOO_SLOW)
        elif self._house.monotonic() >= self._ends:
            session.hang_up(replies.SESSION_TOO_LONG)
        else:
            session.hang_up(replies.TIMED_OUT)
        self._house.log.info("smtp.timed_out", peer=self._ip, reply=session.out[-1].decode().rstrip())
        self._go_on(session)

    def drain(self) -> None:
        """Let what is under way end, then go."""
        session = self._session
        if self._stage is not Stage.TALKING or session is None:
            return self._close(replies.SHUTTING_DOWN if self._stage is Stage.GREETING else b"")
        session.retire(replies.SHUTTING_DOWN, finish=True)
        if self.task is None:
            self._go_on(session)
        return None

    @property
    def is_answering(self) -> bool:
        """Whether the kernel was handed a message whose sender still waits for the answer."""
        return self._session is not None and isinstance(self._session.want, Commit) and self._hearer is not None

    def abort(self) -> None:
        """Now, whatever is under way."""
        self._transport.abort()

    def _close(self, last_words: bytes = b"") -> None:
        if self._stage is Stage.CLOSED:
            return
        self._stage, self._hearer = Stage.CLOSED, None
        transport = self._transport
        if last_words:
            transport.write(last_words)
        transport.close()
        if (transport.get_write_buffer_size() or self._is_secure) and self in self._house.connections:  # else it is gone within this turn
            self.deadline = self._house.monotonic() + _LINGER
            self._house.wheel.watch(self)


def _cipher_of(transport: asyncio.BaseTransport) -> str:
    """Protocol and cipher, for the Received line and the command file."""
    name, version, bits = transport.get_extra_info("cipher") or ("unknown", "TLS", 0)
    tls = transport.get_extra_info("ssl_object")
    return f"{tls.version() if tls else version} {name} {bits} bits"
