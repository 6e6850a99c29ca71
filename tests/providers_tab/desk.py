"""What these tests share: a provider set on a folder, with a log that remembers and a bus that joins the sets of one test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from postroom.clock import Clock, SystemClock
from postroom_disk.disk import Disk
from postroom_tab.providers import TabProviders
from postroom_tab.settings import TabSettings


class Remembered:
    """A log whose lines can be asked for."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, object]]] = []

    def debug(self, event: str, **facts: object) -> None:
        self.lines.append(("debug", event, facts))

    def info(self, event: str, **facts: object) -> None:
        self.lines.append(("info", event, facts))

    def warning(self, event: str, **facts: object) -> None:
        self.lines.append(("warning", event, facts))

    def error(self, event: str, **facts: object) -> None:
        self.lines.append(("error", event, facts))

    def bind(self, **facts: object) -> Remembered:
        return self

    def events(self) -> list[str]:
        return [event for _, event, _ in self.lines]


class Hub:
    """Buses of several workers in one process: a hint reaches all but its sender."""

    def __init__(self) -> None:
        self._told: list[tuple[HubBus, str, Callable[[bytes], None]]] = []

    def bus(self) -> HubBus:
        return HubBus(self)

    def listen(self, owner: HubBus, topic: str, told: Callable[[bytes], None]) -> Callable[[], None]:
        entry = (owner, topic, told)
        self._told.append(entry)
        return lambda: self._told.remove(entry)

    def send(self, sender: HubBus, topic: str, payload: bytes) -> None:
        for owner, wanted, told in list(self._told):
            if owner is not sender and wanted == topic:
                told(payload)


class HubBus:
    """One worker's end of the hub."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub

    def send(self, topic: str, payload: bytes = b"", *, here: bool = False) -> None:
        self._hub.send(self, topic, payload)

    def listen(self, topic: str, told: Callable[[bytes], None]) -> Callable[[], None]:
        return self._hub.listen(self, topic, told)


def made(
    folder: Path,
    *,
    clock: Clock | None = None,
    disk: Disk | None = None,
    log: Remembered | None = None,
    hub: Hub | None = None,
    watch: bool = False,
    lock_timeout: float = 10.0,
) -> TabProviders:
    """A provider set, not yet opened."""
    settings = TabSettings(watch=watch, lock_timeout_seconds=lock_timeout)
    return TabProviders(
        folder, settings, clock=clock or SystemClock(), disk=disk or Disk(), log=log or Remembered(), bus=(hub or Hub()).bus()
    )


@asynccontextmanager
async def opened(
    folder: Path,
    *,
    clock: Clock | None = None,
    disk: Disk | None = None,
    log: Remembered | None = None,
    hub: Hub | None = None,
    watch: bool = False,
    lock_timeout: float = 10.0,
) -> AsyncIterator[TabProviders]:
    """A provider set, opened and closed."""
    tab = made(folder, clock=clock, disk=disk, log=log, hub=hub, watch=watch, lock_timeout=lock_timeout)
    try:
        await tab.open()
        yield tab
    finally:
        await tab.close()
