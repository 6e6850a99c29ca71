"""Transfer hooks that misbehave, each in a way of its own, whenever a message says `X-Bad`; all other messages pass.

The classes stand at the top of a module, so that a child can import them by name.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from postroom import hookimpl
from postroom.message import FileMessage, MemoryMessage, derived_id
from postroom.site import Ground, Site
from postroom.transfer import PASS, Discard, Quarantine, Reject, Replace, TransferEvent, Verdict
from postroom_postoffice.api import MailboxDelivery

MARK = b"X-Bad"
HUGE = 10_000_000  # characters of a reason
KEPT: list[bytearray] = []  # what leaks


def stay() -> None:
    threading.Event().wait()


class BadSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    seconds: float = Field(3600.0, description="how long what blocks blocks")
    mib: int = Field(64, description="how much what leaks leaks")


class Bad:
    """Passes what has no mark."""

    Settings = BadSettings

    def __init__(self, settings: BadSettings, ground: Ground) -> None:
        self.settings, self.ground = settings, ground

    @hookimpl
    async def mta_pickup(self, event: TransferEvent) -> Verdict:
        data = await event.message.read(0, 4096)
        return await self.misbehave(event) if MARK in data else PASS

    async def misbehave(self, event: TransferEvent) -> Verdict:
        raise NotImplementedError


class Hangs(Bad):
    async def misbehave(self, event: TransferEvent) -> Verdict:
        await asyncio.Event().wait()
        return PASS


class Blocks(Bad):
    async def misbehave(self, event: TransferEvent) -> Verdict:
        time.sleep(self.settings.seconds)  # the block itself is what is looked at
        return PASS


class Raises(Bad):
    async def misbehave(self, event: TransferEvent) -> Verdict:
        raise ValueError("boom")


class Exits(Bad):
    async def misbehave(self, event: TransferEvent) -> Verdict:
        raise SystemExit(3)


class Nonsense(Bad):
    async def misbehave(self, event: TransferEvent) -> Any:
        return 42


class NoMessage(Bad):
    async def misbehave(self, event: TransferEvent) -> Verdict:
        return Replace("a text")  # type: ignore[arg-type]


class LongReason(Bad):
    async def misbehave(self, event: TransferEvent) -> Verdict:
        return Reject("because " + "x" * HUGE)


class LargeMessage(Bad):
    async def misbehave(self, event: TransferEvent) -> Verdict:
        return Replace(MemoryMessage(event.message.id, bytes(100 << 20)))


class Recurses(Bad):
    """Calls itself until the interpreter has enough."""

    async def misbehave(self, event: TransferEvent) -> Verdict:
        return await self.misbehave(event)


class SendsMail(Bad):
    """Puts the same mail in again for every mail it sees: without a guard that has no end."""

    site: Site

    @hookimpl
    def services(self, site: Site) -> Iterable[Any]:
        self.site = site
        return []

    async def misbehave(self, event: TransferEvent) -> Verdict:
        id = derived_id(event.message.id, "again")
        again = replace(event.envelope, id=id, message=id)
        await self.site.intake.accept(again, MemoryMessage(id, await event.message.read()))
        return PASS


class TouchesJournal(Bad):
    async def misbehave(self, event: TransferEvent) -> Verdict:
        await self.ground.journal.append(1, b"")
        return PASS


class LeaksThreads(Bad):
    async def misbehave(self, event: TransferEvent) -> Verdict:
        for _ in range(40):
            threading.Thread(target=stay, daemon=True).start()
        return PASS


class Grows(Bad):
    async def misbehave(self, event: TransferEvent) -> Verdict:
        for _ in range(self.settings.mib):
            KEPT.append(bytearray(b"x") * (1 << 20))
        return PASS


class Dies(Bad):
    async def misbehave(self, event: TransferEvent) -> Verdict:
        os._exit(9)


class Spawns(Bad):
    """Starts a program and waits for it."""

    async def misbehave(self, event: TransferEvent) -> Verdict:
        program = await asyncio.create_subprocess_exec("sleep", "3600")
        (self.ground.root / "spawned").write_text(str(program.pid))
        await program.wait()
        return PASS


class Chats(Bad):
    """Logs more than anybody reads."""

    async def misbehave(self, event: TransferEvent) -> Verdict:
        for number in range(5000):
            self.ground.log.info("chat", number=number, event_="told", error=ValueError("no"))
        return PASS


class Replaces(Bad):
    """Marks a message, in memory or in a file of its own; says how many it saw."""

    async def misbehave(self, event: TransferEvent) -> Verdict:
        return Replace(MemoryMessage(event.message.id, b"X-Seen: yes\r\n" + await event.message.read()))

    @hookimpl
    async def mta_delivery(self, event: TransferEvent) -> Verdict:
        path = self.ground.root / "edited"
        path.write_bytes(b"X-Sent: yes\r\n" + await event.message.read())
        return Replace(FileMessage(event.message.id, path, path.stat().st_size))


class OneOfAll(Bad):
    """Misbehaves as the message says: `X-Bad: Raises`."""

    async def misbehave(self, event: TransferEvent) -> Verdict:
        name = (await event.message.read()).partition(MARK + b": ")[2].split()[0].decode()
        kind: Any = globals()[name]
        verdict: Verdict = await kind.misbehave(self, event)
        return verdict


class OneOfAllInline(OneOfAll, SendsMail):
    """The same with what only an inline plugin can do."""


class Marks(Bad):
    """Puts its own name on top of a message."""

    async def misbehave(self, event: TransferEvent) -> Verdict:
        return Replace(MemoryMessage(event.message.id, b"X-Mark: %s\r\n" % self.ground.name.encode() + await event.message.read()))


class Objects(Bad):
    """Has something to say about most messages, by their own `X-Chance`; a sixth makes it fail."""

    @hookimpl
    async def mta_pickup(self, event: TransferEvent) -> Verdict:
        data = await event.message.read()
        await asyncio.sleep(0)
        answers: list[Verdict] = [
            PASS,
            Replace(MemoryMessage(event.message.id, b"X-Seen: yes\r\n" + data)),
            Reject("no"),
            Quarantine("odd"),
            Discard("away"),
        ]
        return answers[int(data.partition(b"X-Chance: ")[2][:1])]


class Offers(Bad):
    """Offers what cannot be isolated."""

    @hookimpl
    def health(self, site: Site) -> Iterable[str]:
        return []


class OffersRcpt(Bad):
    """Offers a hook of another plugin that is no transfer event."""

    @hookimpl
    async def smtp_rcpt(self, event: object) -> object:
        return None


class Files(Bad):
    """Offers a transfer event of another plugin: says where a copy is to lie, as a reason."""

    @hookimpl
    async def mailbox_delivery(self, event: MailboxDelivery) -> Verdict:
        return Reject(f"{event.postoffice}/{event.mailbox}/{event.folder}")


class Broken(Bad):
    def __init__(self, settings: BadSettings, ground: Ground) -> None:
        raise RuntimeError("no scanner here")


class Crashes(Bad):
    def __init__(self, settings: BadSettings, ground: Ground) -> None:
        os._exit(7)
