"""The connections that a service has in one worker: who may come in, who is there, and how all of them go.

A service at which people get at their mail has one hall, and adds to it what else its connections share. Each of them comes in by a listener of the
hall, is watched for silence by its wheel and counted by its limits, and leaves once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from postroom_net.limits import ConnectionLimits
from postroom_net.listening import Listeners
from postroom_net.sealed import Host
from postroom_net.wheel import Timed, TimerWheel


class Connected(Timed, Protocol):
    """A connection, as the hall sees it."""

    def depart(self) -> None:
        """The worker is about to stop: who has nothing under way goes now."""

    def cut(self) -> None:
        """Hang up, whatever is under way."""


C = TypeVar("C", bound=Connected)


@dataclass(eq=False)
class Hall(Generic[C]):
    """`draining`: nobody more is served. `empty` is set by the last that leaves."""

    wheel: TimerWheel
    limits: ConnectionLimits
    draining: bool = field(default=False, init=False)
    open: set[C] = field(default_factory=set, init=False)
    empty: asyncio.Event = field(default_factory=asyncio.Event, init=False)

    def listeners(self, handshake: float, failed: Callable[[str, Exception], None], sleep: Callable[[float], Awaitable[None]]) -> Listeners:
        """By which they come in. A TLS handshake may take so many seconds; `failed` is told of those that came to nothing."""
        return Listeners(Host(handshake, self.limits.admit, self.limits.release, failed, sleep))

    def enter(self, one: C) -> None:
        """This one was admitted, and has a deadline."""
        self.open.add(one)
        self.wheel.watch(one)

    def leave(self, one: C, peer: str) -> None:
        """It is gone, with all that was under way."""
        self.limits.release(peer)
        self.wheel.forget(one)
        self.open.discard(one)
        if not self.open:
            self.empty.set()

    async def drain(self, listeners: Listeners) -> None:
        """Let nobody in, and return when the last has left."""
        self.draining = True
        await listeners.close()
        for one in tuple(self.open):
            one.depart()
        while self.open:
            self.empty.clear()
            await self.empty.wait()

    async def close(self, listeners: Listeners) -> None:
        """Let nobody in, and hang up on all."""
        await listeners.close()
        for one in tuple(self.open):
            one.cut()
