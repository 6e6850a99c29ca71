"""What grows is told with its owner: threads that stay, memory above half of the limit; above the limit the worker asks to be replaced."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from postroom_ops import growth
from postroom_ops.growth import THREADS, Growth, owner_of
from postroom_testing.clock import HandClock

MIB = 1 << 20
HELD: list[bytearray] = []


def mine(module: str) -> str:
    return "leaky" if module == __name__ else ""


class Told:
    """A growth that looks when it is told to, with as much memory as a test says."""

    def __init__(self, limit: int = 0) -> None:
        self.lines: list[tuple[str, str, str, int]] = []
        self.full: list[int] = []
        self.clock = HandClock()
        self.octets = 100 * MIB
        self.growth = _Known(self)
        Growth.__init__(self.growth, self.clock, mine, lambda *line: self.lines.append(line), limit=limit, full=self.full.append)

    def look(self, octets: int = 0) -> None:
        self.octets = octets or self.octets
        asyncio.run(self.growth.look())


class _Known(Growth):
    def __init__(self, told: Told) -> None:
        self._told_by = told

    def resident(self) -> int:
        return self._told_by.octets


def stays(until: threading.Event) -> None:
    until.wait()


@pytest.fixture
def until() -> threading.Event:
    return threading.Event()


def started(number: int, run: Callable[[], None]) -> list[threading.Thread]:
    threads = [threading.Thread(target=run) for _ in range(number)]
    for thread in threads:
        thread.start()
    return threads


def test_features_case_48_threads_that_stay_are_told_with_their_owner(until: threading.Event) -> None:
    told = Told()
    threads = started(THREADS - 1, functools.partial(stays, until))
    told.look()
    assert told.lines == []
    threads += started(1, functools.partial(stays, until))
    told.look()
    told.look()
    assert told.lines == [("threads", "leaky", f"{__name__}:stays", THREADS)]
    threads += started(THREADS, functools.partial(stays, until))  # one each second is found as well: what counts is who stayed
    told.look()
    assert told.lines[1:] == [("threads", "leaky", f"{__name__}:stays", THREADS)]
    until.set()
    for thread in threads:
        thread.join()
    told.look()
    assert len(told.lines) == 2


def test_threads_that_come_and_go_are_nobodys_fault(until: threading.Event) -> None:
    told = Told()
    for _ in range(3):
        until.clear()
        threads = started(THREADS - 2, functools.partial(stays, until))
        told.look()
        until.set()
        for thread in threads:
            thread.join()
        told.look()
    assert told.lines == []


def test_a_librarys_thread_is_known_by_what_it_runs_now(until: threading.Event) -> None:
    with ThreadPoolExecutor(1) as pool:
        pool.submit(stays, until)
        [thread] = [one for one in threading.enumerate() if "ThreadPoolExecutor" in one.name]
        found = owner_of(thread, mine)
        for _ in range(10_000):  # until it runs what it was given
            if found[0]:
                break
            time.sleep(0)
            found = owner_of(thread, mine)
        until.set()
    assert found[0] == "leaky" and "test_growth.py" in found[1] and found[1].endswith("stays")


def test_without_a_limit_memory_is_not_looked_at() -> None:
    told = Told()
    told.look(10_000 * MIB)
    assert told.lines == [] and told.full == [] and not tracemalloc.is_tracing()


def test_features_case_48_memory_that_grows_is_told_with_plugin_and_place() -> None:
    told = Told(limit=400 * MIB)
    told.look(199 * MIB)
    assert not tracemalloc.is_tracing()
    told.look(201 * MIB)
    assert tracemalloc.is_tracing()
    HELD.extend(bytearray(MIB) for _ in range(3))
    told.look(205 * MIB)
    told.look(210 * MIB)  # one step more than when it began
    HELD.clear()
    assert not tracemalloc.is_tracing()
    [(what, who, place, octets)] = told.lines
    assert (what, who) == ("memory", "leaky") and "test_growth.py:" in place and 3 * MIB <= octets < 4 * MIB
    told.look(210 * MIB)
    assert not tracemalloc.is_tracing()  # it stands still
    told.look(240 * MIB)
    assert tracemalloc.is_tracing()  # it grows again
    for _ in range(growth._LOOKS):
        told.look()
    assert not tracemalloc.is_tracing() and len(told.lines) == 1  # and nobody keeps much


def test_above_the_limit_it_is_told_once() -> None:
    told = Told(limit=400 * MIB)
    told.look(401 * MIB)
    told.look(402 * MIB)
    assert told.full == [401 * MIB]
    tracemalloc.stop()


def test_a_limit_below_what_it_starts_with_does_not_replace_for_ever() -> None:
    told = Told(limit=50 * MIB)
    told.look(110 * MIB)
    assert told.full == []
    told.look(126 * MIB)
    assert told.full == [126 * MIB]
    tracemalloc.stop()


def test_it_looks_once_a_second_and_leaves_nothing_running() -> None:
    async def main() -> None:
        told = Told(limit=100 * MIB)
        running = asyncio.create_task(told.growth.run())
        await told.clock.advance(0)
        told.octets = 130 * MIB
        await told.clock.advance(1)
        assert told.full == [130 * MIB] and tracemalloc.is_tracing()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert not tracemalloc.is_tracing()

    asyncio.run(main())


def test_it_sees_this_process() -> None:
    real = Growth(HandClock(), mine, lambda *line: None, limit=0, full=lambda octets: None)
    assert MIB < real.resident() < 64 * 1024 * MIB
