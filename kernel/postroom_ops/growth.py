"""What grows in a worker and should not, and whose code makes it grow: threads that came and stayed, memory above half of its limit.

A look costs a few microseconds and is taken once a second. Only where memory is above half of the limit and still grows are allocations
traced, for half a minute or until it grew by one step more; what is alive of them then is told by the innermost frame that is somebody's.
Above the limit `full` is told, once: who keeps this process has another take its place. Without a limit memory is not looked at. Nothing
here can stop a leak.
"""

from __future__ import annotations

import asyncio
import functools
import os
import sys
import threading
import tracemalloc
import weakref
from collections import Counter
from collections.abc import Callable
from typing import Final

from postroom_ops.asks import Clock
from postroom_ops.watchdog import find_culprit

EVERY: Final = 1.0  # seconds between two looks
THREADS: Final = 32  # that came and stayed since the last telling
STEP: Final = 8 << 20  # octets of growth after which a tracing ends: to copy what it found holds up the loop for 40 ms at worst
_LOOKS: Final = 30  # that a tracing lasts
_FRAMES: Final = 12  # remembered of each allocation
_LEAST: Final = 1 << 20  # octets from one place that are worth a line
_SWOLLEN: Final = 1.25  # times its size at the start before a worker may ask to be replaced: a limit set too low must not replace for ever
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
Told = Callable[[str, str, str, int], None]  # "threads" or "memory", who (empty: nobody's), place, how many threads or octets


class Growth:
    """Looks at this process. `owner` says whose a module is, or nothing."""

    def __init__(self, clock: Clock, owner: Callable[[str], str], told: Told, *, limit: int = 0, full: Callable[[int], None]) -> None:
        """`limit` in octets, 0 for none; `full` is told the octets in use."""
        self._clock, self._owner, self._told, self._limit, self._full = clock, owner, told, limit, full
        self._memory = os.open("/proc/self/statm", os.O_RDONLY | os.O_CLOEXEC)  # kept: to open it costs more than to read it
        weakref.finalize(self, os.close, self._memory)
        self._seen = weakref.WeakSet(threading.enumerate())
        self._fewest = len(self._seen)
        self._first = self.resident()
        self._next = max(limit // 2, self._first + STEP)  # octets above which allocations are traced
        self._since, self._looks = 0, 0  # octets when the tracing began; zero while there is none
        self._is_full = False

    def resident(self) -> int:
        """Octets of memory in use."""
        return int(os.pread(self._memory, 128, 0).split()[1]) * _PAGE

    async def run(self) -> None:
        """Look, again and again, until cancelled."""
        try:
            while True:
                await self.look()
                await self._clock.sleep(EVERY)
        finally:
            if self._since:
                tracemalloc.stop()

    async def look(self) -> None:
        """One look at both."""
        if threading.active_count() - self._fewest >= THREADS:
            self._tell_threads()
        self._fewest = min(self._fewest, threading.active_count())
        if self._limit:
            await self._look_at_memory(self.resident())

    def _tell_threads(self) -> None:
        alive = threading.enumerate()
        who = Counter(owner_of(thread, self._owner) for thread in alive if thread not in self._seen)
        self._seen.update(alive)
        self._fewest = len(alive)
        for (name, place), number in who.most_common(1):
            self._told("threads", name, place, number)

    async def _look_at_memory(self, resident: int) -> None:
        if resident > self._limit and resident > self._first * _SWOLLEN and not self._is_full:
            self._is_full = True
            self._full(resident)
        if self._since:
            self._looks += 1
            if self._looks >= _LOOKS or resident - self._since >= STEP:
                self._since, self._next = 0, resident + STEP
                for name, place, size in await asyncio.to_thread(self._traced):
                    self._told("memory", name, place, size)
        elif resident > self._next and not tracemalloc.is_tracing():
            self._since, self._looks = resident, 0
            tracemalloc.start(_FRAMES)

    def _traced(self) -> list[tuple[str, str, int]]:
        """Where most of what was allocated since, and is alive, was allocated; not told where that is little."""
        taken = tracemalloc.take_snapshot()
        tracemalloc.stop()
        modules = {str(getattr(one, "__file__", None)): name for name, one in list(sys.modules.items())}
        where: Counter[tuple[str, str]] = Counter()
        for trace in taken.traces:
            where[self._frame(trace.traceback, modules)] += trace.size
        return [(name, place, size) for (name, place), size in where.most_common(1) if size >= _LEAST]

    def _frame(self, traceback: tracemalloc.Traceback, modules: dict[str, str]) -> tuple[str, str]:
        """The innermost frame that is somebody's, else the innermost."""
        for frame in reversed(traceback):
            if name := self._owner(modules.get(frame.filename, "")):
                return name, f"{frame.filename}:{frame.lineno}"
        return "", f"{traceback[-1].filename}:{traceback[-1].lineno}"


def owner_of(thread: threading.Thread, owner: Callable[[str], str]) -> tuple[str, str]:
    """Who made this thread, by what it runs, and its place; by the stack it is in now where its target is a library's."""
    target = getattr(thread, "_target", None)  # CPython has it there while the thread runs
    while isinstance(target, functools.partial):
        target = target.func
    for one in (target, type(thread)):
        if one is not None and (name := owner(str(getattr(one, "__module__", "")))):
            return name, f"{one.__module__}:{getattr(one, '__qualname__', thread.name)}"
    frame = sys._current_frames().get(thread.ident or 0)
    if frame is None:
        return "", thread.name
    module, place = find_culprit(frame, lambda module: bool(owner(module)))
    return owner(module), place
