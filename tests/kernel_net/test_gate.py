from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

from postroom_net.gate import FairGate, GateFull


class Jobs:
    """Jobs that hold a place until they are told to end, and the order in which they got one."""

    def __init__(self, gate: FairGate) -> None:
        self.gate = gate
        self.began: list[str] = []
        self.ends: dict[str, asyncio.Event] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}

    async def start(self, *names: str) -> None:
        for name in names:
            self.ends[name] = asyncio.Event()
            self.tasks[name] = asyncio.create_task(self._job(name))
            await asyncio.sleep(0)

    async def _job(self, name: str) -> None:
        async with self.gate.place(name[0]):
            self.began.append(name)
            await self.ends[name].wait()

    async def end(self, name: str) -> None:
        self.ends[name].set()
        await self.tasks[name]
        await asyncio.sleep(0)


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def test_places_go_round_the_keys() -> None:
    async def main() -> None:
        jobs = Jobs(FairGate(1))
        await jobs.start("a1", "a2", "a3", "b1", "c1")
        for name in ("a1", "a2", "b1", "c1"):
            await jobs.end(name)
        assert jobs.began == ["a1", "a2", "b1", "c1", "a3"]
        await jobs.end("a3")
        assert jobs.gate.waiting == 0 and not jobs.gate._lines

    run(main())


def test_one_key_runs_one_job() -> None:
    async def main() -> None:
        jobs = Jobs(FairGate(2))
        await jobs.start("a1", "a2", "b1")
        assert jobs.began == ["a1", "b1"]
        await jobs.end("b1")
        assert jobs.began == ["a1", "b1"]
        await jobs.end("a1")
        assert jobs.began == ["a1", "b1", "a2"]
        await jobs.end("a2")

    run(main())


def test_who_gives_up_frees_the_line() -> None:
    async def main() -> None:
        jobs = Jobs(FairGate(1))
        await jobs.start("a1", "b1", "c1")
        jobs.tasks["b1"].cancel()
        await jobs.end("a1")
        assert jobs.began == ["a1", "c1"]
        await jobs.end("c1")
        await asyncio.gather(*jobs.tasks.values(), return_exceptions=True)
        assert jobs.gate.waiting == 0 and not jobs.gate._running

    run(main())


def test_who_is_cancelled_in_the_moment_of_admission_passes_the_place_on() -> None:
    async def main() -> None:
        jobs = Jobs(FairGate(1))
        async with jobs.gate.place("a"):
            await jobs.start("b1", "c1")
        jobs.tasks["b1"].cancel()  # b1 has the place now and has not run yet
        await asyncio.gather(jobs.tasks["b1"], return_exceptions=True)
        await asyncio.sleep(0)
        assert jobs.began == ["c1"]
        await jobs.end("c1")
        assert not jobs.gate._running and jobs.gate.waiting == 0

    run(main())


def test_the_line_is_bounded() -> None:
    async def main() -> None:
        jobs = Jobs(FairGate(1, line=3, line_of_one=2))
        await jobs.start("a1", "a2", "a3", "a4")
        with pytest.raises(GateFull):
            await jobs.tasks["a4"]
        await jobs.start("b1", "c1")
        with pytest.raises(GateFull):
            await jobs.tasks["c1"]
        for name in ("a1", "a2", "b1", "a3"):
            await jobs.end(name)
        assert jobs.gate.waiting == 0

    run(main())
