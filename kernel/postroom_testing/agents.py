"""What every agent promises, a connector's loop as well as a service: names, endpoints, a run that ends when it is told to, a drain.

`ConnectorContract` and `ServiceContract` stand on this. Conversations are over real sockets of this machine, on ports that were free; whatever is
waited for has a bound, `patience`.
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postroom.connectors import Endpoint
from postroom_testing.ground import asleep_in
from postroom_testing.plugin import NAME, Alive, PluginContract
from postroom_testing.waiting import until
from postroom_testing.watching import left_by, tasks_besides

HOST = "127.0.0.1"


class AgentContract(PluginContract):
    """What connectors and services share."""

    @asynccontextmanager
    async def serving(self, place: Path) -> AsyncIterator[Alive]:
        """The plugin's agents, running; the test is skipped where it has none."""
        async with self.alive(place) as alive:
            if not alive.agents:
                pytest.skip("the plugin has no agents")
            yield alive

    @asynccontextmanager
    async def connected(self, alive: Alive, endpoint: Endpoint) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        """A client of this endpoint; whatever became of the connection, it is closed at the end."""
        reader, writer = await asyncio.open_connection(HOST, alive.port(endpoint))
        try:
            yield reader, writer
        finally:
            writer.close()
            try:
                await writer.wait_closed()
            except OSError:
                pass

    async def until(self, happened: Callable[[], bool], what: str) -> None:
        """Give the loop turns until this is so, for what is in the system and sets no event."""
        await until(happened, what, patience=self.patience)

    # Names and endpoints.

    def test_agents_have_names_and_their_endpoints_labels(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path, run=False) as alive:
                names = [agent.name for agent in alive.agents]
                assert all(names) and len(names) == len(set(names)), f"agents need names of their own: {names}"
                for agent in alive.agents:
                    assert list(agent.endpoints) == list(agent.endpoints), (
                        f"the endpoints of {agent.name} differ from one asking to the next"
                    )
                for endpoint in alive.endpoints:
                    assert isinstance(endpoint, Endpoint), f"{endpoint!r} is no Endpoint"
                    assert endpoint.label and endpoint.host and 0 <= endpoint.port <= 65535, f"{endpoint!r} cannot be bound"

        asyncio.run(main())

    def test_a_second_instance_has_labels_of_its_own(self, tmp_path: Path) -> None:
        """Sockets are handed over by label: two instances of one label would share them."""
        yaml = json.loads(self.yaml(self.table_in(tmp_path)))
        yaml["plugins"][f"{NAME}-2"] = yaml["plugins"][NAME]
        try:
            parts = asleep_in(tmp_path, json.dumps(yaml, indent=1), plugins={NAME: self.plugin})
        except Exception as error:
            if "are both the connector" in str(error):
                pytest.skip("a connector of one acronym is loaded once")
            raise
        parts.host.close()
        parts.site.login.close()
        labels = {name: {e.label for n, agent in parts.agents if n == name for e in agent.endpoints} for name in (NAME, f"{NAME}-2")}
        assert not labels[NAME] & labels[f"{NAME}-2"], f"two instances have the label {', '.join(labels[NAME] & labels[f'{NAME}-2'])}"

    # Life.

    def test_it_runs_until_it_is_cancelled(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.serving(tmp_path) as alive:
                for _ in range(50):
                    await asyncio.sleep(0)
                for name, task in alive.running.items():
                    assert not task.done(), f"the agent {name} ended by itself: {task.exception() if not task.cancelled() else 'cancelled'}"
                    task.cancel()
                await asyncio.wait(alive.running.values(), timeout=self.patience)
                for name, task in alive.running.items():
                    assert task.done(), f"the agent {name} did not end when it was cancelled"
                    assert task.cancelled(), f"the agent {name} swallows the cancellation"
                for endpoint in alive.endpoints:
                    assert self.refuses_connections(alive.port(endpoint)), f"{endpoint.label} still listens after its agent was cancelled"

        asyncio.run(main())

    def test_drain_ends_when_nobody_is_there_and_may_be_asked_twice(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.serving(tmp_path) as alive:
                for agent in alive.agents:
                    await self.within(agent.drain(), f"drain of {agent.name}, which has nothing to do,")
                    await self.within(agent.drain(), f"a second drain of {agent.name}")
                for endpoint in alive.endpoints:
                    assert self.refuses_connections(alive.port(endpoint)), f"{endpoint.label} still listens after drain"

        asyncio.run(main())

    def test_an_agent_that_was_never_run_can_be_drained(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path, run=False) as alive:
                for agent in alive.agents:
                    await self.within(agent.drain(), f"drain of {agent.name}, which never ran,")

        asyncio.run(main())

    def test_running_and_ending_leaves_nothing(self, tmp_path: Path) -> None:
        async def work() -> None:
            before = set(asyncio.all_tasks())
            async with self.alive(tmp_path) as alive:
                await self.visit(alive)
                for agent in alive.agents:
                    await self.within(agent.drain(), f"drain of {agent.name}")
            await self.until(lambda: not tasks_besides(before), "whatever the agents left running")

        left = left_by(work)
        assert not left, f"after the site was closed there is {', '.join(left)}"

    async def visit(self, alive: Alive) -> None:
        """What goes on between start and end in that test."""

    def refuses_connections(self, port: int) -> bool:
        """Whether nobody listens here: tried from outside the loop, so no answer is waited for."""
        with socket.socket() as probe:
            probe.settimeout(self.patience)
            return probe.connect_ex((HOST, port)) != 0
