"""What the suites of a mail store stand on: a site of the test's own with two mailboxes, deliveries into them, and all that lies in one.

A refusal of a delivery is raised, so that a test says what it expects; the site is closed when a test ends, whatever happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

from postroom.clock import Clock
from postroom.errors import DiskError, StoreError
from postroom.mailstore import INBOX, Folder, Mailbox, MailStore, Placed, Target
from postroom.message import Message
from postroom.records import MailboxRecord, PostofficeRecord
from postroom.site import Site
from postroom_testing.plugin import Alive, PluginContract

PO = "example.test"
Held = dict[str, list[tuple[int, bytes, int]]]  # by folder: UID, octets, flags
Check = Callable[[Alive], Awaitable[None]]


class StoreGround(PluginContract):
    """Name your class and its settings."""

    house = ("tab",)
    many: ClassVar[int] = 200  # deliveries at once

    async def furnish(self, site: Site) -> None:
        await site.providers.postoffice.postoffices.put(PostofficeRecord(PO, 1, PO))
        await site.providers.postoffice.mailboxes.put(*(MailboxRecord(PO, name, 1, -1) for name in ("bob", "ann")))

    # What the tests say.

    def in_a_site(self, place: Path, check: Check, *, clock: Clock | None = None) -> None:
        async def main() -> None:
            async with self.alive(place, clock=clock) as alive:
                await check(alive)

        asyncio.run(main())

    def store(self, alive: Alive) -> MailStore:
        return alive.site.store

    async def box(self, alive: Alive, name: str = "bob") -> Mailbox:
        return await self.store(alive).mailbox(PO, name)

    async def folder(self, alive: Alive, name: str = INBOX, mailbox: str = "bob") -> Folder:
        return await (await self.box(alive, mailbox)).folder(name)

    async def deliver(
        self, alive: Alive, message: Message, *mailboxes: str, folder: str = INBOX, again: bool = False, limit: int | None = None
    ) -> list[Placed]:
        """Delivered to all of these; a refusal is raised."""
        targets = [Target(PO, name, folder, limit=limit) for name in mailboxes or ("bob",)]
        try:
            answers = await self.store(alive).deliver(message, targets, arrived=1.8e9, again=again)
        except (DiskError, StoreError) as error:
            raise AssertionError(f"deliver raised {error!r}: a refusal is an answer, for the other targets may have the message") from error
        assert len(answers) == len(targets), f"{len(targets)} targets got {len(answers)} answers"
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, Placed), f"{answer!r} is no answer"
        return [answer for answer in answers if isinstance(answer, Placed)]

    async def held(self, alive: Alive, mailbox: str = "bob") -> Held:
        """All that lies in a mailbox."""
        found: Held = {}
        for name in await (await self.box(alive, mailbox)).folders():
            folder = await self.folder(alive, name, mailbox)
            view = folder.view()
            assert list(view.uids) == sorted(set(view.uids)), f"the UIDs of {name} do not grow"
            found[name] = [(uid, await folder.read(uid), flags) for uid, flags in zip(view.uids, view.flags)]
            assert (view.status.messages, view.status.octets) == (len(view), sum(view.octets)), f"the counters of {name} are wrong"
        return found
