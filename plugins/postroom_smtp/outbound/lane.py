"""The way to one address and port: how many connections at a time, which are kept, and whether it is worth trying at all.

It starts with two connections and gets one more for each message that went through, up to the limit; trouble at connect, or a 421, halves
that. An address that cannot be reached is down for a while, twice as long each time: whoever wants to go there hears so at once, and after
that time one alone tries. Who would wait longer for a connection than a message has patience does not begin to wait. So no
address, dead or slow, holds up mail for another one.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field

from postroom.outcome import Reply
from postroom_net.wheel import Ticking, TimerWheel
from postroom_smtp.outbound.channel import Channel

FIRST = 2  # connections to an address that nothing is known of
_LONGEST = 16  # times `down`
UNTRIED = Reply(451, "4.4.1", "The server was not tried yet")


class NoWay(Exception):
    """Not now, and why."""

    def __init__(self, reply: Reply, *, down: bool = False) -> None:
        self.reply, self.is_down = reply, down
        super().__init__(str(reply))


@dataclass(eq=False, slots=True)
class Waiter:
    """Somebody who waits for a connection, until the wheel says that it is enough."""

    deadline: float
    turn: asyncio.Future[None]
    reply: Reply

    def expire(self) -> None:
        if not self.turn.done():
            self.turn.set_exception(NoWay(self.reply))


@dataclass(eq=False, slots=True)
class Lane:
    """One address and port."""

    ip: str
    port: int
    limit: int
    down: float  # seconds of the first pause
    patience: float  # seconds a message waits for a connection
    clock: Ticking
    wheel: TimerWheel
    window: int = FIRST
    live: int = 0  # connections that are open, kept or being made
    busy: int = 0  # of them, in use
    kept: dict[Hashable, list[Channel]] = field(default_factory=dict)
    waiters: deque[Waiter] = field(default_factory=deque)
    called: int = 0  # of those who waited: their turn has come, and they have not run yet
    failures: int = 0  # in a row
    down_until: float = 0.0
    reason: Reply = UNTRIED
    cap: int = 0  # connections the server was content with
    capped_until: float = 0.0
    pace: float = 0.0  # seconds of a message, smoothed
    moved: float = 0.0  # when the last message ended, or the first began
    without_tls: float = 0.0  # until then no handshake is tried where TLS is a may: the last one failed

    async def take(self, key: Hashable | None) -> Channel | None:
        """A connection that is kept for this key, or None: the caller opens one, and then calls `opened` or `failed`. Each needs its
        `give_back` or `drop`. Without a key no kept one will do. NoWay."""
        is_called = False
        while True:
            now = self.clock.monotonic()
            if self.failures and (now < self.down_until or self.live):
                raise NoWay(self.reason, down=True)
            if not self.busy:
                self.moved = now
            if not is_called and (self.waiters or self.called):  # who came first goes first
                await self._wait(now)
                is_called = True
                continue
            if key is not None and (channel := self._kept(key)) is not None:
                self.busy += 1
                return channel
            if self.live < (1 if self.failures else self.window) or self._make_room():
                self.live += 1
                self.busy += 1
                return None
            await self._wait(now, first=is_called)
            is_called = True

    def _kept(self, key: Hashable) -> Channel | None:
        channels = self.kept.get(key)
        while channels:
            channel = channels.pop()
            if not channels:
                del self.kept[key]
            channel.taken()
            if channel.is_open:
                return channel
            self.live -= 1
        return None

    def _make_room(self) -> bool:
        """Part with a connection that is kept for others."""
        for key in list(self.kept):
            if (channel := self._kept(key)) is not None:
                channel.part()
                self.live -= 1
                channel.let_go(channel)
                return True
        return self.live < self.window

    async def _wait(self, now: float, *, first: bool = False) -> None:
        pace = max(self.pace, now - self.moved)
        if (len(self.waiters) + 1) * pace > self.patience * self.limit:  # the window may grow to that while we wait
            raise NoWay(_busy(self.ip))
        waiter = Waiter(now + self.patience, asyncio.get_running_loop().create_future(), _busy(self.ip))
        self.waiters.appendleft(waiter) if first else self.waiters.append(waiter)
        self.wheel.watch(waiter)
        try:
            await waiter.turn
            self.called -= 1
        except asyncio.CancelledError:
            if waiter.turn.done() and not waiter.turn.cancelled() and waiter.turn.exception() is None:
                self.called -= 1
                self._wake()  # it was our turn, and we do not take it
            raise
        finally:
            self.wheel.forget(waiter)

    def _wake(self, *, all: bool = False) -> None:
        while self.waiters:
            waiter = self.waiters.popleft()
            if not waiter.turn.done():
                waiter.turn.set_result(None)
                self.called += 1
                if not all:
                    return

    # ------------------------------------------------------------ what became of a connection

    def went_well(self, seconds: float) -> None:
        """A message went through."""
        now = self.clock.monotonic()
        if self.window < (self.cap if now < self.capped_until else self.limit):
            self.window += 1
            self._wake()
        self.pace = seconds if not self.pace else 0.8 * self.pace + 0.2 * seconds
        self.moved = now

    def opened(self) -> None:
        """The server greeted us: it is there."""
        if self.failures:
            self.failures = 0
            self._wake(all=True)

    def failed(self, why: Reply) -> None:
        """It is not there, or turns us away before any mail."""
        now = self.clock.monotonic()
        self.reason = why
        if not self.failures or now >= self.down_until:  # of several that were on their way, the first counts
            self.window = max(1, self.window // 2)
            self.down_until = now + self.down * min(_LONGEST, 2**self.failures)
            self.failures += 1
        self._wake(all=True)

    def slow_down(self) -> None:
        """It said 421, or broke off."""
        self.window = max(1, self.window // 2)

    def crowded(self) -> None:
        """It serves us by other connections and takes no more of them, for now."""
        self.window = self.cap = max(1, self.live - 1)
        self.capped_until = self.clock.monotonic() + self.down

    def give_back(self, key: Hashable, channel: Channel) -> None:
        """The connection may serve again."""
        self.busy -= 1
        self.kept.setdefault(key, []).append(channel)
        channel.idle()
        self._wake()

    def drop(self) -> None:
        """The connection is gone, or was never made."""
        self.busy -= 1
        self.live -= 1
        self._wake()

    def forget(self, key: Hashable, channel: Channel) -> None:
        """A kept connection ended by itself."""
        channels = self.kept.get(key, [])
        if channel in channels:
            channels.remove(channel)
            if not channels:
                del self.kept[key]
            self.live -= 1
            self._wake()

    @property
    def is_over(self) -> bool:
        """Whether nothing is known of it that is worth remembering."""
        return (
            not self.live and not self.waiters and self.clock.monotonic() >= max(self.without_tls, self.down_until if self.failures else 0)
        )


def _busy(ip: str) -> Reply:
    return Reply(451, "4.4.5", f"[{ip}] is slow: too much mail waits for it already")
