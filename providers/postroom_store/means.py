"""What the store acts with: disk, clock, journal, bus, log, limits, and the descriptors of open folder logs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from postroom.clock import Clock
from postroom_disk.disk import Disk
from postroom_store import epoch
from postroom_store.errands import Errands
from postroom_store.news import News
from postroom_store.usage import Usage
from postroom_store.walking import Names

if TYPE_CHECKING:
    from asyncio import Future

    from postroom.journal import Replay, Segment
    from postroom.site import Bus, Log
    from postroom_store.log import FolderLog


YOUNG = 300.0  # seconds after which an arrival is on the disk by the kernel's own write-back, or a journal was cut over it
Limit = Callable[[str, str], Awaitable[int | None]]  # octets that a mailbox of a post office may hold


async def no_limit(postoffice: str, mailbox: str) -> int | None:
    """Every mailbox may grow as it likes."""
    return None


class Notebook(Protocol):
    """What of the worker's journal the store uses."""

    async def append(self, kind: int, *parts: bytes) -> Segment: ...
    def begin(self, kind: int, *parts: bytes) -> Future[Segment]: ...
    def note(self, kind: int, *parts: bytes) -> Segment: ...
    def replayer(self, kinds: Collection[int], replay: Callable[[Replay], None]) -> None: ...
    def live(self) -> frozenset[tuple[int, int]]: ...


class Descriptors:
    """Folder logs kept open, the least recently used closed first; one whose lock is held never is, for that would let the lock go."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: OrderedDict[FolderLog, None] = OrderedDict()

    def used(self, log: FolderLog) -> None:
        """This log is open and was just used."""
        if log in self._open:
            self._open.move_to_end(log)
            return
        self._open[log] = None
        if len(self._open) > self._most:
            idle = next((one for one in self._open if one is not log and not one.is_held), None)
            if idle is not None:
                idle.shut()

    def closed(self, log: FolderLog) -> None:
        self._open.pop(log, None)

    def close_all(self) -> None:
        while self._open:
            self._open.popitem()[0].shut()


@dataclass(eq=False)
class Means:
    """Handed to every part of the store."""

    root: Path
    disk: Disk
    clock: Clock
    journal: Notebook
    bus: Bus
    log: Log
    boot: str = field(default_factory=epoch.boot_id)
    limit: Limit = no_limit
    most_open: int = 512
    keep_expunged: float = 0.0  # seconds for which expunged messages can be brought back
    descriptors: Descriptors = field(init=False)
    news: News = field(init=False)
    usage: Usage = field(init=False)
    names: Names = field(init=False)
    errands: Errands = field(init=False)

    def __post_init__(self) -> None:
        self.descriptors = Descriptors(self.most_open)
        self.news = News(self.bus)
        self.usage = Usage(self.clock)
        self.names = Names(str(self.root))
        self.errands = Errands()

    def apart(self) -> Means:
        """The same means with descriptors of their own, for work in a thread."""
        other = replace(self, most_open=8)
        other.__dict__["epoch"] = self.epoch
        return other

    @cached_property
    def epoch(self) -> int:
        """Asked first when the first log is opened; OSError when `run/boot` cannot be kept."""
        return epoch.current(self.root, self.disk, self.boot, self.clock.now())
