"""One connection to a server: the asyncio transport below a dialogue.

Whoever has a letter awaits `turn`, which returns when the dialogue's move is ours or it is over; it never raises for what the network did.
Every wait has its deadline on the wheel that all connections share (RFC 5321 section 4.5.3.2). A peer that does not read us
holds up whoever writes to it and nobody else.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from postroom.outcome import Reply
from postroom_net.wheel import Ticking, TimerWheel
from postroom_smtp.outbound.dialogue import Dialogue, Move, Wait
from postroom_smtp.outbound.tlspolicy import Level, Verify, Wanted, matches

if TYPE_CHECKING:
    from postroom_smtp.outbound.settings import OutboundSettings

PARTING = 10.0  # seconds a server has to answer QUIT


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds for each wait."""

    greeting: float
    command: float
    data: float
    block: float
    final: float
    idle: float

    @classmethod
    def of(cls, settings: OutboundSettings) -> Times:
        return cls(
            settings.greeting_timeout,
            settings.command_timeout,
            settings.data_timeout,
            settings.block_timeout,
            settings.final_timeout,
            settings.idle,
        )

    def of_wait(self, wait: Wait) -> float:
        return cast(float, getattr(self, wait.value))


class Channel(asyncio.Protocol):
    """Owned by whoever took it from the pool."""

    __slots__ = (
        "_closed", "_drained", "_idles", "_times", "_transport", "_turn", "_watched", "_wheel", "clock", "deadline", "dialogue", "gone", "host",
        "ip", "let_go", "refusal", "sealed_by", "verified", "was_used",
    )  # fmt: skip

    def __init__(self, dialogue: Dialogue, host: str, ip: str, wheel: TimerWheel, clock: Ticking, times: Times) -> None:
        self.dialogue, self.host, self.ip = dialogue, host, ip
        self.clock, self._wheel, self._times = clock, wheel, times
        self.verified = ""  # how the certificate was checked, for the log
        self.was_used = False  # a letter went by it before
        self.let_go: Callable[[Channel], None] = lambda channel: None  # called when it is over while nobody has it
        self.gone: Callable[[Channel], None] = lambda channel: None  # called when the socket is closed
        self.sealed_by: tuple[Wanted, Verify] | None = None  # where the handshake comes first: what its certificate must be
        self.refusal = ""  # why it will not do
        self.deadline = self._watched = float("inf")
        self._transport: asyncio.Transport | None = None
        self._turn: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._closed: asyncio.Future[None] | None = None
        self._idles = False

    # ------------------------------------------------------------ the transport's calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        if self.sealed_by is not None:
            self.refusal = self.judge(*self.sealed_by)
            if self.refusal:
                return self.give_up(Reply(454, "4.7.5", self.refusal))
            self.dialogue.sealed = cipher_of(transport)
        return self._arm()

    def data_received(self, data: bytes) -> None:
        dialogue = self.dialogue
        if not dialogue.receive(data):
            return  # half a reply buys no time
        self.flush()
        if dialogue.move is not Move.PEER:
            self._our_move()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            return
        self._transport = None
        self._wheel.forget(self)
        self.dialogue.lost(f"The connection was lost{f': {exc}' if exc else ''}")
        self._resume()
        self._our_move()
        if self._closed is not None and not self._closed.done():
            self._closed.set_result(None)
        self.gone(self)

    def pause_writing(self) -> None:
        if self._drained is None:
            self._drained = asyncio.get_running_loop().create_future()

    def resume_writing(self) -> None:
        self._resume()

    def _resume(self) -> None:
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # ------------------------------------------------------------ deadlines

    def expire(self) -> None:
        """The wheel's call."""
        self._watched = float("inf")
        if self.deadline > self.clock.monotonic():
            return self._watch()
        if self._idles:
            self._idles = False
            self.part()
            return self.let_go(self)
        if self._transport is not None and self._drained is None:
            self.dialogue.lost(f"The server did not answer in time ({self.dialogue.waits_for.value})")
        else:
            self.dialogue.lost("The server did not take our octets in time")
        self.abort()
        return self._our_move()

    def _arm(self, seconds: float = 0.0) -> None:
        """The time of whatever is waited for begins now."""
        self.deadline = self.clock.monotonic() + (seconds or self._times.of_wait(self.dialogue.waits_for))
        if self.deadline < self._watched:
            self._watch()

    def _watch(self) -> None:
        self._watched = self.deadline
        self._wheel.watch(self)

    # ------------------------------------------------------------ talk

    def flush(self) -> None:
        """Send what the dialogue said."""
        dialogue = self.dialogue
        if out := dialogue.out:
            if self._transport is not None:
                self._transport.write(out[0] if len(out) == 1 else b"".join(out))
            out.clear()
        self._arm()

    async def turn(self) -> Move:
        """The dialogue's move, once it is not the peer's any more."""
        dialogue = self.dialogue
        if dialogue.move is Move.PEER:
            self._turn = asyncio.get_running_loop().create_future()
            try:
                await self._turn
            finally:
                self._turn = None
        return dialogue.move

    def _our_move(self) -> None:
        turn = self._turn
        if turn is not None and not turn.done():
            turn.set_result(None)
        if self.dialogue.move is Move.OVER:
            if self._transport is not None:
                self._transport.close()
            if self._idles:
                self._idles = False
                self.let_go(self)

    async def drained(self) -> None:
        """Return when the peer has read enough of what we sent, or is gone."""
        if self._drained is not None:
            self._arm(self._times.block)
            await asyncio.shield(self._drained)

    async def secure(self, context: ssl.SSLContext, wanted: Wanted, verify: Verify, seconds: float) -> str:
        """The handshake on a connection that was in the clear; why it failed, or empty."""
        transport = self._transport
        if transport is None:
            return "the connection was lost"
        transport.pause_reading()  # not one octet of the handshake may come to us; start_tls resumes
        self._arm(seconds + 5.0)
        why = "the connection was lost"
        try:
            upgraded = await asyncio.get_running_loop().start_tls(
                transport, self, context, server_hostname=wanted.server_name(self.host), ssl_handshake_timeout=seconds
            )
        except (OSError, ValueError) as error:  # SSLError and TimeoutError are OSErrors; ValueError: a name that TLS cannot carry
            upgraded = None
            why = f"{type(error).__name__}: {error}"
        except BaseException:
            self._cut(transport)
            raise
        if upgraded is None or transport.is_closing():  # uvloop returns one also where the connection was cut meanwhile
            self._cut(transport)
            return why
        self._transport = upgraded
        if refusal := self.judge(wanted, verify):
            return refusal
        self.dialogue.secured(cipher_of(upgraded))
        self.flush()
        return ""

    def _cut(self, transport: asyncio.Transport) -> None:
        """End one that a handshake had: it was not ours any more, so it tells us nothing."""
        transport.abort()
        self.connection_lost(None)

    def judge(self, wanted: Wanted, verify: Verify) -> str:
        """Why the certificate will not do, or empty. Of the transport that is secure now."""
        secure = cast("ssl.SSLObject | None", self._transport.get_extra_info("ssl_object")) if self._transport else None
        if secure is None:
            return "the connection was lost"
        if wanted.level is Level.NAMED:
            given = names_in(secure)
            if not matches(wanted.names, given):
                return f"the certificate is for {', '.join(given[:5]) or 'nobody'}, not for {' or '.join(wanted.names)}"
        if wanted.level is Level.PINNED and (refusal := verify(wanted, chain_of(secure), self.host)):
            return refusal
        self.verified = {Level.NAMED: "name", Level.PINNED: "tlsa"}.get(wanted.level, "no")
        return ""

    def chain(self) -> Sequence[bytes]:
        """What the peer showed; nothing in the clear."""
        secure = cast("ssl.SSLObject | None", self._transport.get_extra_info("ssl_object")) if self._transport else None
        return chain_of(secure) if secure is not None else ()

    # ------------------------------------------------------------ between letters, and the end

    def idle(self) -> None:
        """Nobody has it now: it waits for the next letter, for a while."""
        self._idles = True
        self._arm(self._times.idle)

    def taken(self) -> None:
        self._idles = False

    def part(self) -> None:
        """QUIT, and close when the server has answered; at once where there is nothing to say."""
        if self.dialogue.move is Move.READY and self._transport is not None:
            self.dialogue.quit()
            self.flush()
            self._arm(PARTING)
        else:
            self.abort()

    def abort(self) -> None:
        """Close without a word."""
        if self._transport is not None:
            self._transport.abort()

    async def closed(self) -> None:
        """Return when the socket is closed."""
        if self._transport is not None:
            self._closed = self._closed or asyncio.get_running_loop().create_future()
            await self._closed

    @property
    def is_open(self) -> bool:
        return self._transport is not None

    def give_up(self, why: Reply) -> None:
        """End it for a reason of ours."""
        self.dialogue.break_off(why)
        self.abort()


def cipher_of(transport: asyncio.BaseTransport) -> str:
    """`TLSv1.3 TLS_AES_256_GCM_SHA384`."""
    secure = cast("ssl.SSLObject | None", transport.get_extra_info("ssl_object"))
    cipher = secure.cipher() if secure is not None else None
    return f"{cipher[1]} {cipher[0]}" if cipher else "TLS"


def names_in(secure: ssl.SSLObject) -> list[str]:
    """The host names and addresses that the verified certificate is for."""
    certificate = secure.getpeercert() or {}
    pairs = cast("Sequence[tuple[str, str]]", certificate.get("subjectAltName", ()))
    return [value for kind, value in pairs if kind in ("DNS", "IP Address")]


def chain_of(secure: ssl.SSLObject) -> Sequence[bytes]:
    """The chain as the peer sent it, DER, its own certificate first. Public from Python 3.13 on; before that the module below has it."""
    asked = getattr(secure, "get_unverified_chain", None)
    if asked is not None:
        return cast("Sequence[bytes]", asked())
    below = getattr(secure, "_sslobj", None)
    chain = below.get_unverified_chain() if below is not None and hasattr(below, "get_unverified_chain") else None
    if chain:
        return [one if isinstance(one, bytes) else one.public_bytes(_DER) for one in chain]
    own = secure.getpeercert(binary_form=True)
    return [own] if own else []


_DER = 2  # _ssl.ENCODING_DER
