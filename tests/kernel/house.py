"""What the kernel's tests share: a spool in a folder, hooks that are plain functions, a connector that remembers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from postroom.address import InternalAddress, smtp
from postroom.addressmap import AddressMap, Resolution
from postroom.connectors import Agent
from postroom.envelope import Envelope, Peer, Recipient
from postroom.journal import Journal
from postroom.message import MemoryMessage, Message, new_id
from postroom.mta import Mta
from postroom.outbound import Outbound
from postroom.outcome import Delivered, Outcome, Reply
from postroom.records import AddressMapRecord, DomainRecord
from postroom.retry import RetryPolicy
from postroom.spool import Spool
from postroom.transfer import PASS, Replace, TransferEvent, Verdict
from postroom_disk.disk import Disk
from tests.due import due_items

TEXT = b"From: a@example.com\r\nTo: b@example.test\r\nSubject: hello\r\n\r\nbody\r\n"


class Clock:
    """Time that stands until it is set."""

    def __init__(self, at: float = 1_000_000.0) -> None:
        self.at = at

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at

    async def sleep(self, seconds: float) -> None:
        self.at += seconds


class Lines:
    """A log that keeps its lines."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, str, dict[str, Any]]] = []

    def bind(self, **facts: object) -> Lines:
        return self

    def _take(self, level: str) -> Callable[..., None]:
        def take(event: str, **facts: Any) -> None:
            self.lines.append((level, event, facts))

        return take

    def __getattr__(self, level: str) -> Callable[..., None]:
        return self._take(level)


def envelope(*to: str, sender: str | None = "a@example.com", **other: Any) -> Envelope:
    item = new_id()
    recipients = tuple(Recipient(InternalAddress.parse(one) if one.startswith("[") else smtp(one)) for one in to or ("bob@example.test",))
    who = smtp(sender) if sender else None
    return Envelope(
        id=item, message=item, source="SMTP", sender=who, recipients=recipients, arrived=1_000_000.0, peer=Peer(trusted=True), **other
    )


def message(of: Envelope, data: bytes = TEXT) -> MemoryMessage:
    return MemoryMessage(of.message, data)


class Map:
    """A router over rows written here."""

    def __init__(self, *rows: tuple[str, str], ours: Iterable[str] = ("example.test",)) -> None:
        self.map = AddressMap.of([AddressMapRecord(*row) for row in rows], [DomainRecord(domain) for domain in ours])

    def resolve(self, address: InternalAddress) -> Resolution:
        return self.map.resolve(address)


@dataclass
class Hooks:
    """Hooks as the host would call them, from plain functions."""

    at_pickup: Callable[[TransferEvent], Verdict] | None = None
    at_delivery: Callable[[TransferEvent], Verdict] | None = None

    def has(self, name: str) -> bool:
        return {"mta_pickup": self.at_pickup, "mta_delivery": self.at_delivery}[name] is not None

    async def pickup(self, event: TransferEvent) -> tuple[Verdict, TransferEvent]:
        return self._ask(self.at_pickup, event)

    async def delivery(self, event: TransferEvent) -> tuple[Verdict, TransferEvent]:
        return self._ask(self.at_delivery, event)

    def _ask(self, hook: Callable[[TransferEvent], Verdict] | None, event: TransferEvent) -> tuple[Verdict, TransferEvent]:
        verdict = hook(event) if hook else PASS
        return (PASS, replace(event, message=verdict.message)) if isinstance(verdict, Replace) else (verdict, event)


@dataclass
class Remembering:
    """A connector that keeps what it was given, or answers as told."""

    acronym: str = "SF"
    is_local: bool = True
    answer: Callable[[Envelope, Message], Sequence[Outcome]] | None = None
    got: list[tuple[Envelope, bytes]] = field(default_factory=list)

    def hop(self, address: InternalAddress) -> str:
        return "" if self.acronym == "SF" else address.domain

    def refuses(self, address: InternalAddress) -> Reply | None:
        return None

    async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
        self.got.append((envelope, await message.read()))
        return self.answer(envelope, message) if self.answer else [Delivered(recipient) for recipient in envelope.recipients]

    def agents(self) -> Iterable[Agent]:
        return ()


@dataclass
class House:
    """Journal, spool and MTA of one worker over a folder."""

    root: Path
    hooks: Hooks = field(default_factory=Hooks)
    connectors: Sequence[Remembering] = ()
    router: Map = field(default_factory=lambda: Map(("[SMTP:bob@example.test]", "[SF:PO/bob]"), ("[SMTP:*@*]", "[SMTP:*]")))
    clock: Clock = field(default_factory=Clock)
    disk: Disk = field(default_factory=Disk)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    segment_size: int = 1 << 20

    async def __aenter__(self) -> House:
        self.log = Lines()
        self.journal = Journal(self.root / "Journal", self.disk, segment_size=self.segment_size)
        self.journal.open()
        self.damaged: list[tuple[str, str]] = []
        self.spool = Spool(self.root, self.disk, self.journal, self.clock, damaged=lambda item, why: self.damaged.append((item, why)))
        outbound = Outbound(self.spool, self.clock, self.log, "mail.example.test", self.retry)
        self.mta = Mta(self.spool, self.router, self.hooks, outbound, self.clock, self.log)  # type: ignore[arg-type]
        outbound.accept = self.mta.accept
        self.mta.connectors = {connector.acronym: connector for connector in self.connectors}
        self.replayed = self.journal.recover()
        await self.journal.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.mta.drain()
        await self.journal.close()

    def pairs(self, queue: str) -> list[str]:
        folder = self.root / queue
        return sorted(path.stem for path in folder.glob("*.MAI")) if folder.is_dir() else []

    def take_due(self, now: float | None = None) -> int:
        """What the caretaker does at each look."""
        claims = [self.spool.claim(queue, item) for queue, item in list(due_items(self.spool, self.clock.now() if now is None else now))]
        for claim in filter(None, claims):
            self.mta.take(claim)
        return sum(claim is not None for claim in claims)


def run(work: Awaitable[None]) -> None:
    asyncio.run(work)  # type: ignore[arg-type]
