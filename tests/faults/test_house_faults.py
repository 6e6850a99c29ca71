"""From the end of DATA to the mailbox, with a disk that fails, tears or dies at every call: what got its 250 is there exactly once.

Also when it was fetched and deleted, moved, or its folder deleted or compacted before the crash; also when the sync itself is dropped (a
power cut, not only a kill). Reliability cases 1, 2, 4, 5, 6. How many of the calls are tried is bounded here; `POSTROOM_FAULTS=all` tries each.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from postroom.errors import DiskError
from postroom_disk.disk import Disk
from postroom_testing.faults import FaultDisk, PowerDisk

from .house import House, Told, live, make_site, wrong

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
POINTS = 10**9 if os.environ.get("POSTROOM_FAULTS") == "all" else 14


async def day(house: House) -> None:
    """What happens in a house: mail for one, for a group, a large one; deleting, moving, a folder deleted, logs compacted."""
    for number, to in enumerate(["alice", "bob", "sales"] * 2):
        await house.send(number, to)
    await house.settled()
    await house.remove("alice", 0)
    await house.move("alice", 2, "Kept")
    await house.move("bob", 1, "Gone")
    await house.delete_folder("bob", "Gone")
    await house.send(6, "sales", octets=300_000)
    await house.send(7, "bob")
    await house.settled()
    await house.remove("bob", 7)
    await house.parts.site.store.tend()
    house.journal.rotate()
    for number in range(8, 12):
        await house.send(number, "alice")
    await house.settled()


async def morning(house: House) -> None:
    """The first thing after a crash, and what is found."""
    await house.take_due()


def check(root: Path, told: Told) -> list[str]:
    """A new worker takes over; what is wrong afterwards."""
    found: dict[str, list[str]] = {}

    async def look(house: House) -> None:
        await morning(house)
        found.update(await house.contents())

    assert asyncio.run(live(root, Disk(), Told(), look))
    return wrong(told, found)


def lived(root: Path, disk: Disk) -> Told:
    told = Told()
    asyncio.run(live(root, disk, told, day))
    return told


def points(tmp_path: Path) -> range:
    """Which of the calls of a day to let fail."""
    disk = FaultDisk()
    told = lived(make_site(tmp_path / "count"), disk)
    assert len(told.accepted) == 12
    return range(1, len(disk.calls) + 1, max(1, len(disk.calls) // POINTS))


def test_a_day_without_faults(tmp_path: Path) -> None:
    root = make_site(tmp_path / "site")
    told = lived(root, Disk())
    assert check(root, told) == []
    assert len(told.accepted) == 12
    assert len(told.removed) == 3


@pytest.mark.parametrize("how", [pytest.param("die", marks=pytest.mark.long), "tear"])
def test_killed_at_any_call(tmp_path: Path, how: str) -> None:
    for at in points(tmp_path):
        root = make_site(tmp_path / str(at))
        told = lived(root, FaultDisk(at, how))
        assert check(root, told) == [], f"killed at call {at}"
        shutil.rmtree(root)


@pytest.mark.long
def test_killed_again_while_recovering(tmp_path: Path) -> None:
    """A crash during replay is followed by another replay."""
    for at in points(tmp_path)[::4]:
        root = make_site(tmp_path / str(at))
        told = lived(root, FaultDisk(at))
        for second in range(1, 60, 7):
            asyncio.run(live(root, FaultDisk(second), Told(), morning))
        # three deaths in one message's hands make it a poison message: it is in Bad Mail then, not lost
        faults = [fault for fault in check(root, told) if "lost" not in fault]
        assert faults == [], f"killed at call {at}"
        shutil.rmtree(root)


@pytest.mark.long
def test_power_cut_at_any_call(tmp_path: Path) -> None:
    for at in points(tmp_path):
        root = make_site(tmp_path / str(at))
        disk = PowerDisk(root, at)
        told = lived(root, disk)
        for seed in (None, 1, 2, 3):
            disk.cut(tmp_path / "after", seed)
            assert check(tmp_path / "after", told) == [], f"cut at call {at}, seed {seed}"
        shutil.rmtree(root)


@pytest.mark.parametrize("how", ["full", pytest.param("broken", marks=pytest.mark.long)])
def test_a_disk_that_refuses_any_call_loses_nothing(tmp_path: Path, how: str) -> None:
    """Case 5 and 6: the caller is told, nothing is half done, and the next call goes well."""
    for at in points(tmp_path):
        root = make_site(tmp_path / str(at))
        told = Told()

        async def stubborn(house: House) -> None:
            for number, to in enumerate(["alice", "bob", "sales"] * 4):
                try:
                    await house.send(number, to)
                except DiskError:
                    pass
            await house.settled()

        asyncio.run(live(root, FaultDisk(at, how), told, stubborn))
        assert check(root, told) == [], f"refused at call {at}"
        shutil.rmtree(root)


@pytest.mark.parametrize("sync", ["pwritev_sync", "syncfs"])
def test_of_the_tests_a_sync_left_out_is_seen(tmp_path: Path, sync: str) -> None:
    """Leave one sync out and the power cut shows it."""
    for at in reversed(points(tmp_path)):
        root = make_site(tmp_path / str(at))
        disk = PowerDisk(root, at, lie=sync)
        told = lived(root, disk)
        disk.cut(tmp_path / "after")
        if check(tmp_path / "after", told):
            return
    pytest.fail(f"nothing was lost without {sync}: these tests see nothing")
