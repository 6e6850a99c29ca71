"""Turns: others get theirs after so much work, and not before."""

from __future__ import annotations

import asyncio

from postroom_imap4.pace import STEP, Pace, slices


def test_a_turn_comes_after_so_much_work() -> None:
    async def main() -> list[int]:
        turns, pace, told = 0, Pace(), []

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(others())
        for _ in range(8):
            await pace.did(STEP / 4)
            told.append(turns)
        task.cancel()
        return told

    assert asyncio.run(main()) == [0, 0, 0, 1, 1, 1, 1, 2]


def test_slices() -> None:
    assert [list(one) for one in slices(range(5), 2)] == [[0, 1], [2, 3], [4]] and list(slices([], 3)) == []
