"""Turns: others get theirs after so much work, and not before."""

from __future__ import annotations

import asyncio

import pytest

from postroom_imap4 import sorting
from postroom_imap4.pace import ROW, STEP, Pace, slices
from postroom_imap4.threads import Forest, written
from tests.turns import turns_during


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


def test_one_long_thread_is_written_in_turns() -> None:
    """A thread was written at once, however many messages it had."""
    count = 20_000
    chain = Forest([0], {number: [number + 1] for number in range(count - 1)}, {})
    bush = Forest([0], {0: list(range(1, count))}, {})

    async def main(forest: Forest) -> int:
        return await turns_during(written(forest, range(1, count + 1), Pace()))

    for forest in (chain, bush):
        assert asyncio.run(main(forest)) >= count * ROW // STEP


def test_a_long_merge_is_done_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last one took all messages at once."""
    counted: list[float] = []

    async def did(pace: Pace, work: float) -> None:
        counted.append(work)

    monkeypatch.setattr(Pace, "did", did)
    values = [float(number * 7919 % 100_003) for number in range(100_000)]
    assert [values[place] for place in asyncio.run(sorting.ordered(values, Pace()))] == sorted(values)
    assert max(counted) <= sorting.SLICE * ROW
