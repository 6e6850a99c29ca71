"""Mail at rest leaves a house whose process dies, loses power or meets a full disk at any call: nobody's mail is lost, and who was known to
have it is not sent it again. Every third call; `POSTROOM_FAULTS=all` tries each.

The far side is a list that no crash touches. What was heard before a death and not yet noted may be sent twice (RFC 1047), and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

import pytest

from postroom.address import InternalAddress, smtp
from postroom.connectors import Agent
from postroom.envelope import Attempt, Envelope, Recipient
from postroom.errors import DiskError
from postroom.message import MemoryMessage, Message, derived_id
from postroom.outcome import Deferred, Delivered, Outcome, Reply
from postroom.retry import RetryPolicy
from postroom_disk.disk import Disk
from postroom_run.caretaker import Caretaker
from postroom_run.control import Refused
from postroom_run.requests import QueueRequests
from postroom_testing.faults import FaultDisk, PowerDisk

from .house import House, Told, live, make_site

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")]
ALL = os.environ.get("POSTROOM_FAULTS") == "all"
SEEDS = (None, 1, 2, 3) if ALL else (None, 1)
TEXT = b"Subject: x\r\n\r\n" + (b"." * 76 + b"\r\n") * 8
TO = {
    "one": ("a@fast.test",),
    "two": ("b@fast.test", "c@slow.test"),
    "three": ("d@slow.test",),
    "four": ("e@fast.test", "f@fast.test"),
    "held": ("g@fast.test",),
}
ITEMS = {name: derived_id("0" * 32, "queue", name) for name in TO}


@dataclass
class World:
    """The far side, and who was known to have it when something was told."""

    got: Counter[str] = field(default_factory=Counter)
    known: Counter[str] = field(default_factory=Counter)  # deliveries that were settled
    tries: Counter[str] = field(default_factory=Counter)
    again: list[str] = field(default_factory=list)  # who was known to have it when it was sent to them
    is_marked: bool = False  # whether every pair leaves a mark, as one does that a journal could still make again

    acronym, is_local = "SMTP", False

    def hop(self, address: InternalAddress) -> str:
        return ""

    def refuses(self, address: InternalAddress) -> Reply | None:
        return None

    async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
        """slow.test takes nothing at first."""
        assert (await message.read()).rstrip(b"x") == TEXT
        return [self._deliver(recipient) for recipient in envelope.recipients]

    def _deliver(self, recipient: Recipient) -> Outcome:
        to = recipient.address.detail
        self.tries[to] += 1
        if to.endswith("slow.test") and self.tries[to] == 1:
            return Deferred(recipient, Reply(451, "4.7.1", "not yet"))
        self.got[to] += 1
        if self.known[to]:
            self.again.append(to)
        return Delivered(recipient)

    def agents(self) -> Iterable[Agent]:
        return ()

    def observe(self, envelope: Envelope, outcomes: Sequence[Outcome]) -> None:
        self.known.update(outcome.recipient.address.detail for outcome in outcomes if isinstance(outcome, Delivered))


def resting(root: Path) -> Path:
    """A site with five pairs in its Outgoing queue."""

    async def work(house: House) -> None:
        spool = house.parts.site.spool
        for name, item in ITEMS.items():
            recipients = tuple(Recipient(smtp(to)) for to in TO[name])
            envelope = Envelope(item, item, "SF", smtp("s@example.test"), recipients, 2e9, attempt=Attempt(1, 1e9), hop=name)
            spool.rest(spool["SMTP"].outgoing, envelope, MemoryMessage(item, TEXT))

    assert asyncio.run(live(make_site(root), Disk(), Told(), work))
    return root


def joined(house: House, world: World) -> Caretaker:
    """The far side is there, and what it puts off is due at once."""
    house.parts.mta.connectors = {**house.parts.mta.connectors, "SMTP": world}
    outbound = house.parts.mta.outbound
    outbound.retry, outbound.observe = RetryPolicy(delays=(0.0,)), world.observe
    caretaker = Caretaker(house.parts)
    if world.is_marked:
        caretaker._handing._aged = inf
    return caretaker


async def operated(house: House, world: World) -> None:
    """An operator holds one, all that is due goes, one that was put off is retried, what was held is let go."""
    caretaker, requests = joined(house, world), QueueRequests(house.parts)
    try:
        requests.hold(ITEMS["held"])
        await caretaker.round()
        await house.settled()
        await requests.retry()
        await caretaker.round()
        await house.settled()
        requests.release(ITEMS["held"])
        await caretaker.round()
        await house.settled()
    finally:
        caretaker.close()


def after(root: Path, world: World) -> list[str]:
    """A new worker takes over; what is wrong then."""
    left: list[str] = []

    async def look(house: House) -> None:
        caretaker, requests = joined(house, world), QueueRequests(house.parts)
        for _ in range(4):
            await requests.retry()
            try:
                requests.release(ITEMS["held"])
            except Refused:
                pass
            caretaker._handing._looked = -1e9
            await caretaker.round()
            await house.settled()
        left.extend(item for queue in house.parts.site.spool.queues() for item, _ in queue.items())
        caretaker.close()

    assert asyncio.run(live(root, Disk(), Told(), look))
    everybody = [to for several in TO.values() for to in several]
    lost = [f"{to} never got it" for to in everybody if not world.got[to]]
    again = [f"{to} was known to have it and got it again" for to in world.again]
    return [*lost, *again, *(f"{to} got it {n} times" for to, n in world.got.items() if n > 2), *(f"{item} still rests" for item in left)]


def calls(tmp_path: Path, is_marked: bool) -> range:
    disk = FaultDisk()
    assert asyncio.run(live(resting(tmp_path / "count"), disk, Told(), lambda house: operated(house, World(is_marked=is_marked))))
    return range(1, len(disk.calls) + 1, 1 if ALL else 3)


marks = pytest.mark.parametrize("is_marked", [False, True], ids=["no marks", "marks"])


def test_without_a_fault_everybody_gets_it_once(tmp_path: Path) -> None:
    root, world = resting(tmp_path / "site"), World()
    assert asyncio.run(live(root, Disk(), Told(), lambda house: operated(house, world)))
    assert after(root, world) == [] and set(world.got.values()) == {1} and len(world.got) == 7
    assert [*(root / "Bad Mail").glob("*.MAI")] == []


@marks
@pytest.mark.parametrize("how", ["die", "tear"])
def test_killed_at_any_call(tmp_path: Path, how: str, is_marked: bool) -> None:
    for at in calls(tmp_path, is_marked):
        root, world = resting(tmp_path / str(at)), World(is_marked=is_marked)
        asyncio.run(live(root, FaultDisk(at, how), Told(), lambda house, world=world: operated(house, world)))  # type: ignore[misc]
        assert after(root, world) == [], f"killed at call {at}"
        shutil.rmtree(root)


@marks
def test_power_cut_at_any_call(tmp_path: Path, is_marked: bool) -> None:
    for at in calls(tmp_path, is_marked):
        root, world = resting(tmp_path / str(at)), World(is_marked=is_marked)
        disk = PowerDisk(root, at)
        asyncio.run(live(root, disk, Told(), lambda house, world=world: operated(house, world)))  # type: ignore[misc]
        for seed in SEEDS:
            disk.cut(tmp_path / "after", seed)
            then = World(Counter(world.got), Counter(world.known), Counter(world.tries), [*world.again], world.is_marked)
            assert after(tmp_path / "after", then) == [], f"cut at call {at}, seed {seed}"
        shutil.rmtree(root)


@marks
@pytest.mark.parametrize("how", ["full", "broken"])
def test_a_disk_that_refuses_any_call(tmp_path: Path, how: str, is_marked: bool) -> None:
    async def stubborn(house: House, world: World) -> None:
        for _ in range(2):
            try:
                await operated(house, world)
            except (DiskError, Refused, OSError):
                pass

    for at in calls(tmp_path, is_marked):
        root, world = resting(tmp_path / str(at)), World(is_marked=is_marked)
        asyncio.run(live(root, FaultDisk(at, how), Told(), lambda house, world=world: stubborn(house, world)))  # type: ignore[misc]
        assert after(root, world) == [], f"refused at call {at}"
        shutil.rmtree(root)
