"""The watchdog: who blocks the loop is named, and a loop that runs freely is left alone."""

import asyncio
import sys
import threading
from collections.abc import Callable

import uvloop

from postroom.clock import SystemClock
from postroom_ops.watchdog import Watchdog, find_culprit


def watched(work: Callable[[threading.Event], None]) -> list[tuple[str, str, float]]:
    """What is told about this work, done in the loop; the event is set as soon as the watchdog looked at the stack."""
    told: list[tuple[str, str, float]] = []

    async def main() -> None:
        seen = threading.Event()
        done = asyncio.Event()

        def tell(module: str, place: str, seconds: float) -> None:
            told.append((module, place, seconds))
            done.set()

        def blamable(module: str) -> bool:
            seen.set()
            return module == __name__

        dog = Watchdog(SystemClock(), tell, blamable)
        dog.start()
        work(seen)
        if seen.is_set():
            await done.wait()
        dog.stop()

    asyncio.run(main())
    return told


def blocks_the_loop(seen: threading.Event) -> None:
    assert seen.wait(10)


def test_features_case_48_a_block_is_told_with_module_and_place() -> None:
    [(module, place, seconds)] = watched(blocks_the_loop)
    assert module == __name__ and "test_watchdog.py:" in place and "blocks_the_loop" in place and seconds >= 0.05


def test_a_loop_that_answers_is_not_told_of() -> None:
    assert watched(lambda seen: None) == []


def test_a_loop_that_waits_is_not_woken() -> None:
    """An idle server sleeps: the dog looks on, and knocks only where something runs."""
    for runner in (asyncio.Runner(), asyncio.Runner(loop_factory=uvloop.new_event_loop)):
        with runner:
            knocks, looks = runner.run(rested())
        assert knocks <= 1 and looks == 5  # one, where the machine let the first look come late


async def rested() -> tuple[int, int]:
    """How often an idle loop was knocked at, and how often it was looked at."""
    loop, rested = asyncio.get_running_loop(), asyncio.Event()
    knocks, looks = 0, 0

    class Dog(Watchdog):
        def _waits(self) -> bool:
            nonlocal looks
            waits = super()._waits()
            looks += waits
            if looks == 5:
                loop.call_soon_threadsafe(rested.set)
            return waits

        def _wait_for_answer(self, knocked: float) -> None:
            nonlocal knocks
            knocks += 1
            super()._wait_for_answer(knocked)

    dog = Dog(SystemClock(), lambda module, place, seconds: None, lambda module: False)
    dog.start()
    await rested.wait()
    dog.stop()
    return knocks, looks


def inner() -> tuple[str, str]:
    return find_culprit(sys._getframe(), lambda module: False)


def test_without_anyone_to_blame_the_innermost_is_told() -> None:
    module, place = inner()
    assert module == __name__ and place.endswith(" inner")
