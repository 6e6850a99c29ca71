"""A worker keeps its agents running, whatever way they end."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from postroom.connectors import Endpoint
from postroom_ops.child import Channel, Sockets
from postroom_run.worker import Worker
from postroom_testing.clock import HandClock
from postroom_testing.ground import Lines


class Tired:
    """An agent whose loop ends by itself, in one way and another."""

    name = "tired"
    endpoints: Sequence[Endpoint] = ()

    def __init__(self) -> None:
        self.runs = 0

    async def run(self) -> None:
        self.runs += 1
        if self.runs == 1:
            raise RuntimeError("failed")
        if self.runs == 3:
            await asyncio.Event().wait()

    async def drain(self) -> None:
        """Nothing to drain."""


def test_an_agent_that_ends_by_itself_is_started_again(tmp_path: Path) -> None:
    """One that returned was gone for good, and nobody was told."""

    async def main() -> None:
        worker, clock, log, agent = Worker(tmp_path, 0, Channel(-1), Sockets({})), HandClock(), Lines(), Tired()
        worker.clock, worker.log = clock, log  # type: ignore[assignment]
        running = asyncio.ensure_future(worker._keep_running("plugin", agent))
        await clock.advance(0)
        assert worker.failing == {"tired": "RuntimeError: failed"}
        await clock.advance(0.6)
        assert agent.runs == 2 and worker.failing == {"tired": "it ended by itself"}
        await clock.advance(1.1)
        assert agent.runs == 3 and not worker.failing
        assert log.events("error") == ["agent.failed", "agent.failed"]
        running.cancel()

    asyncio.run(main())


def test_an_agent_that_ends_while_the_worker_drains_has_done_so(tmp_path: Path) -> None:
    async def main() -> None:
        worker, clock, log, agent = Worker(tmp_path, 0, Channel(-1), Sockets({})), HandClock(), Lines(), Tired()
        worker.clock, worker.log = clock, log  # type: ignore[assignment]
        agent.runs = 1
        worker.stopping.set()
        await worker._keep_running("plugin", agent)
        worker.stopping.clear()

        async def stop() -> None:
            worker.stopping.set()

        agent.run = stop  # type: ignore[method-assign]
        await worker._keep_running("plugin", agent)
        assert not log.told

    asyncio.run(main())


class Cut:
    """An agent that cuts its connections when it ends; what was said by then is an outcome that is still to be settled."""

    name = "cut"
    endpoints: Sequence[Endpoint] = ()

    def __init__(self) -> None:
        self.over, self.settled = asyncio.Event(), False
        self.carrying = asyncio.create_task(self._carry())

    async def _carry(self) -> None:
        await self.over.wait()
        for _ in range(20):  # turns of the loop, as until the journal's sync
            await asyncio.sleep(0)
        self.settled = True

    async def run(self) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            self.over.set()

    async def drain(self) -> None:
        await asyncio.wait([self.carrying])


def test_what_was_delivered_when_the_drain_was_cut_short_was_never_settled(tmp_path: Path) -> None:
    """The journal was closed over it, and the next worker sent it again."""

    async def main() -> None:
        worker, agent = Worker(tmp_path, 0, Channel(-1), Sockets({})), Cut()
        worker.log = Lines()  # type: ignore[assignment]

        async def nothing() -> None:
            await asyncio.Event().wait()

        worker._growth = lambda parts: SimpleNamespace(run=nothing)  # type: ignore[assignment,method-assign,return-value]

        async def drain() -> None:
            await asyncio.wait([agent.carrying])

        parts: Any = SimpleNamespace(agents=[("cut", agent)], mta=SimpleNamespace(drain=drain, reply_within=30.0))
        worker._parts = parts
        caretaker: Any = SimpleNamespace(run=nothing, stop=lambda: None)
        asyncio.get_running_loop().call_later(0.01, worker.stopping.set)
        await worker._serve(parts, caretaker, 0.01)
        assert agent.settled

    asyncio.run(main())


def test_a_worker_may_open_as_many_files_as_the_system_lets_it() -> None:
    """Most systems start a service with 1024; the connections and logs that the settings promise are several times that."""
    code = (
        "import resource; from postroom_run.worker import may_open_files\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n"
        "may_open_files(); assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_drain_that_was_as_long_as_a_verdict_may_take_ended_before_the_sender_was_answered(tmp_path: Path) -> None:
    """Who sent while it drained, and a hook was slow, heard nothing and sent again."""

    async def main() -> None:
        worker = Worker(tmp_path, 0, Channel(-1), Sockets({}))

        async def nothing() -> None:
            pass

        parts: Any = SimpleNamespace(agents=[], mta=SimpleNamespace(drain=nothing, reply_within=30.0))
        await worker._drain(parts, 30.0)
        assert parts.mta.reply_within <= 1.0
        parts.mta.reply_within = 0.5
        await worker._drain(parts, 30.0)
        assert parts.mta.reply_within == 0.5

    asyncio.run(main())
