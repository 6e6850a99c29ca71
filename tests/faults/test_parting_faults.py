"""Mail for others is accepted, parted and put off by a house whose process dies, loses power or meets a full disk at any call: all that was
acknowledged leaves, whole, and who was known to have it is not sent it again. Every third call; `POSTROOM_FAULTS=all` tries each.
"""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from pathlib import Path

import pytest

from postroom.address import smtp
from postroom.envelope import Envelope, Peer, Recipient
from postroom.errors import DiskError
from postroom.message import SMALL, FileMessage, MemoryMessage, Message, derived_id
from postroom_disk.disk import Disk
from postroom_testing.faults import FaultDisk, PowerDisk

from .house import House, Told, live, make_site
from .test_queue_faults import ALL, SEEDS, TEXT, World, joined

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")]
TO = {
    "one": ("a@fast.test",),
    "put off": ("b@slow.test",),
    "both": ("c@fast.test", "d@slow.test"),
    "more": ("e@slow.test", "f@fast.test", "g@later.slow.test"),
    "large": ("h@slow.test", "i@fast.test"),
}


TURNED = {"fast.test": "slow.test", "slow.test": "fast.test", "later.slow.test": "hub.test"}


class Far(World):
    """Each domain is a hop of its own; or, once the roads have turned, another's."""

    is_express = True
    is_turned = False

    def hop(self, address: object) -> str:
        domain = str(address).rpartition("@")[2].rstrip("]")
        return TURNED[domain] if self.is_turned else domain


def site(root: Path) -> Path:
    """One that sends to the outside."""
    with (make_site(root) / "Config" / "ADDRESS-MAP.TAB").open("a", newline="") as table:
        table.write("[SMTP:*@*.test]\t[SMTP:*]\t0\tSYSTEM\r\n")
    return root


def fresh(is_express: bool) -> tuple[Far, Told]:
    world = Far()
    world.is_express = is_express
    return world, Told()


lanes = pytest.mark.parametrize("is_express", [True, False], ids=["express", "at rest first"])
roads = pytest.mark.parametrize("is_turned", [False, True], ids=["same roads", "other roads"])  # when a new worker takes over


async def sent(house: House, world: Far, told: Told) -> None:
    """All of it; acknowledged when `accept` returns."""
    joined(house, world).close()
    house.parts.mta.express = world.is_express
    for name, recipients in TO.items():
        item = derived_id("0" * 32, "parting", name)
        message: Message = MemoryMessage(item, TEXT)
        if name == "large":
            path = house.parts.mta.big(item, "SMTP")
            fd = house.parts.site.disk.open(path, 0o101, 0o600)
            house.parts.site.disk.write_all(fd, TEXT + b"x" * SMALL)
            house.parts.site.disk.close(fd)
            message = FileMessage(item, path, len(TEXT) + SMALL)
        envelope = Envelope(item, item, "SMTP", smtp("s@example.com"), tuple(Recipient(smtp(to)) for to in recipients), 2e9, Peer())
        await house.parts.mta.accept(envelope, message)
        told.accepted[item] = recipients
        await house.settled()
        await house.take_due()


def after(root: Path, world: Far, told: Told) -> list[str]:
    """A new worker takes over; what is wrong then."""
    left: list[str] = []

    async def look(house: House) -> None:
        caretaker = joined(house, world)
        for _ in range(5):
            await house.take_due()
        left.extend(item for queue in house.parts.site.spool.queues() for item, _ in queue.items())
        caretaker.close()

    assert asyncio.run(live(root, Disk(), Told(), look))
    acknowledged = [to for several in told.accepted.values() for to in several]
    lost = [f"{to} never got it" for to in acknowledged if not world.got[to]]
    again = [f"{to} was known to have it and got it again" for to in world.again]
    return [*lost, *again, *(f"{to} got it {n} times" for to, n in world.got.items() if n > 2), *(f"{item} still rests" for item in left)]


def calls(tmp_path: Path, is_express: bool) -> range:
    disk = FaultDisk()
    world, told = fresh(is_express)
    assert asyncio.run(live(site(tmp_path / "count"), disk, told, lambda house: sent(house, world, told)))
    return range(1, len(disk.calls) + 1, 1 if ALL else 3)


@lanes
def test_without_a_fault_everybody_gets_it_once(tmp_path: Path, is_express: bool) -> None:
    world, told = fresh(is_express)
    root = site(tmp_path / "site")
    assert asyncio.run(live(root, Disk(), told, lambda house: sent(house, world, told)))
    assert after(root, world, told) == [] and set(world.got.values()) == {1} and len(world.got) == 9
    assert [*(root / "Bad Mail").glob("*.MAI")] == []


@lanes
@roads
@pytest.mark.parametrize("how", ["die", "tear"])
def test_killed_at_any_call(tmp_path: Path, how: str, is_turned: bool, is_express: bool) -> None:
    for at in calls(tmp_path, is_express):
        world, told = fresh(is_express)
        root = site(tmp_path / str(at))
        asyncio.run(live(root, FaultDisk(at, how), told, lambda house, world=world, told=told: sent(house, world, told)))  # type: ignore[misc]
        world.is_turned = is_turned
        assert after(root, world, told) == [], f"killed at call {at}"
        shutil.rmtree(root)


@lanes
@roads
def test_power_cut_at_any_call(tmp_path: Path, is_turned: bool, is_express: bool) -> None:
    for at in calls(tmp_path, is_express):
        world, told = fresh(is_express)
        root = site(tmp_path / str(at))
        disk = PowerDisk(root, at)
        asyncio.run(live(root, disk, told, lambda house, world=world, told=told: sent(house, world, told)))  # type: ignore[misc]
        for seed in SEEDS:
            disk.cut(tmp_path / "after", seed)
            then = Far(Counter(world.got), Counter(world.known), Counter(world.tries), [*world.again])
            then.is_turned = is_turned
            assert after(tmp_path / "after", then, told) == [], f"cut at call {at}, seed {seed}"
        shutil.rmtree(root)


@lanes
@pytest.mark.parametrize("how", ["full", "broken"])
def test_a_disk_that_refuses_any_call(tmp_path: Path, how: str, is_express: bool) -> None:
    async def stubborn(house: House, world: Far, told: Told) -> None:
        try:
            await sent(house, world, told)
        except (DiskError, OSError):
            pass

    for at in calls(tmp_path, is_express):
        world, told = fresh(is_express)
        root = site(tmp_path / str(at))
        asyncio.run(live(root, FaultDisk(at, how), told, lambda house, world=world, told=told: stubborn(house, world, told)))  # type: ignore[misc]
        assert after(root, world, told) == [], f"refused at call {at}"
        shutil.rmtree(root)
