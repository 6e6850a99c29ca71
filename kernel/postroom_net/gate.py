"""A few expensive jobs at a time, shared fairly between those who ask.

Password hashes cost 30 ms of a core each. Whoever sends a flood of logins waits behind its own flood: at most one job of a key runs,
and free places go round the keys that wait, so everyone else waits for as many jobs as there are keys, not as there are requests.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class GateFull(Exception):
    """So many wait already that one more would only wait in vain."""


class FairGate:
    """`places` jobs at a time, one per key. `line` bounds how many wait in all, `line_of_one` how many of one key."""

    def __init__(self, places: int, line: int = 1000, line_of_one: int = 100) -> None:
        self.places, self.line, self.line_of_one = places, line, line_of_one
        self.waiting = 0
        self._running: set[str] = set()
        self._lines: OrderedDict[str, deque[asyncio.Future[None]]] = OrderedDict()

    @asynccontextmanager
    async def place(self, key: str) -> AsyncIterator[None]:
        """Hold a place inside the block; GateFull when the line is too long."""
        if len(self._running) < self.places and key not in self._running:
            self._running.add(key)
        else:
            await self._wait(key)
        try:
            yield
        finally:
            self._running.discard(key)
            self._admit()

    async def _wait(self, key: str) -> None:
        """Stand in the key's line until `_admit` has put the key among the running."""
        if self.waiting >= self.line or len(self._lines.get(key, ())) >= self.line_of_one:
            raise GateFull
        mine = self._lines.setdefault(key, deque())
        future = asyncio.get_running_loop().create_future()
        mine.append(future)
        self.waiting += 1
        try:
            await future
        except asyncio.CancelledError:
            if future.cancelled():
                self._leave(key, future)
            else:  # the place was given in the same moment: pass it on
                self._running.discard(key)
                self._admit()
            raise

    def _leave(self, key: str, future: asyncio.Future[None]) -> None:
        """Out of the line; its end is nobody's line."""
        self.waiting -= 1
        mine = self._lines[key]
        mine.remove(future)
        if not mine:
            del self._lines[key]

    def _admit(self) -> None:
        """Give free places to the keys that waited longest without one."""
        for key in [key for key in self._lines if key not in self._running]:
            if len(self._running) >= self.places:
                return
            future = next((future for future in self._lines[key] if not future.done()), None)
            if future is not None:  # else all of them were cancelled and leave by themselves
                self._running.add(key)
                self._lines.move_to_end(key)
                self._leave(key, future)
                future.set_result(None)
