"""The journal: order, crash, reuse, full disk."""

import asyncio
import errno
import os
import threading
from pathlib import Path

import pytest

from postroom.errors import SpoolError
from postroom.journal import ACCEPTED, Finder, Journal, Replay, Segment, accept_head
from postroom_disk.disk import Disk
from postroom_disk.segments import read_segment
from postroom_testing.faults import FaultDisk
from postroom_testing.waiting import until

KIND = 40


def opened(folder: Path, disk: Disk | None = None, *, size: int = 1 << 16) -> Journal:
    journal = Journal(folder, disk or Disk(), segment_size=size, most_segments=4)
    journal.open()
    return journal


def replayed(folder: Path, kinds: tuple[int, ...] = (KIND,)) -> list[bytes]:
    """What a new owner finds."""
    found: list[bytes] = []
    journal = opened(folder)
    journal.replayer(kinds, lambda replay: found.extend(record.payload for record in replay.records))
    journal.recover()
    journal.disk.close(journal._lock)
    return found


def test_what_append_returned_for_is_replayed_in_order(tmp_path: Path) -> None:
    async def main() -> None:
        journal = opened(tmp_path)
        await journal.start()
        for number in range(100):
            segment = await journal.append(KIND, b"record ", str(number).encode())
            segment.hold()
        await journal.close()

    asyncio.run(main())
    assert replayed(tmp_path) == [b"record %d" % number for number in range(100)]
    assert replayed(tmp_path) == []  # replay cut them


def test_many_waiters_share_syncs(tmp_path: Path) -> None:
    class Counting(Disk):
        syncs = 0

        def pwritev_sync(self, fd, parts, offset):  # type: ignore[no-untyped-def,override]
            self.syncs += 1
            return Disk.pwritev_sync(fd, parts, offset)

    async def main() -> Counting:
        disk = Counting()
        journal = opened(tmp_path, disk, size=1 << 20)
        await journal.start()
        await asyncio.gather(*(journal.append(KIND, b"x" * 100) for _ in range(500)))
        await journal.close()
        return disk

    assert asyncio.run(main()).syncs < 50


def test_a_note_before_a_synced_record_is_synced_with_it(tmp_path: Path) -> None:
    """A per-write sync covers its own octets only: a hole left by an unsynced note would end replay before the acknowledged record."""

    class Recording(Disk):
        def __init__(self) -> None:
            self.calls: list[str] = []

        def pwritev(self, fd, parts, offset):  # type: ignore[no-untyped-def,override]
            self.calls.append("write")
            return os.pwritev(fd, parts, offset)

        def pwritev_sync(self, fd, parts, offset):  # type: ignore[no-untyped-def,override]
            self.calls.append("write+sync")
            return Disk.pwritev_sync(fd, parts, offset)

        def fdatasync(self, fd):  # type: ignore[no-untyped-def]
            self.calls.append("sync file")
            os.fdatasync(fd)

    async def main() -> list[str]:
        disk = Recording()
        journal = opened(tmp_path, disk)
        await journal.start()
        await journal.append(KIND, b"first")
        disk.calls.clear()
        journal.note(KIND, b"note")
        journal._wake()
        while not disk.calls:
            await asyncio.sleep(0)
        await journal.append(KIND, b"second")
        calls = list(disk.calls)
        await journal.close()
        return calls

    assert asyncio.run(main()) == ["write", "write", "sync file"]


def test_the_disk_is_at_a_record_that_was_begun_while_the_turn_goes_on(tmp_path: Path) -> None:
    written = threading.Event()

    class Telling(Disk):
        def pwritev_sync(self, fd, parts, offset):  # type: ignore[no-untyped-def,override]
            count = Disk.pwritev_sync(fd, parts, offset)
            if b"begun" in b"".join(parts):
                written.set()
            return count

    async def main() -> None:
        journal = opened(tmp_path, Telling())
        await journal.start()
        begun = journal.begin(KIND, b"begun")
        assert written.wait(20), "the loop had no turn"
        assert not begun.done()
        segment = await begun
        assert segment.holds == 1, "whoever goes on can take a hold of his own before this one goes"
        await asyncio.sleep(0)
        assert segment.holds == 0
        await journal.close()

    asyncio.run(main())


def test_what_was_begun_and_cannot_be_written_says_so_to_who_asks(tmp_path: Path) -> None:
    async def main() -> None:
        disk = FaultDisk()
        journal = opened(tmp_path, disk)
        await journal.start()
        (await journal.append(KIND, b"before")).hold()
        disk.at, disk.how = len(disk.calls) + 1, "broken"
        begun = journal.begin(KIND, b"lost")
        with pytest.raises(SpoolError):
            await begun
        disk.heal()
        (await journal.append(KIND, b"after")).hold()
        await journal.close()

    asyncio.run(main())
    assert replayed(tmp_path) == [b"before", b"after"]


def test_replay_ends_at_a_torn_record(tmp_path: Path) -> None:
    async def main() -> tuple[Path, int]:
        journal = opened(tmp_path)
        await journal.start()
        for payload in (b"one", b"two", b"three"):
            (await journal.append(KIND, payload)).hold()
        path = journal._used[-1].path
        end = journal._used[-1].end
        await journal.close()
        return path, end

    path, end = asyncio.run(main())
    for cut in range(1, 12):
        data = bytearray(path.read_bytes())
        data[end - cut] ^= 0xFF
        torn = tmp_path / "torn"
        torn.write_bytes(data)
        assert [payload for _, payload in read_segment(torn)] == [b"one", b"two"]


def test_a_reused_segment_shows_nothing_of_its_earlier_use(tmp_path: Path) -> None:
    async def main() -> None:
        journal = opened(tmp_path, size=4096)
        await journal.start()
        for number in range(300):  # several times round
            await journal.append(KIND, b"%04d" % number + b"." * 200)
            await journal.room()
        (await journal.append(KIND, b"last")).hold()
        await journal.close()

    asyncio.run(main())
    found = replayed(tmp_path)
    assert found[-1] == b"last"
    assert found == sorted(found)  # digits sort before "last": nothing out of turn


def test_segments_are_cut_oldest_first_and_never_while_held(tmp_path: Path) -> None:
    async def main() -> None:
        journal = opened(tmp_path, size=4096)
        await journal.start()
        first = await journal.append(KIND, b"held" + b"." * 200)
        first.hold()
        with pytest.raises(SpoolError, match="no free segment"):
            for _ in range(200):
                await journal.append(KIND, b"." * 200)
                for _ in range(20):
                    await asyncio.sleep(0)
        assert len(journal.live()) == len(journal._used)
        first.release()
        await journal.room()
        await journal.append(KIND, b"goes on")
        await journal.close()

    asyncio.run(main())


def test_a_full_disk_fails_who_waits_and_heals(tmp_path: Path) -> None:
    class Full(Disk):
        full = False

        def pwritev_sync(self, fd, parts, offset):  # type: ignore[no-untyped-def,override]
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return Disk.pwritev_sync(fd, parts, offset)

    async def main() -> None:
        disk = Full()
        journal = opened(tmp_path, disk)
        await journal.start()
        (await journal.append(KIND, b"before")).hold()
        disk.full = True
        with pytest.raises(SpoolError) as caught:
            await journal.append(KIND, b"lost")
        assert caught.value.full
        assert "No space left" in journal.failure
        disk.full = False
        (await journal.append(KIND, b"after")).hold()
        assert journal.failure == ""
        await journal.close()

    asyncio.run(main())
    assert replayed(tmp_path) == [b"before", b"after"]


def test_two_owners_take_two_slots_and_recovery_leaves_a_living_one_alone(tmp_path: Path) -> None:
    async def main() -> None:
        one, two = opened(tmp_path), opened(tmp_path)
        assert (one.slot, two.slot) == (0, 1)
        await one.start()
        (await one.append(KIND, b"mine")).hold()
        found: list[bytes] = []
        two.replayer([KIND], lambda replay: found.extend(record.payload for record in replay.records))
        two.recover()
        assert found == []
        await two.start()
        await one.close()
        await two.close()

    asyncio.run(main())
    assert replayed(tmp_path) == [b"mine"]


def test_a_slot_whose_folder_cannot_be_made_durable_is_let_go(tmp_path: Path) -> None:
    """The lock was kept by nobody: the slot was taken until the process ended."""

    class Broken(Disk):
        def fsync(self, fd: int) -> None:  # type: ignore[override]
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    before = len(os.listdir("/proc/self/fd"))
    journal = Journal(tmp_path / "Journal", Broken(), segment_size=1 << 16, most_segments=4)
    for _ in range(2):
        with pytest.raises(SpoolError, match="opening the journal"):
            journal.open()
    assert len(os.listdir("/proc/self/fd")) == before
    journal.disk = Disk()
    assert journal.open() == 0
    journal.disk.close(journal._lock)


def test_what_lives_can_be_asked_in_a_thread_while_the_loop_begins_a_segment(tmp_path: Path) -> None:
    """The store asks in threads; a segment begun in the middle of it was an error in what had nothing to do with it."""

    class Begun(Segment):
        @property
        def generation(self) -> int:
            journal._used.append(Segment(journal, tmp_path, -1, 7))  # what the loop does meanwhile
            return 5

        @generation.setter
        def generation(self, number: int) -> None: ...

    journal = opened(tmp_path)
    journal._used.extend([Begun(journal, tmp_path, -1), Segment(journal, tmp_path, -1, 6)])
    assert {(0, 5), (0, 6)} <= journal.live()
    journal.disk.close(journal._lock)


def test_an_accepted_message_is_found_by_its_id(tmp_path: Path) -> None:
    async def main() -> None:
        journal = opened(tmp_path)
        await journal.start()
        (await journal.append(ACCEPTED, accept_head("AB" * 16, b"Sender=\r\n"), b"Sender=\r\n", b"the octets")).hold()
        await journal.close()

    asyncio.run(main())
    seen: list[Replay] = []
    journal = opened(tmp_path)
    journal.find = Finder(lambda message_id: None)
    journal.replayer([KIND], seen.append)
    journal.recover()
    journal.disk.close(journal._lock)
    message = seen[0].message("AB" * 16)
    assert message is not None
    assert message.peek() == b"the octets"
    assert seen[0].message("CD" * 16) is None


def test_whoever_awaits_a_record_can_hold_its_segment_before_it_is_cut(tmp_path: Path) -> None:
    """The append dropped its own hold first, and a rotation in between cut a segment that was held a moment later."""

    async def main() -> None:
        journal = opened(tmp_path, size=4096)
        await journal.start()
        journal._free.append(journal._make())  # so that nothing else is to be done than cutting

        async def accept() -> Segment:
            segment = await journal.append(KIND, b"." * 1000)
            segment.hold()
            return segment

        accepting = asyncio.ensure_future(accept())
        await asyncio.sleep(0)
        journal.rotate()
        segment = await accepting
        generation = segment.generation
        await journal.append(KIND, b"more")
        while journal._cutting:
            await asyncio.sleep(0)
        assert (journal.slot, generation) in journal.live()
        segment.release()
        await journal.close()

    asyncio.run(main())


def test_a_full_disk_that_has_no_place_for_a_segment_is_said_as_full_and_heals(tmp_path: Path) -> None:
    """Case 5: senders waited half a minute for a segment that could not come, in place of hearing 452 at once."""

    class Full(Disk):
        full = False

        def write(self, fd, data):  # type: ignore[no-untyped-def]
            if self.full:
                raise OSError(errno.ENOSPC, "No space left on device")
            return os.write(fd, data)

    async def main() -> None:
        disk = Full()
        journal = opened(tmp_path, disk, size=4096)
        await journal.start()
        disk.full = True
        held = []
        with pytest.raises(SpoolError) as caught:
            while True:
                held.append(await journal.append(KIND, b"." * 1000))
                held[-1].hold()
                while journal._making:
                    await asyncio.sleep(0)
        assert caught.value.full and "no place" in str(caught.value)
        disk.full = False
        journal.relax()
        await journal.room()
        (await journal.append(KIND, b"after")).hold()
        await journal.close()

    asyncio.run(main())
    assert replayed(tmp_path)[-1] == b"after"


def test_which_segments_hold_a_record(tmp_path: Path) -> None:
    async def main() -> None:
        journal, other = opened(tmp_path), Journal(tmp_path, segment_size=1 << 16)
        other.open(1)
        for one in (journal, other):
            await one.start()
        first = await journal.append(KIND, b"a record")
        assert journal.holding() == other.holding() == {(0, first.generation)} < other.live()
        first.hold()
        second = await other.append(KIND, b"another")
        assert journal.holding() == {(0, first.generation), (1, second.generation)}
        for one in (other, journal):
            await one.close()
        assert journal.holding() == {(0, first.generation)}, "what is held stays"

    asyncio.run(main())


def test_a_segment_with_little_in_it_was_never_cut_on_a_quiet_worker(tmp_path: Path) -> None:
    """And one with nothing stays as it is: a worker at rest writes nothing."""

    async def main() -> None:
        journal = opened(tmp_path)
        await journal.start()
        first = journal._used[-1].generation
        for _ in range(20):
            journal.rotate()
        assert first == journal._used[-1].generation
        await journal.append(KIND, b"little")
        await asyncio.sleep(0)  # its hold is dropped
        journal.rotate()
        assert journal._used[-1].generation == first + 1
        await journal.close()

    asyncio.run(main())


def test_records_of_an_earlier_life_came_back_where_a_later_one_had_written_as_far(tmp_path: Path) -> None:
    """After a clean stop generations began anew, so what an earlier life left behind was of this use again."""

    async def live(*records: bytes, dies: bool) -> None:
        journal = opened(tmp_path)
        await journal.start()
        for record in records:
            segment = await journal.append(KIND, record)
            if dies:
                segment.hold()
        await journal.close()

    asyncio.run(live(b"mail of Monday", b"mail of Monday", dies=False))
    assert replayed(tmp_path) == []
    asyncio.run(live(b"mail of Sunday", dies=True))
    assert replayed(tmp_path) == [b"mail of Sunday"]


def test_what_was_refused_was_replayed_where_the_disk_had_taken_it_and_failed_then(tmp_path: Path) -> None:
    class Broken(Disk):
        is_broken = False

        def pwritev_sync(self, fd, parts, offset):  # type: ignore[no-untyped-def,override]
            written = Disk.pwritev_sync(fd, parts, offset)
            if self.is_broken:
                self.is_broken = False
                raise OSError(errno.EIO, "Input/output error")
            return written

    async def main() -> None:
        disk = Broken()
        journal = opened(tmp_path, disk)
        await journal.start()
        (await journal.append(KIND, b"taken")).hold()
        disk.is_broken = True
        with pytest.raises(SpoolError):
            await journal.append(KIND, b"refused")
        (await journal.append(KIND, b"taken too")).hold()
        await journal.close()

    asyncio.run(main())
    assert replayed(tmp_path) == [b"taken", b"taken too"]


@pytest.mark.parametrize("at", ["cut", "close", "recover"])
def test_records_went_before_the_files_whose_end_they_told(tmp_path: Path, at: str) -> None:
    """A death or a power cut between the two left octets and a mark, and nobody who knew that they were done."""
    calls = list[str]()

    class Watched(Disk):
        def pwritev_sync(self, fd, parts, offset):  # type: ignore[no-untyped-def,override]
            if offset == 0 and len(parts) == 1 and not any(parts[0]):
                calls.append("cleared")
            return Disk.pwritev_sync(fd, parts, offset)

        def syncfs(self, fd):  # type: ignore[no-untyped-def,override]
            calls.append("synced")

        def unlink(self, path):  # type: ignore[no-untyped-def,override]
            calls.append("removed")
            os.unlink(path)

    octets = tmp_path / "octets"
    octets.write_bytes(b"mail")

    async def main() -> None:
        journal = opened(tmp_path / "Journal", Watched())
        await journal.start()
        segment = await journal.append(KIND, b"it is done")
        if at == "recover":
            segment.hold()
        journal.after_cut(octets)
        await asyncio.sleep(0)
        if at == "cut":
            journal.rotate()
            await until(lambda: not journal._cutting)
        else:
            await journal.close()

    asyncio.run(main())
    if at == "recover":
        journal = Journal(tmp_path / "Journal", Watched(), segment_size=1 << 16)
        journal.open()
        journal.replayer((KIND,), lambda replay: replay.afterwards.append(octets))
        calls.clear()
        journal.recover()
    assert calls[:4] == ["synced", "removed", "synced", "cleared"]
