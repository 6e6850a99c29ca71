"""A site opened by a command: its settings, plugins and providers, through the same host as the server's, without a worker.

Nothing is bound, replayed or locked, so it may be opened beside a running server: rows written through a provider are seen there, because
providers watch what they read. What plugins log goes to stderr from `warning` up.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from postroom.clock import SystemClock
from postroom.journal import Journal
from postroom.providers import ProviderSet
from postroom.settings import load
from postroom.site import Ground, Log
from postroom_cli.output import complain
from postroom_disk.disk import Disk
from postroom_ops.bus import LocalBus
from postroom_ops.metrics import Metrics
from postroom_run.assembly import Asleep, Assembled, assemble
from postroom_run.control import Control


@dataclass(frozen=True)
class StderrLog:
    """A log for one command: warnings and errors, for people."""

    bound: Mapping[str, object] = field(default_factory=dict)

    def debug(self, event: str, **facts: object) -> None: ...

    def info(self, event: str, **facts: object) -> None: ...

    def warning(self, event: str, **facts: object) -> None:
        said = " ".join(f"{name}={value}" for name, value in {**self.bound, **facts}.items())
        complain(f"postroom: {event} {said}".rstrip())

    error = warning

    def bind(self, **facts: object) -> Log:
        return StderrLog({**self.bound, **facts})


@asynccontextmanager
async def opened(root: Path, journal: Journal | None = None) -> AsyncIterator[Assembled]:
    """Open the site in this folder for the length of a command; ConfigError with all that is wrong where it cannot be. Without a journal that
    was opened nothing may be accepted or delivered."""
    settings, disk, log = load(root), Disk(), StderrLog()
    ground = Ground(
        root=root,
        settings=settings,
        clock=SystemClock(),
        disk=disk,
        journal=journal or Asleep(root / "Journal", disk),
        metrics=Metrics(),
        log=log,
        bus=LocalBus(root / "run" / "bus", -1, disk, log),
    )
    parts = assemble(ground, Control(root / "run", "command", disk, log))
    started: list[ProviderSet] = []
    try:
        for offer in parts.offers.values():
            started.append(offer)
            await offer.open()
        yield parts
    finally:
        for offer in reversed(started):
            await offer.close()
        parts.site.login.close()
        await parts.site.resolver.close()


def added_commands(root: Path, cli: object) -> None:
    """Let the plugins of a site add to the command line."""

    async def run() -> None:
        async with opened(root) as parts:
            parts.host.commands(cli)

    asyncio.run(run())
