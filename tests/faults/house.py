"""A whole house in one process, to be killed: settings, TAB files, store, post office and MTA, put together as a worker puts them together.

A `Life` runs a piece of work until it ends or the disk dies; after a death nothing more reaches the disk, as in a `kill -9`. What the
server acknowledged by then is in `told`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from postroom.address import smtp
from postroom.clock import SystemClock
from postroom.envelope import Envelope, Peer, Recipient
from postroom.errors import ConfigError, DiskError
from postroom.journal import Journal
from postroom.message import SMALL, FileMessage, MemoryMessage, Message, derived_id
from postroom.settings import load
from postroom.site import Ground
from postroom_disk.disk import Disk
from postroom_ops.bus import LocalBus
from postroom_ops.metrics import Metrics
from postroom_run.assembly import Assembled, assemble, awake
from postroom_run.control import Control
from postroom_testing.faults import FaultDisk
from tests.due import due_items

YAML = """\
server: mail.example.test
plugins:
  tab: {watch: false}
  store: {}
  postoffice: {}
"""
TABLES = {
    "DOMAIN.TAB": "example.test\t1\t0\t\tPO\r\n",
    "POSTOFFICE.TAB": "PO\t1\tPO\r\n",
    "ADDRESS-MAP.TAB": (
        "[SMTP:alice@example.test]\t[SF:PO/alice]\t0\tPO\r\n"
        "[SMTP:bob@example.test]\t[SF:PO/bob]\t0\tPO\r\n"
        "[SMTP:sales@example.test]\t[SF:PO/sales]\t0\tPO\r\n"
    ),
    "Postoffices/PO/MAILBOX.TAB": "alice\t1\t-1\t0\t\r\nbob\t1\t-1\t0\t\r\n",
    "Postoffices/PO/GROUP-MAP.TAB": "[SF:PO/sales]\tsales\r\n",
    "Postoffices/PO/GROUPS/sales.TAB": "[SF:PO/alice]\r\n[SF:PO/bob]\r\n",
}
BOXES = {"alice": ("alice",), "bob": ("bob",), "sales": ("alice", "bob")}


class Silence:
    """A log for runs that are meant to go wrong."""

    def debug(self, event: str, **facts: object) -> None: ...
    def info(self, event: str, **facts: object) -> None: ...
    def warning(self, event: str, **facts: object) -> None: ...
    def error(self, event: str, **facts: object) -> None: ...
    def bind(self, **facts: object) -> Silence:
        return self


def make_site(root: Path) -> Path:
    for name, text in TABLES.items():
        path = root / "Config" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, newline="")
    (root / "postroom.yaml").write_text(YAML)
    return root


@dataclass
class Told:
    """What the server said that it did."""

    accepted: dict[str, tuple[str, ...]] = field(default_factory=dict)  # message id -> mailboxes it must be in
    tried: dict[str, tuple[str, ...]] = field(default_factory=dict)  # begun, perhaps not acknowledged
    removed: set[tuple[str, str]] = field(default_factory=set)  # (mailbox, message id) expunged, acknowledged
    removing: set[tuple[str, str]] = field(default_factory=set)  # begun, perhaps not acknowledged


@dataclass
class House:
    """The parts of a running house, and what a user does to it."""

    parts: Assembled
    journal: Journal
    told: Told

    async def send(self, number: int, to: str, *, octets: int = 600) -> None:
        """One message as the SMTP agent hands it over; acknowledged when this returns."""
        item = derived_id("0" * 32, "test", str(number))
        text = b"Subject: %d\r\n\r\n" % number
        text += (b"." * 76 + b"\r\n") * (octets // 78)
        message: Message = MemoryMessage(item, text)
        if octets > SMALL:
            path = self.parts.mta.big(item, "SMTP")
            fd = self.parts.site.disk.open(path, 0o101, 0o600)
            self.parts.site.disk.write_all(fd, text)
            self.parts.site.disk.close(fd)
            message = FileMessage(item, path, len(text))
        envelope = Envelope(item, item, "SMTP", smtp("a@example.com"), (Recipient(smtp(f"{to}@example.test")),), 1e9, Peer())
        self.told.tried[item] = BOXES[to]
        await self.parts.mta.accept(envelope, message)
        self.told.accepted[item] = BOXES[to]

    async def settled(self) -> None:
        """Everything under way has ended."""
        await self.parts.mta.drain()

    async def take_due(self) -> None:
        """What the caretaker does."""
        spool = self.parts.site.spool
        for queue, item in list(due_items(spool, self.parts.site.clock.now() + 1e6)):
            if (claim := spool.claim(queue, item)) is not None:
                self.parts.mta.take(claim)
        await self.settled()

    async def remove(self, box: str, number: int) -> None:
        """A user fetched a message and deletes it."""
        item = derived_id("0" * 32, "test", str(number))
        mailbox = await self.parts.site.store.mailbox("PO", box)
        for name in await mailbox.folders():
            folder = await mailbox.folder(name)
            view = folder.view()
            for row, uid in enumerate(view.uids):
                if view.message(row).id == item:
                    self.told.removing.add((box, item))
                    await folder.expunge([uid])
                    self.told.removed.add((box, item))

    async def move(self, box: str, number: int, to: str) -> None:
        item = derived_id("0" * 32, "test", str(number))
        mailbox = await self.parts.site.store.mailbox("PO", box)
        inbox = await mailbox.folder("Inbox")
        target = await mailbox.folder(to) if to in await mailbox.folders() else await mailbox.create(to)
        view = inbox.view()
        uids = [uid for row, uid in enumerate(view.uids) if view.message(row).id == item]
        await inbox.move(uids, target)

    async def delete_folder(self, box: str, name: str) -> None:
        mailbox = await self.parts.site.store.mailbox("PO", box)
        if name not in await mailbox.folders():
            return
        folder = await mailbox.folder(name)
        view = folder.view()
        here = {(box, view.message(row).id) for row in range(len(view))}
        self.told.removing |= here
        await mailbox.delete(name)
        self.told.removed |= here

    async def contents(self) -> dict[str, list[str]]:
        """Message ids of each mailbox, over all folders; each message's octets must be whole."""
        found: dict[str, list[str]] = {}
        for box in ("alice", "bob"):
            mailbox = await self.parts.site.store.mailbox("PO", box)
            ids = found.setdefault(box, [])
            for name in await mailbox.folders():
                folder = await mailbox.folder(name)
                view = folder.view()
                assert sorted(view.uids) == list(view.uids)
                for row, uid in enumerate(view.uids):
                    ids.append(view.message(row).id)
                    text = await folder.read(uid)
                    assert len(text) == view.octets[row]
                    assert text.startswith((b"Return-Path", b"Subject: "))
                    assert text.endswith(b".\r\n")
        return found


async def live(root: Path, disk: Disk, told: Told, work: Callable[[House], Awaitable[None]], slot: int | None = None) -> bool:
    """One life of a worker; whether it ended by itself. A dead disk ends it at once, and the operating system lets its locks go."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)  # callbacks of a dead process
    died = asyncio.Event()
    if isinstance(disk, FaultDisk):
        disk._died = lambda: loop.call_soon_threadsafe(died.set)
    journal = Journal(root / "Journal", disk, 65536, 6)
    log = Silence()

    async def run() -> None:
        journal.open(slot)
        bus = LocalBus(root / "run" / "bus", journal.slot, Disk(), log)
        control = Control(root / "run", "none", Disk(), log)
        ground = Ground(root, load(root), SystemClock(), disk, journal, Metrics(), log, bus, journal.slot)
        parts = assemble(ground, control)
        async with awake(parts):
            await work(House(parts, journal, told))
            await parts.mta.drain()

    task = asyncio.ensure_future(run())
    dead = asyncio.ensure_future(died.wait())
    await asyncio.wait([task, dead], return_when=asyncio.FIRST_COMPLETED)
    dead.cancel()
    others = [one for one in asyncio.all_tasks() if one is not asyncio.current_task()]
    if not task.done():
        for one in others:
            one.cancel()
    ended = await asyncio.gather(task, return_exceptions=True)
    await asyncio.gather(*others, return_exceptions=True)
    if (thread := getattr(journal, "_thread", None)) is not None:
        journal._closing = True
        journal._wake()
        await asyncio.to_thread(thread.join)
    await loop.shutdown_default_executor()
    if isinstance(disk, FaultDisk):
        disk.bury()
        if disk.dead:
            return False
    error = ended[0]
    if isinstance(error, BaseException) and not isinstance(error, DiskError | ConfigError):  # a start that was refused is an answer too
        raise error
    return error is None


def wrong(told: Told, found: dict[str, list[str]]) -> list[str]:
    """What is lost or doubled, a sentence each."""
    faults = []
    for item, boxes in told.tried.items():
        for box in boxes:
            count = found[box].count(item)
            if count > 1:
                faults.append(f"{item[:4]} is {count} times in {box}")
            if (box, item) in told.removed and count:
                faults.append(f"{item[:4]} came back to {box} after it was deleted")
            if item in told.accepted and not count and (box, item) not in told.removing:
                faults.append(f"{item[:4]} is lost from {box}")
    return faults
