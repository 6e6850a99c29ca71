"""What every plugin promises, whatever its role; and how a suite brings one to life in a site of a test's own.

The suites of the roles stand on this: `TransferEventContract`, `ConnectorContract`, `ServiceContract`, `MailStoreContract`. Subclass the one of
your role, name your class and its settings, run pytest:

    class TestMine(TransferEventContract):
        plugin = MyPlugin
        settings = {"header": "X-Seen"}

Where the plugin talks to something outside the site (a scanner's daemon, a database), override `world`; where it needs rows, `furnish`. The class
stands at the top of a module that can be imported. What a check found wrong is its AssertionError, in a sentence.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from pathlib import Path
from socket import socket
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, get_args

import pytest
from pydantic import BaseModel
from pydantic.errors import PydanticUserError

from postroom.clock import Clock, SystemClock
from postroom.connectors import Agent, Connector, Endpoint
from postroom.errors import ConfigError
from postroom.host import GROUP, Host
from postroom.settings import ConfigErrors
from postroom.site import Site
from postroom_disk.disk import Disk
from postroom_run.assembly import Assembled
from postroom_run.listing import listing
from postroom_testing.ground import Lines, asleep_in, ground_in, points_of, site_in
from postroom_testing.watching import Census, longest_step

T = TypeVar("T")
SERVER = "mail.example.test"
NAME = "tested"  # the instance, as the site's file calls it
NOTHING: Mapping[str, object] = MappingProxyType({})
_HOMES = {"smtp_": "smtp", "mailbox_": "postoffice"}  # plugins that bring hooks of these names


@dataclass
class Alive:
    """A plugin in a site that lives."""

    parts: Assembled
    log: Lines
    place: Path  # of the test; the site is in a folder of it
    ports: Mapping[str, int]  # by endpoint label, on 127.0.0.1
    running: dict[str, asyncio.Task[None]] = field(default_factory=dict)  # the plugin's agents, by name

    @property
    def site(self) -> Site:
        return self.parts.site

    @property
    def agents(self) -> list[Agent]:
        """The plugin's own, those of its connectors too."""
        return [agent for name, agent in self.parts.agents if name == NAME]

    @property
    def endpoints(self) -> list[Endpoint]:
        return [endpoint for agent in self.agents for endpoint in agent.endpoints]

    def port(self, endpoint: Endpoint) -> int:
        """Where this endpoint listens, on 127.0.0.1."""
        return self.ports[endpoint.label]

    @property
    def hooks(self) -> list[str]:
        """The hooks that the plugin answers."""
        return [hook for hook, calls in self.parts.host.ask.chains.items() if any(call.name == NAME for call in calls)]


class PluginContract:
    """Name your class and its settings."""

    plugin: ClassVar[type]
    settings: ClassVar[Mapping[str, object]] = {}
    beside: ClassVar[Mapping[str, Mapping[str, object]]] = {}  # further plugins of the site with their tables
    hooks: ClassVar[Mapping[str, object]] = {}  # the operator's `hooks:` for this plugin, where the usual will not do
    patience: ClassVar[float] = 10.0  # seconds for whatever must come to an end
    memory: ClassVar[int] = 8 << 20  # octets that one huge message or hostile peer may cost at the peak
    points: ClassVar[int] = 40  # calls of a piece of work at which the disk refuses or the process dies, spread evenly where there are more
    house: ClassVar[tuple[str, ...]] = ("tab", "store", "postoffice")  # what the site has beside the plugin

    # For you to override where the plugin needs it.

    @asynccontextmanager
    async def world(self, place: Path) -> AsyncIterator[Mapping[str, object]]:
        """Whatever the plugin talks to, in this folder, for as long as a site lives; and the settings that lead there."""
        yield self.settings

    async def furnish(self, site: Site) -> None:
        """Rows that the plugin needs. Asked whenever a site of a test was opened, so rows are there already after a crash."""

    # The site of a test.

    def yaml(self, table: Mapping[str, object], policy: Mapping[str, object] = NOTHING) -> str:
        """The file of a site with this plugin and, over the usual, this policy for its hooks. JSON is YAML."""
        beside = {one: {"watch": False} if one == "tab" else {} for one in self.house} | self.brought() | dict(self.beside)
        own = {"plugin": NAME, "hooks": {"timeout": self.patience, "breaker": 1_000_000, **self.hooks, **policy}, **table}
        return json.dumps({"server": SERVER, "plugins": {**beside, NAME: own}}, indent=1)

    def brought(self) -> dict[str, Mapping[str, object]]:
        """The plugins whose hooks this one answers, as far as they are postroom's own."""
        answers = [name for name in dir(self.plugin) if hasattr(getattr(self.plugin, name, None), "postroom_impl")]
        wanted = {home for start, home in _HOMES.items() for name in answers if name.startswith(start)}
        return {home: {"listen": [{"port": 0, "host": "127.0.0.1"}]} if home == "smtp" else {} for home in sorted(wanted)}

    @asynccontextmanager
    async def alive(
        self,
        place: Path,
        *,
        disk: Disk | None = None,
        clock: Clock | None = None,
        run: bool = True,
        policy: Mapping[str, object] = NOTHING,
    ) -> AsyncIterator[Alive]:
        """The plugin in a site below `place`, furnished, its agents running unless `run` says no; the same place again is the same site."""
        root, log = place / "site", Lines()
        root.mkdir(parents=True, exist_ok=True)
        (place / "world").mkdir(exist_ok=True)
        async with AsyncExitStack() as stack:
            yaml = self.yaml(await stack.enter_async_context(self.world(place / "world")), policy)
            sockets = self._bound(root, yaml, stack)
            ready: asyncio.Queue[Agent] = asyncio.Queue()
            parts = await stack.enter_async_context(
                site_in(
                    root,
                    yaml,
                    disk=disk,
                    clock=clock or SystemClock(),
                    log=log,
                    sockets=sockets,
                    ready=ready.put_nowait,
                    plugins={NAME: self.plugin},
                )
            )
            alive = Alive(parts, log, place, {label: found[0].getsockname()[1] for label, found in sockets.items()})
            await self.furnish(parts.site)
            stack.push_async_callback(self._stop, alive)
            if run:
                await self.start(alive, ready)
            yield alive

    def _bound(self, root: Path, yaml: str, stack: AsyncExitStack) -> dict[str, list[socket]]:
        """A socket for each endpoint, bound and not listening, as the supervisor hands them over."""
        if not any(hasattr(self.plugin, hook) for hook in ("connectors", "services")):
            return {}
        asleep = asleep_in(root, yaml, plugins={NAME: self.plugin})
        sockets: dict[str, list[socket]] = {}
        for endpoint in (endpoint for _, agent in asleep.agents for endpoint in agent.endpoints):
            sock = stack.enter_context(socket())
            sock.bind(("127.0.0.1", 0))
            sockets.setdefault(endpoint.label, []).append(sock)
        asleep.host.close()
        asleep.site.login.close()
        return sockets

    async def start(self, alive: Alive, ready: asyncio.Queue[Agent]) -> None:
        """Run the plugin's agents; those with endpoints must say that they listen."""
        for agent in alive.agents:
            alive.running[agent.name] = asyncio.create_task(agent.run())
            if not agent.endpoints:
                await asyncio.sleep(0)
                continue
            said = asyncio.create_task(ready.get())
            await asyncio.wait([said, alive.running[agent.name]], timeout=self.patience, return_when=asyncio.FIRST_COMPLETED)
            if not said.done():
                said.cancel()
                ended = alive.running[agent.name]
                reason = repr(ended.exception()) if ended.done() and not ended.cancelled() else f"waited {self.patience:g} s"
                raise AssertionError(f"the agent {agent.name} never called site.ready: {reason}")

    async def _stop(self, alive: Alive) -> None:
        """End the plugin's agents as a worker does: drain is cut short, run is cancelled."""
        for task in alive.running.values():
            task.cancel()
        await asyncio.wait([*alive.running.values()], timeout=self.patience) if alive.running else None
        stuck = [name for name, task in alive.running.items() if not task.done()]
        assert not stuck, f"agents that did not end when they were cancelled: {', '.join(stuck)}"
        for name, task in alive.running.items():
            error = None if task.cancelled() else task.exception()
            assert error is None, f"the agent {name} ended with {error!r}"

    async def within(self, waiting: Awaitable[T], what: str, *may_raise: type[Exception]) -> T:
        """The result, or an AssertionError that says what did not come to an end, or failed with something that it may not raise."""
        try:
            async with asyncio.timeout(self.patience):
                return await waiting
        except TimeoutError:
            raise AssertionError(f"{what} did not come to an end in {self.patience:g} s") from None
        except Exception as error:
            if isinstance(error, (AssertionError, *may_raise)):
                raise
            raise AssertionError(f"{what} failed: {error!r}") from error

    def is_mine(self, module: str) -> bool:
        """Whether a module belongs to the plugin."""
        return module.partition(".")[0] == self.plugin.__module__.partition(".")[0]

    def table_in(self, place: Path) -> Mapping[str, object]:
        """The plugin's settings as `world` gives them."""

        async def main() -> Mapping[str, object]:
            async with self.world(place) as table:
                return dict(table)

        return asyncio.run(main())

    def model(self) -> type[BaseModel]:
        """The model of the plugin's settings."""
        found = getattr(self.plugin, "Settings", None)
        assert isinstance(found, type) and issubclass(found, BaseModel), "the class must name a pydantic model as its attribute Settings"
        return found

    # Settings.

    def test_every_setting_says_what_it_is(self) -> None:
        without = [
            f"{model.__name__}.{name}" for model in models_of(self.model()) for name, f in model.model_fields.items() if not f.description
        ]
        assert not without, f"settings without a description: {', '.join(without)}"

    def test_unknown_settings_are_refused(self) -> None:
        lenient = [model.__name__ for model in models_of(self.model()) if model.model_config.get("extra") != "forbid"]
        assert not lenient, f'these models take any key; set model_config = ConfigDict(extra="forbid"): {", ".join(lenient)}'

    def test_an_unknown_setting_is_told_with_its_line(self, tmp_path: Path) -> None:
        wrong = {**self.table_in(tmp_path), "no_such_setting": 1}
        with pytest.raises(ConfigErrors) as refused:
            self._hosted(tmp_path, self.yaml(wrong))
        told = [error for error in refused.value.errors if "no_such_setting" in str(error)]
        assert told and told[0].origin is not None and told[0].origin.line, f"no line for the key: {refused.value}"

    def test_settings_have_a_schema(self) -> None:
        try:
            schema = json.loads(json.dumps(self.model().model_json_schema()))
        except (TypeError, ValueError, PydanticUserError) as error:
            raise AssertionError(f"the settings have no schema: {error}") from error
        assert set(schema.get("properties", {})) >= set(self.model().model_fields), "the schema lacks settings"

    # The class.

    def test_the_host_takes_its_hooks(self, tmp_path: Path) -> None:
        try:
            host = self._hosted(tmp_path, self.yaml(self.table_in(tmp_path)))
        except ConfigError as error:
            raise AssertionError(f"the host refuses the plugin: {error}") from error
        answered = [each["hooks"] for each in listing(host) if each["name"] == NAME]
        assert answered and answered[0], "the plugin answers no hook: mark its methods with @hookimpl from postroom"

    def test_making_it_changes_nothing_and_starts_nothing(self, tmp_path: Path) -> None:
        yaml = self.yaml(self.table_in(tmp_path / "world"))
        self._hosted(tmp_path, yaml)
        before, census = sorted(tmp_path.rglob("*")), Census.now()
        for number in (1, 2, 3):
            self._hosted(
                tmp_path, yaml.replace(f'"{NAME}": {{', f'"{NAME}-{number}": {{', 1)
            )  # an instance beside others has a name of its own
        left = [*census.more_in(Census.now()), *(f"a file: {path}" for path in sorted(tmp_path.rglob("*")) if path not in before)]
        assert not left, f"making an instance left {', '.join(left)}"

    def test_health_and_check_answer_sentences(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path) as alive:
                host = alive.parts.host
                for hook, lines in (("health", host.health(alive.site)), ("check", host.check(alive.site))):
                    mine = [line for line in lines if line.startswith(f"{NAME}: ")]
                    failed = [line for line in mine if f"its hook {hook} failed" in line]
                    assert not failed, failed[0]
                    assert all(len(line.strip()) > len(NAME) + 2 and "\n" not in line for line in mine), (
                        f"{hook} must answer sentences: {mine}"
                    )

        asyncio.run(main())

    def test_opening_and_closing_does_not_block_the_loop(self, tmp_path: Path) -> None:
        """The plugin's part of it: whoever else blocked is not named."""

        async def main() -> None:
            async with self.alive(tmp_path) as alive:
                alive.parts.host.health(alive.site)

        asyncio.run(main())
        longest = asyncio.run(longest_step(main, self.is_mine))
        assert not longest.seen or not any(self.is_mine(seen.partition(":")[0]) for seen in longest.seen), str(longest)

    def _hosted(self, folder: Path, yaml: str) -> Host:
        folder.mkdir(parents=True, exist_ok=True)
        ground = ground_in(folder, yaml)
        offers = {point.name: point for point in entry_points(group=GROUP)} | points_of({NAME: self.plugin})
        return Host(ground.settings, ground, offers)


def models_of(model: type[BaseModel]) -> list[type[BaseModel]]:
    """A model and all models its fields are made of."""
    found, todo = [model], [model]
    for one in todo:
        inner = [part for each in one.model_fields.values() for part in _parts(each.annotation)]
        new = [part for part in inner if isinstance(part, type) and issubclass(part, BaseModel) and part not in found]
        found += new
        todo += new
    return found


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for one in get_args(annotation):
        yield from _parts(one)


def connectors_of(alive: Alive, plugin: type) -> list[Connector]:
    """The connectors that this plugin gave the site."""
    package = plugin.__module__.partition(".")[0]
    return [one for one in alive.parts.connectors.values() if type(one).__module__.partition(".")[0] == package]


def spread(count: int, most: int) -> list[int]:
    """At most so many of the numbers from 1 to `count`, evenly spread, the first and the last among them."""
    if count <= most:
        return list(range(1, count + 1))
    return sorted({1 + round(step * (count - 1) / (most - 1)) for step in range(most)})
