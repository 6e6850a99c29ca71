"""Programs written for the old contract, and a ground on which they are asked: real files, real processes, a clock turned by hand."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

from postroom.envelope import Envelope
from postroom.message import MemoryMessage, Message
from postroom.site import Ground
from postroom.transfer import Stage, TransferEvent, Verdict
from postroom_command.plugin import CommandPlugin
from postroom_command.settings import CommandSettings
from postroom_postoffice.api import MailboxDelivery
from postroom_testing.ground import Lines, ground_in
from postroom_testing.mail import envelope, letter

ASKED = 'message="Queues/$2/Inbound/Messages/$1"; command="Queues/$2/Inbound/$1"\n'  # where the old contract has the pair at pickup


def script(folder: Path, text: str, *, name: str = "program") -> str:
    """A shell program of these lines; its path."""
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n", "utf-8")
    path.chmod(0o755)
    return str(path)


class House:
    """A plugin over a site's folder."""

    def __init__(self, folder: Path, text: str = "exit 0", *, stage: str = "pickup", place: Path | None = None, **settings: object) -> None:
        self.root = folder / "site"
        self.root.mkdir(exist_ok=True)
        self.lines = Lines()
        self.ground: Ground = ground_in(self.root, log=self.lines)
        self.program = script(place or folder, text)
        self.plugin = CommandPlugin(CommandSettings.model_validate({stage: (self.program,), **settings}), self.ground)

    def left(self) -> list[str]:
        """Every file of the site but its settings, from its folder."""
        return sorted(
            str(path.relative_to(self.root)) for path in self.root.rglob("*") if not path.is_dir() and path.name != "postroom.yaml"
        )

    def facts(self, event: str) -> dict[str, object]:
        """What the first line of this name told."""
        return next(facts for _, name, facts in self.lines.told if name == event)

    async def picked_up(self, message: Message | None = None, sent: Envelope | None = None) -> Verdict:
        message = message or letter()
        sent = sent or envelope(message)
        return await self.plugin.mta_pickup(TransferEvent(Stage.PICKUP, sent, message, sent.source))

    async def handed_over(self, target: str = "SF") -> Verdict:
        message = letter()
        return await self.plugin.mta_delivery(TransferEvent(Stage.DELIVERY, envelope(message), message, "SMTP", target))

    async def delivered(self, postoffice: str = "Acme", mailbox: str = "bob") -> Verdict:
        message = letter()
        event = MailboxDelivery(
            Stage.DELIVERY, envelope(message), message, "SMTP", "SF", postoffice=postoffice, mailbox=mailbox, folder="Inbox"
        )
        return await self.plugin.mailbox_delivery(event)


@contextmanager
def after_steps(number: int, act: Callable[[], object]) -> Iterator[Callable[[], bool]]:
    """Inside the block `act` is called when the loop has done so many steps; the answer tells whether it was."""
    run, left = asyncio.Handle._run, number

    def counted(handle: asyncio.Handle) -> None:
        nonlocal left
        run(handle)
        left -= 1
        if left == 0:
            act()

    with mock.patch.object(asyncio.Handle, "_run", counted):
        yield lambda: left <= 0


def verdict(folder: Path, text: str, message: MemoryMessage | None = None, **settings: Any) -> tuple[Verdict, House]:
    """What a program asked at pickup answers, and the house it leaves."""
    house = House(folder, text, **settings)
    return asyncio.run(house.picked_up(message)), house


def alive(pid: int) -> bool:
    """Whether that process runs; one that is dead and not yet reaped does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status != "Z"


def pids(path: Path) -> list[int]:
    """The process ids a program wrote into a file, one a line."""
    return [int(word) for word in path.read_text().split()] if os.path.exists(path) else []
