"""What a piece of work leaves behind and what it costs the loop: descriptors, threads, tasks, the longest step, the memory at its peak.

A step counts by the time in which its thread ran or slept; time in which the machine ran somebody else is not the code's fault and is taken
off. Where the system does not tell (no `/proc`), descriptors are not counted and a step is its plain duration.
"""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import tracemalloc
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from postroom.clock import SystemClock
from postroom_ops.watchdog import BLOCKED, Watchdog

_FDS = "/proc/self/fd"
_SCHEDULED = "/proc/thread-self/schedstat"  # nanoseconds on a processor, nanoseconds waiting for one, turns
_WORD = 2 * BLOCKED  # seconds for which the watchdog's word is waited for
Work = Callable[[], Coroutine[Any, Any, None]]


@dataclass(frozen=True)
class Census:
    """What this process has open and running."""

    descriptors: Counter[str]
    threads: frozenset[threading.Thread]

    @classmethod
    def now(cls) -> Census:
        return cls(Counter(_descriptors()), frozenset(threading.enumerate()))

    def more_in(self, later: Census) -> list[str]:
        """What a later census has that this one had not, a line each."""
        opened = [f"an open descriptor: {what}" for what in (later.descriptors - self.descriptors).elements()]
        return [*opened, *(f"a thread: {thread.name}" for thread in later.threads - self.threads if thread.is_alive())]


def _descriptors() -> Iterator[str]:
    if not os.path.isdir(_FDS):
        return
    for fd in os.listdir(_FDS):
        try:
            yield os.readlink(f"{_FDS}/{fd}")
        except OSError:  # the descriptor that was listing
            pass


def left_by(work: Work) -> list[str]:
    """What is open or running after this work and was not before; the work is done once before it counts, for what is made only once."""
    asyncio.run(work())
    before = Census.now()
    asyncio.run(work())
    if left := before.more_in(Census.now()):
        gc.collect()
        left = before.more_in(Census.now())
    return left


def tasks_besides(known: set[asyncio.Task[Any]]) -> list[str]:
    """The tasks of the running loop that are not among these, nor the one that asks."""
    return [f"a task: {_shown(task)}" for task in asyncio.all_tasks() - known - {asyncio.current_task()}]


def _shown(task: asyncio.Task[Any]) -> str:
    return getattr(task.get_coro(), "__qualname__", repr(task))


@dataclass
class Longest:
    """The longest step of a loop, in seconds, and who was seen in it."""

    seconds: float = 0.0
    seen: list[str] = field(default_factory=list)
    named: asyncio.Event = field(default_factory=asyncio.Event, repr=False)  # set once somebody was seen

    def check(self) -> None:
        """AssertionError where a step was longer than a loop may be blocked."""
        assert self.seconds <= BLOCKED, str(self)

    def __str__(self) -> str:
        where = f" ({'; '.join(self.seen)})" if self.seen else ""
        return f"the loop was blocked for {self.seconds * 1000:.0f} ms{where}; {BLOCKED * 1000:.0f} ms is the limit"


@contextmanager
def steps(blamable: Callable[[str], bool] = lambda module: False) -> Iterator[Longest]:
    """Measure every step that the running loop begins and ends inside the block. `blamable`: whether a module is one to be named."""
    clock, longest, loop_thread = SystemClock(), Longest(), threading.get_ident()

    def told(module: str, place: str, seconds: float) -> None:
        longest.seen.append(f"{module}: {place}")
        longest.named.set()

    run, stat, over = asyncio.Handle._run, _open_schedstat(), False

    def measured(handle: asyncio.Handle) -> None:
        if threading.get_ident() != loop_thread:
            return run(handle)
        waited, began = _waited(stat), clock.monotonic()
        try:
            return run(handle)
        finally:
            took = clock.monotonic() - began
            if took > longest.seconds and not over:
                longest.seconds = max(longest.seconds, took - (_waited(stat) - waited))

    watchdog = Watchdog(clock, told, blamable)
    watchdog.start()
    try:
        with mock.patch.object(asyncio.Handle, "_run", measured):
            yield longest
    finally:
        over = True  # the step that leaves the block ends later
        watchdog.stop()
        if stat is not None:
            os.close(stat)


async def longest_step(work: Work, blamable: Callable[[str], bool] = lambda module: False) -> Longest:
    """The longest step of this work; what is over the limit is done again, because a machine may stumble once."""
    found = await _measured(work, blamable)
    if found.seconds > BLOCKED:
        again = await _measured(work, blamable)
        again.seen = again.seen or found.seen
        return min(found, again, key=lambda one: one.seconds)
    return found


async def _measured(work: Work, blamable: Callable[[str], bool]) -> Longest:
    with steps(blamable) as longest:
        await asyncio.create_task(work())
        if longest.seconds > BLOCKED:
            with suppress(TimeoutError):  # the watchdog's word comes by a thread, and not at all where it looked too late
                await asyncio.wait_for(longest.named.wait(), _WORD)
    return longest


def _open_schedstat() -> int | None:
    try:
        return os.open(_SCHEDULED, os.O_RDONLY)
    except OSError:
        return None


def _waited(stat: int | None) -> float:
    """Seconds this thread was ready to run and another one ran."""
    return 0.0 if stat is None else int(os.pread(stat, 100, 0).split()[1]) / 1e9


@contextmanager
def memory() -> Iterator[Callable[[], int]]:
    """Count Python's own allocations inside the block; the answer tells, after it too, the octets at their peak over what was there at the start."""
    was_on, peak, over = tracemalloc.is_tracing(), 0, False
    if not was_on:
        tracemalloc.start()
    try:
        tracemalloc.reset_peak()
        start = tracemalloc.get_traced_memory()[0]
        yield lambda: peak if over else tracemalloc.get_traced_memory()[1] - start
    finally:
        peak, over = tracemalloc.get_traced_memory()[1] - start, True
        if not was_on:
            tracemalloc.stop()
