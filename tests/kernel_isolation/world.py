"""A host whose plugin runs in processes of its own, real ones, and messages to ask it about."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, cast

from postroom.address import smtp
from postroom.clock import Clock, SystemClock
from postroom.envelope import Envelope, Recipient
from postroom.host import GROUP, Host
from postroom.message import MemoryMessage, Message, new_id
from postroom.transfer import Stage, TransferEvent, Verdict
from postroom_isolation.isolating import Isolated, Isolation
from postroom_isolation.pool import Pool
from postroom_isolation.process import Child
from postroom_run.listing import listing
from postroom_testing.ground import Lines, ground_in

ROOT = Path(__file__).parents[2]
GOOD, BAD = b"Subject: good\r\n\r\nhello\r\n", b"X-Bad: yes\r\n\r\nhello\r\n"
MODULE = "tests.kernel_isolation.bad"


class World:
    """The host, its log, and who runs for it."""

    def __init__(self, folder: Path, kind: str, hooks: str = "", more: str = "", clock: Clock | None = None) -> None:
        self.log = Lines()
        yaml = f"server: mail.example.test\nplugins:\n  bad: {{hooks: {{isolation: process, {hooks}}}{more}}}\n"
        self.ground = ground_in(folder, yaml, clock=clock or SystemClock(), log=self.log)
        self.isolation = Isolation(self.ground)
        point = EntryPoint("bad", f"{MODULE}:{kind}", GROUP)
        self.host = Host(self.ground.settings, self.ground, {"bad": point}, self.isolation)

    @property
    def pool(self) -> Pool:
        return cast(Isolated, self.host.plugins["bad"]).pool

    @property
    def children(self) -> list[Child]:
        return list(self.pool._all)

    @property
    def counters(self) -> dict[str, Any]:
        return cast(dict[str, Any], listing(self.host)[0]["hooks"]["mta_pickup"])

    async def ask(self, data: bytes = GOOD, message: Message | None = None) -> Verdict:
        return (await self.asked(data, message))[0]

    async def asked(self, data: bytes = GOOD, message: Message | None = None) -> tuple[Verdict, TransferEvent]:
        return await self.host.pickup(event(message or MemoryMessage(new_id(), data)))


def event(message: Message) -> TransferEvent:
    recipients = (Recipient(smtp("bob@example.test")),)
    return TransferEvent(
        Stage.PICKUP, Envelope(message.id, message.id, "SMTP", smtp("ann@example.com"), recipients, 1.8e9), message, "SMTP"
    )


@asynccontextmanager
async def world(folder: Path, kind: str, hooks: str = "", more: str = "", clock: Clock | None = None) -> AsyncIterator[World]:
    made = World(folder, kind, hooks, more, clock)
    try:
        yield made
    finally:
        made.host.close()
        made.isolation.close()  # for a host that was never made whole


def gone(pid: int) -> bool:
    """Whether this process is no more, or only waits to be buried."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def paths(monkeypatch: Any) -> None:
    """Children find the tests' own modules."""
    before = os.environ.get("PYTHONPATH", "")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}{os.pathsep}{before}" if before else str(ROOT))
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
