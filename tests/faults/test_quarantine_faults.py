"""A message is let out of quarantine by a process that dies, loses power or meets a full disk at any call: it is on the shelf or on its
way, never neither; and let go again, it is in the mailbox exactly once. Every third call; `POSTROOM_FAULTS=all` tries each."""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from postroom.address import smtp
from postroom.envelope import Envelope, Peer, Recipient
from postroom.errors import DiskError
from postroom.message import MemoryMessage, derived_id
from postroom_disk.disk import Disk
from postroom_run.quarantine import Shelf
from postroom_testing.faults import FaultDisk, PowerDisk

from .house import House, Told, live, make_site, wrong

pytestmark = [pytest.mark.long, pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")]
ALL = os.environ.get("POSTROOM_FAULTS") == "all"
SEEDS = (None, 1, 2) if ALL else (None,)
ITEM = derived_id("0" * 32, "test", "0")
TEXT = b"Subject: 0\r\n\r\n" + (b"." * 76 + b"\r\n") * 8


def held(root: Path) -> Path:
    """A site with one message on the shelf."""

    async def work(house: House) -> None:
        envelope = Envelope(ITEM, ITEM, "SMTP", smtp("a@example.com"), (Recipient(smtp("alice@example.test")),), 1e9, Peer())
        house.parts.site.spool.set_aside("Quarantine", envelope, MemoryMessage(ITEM, TEXT), "odd", "scan", "mta_pickup")

    assert asyncio.run(live(make_site(root), Disk(), Told(), work))
    return root


async def let_go(house: House) -> None:
    spool = house.parts.site.spool
    queue, item = Shelf(spool).release(ITEM)
    if (claim := spool.claim(queue, item)) is not None:
        house.parts.mta.take(claim)
    await house.settled()


async def stubborn(house: House) -> None:
    """An operator who tries again when the disk said no, where there is something to try."""
    for _ in range(2):
        try:
            if next(Shelf(house.parts.site.spool).items(), None) is not None:
                await let_go(house)
        except DiskError:
            pass


def check(root: Path) -> list[str]:
    """A new worker takes over; what is still on the shelf is let go; what is wrong then."""
    found: dict[str, list[str]] = {}
    left: list[str] = []

    async def look(house: House) -> None:
        shelf = Shelf(house.parts.site.spool)
        await house.take_due()
        for each in list(shelf.items()):
            shelf.release(each.name)
        await house.take_due()
        found.update(await house.contents())
        left.extend(each.name for each in shelf.items())

    assert asyncio.run(live(root, Disk(), Told(), look))
    return [*wrong(Told(accepted={ITEM: ("alice",)}, tried={ITEM: ("alice",)}), found), *(f"{name} is still held" for name in left)]


def calls(tmp_path: Path) -> range:
    disk = FaultDisk()
    assert asyncio.run(live(held(tmp_path / "count"), disk, Told(), let_go))
    return range(1, len(disk.calls) + 1, 1 if ALL else 3)


def test_without_a_fault_it_is_delivered_once(tmp_path: Path) -> None:
    root = held(tmp_path / "site")
    assert asyncio.run(live(root, Disk(), Told(), let_go))
    assert check(root) == [] and [*(root / "Quarantine").glob("**/*.*")] == []


@pytest.mark.parametrize("how", ["die", "tear"])
def test_killed_at_any_call(tmp_path: Path, how: str) -> None:
    for at in calls(tmp_path):
        root = held(tmp_path / str(at))
        asyncio.run(live(root, FaultDisk(at, how), Told(), let_go))
        assert check(root) == [], f"killed at call {at}"
        shutil.rmtree(root)


def test_power_cut_at_any_call(tmp_path: Path) -> None:
    for at in calls(tmp_path):
        root = held(tmp_path / str(at))
        disk = PowerDisk(root, at)
        asyncio.run(live(root, disk, Told(), let_go))
        for seed in SEEDS:
            disk.cut(tmp_path / "after", seed)
            assert check(tmp_path / "after") == [], f"cut at call {at}, seed {seed}"
        shutil.rmtree(root)


@pytest.mark.parametrize("how", ["full", "broken"])
def test_a_disk_that_refuses_any_call(tmp_path: Path, how: str) -> None:
    for at in calls(tmp_path):
        root = held(tmp_path / str(at))
        asyncio.run(live(root, FaultDisk(at, how), Told(), stubborn))
        assert check(root) == [], f"refused at call {at}"
        shutil.rmtree(root)
