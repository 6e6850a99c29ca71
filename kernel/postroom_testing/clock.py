"""A clock turned by hand: three days of retries pass between two lines of a test.

`advance` wakes sleepers in the order in which they are due, shows each the moment it asked for, and lets what it woke run until it
sleeps or waits again. It never waits for the machine's own time; what a thread or a socket does meanwhile is not awaited.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools

_PASSES = 30  # rounds of the event loop given to what was woken; a chain of awaits longer than this is not a test's


class HandClock:
    """A `postroom.clock.Clock` that stands still until it is told otherwise."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self._offset = now
        self._passed = 0.0
        self._order = itertools.count()
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []

    def now(self) -> float:
        return self._offset + self._passed

    def monotonic(self) -> float:
        return self._passed

    async def sleep(self, seconds: float) -> None:
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        woken = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self._passed + seconds, next(self._order), woken))
        await woken

    @property
    def sleepers(self) -> int:
        """How many sleep now."""
        return sum(not woken.done() for _, _, woken in self._sleepers)

    async def advance(self, seconds: float = 0.0) -> None:
        """Let that many seconds pass, for those too who fall asleep again meanwhile."""
        end = self._passed + seconds
        await _let_run()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, woken = heapq.heappop(self._sleepers)
            if not woken.done():
                self._passed = max(self._passed, due)
                woken.set_result(None)
                await _let_run()
        self._passed = end

    def set(self, now: float) -> None:
        """An operator sets the machine's clock: `now` jumps, `monotonic` and sleepers do not notice."""
        self._offset = now - self._passed


async def _let_run() -> None:
    for _ in range(_PASSES):
        await asyncio.sleep(0)
