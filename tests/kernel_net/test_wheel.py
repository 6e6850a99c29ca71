from __future__ import annotations

import asyncio
from collections.abc import Callable

from postroom_net.wheel import TimerWheel
from postroom_testing.clock import HandClock
from tests.kernel_net.ticking import Ticking


class Item:
    def __init__(self, deadline: float, then: Callable[[], None] = lambda: None) -> None:
        self.deadline, self.then, self.expired = deadline, then, 0

    def count(self) -> int:
        return self.expired

    def expire(self) -> None:
        self.expired += 1
        self.then()


def test_never_early_and_at_most_a_tick_late() -> None:
    clock = Ticking()
    wheel = TimerWheel(clock)
    item = Item(1005.5)
    wheel.watch(item)
    for clock.at, expired in ((1005.0, 0), (1005.4, 0), (1006.0, 1), (1100.0, 1)):
        wheel.turn()
        assert item.expired == expired, clock.at
    assert len(wheel) == 0


def test_a_moved_deadline_costs_nothing_until_the_old_one_comes() -> None:
    clock = Ticking()
    wheel = TimerWheel(clock)
    item = Item(1010.0)
    wheel.watch(item)
    item.deadline = 1020.0
    clock.at = 1012.0
    wheel.turn()
    assert not item.count() and len(wheel) == 1
    clock.at = 1021.0
    wheel.turn()
    assert item.count() == 1


def test_an_earlier_deadline_is_told_by_watching_again() -> None:
    clock = Ticking()
    wheel = TimerWheel(clock)
    item = Item(1600.0)
    wheel.watch(item)
    item.deadline = 1002.0
    wheel.watch(item)
    clock.at = 1003.0
    wheel.turn()
    assert item.count() == 1 and len(wheel) == 0


def test_an_expiring_item_may_forget_another_of_its_slot() -> None:
    clock = Ticking()
    wheel = TimerWheel(clock)
    items: list[Item] = []

    def forget_all() -> None:
        for other in items:
            wheel.forget(other)

    items += [Item(1001.0, forget_all) for _ in range(3)]
    for item in items:
        wheel.watch(item)
    clock.at = 1010.0
    wheel.turn()
    assert sum(item.expired for item in items) == 1 and len(wheel) == 0


def test_watching_again_what_is_overdue_waits_for_the_next_turn() -> None:
    clock = Ticking()
    wheel = TimerWheel(clock)
    item = Item(1001.0)
    item.then = lambda: wheel.watch(item)
    wheel.watch(item)
    clock.at = 1010.0
    wheel.turn()
    assert item.count() == 1 and len(wheel) == 1
    clock.at = 1011.0
    wheel.turn()
    assert item.count() == 2


def test_run_turns_once_a_tick() -> None:
    async def main() -> None:
        clock = HandClock()
        wheel = TimerWheel(clock, tick=5.0)
        item = Item(clock.monotonic() + 12.0)
        wheel.watch(item)
        running = asyncio.create_task(wheel.run())
        await clock.advance(10.0)
        assert not item.count()
        await clock.advance(5.0)
        assert item.count() == 1
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())
