"""A worker keeps its agents running, whatever way they end."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

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


def test_a_worker_may_open_as_many_files_as_the_system_lets_it() -> None:
    """Most systems start a service with 1024; the connections and logs that the settings promise are several times that."""
    code = (
        "import resource; from postroom_run.worker import may_open_files\n"
        "hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]; resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))\n"
        "may_open_files(); assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
