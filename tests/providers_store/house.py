"""What the store's tests stand on: a store in a folder, a journal that forgets what was not durable, a bus that goes nowhere."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Collection, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from postroom.journal import Record, Replay, Segment
from postroom.mailstore import INBOX, Placed, Target
from postroom.message import MemoryMessage, Message, derived_id
from postroom.site import Bus
from postroom_disk.disk import Disk
from postroom_disk.journal import Journal
from postroom_store.folder import LocalFolder
from postroom_store.means import Means, no_limit
from postroom_store.store import LocalStore
from postroom_testing.clock import HandClock
from postroom_testing.faults import WRITES

T = TypeVar("T")
SYNCS = ("fsync", "fdatasync", "syncfs")


@dataclass
class PaperJournal:
    """Keeps records in a list that outlives the store: durable ones survive `crash`, notes only if something durable followed them."""

    disk: Disk = field(default_factory=Disk)
    durable: list[Record] = field(default_factory=list)
    waiting: list[Record] = field(default_factory=list)
    segments: set[tuple[int, int]] = field(default_factory=lambda: {(0, 1)})
    accepted: dict[str, Message] = field(default_factory=dict)
    replayers: list[tuple[Collection[int], Callable[[Replay], None]]] = field(default_factory=list)
    refuse: Exception | None = None
    holds: list[int] = field(default_factory=list)  # of the segment, whenever something was appended
    is_slow: bool = False  # what was begun is durable when it is waited for, not at once

    def __post_init__(self) -> None:
        self.segment = Segment(cast("Journal[Any]", self), Path(), -1)

    def relax(self) -> None:
        """What a real journal does when nobody holds a segment: cut it. This one remembers all."""

    async def append(self, kind: int, *parts: bytes) -> Segment:
        if self.refuse is not None:
            raise self.refuse
        self.holds.append(self.segment.holds)
        self.disk.utime("/dev/null")  # a call that a fault layer can fail
        self.waiting.append(Record(kind, b"".join(parts), 0))
        self.sync()
        return self.segment

    def begin(self, kind: int, *parts: bytes) -> asyncio.Future[Segment]:
        if self.is_slow:
            return asyncio.ensure_future(self.append(kind, *parts))
        written: asyncio.Future[Segment] = asyncio.get_running_loop().create_future()
        try:
            self.append(kind, *parts).send(None)
        except StopIteration as done:
            written.set_result(done.value)
        except Exception as error:
            written.set_exception(error)
        return written

    def note(self, kind: int, *parts: bytes) -> Segment:
        if self.refuse is not None:
            raise self.refuse
        self.waiting.append(Record(kind, b"".join(parts), 0))
        return self.segment

    def sync(self) -> None:
        self.durable += self.waiting
        self.waiting = []

    def replayer(self, kinds: Collection[int], replay: Callable[[Replay], None]) -> None:
        self.replayers.append((kinds, replay))

    def live(self) -> frozenset[tuple[int, int]]:
        return frozenset(self.segments)

    def replay(self) -> None:
        for kinds, replayer in self.replayers:
            replayer(Replay(self.durable, [0], lambda records, name: self.accepted.get(name)).of(kinds))

    def after_crash(self, disk: Disk) -> PaperJournal:
        """What the next process finds."""
        return PaperJournal(disk, list(self.durable), [], set(self.segments), self.accepted)


class NoBus:
    def send(self, topic: str, payload: bytes = b"", *, here: bool = False) -> None:
        pass

    def listen(self, topic: str, told: Callable[[bytes], None]) -> Callable[[], None]:
        return lambda: None


class Lines:
    """A log whose lines a test can read."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def debug(self, event: str, **facts: object) -> None:
        self.events.append(event)

    info = warning = error = debug

    def bind(self, **facts: object) -> Lines:
        return self


@dataclass
class House:
    """A site's store and what it stands on; `again` is the next process on the same folder."""

    root: Path
    clock: HandClock = field(default_factory=HandClock)
    disk: Disk = field(default_factory=Disk)
    boot: str = "first"
    journal: PaperJournal = field(default_factory=PaperJournal)
    limit: Callable[[str, str], Awaitable[int | None]] = no_limit
    log: Lines = field(default_factory=Lines)
    bus: Bus = field(default_factory=NoBus)
    store: LocalStore = field(init=False)
    means: Means = field(init=False)

    def __post_init__(self) -> None:
        self.journal.disk = self.disk
        self.means = Means(self.root, self.disk, self.clock, self.journal, self.bus, self.log, self.boot, self.limit, most_open=16)
        self.store = LocalStore(self.means)

    def again(self, *, power_lost: bool = False, disk: Disk | None = None, root: Path | None = None) -> House:
        boot = self.boot + "+" if power_lost else self.boot
        disk = disk or Disk()
        self.means.descriptors.close_all()
        house = House(root or self.root, self.clock, disk, boot, self.journal.after_crash(disk), self.limit)
        house.journal.replay()
        return house

    def beside(self) -> House:
        """Another worker of the same site."""
        return House(self.root, self.clock, Disk(), self.boot, PaperJournal(), self.limit, bus=self.bus)

    def close(self) -> None:
        self.means.descriptors.close_all()

    async def deliver(
        self, message: Message, *mailboxes: str, again: bool = False, folder: str = INBOX, limit: int | None = None
    ) -> list[Placed]:
        """Accepted, then delivered; raises what it was refused with."""
        self.journal.accepted[message.id] = message
        targets = [Target("example", mailbox, folder, limit=limit) for mailbox in mailboxes or ("alice",)]
        answers = await self.store.deliver(message, targets, arrived=self.clock.now(), again=again)
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return cast(list[Placed], list(answers))

    async def folder(self, name: str = INBOX, mailbox: str = "alice") -> LocalFolder:
        return await (await self.store.mailbox("example", mailbox)).open(name)


def turns(calls: Sequence[str], how: str) -> Sequence[int]:
    """The calls at which a deed that makes these is to die. Half of a call is something of its own for a write only, and at the very end:
    any other call is done or not, and done it is what death before the next one finds. After a sync a killed process leaves what it left before."""
    every = range(1, len(calls) + 1)
    if how == "die":
        return [at for at in every if at == 1 or calls[at - 2] not in SYNCS]
    return [at for at in every if calls[at - 1] in WRITES or at == len(calls)]


def letter(number: int = 1, text: str = "Hello.", size: int = 0) -> MemoryMessage:
    """A message whose id follows from its number."""
    head = f"From: bob@example.test\r\nTo: alice@example.test\r\nSubject: Letter {number}\r\nDate: Mon, 2 Mar 2026 10:00:00 +0100\r\n"
    data = f"{head}Message-ID: <{number}@example.test>\r\n\r\n{text}\r\n".encode()
    return MemoryMessage(derived_id("letter", str(number)), data.ljust(size, b"x"))


def run(main: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(main)


def logs_open(root: Path) -> list[str]:
    """What of logs below this is open in this process, removed ones too, from `Postoffices` on."""
    links = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            links.append(os.readlink(f"/proc/self/fd/{fd}"))
    below = f"{os.path.realpath(root)}/"
    return sorted(link[len(below) :] for link in links if link.startswith(below) and "/log" in link)


def files_in(folder: LocalFolder) -> Sequence[str]:
    return sorted(path.name[:32] for path in Path(folder.directory).glob("*.MAI"))


def cut_log(path: Path, size: int) -> None:
    """The log's later pages never reached the disk."""
    path.write_bytes(path.read_bytes()[:size])
