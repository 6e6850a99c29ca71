"""Connections to servers: made, kept for a while, and used again by whoever asks for the same address, TLS and login.

`connection` ends in a channel that is ready for a letter, or in NoWay with the reply that explains it. Which certificate is good enough was
decided before (`Wanted`) and is checked here, before anything but EHLO is said. Where TLS is a may and the handshake fails, the same
server is asked again without.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from postroom.clock import Clock
from postroom.outcome import Reply
from postroom_net.wheel import TimerWheel
from postroom_smtp.outbound.channel import Channel, Times
from postroom_smtp.outbound.dialogue import Dialogue, Move, Stage
from postroom_smtp.outbound.lane import Lane, NoWay
from postroom_smtp.outbound.route import Host
from postroom_smtp.outbound.settings import OutboundSettings
from postroom_smtp.outbound.tlspolicy import Level, TlsPolicy, Wanted

if TYPE_CHECKING:
    from postroom_ops.metrics import Metrics

GOING_DOWN = Reply(421, "4.3.2", "This server is going down")
_WITHOUT_TLS = 3600.0  # seconds a server whose handshake failed is asked without
_LANES = 1000  # from so many on, those of no more interest are forgotten
_TIMES_CROWDED = 3  # that a message waits for another connection where a server takes no more

Make = Callable[[], asyncio.Protocol]
Dial = Callable[[Make, str, int, ssl.SSLContext | None, str], Awaitable[object]]


class Key(NamedTuple):
    """Who may share a connection."""

    wanted: Wanted
    user: str
    password: str

    def __repr__(self) -> str:
        return f"Key({self.wanted!r}, {self.user!r})"


@dataclass(eq=False, slots=True)
class _Patience:
    """A connection that is being made, until the wheel says that it is enough."""

    deadline: float
    making: asyncio.Future[object]

    def expire(self) -> None:
        self.making.cancel()


class Pool:
    """All connections of one worker's outbound agent."""

    def __init__(
        self, settings: OutboundSettings, helo: str, clock: Clock, policy: TlsPolicy, metrics: Metrics, dial: Dial | None = None
    ) -> None:
        self.settings, self.helo, self.clock, self.policy = settings, helo, clock, policy
        self.keeps = False  # whether connections are kept for the next letter: while the agent runs
        self.wheel = TimerWheel(clock)
        self._times = Times.of(settings)
        self._dial = dial or self._connect
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._channels: dict[Channel, tuple[Lane, Key]] = {}
        self._kept: OrderedDict[Channel, None] = OrderedDict()  # of all lanes, longest kept first
        self._open_now: set[Channel] = set()
        self._dials: set[asyncio.Future[object]] = set()
        self._is_closed = self._runs = False
        self._making = 0
        self._barred: dict[tuple[str, int, Key], tuple[Reply, float]] = {}
        self._turning: asyncio.Task[None] | None = None
        self._contexts: dict[bool, ssl.SSLContext] = {}
        self._reading = asyncio.Lock()
        self._made = metrics.counter("smtp_outbound_connections_total", "Connections to servers", outcome="made")
        self._failed = metrics.counter("smtp_outbound_connections_total", "Connections to servers", outcome="failed")
        self._reused = metrics.counter("smtp_outbound_reused_total", "Messages that went by a connection that was there already")

    def lane(self, ip: str, port: int) -> Lane:
        """The way there."""
        lane = self._lanes.get((ip, port))
        if lane is None:
            if len(self._lanes) >= _LANES and len(self._lanes) % 256 == 0:
                self._lanes = {at: one for at, one in self._lanes.items() if not one.is_over}
            said = self.settings
            lane = Lane(ip, port, said.connections_per_host, said.down, said.patience, self.clock, self.wheel)
            lane.window = min(lane.window, lane.limit)
            self._lanes[ip, port] = lane
        return lane

    async def connection(self, host: Host, ip: str, wanted: Wanted, domain: str, *, fresh: bool = False) -> Channel:
        """A channel that is ready for a letter. NoWay. `fresh`: not one that was used before."""
        lane = self.lane(ip, host.port)
        login = host.login
        key = Key(wanted, login.user if login else "", login.password if login else "")
        self._ask_bar(lane, key)
        for _ in range(_TIMES_CROWDED):
            channel = await lane.take(None if fresh else key)
            if channel is not None:
                self._kept.pop(channel, None)
                channel.was_used = True
                self._reused.inc()
                return channel
            self._making += 1
            self._turn()
            try:
                return await self._open(lane, key, host, ip, wanted, domain)
            except BaseException as error:
                lane.drop()
                if not isinstance(error, _Crowded):
                    raise
                crowded = error.reply
            finally:
                self._making -= 1
                self._stop_turning()
        raise NoWay(crowded)

    async def _open(self, lane: Lane, key: Key, host: Host, ip: str, wanted: Wanted, domain: str) -> Channel:
        if wanted.level is Level.MAY and lane.without_tls > self.clock.monotonic():
            wanted = replace(wanted, level=Level.NONE)
        try:
            channel = await self._greeted(lane, key, host, ip, wanted, domain)
        except _HandshakeFailed as failed:
            self.policy.noted(domain, host.name, ip, wanted, failed.why)
            if wanted.level is not Level.MAY:
                raise self._barred_from(lane, key, Reply(454, "4.7.5", f"TLS with {host.name} [{ip}] failed: {failed.why}")) from None
            lane.without_tls = self.clock.monotonic() + _WITHOUT_TLS
            channel = await self._greeted(lane, key, host, ip, replace(wanted, level=Level.NONE), domain)
        lane.opened()
        self._made.inc()
        self._channels[channel] = (lane, key)
        channel.let_go = self._ended
        return channel

    async def _greeted(self, lane: Lane, key: Key, host: Host, ip: str, wanted: Wanted, domain: str) -> Channel:
        """Connect, and talk until a letter may come."""
        dialogue = Dialogue(self.helo, tls=None if wanted.implicit else wanted.tls, login=host.login)
        channel = Channel(dialogue, host.name, ip, self.wheel, self.clock, self._times)
        implicit = await self._context(wanted.level >= Level.NAMED and not wanted.tlsa) if wanted.implicit else None
        if implicit is not None:
            channel.sealed_by = (wanted, self.policy.verify)
        try:
            await self._dialled(channel, ip, host, implicit)
            if channel.is_open:  # a server may have hung up before we come to look
                self._open_now.add(channel)
                channel.gone = self._gone
            move = await channel.turn()
            if move is Move.UPGRADE:
                context = await self._context(wanted.level is Level.NAMED)
                failure = await channel.secure(context, wanted, self.policy.verify, self.settings.connect_timeout)
                if failure:
                    channel.abort()
                    raise _HandshakeFailed(failure)
                self.policy.noted(domain, host.name, ip, wanted, "", channel.chain())
                move = await channel.turn()
        except (asyncio.CancelledError, NoWay):
            channel.abort()
            raise
        if not dialogue.sealed and (wanted.tls is False or dialogue.stage is Stage.TLS):
            why = dialogue.fault.text if dialogue.fault is not None else "it is not offered, or not to be had"
            self.policy.noted(domain, host.name, ip, wanted, f"STARTTLS: {why}")
        if move is not Move.READY:
            raise self._refused(lane, key, channel, host, ip)
        return channel

    async def _dialled(self, channel: Channel, ip: str, host: Host, context: ssl.SSLContext | None) -> None:
        self._ask_closed()
        making = asyncio.ensure_future(self._dial(lambda: channel, ip, host.port, context, host.name))
        patience = _Patience(self.clock.monotonic() + self.settings.connect_timeout, making)
        self.wheel.watch(patience)
        self._dials.add(making)
        try:
            await asyncio.wait([making])
        except asyncio.CancelledError:
            making.cancel()
            raise
        finally:
            self._dials.discard(making)
            self.wheel.forget(patience)
        error = None if making.cancelled() else making.exception()
        self._ask_closed()
        if making.cancelled():
            why = f"no connection in {self.settings.connect_timeout:g} seconds"
        elif error is not None:
            if not isinstance(error, OSError | ValueError):
                raise error
            if isinstance(error, ssl.SSLError):
                raise _HandshakeFailed(f"{type(error).__name__}: {error}")
            why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        else:
            return
        raise self._trouble(self.lane(ip, host.port), Reply(451, "4.4.1", f"{host.name} [{ip}]:{host.port} cannot be reached: {why}"))

    def _ask_closed(self) -> None:
        """NoWay where the agent has ended."""
        if self._is_closed:
            raise NoWay(GOING_DOWN)

    def _refused(self, lane: Lane, key: Key, channel: Channel, host: Host, ip: str) -> NoWay:
        """The server is there and does not want us, or is not as it must be."""
        dialogue = channel.dialogue
        fault = dialogue.fault or Reply(451, "4.4.2", "The conversation ended")
        channel.abort()
        where = {Stage.GREETING: "greeted us with", Stage.TLS: "and TLS", Stage.LOGIN: "and our login"}.get(dialogue.stage, "answered")
        reply = Reply(fault.code, fault.enhanced, f"{host.name} [{ip}] {where}: {fault.text}")
        if dialogue.loops:
            lane.failed(reply)
            return Loops(reply)
        if dialogue.stage in (Stage.TLS, Stage.LOGIN):
            return self._barred_from(lane, key, reply)
        return self._trouble(lane, reply, may_be_crowded=dialogue.stage is Stage.GREETING and reply.code < 500)

    def _trouble(self, lane: Lane, reply: Reply, *, may_be_crowded: bool = True) -> NoWay:
        """No connection came about. Where others to the same address serve us, there are too many of them; else it is down."""
        self._failed.inc()
        if may_be_crowded and any(one is lane for one, _ in self._channels.values()):
            lane.crowded()
            return _Crowded(reply)
        lane.failed(reply)
        return NoWay(reply)

    def try_again(self) -> None:
        """Somebody knows better than the pauses after failures: every host may be tried at once, by one connection first."""
        self._barred.clear()
        for lane in self._lanes.values():
            lane.down_until = lane.without_tls = 0.0

    def _barred_from(self, lane: Lane, key: Key, reply: Reply) -> NoWay:
        """The server does not have the TLS that these want, or does not take their login. Others may go there."""
        self._failed.inc()
        now = self.clock.monotonic()
        if len(self._barred) >= _LANES:
            self._barred = {who: bar for who, bar in self._barred.items() if bar[1] > now}
        self._barred[lane.ip, lane.port, key] = (reply, now + self.settings.down)
        return NoWay(reply)

    def _ask_bar(self, lane: Lane, key: Key) -> None:
        """NoWay, without another try, for a while after one that failed so: a wrong password said often locks an account."""
        if self._barred and (bar := self._barred.get((lane.ip, lane.port, key))) is not None and bar[1] > self.clock.monotonic():
            raise NoWay(bar[0], down=True)

    # ------------------------------------------------------------ after a letter

    def release(self, channel: Channel, *, was_stale: bool = False, seconds: float = 0.0) -> None:
        """The letter is done. The connection is kept where it may serve again, else it ends. `was_stale`: it had ended while it was kept."""
        lane, key = self._channels[channel]
        dialogue, most = channel.dialogue, self.settings.per_connection
        if dialogue.offers.messages:  # RFC 9422 section 4.1
            most = min(most, dialogue.offers.messages)
        if dialogue.fault is None:
            lane.went_well(seconds)
        elif not was_stale:
            lane.slow_down()
        if self.keeps and dialogue.move is Move.READY and dialogue.letters < most and self.settings.idle:
            self._kept[channel] = None
            lane.give_back(key, channel)
            if len(self._channels) > self.settings.connections:
                self._part_with_oldest()
            return
        del self._channels[channel]
        lane.drop()
        channel.part()

    async def parted(self, channel: Channel) -> None:
        """Where no agent runs, nothing of a connection is left when this returns. Else its `close` sees to that: what a server said of a message
        must not wait until it has answered QUIT, for a crash meanwhile would send the message again."""
        if not self._runs and channel not in self._channels:
            await channel.closed()

    def _part_with_oldest(self) -> None:
        channel = next(iter(self._kept))
        channel.taken()
        self._ended(channel)
        channel.part()

    def _ended(self, channel: Channel) -> None:
        """A kept connection came to its end."""
        self._kept.pop(channel, None)
        known = self._channels.pop(channel, None)
        if known is not None:
            known[0].forget(known[1], channel)

    def let_go(self) -> None:
        """Keep nothing any more."""
        self.keeps = False
        while self._kept:
            self._part_with_oldest()

    def begin(self, *, keeps: bool) -> None:
        """The agent runs."""
        self._is_closed, self._runs, self.keeps = False, True, keeps

    async def close(self) -> None:
        """Cut what is open and what is being made; until `begin` there is no other."""
        self._is_closed, self._runs = True, False
        self.let_go()
        for making in self._dials:
            making.cancel()
        channels = list(self._open_now)
        for channel in channels:
            channel.give_up(GOING_DOWN)
        for channel in channels:
            await channel.closed()
        if self._turning is not None:
            self._turning.cancel()
            await asyncio.gather(self._turning, return_exceptions=True)

    def _gone(self, channel: Channel) -> None:
        """A socket was closed."""
        self._open_now.discard(channel)
        self._stop_turning()

    # ------------------------------------------------------------ what it stands on

    def _turn(self) -> None:
        """The wheel turns while there is a connection to watch, or one is made."""
        if self._turning is None or self._turning.done():
            self._turning = asyncio.get_running_loop().create_task(self.wheel.run())

    def _stop_turning(self) -> None:
        if not self._open_now and not self._making and self._turning is not None:
            self._turning.cancel()
            self._turning = None

    async def _context(self, checked: bool) -> ssl.SSLContext:
        """Made once, in a thread: reading the authorities takes 100 ms. NoWay where they cannot be read."""
        async with self._reading:
            if checked not in self._contexts:
                try:
                    self._contexts[checked] = await asyncio.to_thread(self._make_context, checked)
                except OSError as error:
                    raise NoWay(
                        Reply(451, "4.3.5", f"The authorities that certificates are checked with cannot be read: {error}")
                    ) from None
            return self._contexts[checked]

    def _make_context(self, checked: bool) -> ssl.SSLContext:
        """TLS 1.2 and newer. Names are compared by us, because a policy may give several."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_REQUIRED if checked else ssl.CERT_NONE
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if checked and self.settings.ca:
            context.load_verify_locations(self.settings.ca)
        elif checked:
            context.load_default_certs()
        return context

    async def _connect(self, make: Make, ip: str, port: int, context: ssl.SSLContext | None, name: str) -> object:
        loop = asyncio.get_running_loop()
        version = 6 if ":" in ip else 4
        source = next(((str(one), 0) for one in self.settings.source if one.version == version), None)
        return await loop.create_connection(
            make,
            ip,
            port,
            local_addr=source,
            ssl=context,
            server_hostname=name if context else None,
            ssl_handshake_timeout=self.settings.connect_timeout if context else None,
        )


class Loops(NoWay):
    """The server is this one."""


class _Crowded(NoWay):
    """The server takes no more connections, and serves us by others."""


class _HandshakeFailed(Exception):
    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)
