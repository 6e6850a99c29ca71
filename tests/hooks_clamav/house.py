"""What the scanner's tests share: messages, events, a plugin at a fake clamd."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Gauge

from postroom.address import InternalAddress, smtp
from postroom.envelope import Envelope, Peer, Recipient
from postroom.message import FileMessage, MemoryMessage, Message, new_id
from postroom.settings import parse
from postroom.transfer import Stage, TransferEvent
from postroom_clamav.plugin import ClamavPlugin
from postroom_clamav.pool import Address, Pool
from postroom_testing.clock import HandClock
from postroom_testing.ground import Lines, ground_in
from tests.hooks_clamav.clamd import MARK, FakeClamd, fake_clamd

TEXT = b"Return-Path: <a@example.com>\r\nReceived: by us\r\nFrom: a@example.com\r\nSubject: hello\r\n\r\nbody\r\n"
SICK = TEXT + MARK + b"\r\n"
FORGED = TEXT.replace(b"Subject", b"X-Virus-Status: Clean\r\nx-virus-scanned:\r\n\tforged\r\nSubject")


def small(data: bytes = TEXT) -> MemoryMessage:
    return MemoryMessage(new_id(), data)


def large(folder: Path, head: bytes = TEXT, octets: int = 700_000, tail: bytes = b"") -> FileMessage:
    """A message in a file, too large for memory."""
    name = new_id()
    path = folder / f"{name}.MAI"
    line = b"0123456789" * 7 + b"\r\n"
    data = head + line * ((octets - len(head) - len(tail)) // len(line)) + tail
    path.write_bytes(data)
    return FileMessage(name, path, len(data))


def event(
    message: Message,
    *,
    trusted: bool = False,
    source: str = "SMTP",
    stage: Stage = Stage.PICKUP,
    sender: str | None = "a@example.com",
    to: tuple[str, ...] = ("bob@example.test",),
) -> TransferEvent:
    recipients = tuple(Recipient(InternalAddress.parse(one) if one.startswith("[") else smtp(one)) for one in to)
    envelope = Envelope(
        message.id, message.id, source, smtp(sender) if sender else None, recipients, 1_000_000.0, peer=Peer("192.0.2.1", trusted=trusted)
    )
    return TransferEvent(stage, envelope, message, source)


@dataclass
class Bench:
    """A plugin, the clamd it asks, and its clock."""

    plugin: ClamavPlugin
    clamd: FakeClamd
    clock: HandClock
    lines: Lines
    value: Callable[[str], float]

    async def pickup(self, message: Message, **event_of: Any) -> Any:
        return await self.plugin.mta_pickup(event(message, **event_of))


@contextlib.asynccontextmanager
async def scanning(folder: Path, settings: str = "", *, hooks: str = "{}") -> AsyncIterator[Bench]:
    """A plugin with these settings, in flow style, at a fake clamd."""
    async with fake_clamd(folder / "clamd.ctl") as clamd:
        yaml = f"server: mail.example.test\nplugins:\n  clamav: {{socket: clamd.ctl, hooks: {hooks}, {settings}}}\n"
        clock, lines = HandClock(), Lines()
        ground = ground_in(folder, yaml, clock=clock, log=lines)
        ground = type(ground)(**{**vars(ground), "name": "clamav"})
        entry = parse(yaml).plugins["clamav"]
        plugin = ClamavPlugin(ground.settings.table_of(entry, ClamavPlugin.Settings), ground)

        def value(name: str) -> float:
            shown = ground.metrics.exposition()
            return sum(float(line.rpartition(" ")[2]) for line in shown.splitlines() if line.startswith(f"postroom_clamav_{name}{{"))

        try:
            yield Bench(plugin, clamd, clock, lines, value)
        finally:
            await plugin.scanner.courier.drain()
            plugin.scanner.pool.close()
            await asyncio.sleep(0)


def gauge() -> Gauge:
    return Gauge("connections", "of a test", registry=CollectorRegistry())


def pool_at(clamd: FakeClamd, most: int = 4, *, clock: HandClock | None = None, seconds: float = 5.0, level: Gauge | None = None) -> Pool:
    port = str(clamd.path)
    address = Address(None, "127.0.0.1", int(port)) if port.isdigit() else Address(clamd.path)
    return Pool(address, most, seconds, clock or HandClock(), level or gauge())
