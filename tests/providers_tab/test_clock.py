"""The clock turned by hand: order, moments, cancelled sleepers, and no real time."""

from __future__ import annotations

import asyncio

from postroom.clock import Clock
from postroom_testing.clock import HandClock


def test_sleepers_wake_in_order_and_see_the_moment_they_asked_for() -> None:
    async def main() -> None:
        clock = HandClock(now=1000.0)
        seen: list[tuple[str, float, float]] = []

        async def sleep(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            seen.append((name, clock.now(), clock.monotonic()))

        tasks = [asyncio.ensure_future(sleep(name, seconds)) for name, seconds in (("b", 20), ("a", 10), ("c", 20), ("late", 31))]
        await clock.advance(30)
        assert seen == [("a", 1010, 10), ("b", 1020, 20), ("c", 1020, 20)]
        assert (clock.now(), clock.monotonic(), clock.sleepers) == (1030, 30, 1)
        await clock.advance(1)
        await asyncio.gather(*tasks)
        assert seen[-1] == ("late", 1031, 31)

    asyncio.run(main())


def test_who_falls_asleep_again_meanwhile_is_woken_again() -> None:
    async def main() -> None:
        clock, ticks = HandClock(), list[float]()

        async def tick() -> None:
            while True:
                await clock.sleep(10)
                ticks.append(clock.monotonic())

        task = asyncio.ensure_future(tick())
        await clock.advance(35)
        assert ticks == [10, 20, 30]
        await clock.advance(4)
        assert ticks == [10, 20, 30]
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert clock.sleepers == 0
        await clock.advance(100)
        assert ticks == [10, 20, 30]

    asyncio.run(main())


def test_no_time_to_sleep_yields_once() -> None:
    async def main() -> None:
        clock, order = HandClock(), list[str]()

        async def other() -> None:
            order.append("other")

        task = asyncio.ensure_future(other())
        await clock.sleep(0)
        order.append("sleeper")
        await clock.sleep(-1)
        assert order == ["other", "sleeper"]
        await task

    asyncio.run(main())


def test_setting_the_machines_clock_moves_now_only() -> None:
    async def main() -> None:
        clock: Clock = HandClock(now=1000.0)
        assert isinstance(clock, HandClock)
        task = asyncio.ensure_future(clock.sleep(5))
        await clock.advance(1)
        clock.set(500.0)
        assert (clock.now(), clock.monotonic(), clock.sleepers) == (500, 1, 1)
        await clock.advance(4)
        assert task.done()
        assert clock.now() == 504

    asyncio.run(main())
