"""The one place that looks again and again: it returns when it is so, gives the loop its turns, and has a bound."""

from __future__ import annotations

import asyncio
import subprocess
from pathlib import Path

import pytest

from postroom_testing.waiting import until


def test_it_returns_when_another_program_has_done_it_and_the_loop_runs_meanwhile(tmp_path: Path) -> None:
    async def main() -> None:
        waiting = asyncio.create_task(until((tmp_path / "made").exists))
        turns = 0
        while not waiting.done():
            if (turns := turns + 1) == 3:
                subprocess.run(["touch", tmp_path / "made"], check=True)
            await asyncio.sleep(0)
        await waiting
        assert turns >= 3

    asyncio.run(main())


def test_what_never_happens_ends_with_its_name() -> None:
    with pytest.raises(AssertionError, match=r"^the rain did not come to an end in 0\.02 s$"):
        asyncio.run(until(lambda: False, "the rain", patience=0.02))


def test_an_error_of_the_question_is_told() -> None:
    with pytest.raises(ZeroDivisionError):
        asyncio.run(until(lambda: 1 / 0))
