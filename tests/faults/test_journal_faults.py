"""The journal when the disk fails, tears or dies at every call, and when a power cut drops what was never synced."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postroom.errors import SpoolError
from postroom.journal import Journal
from postroom_disk.disk import Disk
from postroom_testing.faults import FaultDisk, PowerDisk

pytestmark = pytest.mark.long

KIND = 40
SIZE = 1 << 13


async def load(folder: Path, disk: FaultDisk) -> list[bytes]:
    """Append and note until the disk dies; what was acknowledged. Segments go round, so cuts happen too."""
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda loop, context: None)  # callbacks of a dead process
    died = asyncio.Event()
    disk._died = lambda: loop.call_soon_threadsafe(died.set)
    told: list[bytes] = []
    journal = Journal(folder, disk, segment_size=SIZE, most_segments=3)

    async def work() -> None:
        journal.open()
        await journal.start()
        held = []
        for number in range(60):
            payload = b"%04d" % number + b"." * 400
            journal.note(KIND, b"note")
            try:
                segment = await journal.append(KIND, payload)
            except SpoolError:
                await journal.room()
                continue
            segment.hold()
            held.append(segment)
            told.append(payload)
            if len(held) > 10:  # the oldest ten are done with: their segments may be cut
                for _ in range(5):
                    held.pop(0).release()
                    told.pop(0)
        await journal.close()

    task = asyncio.ensure_future(work())
    dead = asyncio.ensure_future(died.wait())
    await asyncio.wait([task, dead], return_when=asyncio.FIRST_COMPLETED)
    dead.cancel()
    if not task.done():
        task.cancel()
    await asyncio.gather(task, dead, return_exceptions=True)
    if thread := getattr(journal, "_thread", None):
        journal._closing = True
        journal._wake()
        await asyncio.to_thread(thread.join)
    await loop.shutdown_default_executor()
    disk.bury()
    return told


def found(folder: Path) -> list[bytes]:
    journal = Journal(folder, Disk(), segment_size=SIZE)
    journal.open()
    seen: list[bytes] = []
    journal.replayer([KIND], lambda replay: seen.extend(record.payload for record in replay.records if record.payload != b"note"))
    journal.recover()
    journal.disk.close(journal._lock)
    return seen


def lost(told: list[bytes], there: list[bytes]) -> list[bytes]:
    return [payload[:4] for payload in told if payload not in there]


def calls(tmp_path: Path) -> int:
    """How many calls a run without faults makes."""
    disk = FaultDisk()
    asyncio.run(load(tmp_path / "count" / "Journal", disk))
    return len(disk.calls)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("how", ["die", "tear"])
def test_a_death_at_any_call_loses_nothing_acknowledged(tmp_path: Path, how: str) -> None:
    """Case 1."""
    (tmp_path / "count").mkdir()
    for at in range(1, calls(tmp_path) + 1, 2):
        site = tmp_path / str(at)
        site.mkdir()
        told = asyncio.run(load(site / "Journal", FaultDisk(at, how)))
        assert lost(told, found(site / "Journal")) == [], f"died at call {at}"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_power_cut_at_any_call_loses_nothing_acknowledged(tmp_path: Path) -> None:
    """Case 2: what was not synced is gone, or there in part."""
    (tmp_path / "count").mkdir()
    for at in range(1, calls(tmp_path) + 1, 3):
        site = tmp_path / str(at)
        site.mkdir()
        disk = PowerDisk(site, at)
        told = asyncio.run(load(site / "Journal", disk))
        for seed in (None, 1, 2):
            disk.cut(tmp_path / "after", seed)
            assert lost(told, found(tmp_path / "after" / "Journal")) == [], f"cut at call {at}, seed {seed}"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("sync", ["pwritev_sync", "fdatasync", "fsync"])
def test_of_the_tests_a_sync_left_out_is_seen(tmp_path: Path, sync: str) -> None:
    """Each sync is needed: without it some power cut loses what was acknowledged."""
    (tmp_path / "count").mkdir()
    total = calls(tmp_path)
    for at in range(total, 0, -1):
        site = tmp_path / str(at)
        site.mkdir()
        disk = PowerDisk(site, at, lie=sync)
        told = asyncio.run(load(site / "Journal", disk))
        disk.cut(tmp_path / "after")
        if lost(told, found(tmp_path / "after" / "Journal")):
            return
    pytest.fail(f"nothing was lost without {sync}: either it is not needed, or these tests see nothing")
