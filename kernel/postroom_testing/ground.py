"""A site in a folder, for tests of plugins: the real settings, host, journal, spool, MTA and hooks, without processes and agents.

`ground_in` gives what a provider's test needs, `site_in` everything a connector's or service's does. Lines logged are kept in `Lines`,
so a test can say what an operator would have read. Everything is closed at the end of the block; nothing is left running.
A plugin that is not installed is handed in by its class, as `plugins={"mine": MyPlugin}`; the class stands at the top of a module.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from socket import socket
from unittest import mock

from postroom import host
from postroom.clock import Clock
from postroom.connectors import Agent
from postroom.journal import Journal
from postroom.settings import FILE_NAME, parse
from postroom.site import Ground
from postroom_disk.disk import Disk
from postroom_ops.bus import LocalBus
from postroom_ops.metrics import Metrics
from postroom_run.assembly import Asleep, Assembled, assemble, awake
from postroom_run.control import Control
from postroom_testing.clock import HandClock

PLAIN = "server: mail.example.test\n"


@dataclass(frozen=True)
class Lines:
    """A log that keeps what it was told: level, event, facts."""

    told: list[tuple[str, str, dict[str, object]]] = field(default_factory=list)
    bound: Mapping[str, object] = field(default_factory=dict)

    def bind(self, **facts: object) -> Lines:
        return Lines(self.told, {**self.bound, **facts})

    def debug(self, event: str, **facts: object) -> None:
        self.told.append(("debug", event, {**self.bound, **facts}))

    def info(self, event: str, **facts: object) -> None:
        self.told.append(("info", event, {**self.bound, **facts}))

    def warning(self, event: str, **facts: object) -> None:
        self.told.append(("warning", event, {**self.bound, **facts}))

    def error(self, event: str, **facts: object) -> None:
        self.told.append(("error", event, {**self.bound, **facts}))

    def events(self, level: str = "") -> Sequence[str]:
        """Names of the events of this level, or of all."""
        return [event for at, event, _ in self.told if level in ("", at)]


def ground_in(
    folder: Path,
    yaml: str = PLAIN,
    *,
    clock: Clock | None = None,
    disk: Disk | None = None,
    log: Lines | None = None,
    journal: Journal | None = None,
    worker: int = 0,
) -> Ground:
    """A site's ground in this folder, its YAML file written. Without a journal of the caller's own it has one that nobody opened."""
    (folder / FILE_NAME).write_text(yaml, "utf-8")
    settings = parse(yaml, str(folder / FILE_NAME))
    disk, log = disk or Disk(), log or Lines()
    journal = journal or Asleep(folder / "Journal", disk)
    bus = LocalBus(folder / "run" / "bus", worker, disk, log)
    return Ground(folder, settings, clock or HandClock(), disk, journal, Metrics(), log, bus, worker)


@asynccontextmanager
async def site_in(
    folder: Path,
    yaml: str = PLAIN,
    *,
    clock: Clock | None = None,
    disk: Disk | None = None,
    log: Lines | None = None,
    sockets: Mapping[str, Sequence[socket]] | None = None,
    listening: list[Agent] | None = None,
    ready: Callable[[Agent], None] = lambda agent: None,
    plugins: Mapping[str, type] | None = None,
    worker: int = 0,
) -> AsyncIterator[Assembled]:
    """The site this YAML describes, opened and replayed, with the plugins it names as they are installed, or as `plugins` has them by their
    entry point's name. `listening` gets every agent that says it is ready, and `ready` is called with it."""
    disk = disk or Disk()
    journal = Journal(folder / "Journal", disk, segment_size=1 << 20)
    journal.open(worker)
    ground = ground_in(folder, yaml, clock=clock, disk=disk, log=log, journal=journal, worker=worker)
    control = Control(folder / "run", f"control-{worker}.sock", disk, ground.log)

    def listens(agent: Agent) -> None:
        if listening is not None:
            listening.append(agent)
        ready(agent)

    with as_installed(plugins or {}):
        parts = assemble(ground, control, sockets=sockets, ready=listens)
    async with awake(parts):
        yield parts


def asleep_in(folder: Path, yaml: str = PLAIN, *, plugins: Mapping[str, type] | None = None) -> Assembled:
    """The same site put together and not opened, as the supervisor does to learn which sockets to bind."""
    ground = ground_in(folder, yaml)
    with as_installed(plugins or {}):
        return assemble(ground, Control(folder / "run", "asleep.sock", ground.disk, ground.log))


def points_of(plugins: Mapping[str, type]) -> dict[str, EntryPoint]:
    """Entry points for these classes, by name."""
    return {name: EntryPoint(name, f"{one.__module__}:{one.__qualname__}", host.GROUP) for name, one in plugins.items()}


@contextmanager
def as_installed(plugins: Mapping[str, type]) -> Iterator[None]:
    """Inside the block a host finds these classes as if their packages were installed."""
    points = points_of(plugins)

    def found(*, group: str) -> list[EntryPoint]:
        return [*(point for point in entry_points(group=group) if point.name not in points), *points.values()]

    with mock.patch.object(host, "entry_points", found):
        yield
