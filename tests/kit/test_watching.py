"""What the kit measures with: blocks are seen, waiting is none; what is left is found, what was there is not."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from postroom_testing.dying import ends_before
from postroom_testing.faults import FaultDisk
from postroom_testing.plugin import spread
from postroom_testing.watching import left_by, longest_step, memory, tasks_besides


def test_a_block_is_seen_and_named() -> None:
    async def work() -> None:
        await asyncio.sleep(0)
        time.sleep(0.5)  # the block itself

    longest = asyncio.run(longest_step(work, lambda module: module == __name__))
    assert longest.seconds > 0.4 and "test_watching" in longest.seen[0]
    with pytest.raises(AssertionError, match="the loop was blocked for"):
        longest.check()


def test_waiting_is_no_block() -> None:
    async def work() -> None:
        await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.2)  # several times the limit, in which the loop waits

    asyncio.run(longest_step(work)).check()


def test_a_machine_that_stumbles_once_is_forgiven() -> None:
    stumbles = iter([0.2])

    async def work() -> None:
        await asyncio.sleep(0)
        time.sleep(next(stumbles, 0))  # the block itself

    asyncio.run(longest_step(work)).check()


def test_what_is_left_is_found() -> None:
    opened: list[int] = []
    go = threading.Event()

    async def work() -> None:
        opened.append(os.open("/", os.O_RDONLY))
        threading.Thread(target=go.wait, name="waits", daemon=True).start()

    assert left_by(work) == ["an open descriptor: /", "a thread: waits"]
    go.set()
    for fd in opened:
        os.close(fd)


def test_what_was_there_is_not_left() -> None:
    async def work() -> None:
        os.close(os.open("/", os.O_RDONLY))
        await asyncio.to_thread(len, "")

    assert left_by(work) == []


def test_tasks_are_told_by_what_they_run() -> None:
    async def wait() -> None:
        await asyncio.Event().wait()

    async def main() -> None:
        before = set(asyncio.all_tasks())
        task = asyncio.create_task(wait())
        assert tasks_besides(before) == [f"a task: {wait.__qualname__}"]
        task.cancel()

    asyncio.run(main())


def test_memory_is_counted_at_its_peak() -> None:
    with memory() as used:
        bytes(5 << 20)
        assert 5 << 20 <= used() < 6 << 20
    assert 5 << 20 <= used() < 6 << 20


def test_a_child_dies_at_the_call_that_was_meant(tmp_path: Path) -> None:
    async def work(disk: FaultDisk, arm: Callable[[], None]) -> None:
        disk.make_folders(tmp_path / "before")
        arm()
        for name in ("one", "two"):
            disk.make_folders(tmp_path / name)

    assert not ends_before(2, work)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["before", "one"]
    assert ends_before(3, work)


def test_an_error_in_the_child_is_told() -> None:
    async def work(disk: FaultDisk, arm: Callable[[], None]) -> None:
        raise ValueError("of the work itself")

    with pytest.raises(AssertionError, match="of the work itself"):
        ends_before(1, work)


@pytest.mark.parametrize(("count", "most", "found"), [(0, 5, []), (3, 5, [1, 2, 3]), (9, 3, [1, 5, 9]), (100, 2, [1, 100])])
def test_points_are_spread(count: int, most: int, found: list[int]) -> None:
    assert spread(count, most) == found
