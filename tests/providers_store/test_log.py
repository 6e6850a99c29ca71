from __future__ import annotations

import asyncio
import errno
import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from postroom.errors import NoSuchFolder, NoSuchMessage, StoreError
from postroom.mailstore import SEEN, Upload, View
from postroom_disk.disk import Disk, DiskError
from postroom_store import mending
from postroom_store.folder import LocalFolder
from postroom_store.log import FolderLog
from postroom_store.records import HEAD, LAST_UID, MAGIC, MOVED, NAMED, encode
from tests.providers_store.house import House, files_in, letter, run


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


class ShortDisk(Disk):
    """Writes at most so many octets of a log record, then the disk is full."""

    room = 1 << 30

    def pwrite(self, fd: int, data: bytes, at: int) -> int:  # type: ignore[override]
        if self.room <= 0:
            raise OSError(28, "No space left on device")
        written = os.pwrite(fd, data[: self.room], at)
        self.room -= written
        return written


@pytest.mark.parametrize("room", [0, 1, 43, 100, 500])
def test_a_short_write_is_cut_back(tmp_path: Path, room: int) -> None:
    disk = ShortDisk()
    house = House(tmp_path, disk=disk)

    async def main() -> None:
        folder = await house.folder()
        await house.deliver(letter(1))
        size = os.path.getsize(f"{folder.directory}/log")
        disk.room = room
        with pytest.raises(DiskError) as refused:
            await house.deliver(letter(2))
        assert refused.value.full
        assert os.path.getsize(f"{folder.directory}/log") == size
        disk.room = 1 << 30
        assert (await house.deliver(letter(2)))[0].uid == 2

    run(main())
    house.close()


class HalfWay(Disk):
    """Fails once in the middle of a write of several records, as a disk does that breaks or comes to a limit; `allocate` was no help.

    What readers do between the octets that were written and the error is up to the test."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None, error: int = errno.EIO) -> None:
        self.meanwhile, self.error = meanwhile, error
        self.armed = self.broken = False

    def allocate(self, fd: int, offset: int, length: int) -> None:  # type: ignore[override]
        """A file system that cannot."""

    def pwrite(self, fd: int, data: bytes, at: int) -> int:  # type: ignore[override]
        if self.broken:
            self.broken = False
            self.meanwhile()
            raise OSError(self.error, os.strerror(self.error))
        first = HEAD.unpack_from(data)[1] if data.startswith(MAGIC) else len(data)
        if self.armed and first < len(data):
            self.armed, self.broken = False, True
            data = data[: first + 30]
        return os.pwrite(fd, data, at)


async def three_and_another(house: House) -> tuple[LocalFolder, LocalFolder]:
    for number in (1, 2, 3):
        await house.deliver(letter(number))
    box = await house.store.mailbox("example", "alice")
    return await house.folder(), await box.create("Other")  # type: ignore[return-value]


@pytest.mark.parametrize("error", [errno.EIO, errno.EFBIG])
def test_records_of_a_write_that_failed_half_way_are_nobodys(tmp_path: Path, error: int) -> None:
    """Who had read them kept them for good: UID 1 was one message in that worker and another in the rest, and an expunge hit the wrong one."""

    async def main() -> None:
        disk = HalfWay(error=error)
        house = House(tmp_path, disk=disk)
        _, mine = await three_and_another(house)
        beside = house.beside()
        theirs = await beside.folder("Other")
        for number in (4, 5, 6):
            Path(mine.file(letter(number).id)).write_bytes(letter(number).data)
        seen: list[View] = []
        disk.meanwhile = lambda: seen.extend((theirs.view(), mine.view()))
        disk.armed = True
        with pytest.raises(OSError, match=os.strerror(error)):
            await mine.index()
        assert [list(view.uids) for view in seen] == [[1], [1]], "the first record was whole, and both had read it"
        assert list(theirs.view().uids) == list(mine.view().uids) == []
        assert {1} <= set(theirs.expunged_since(seen[0].status.modseq)) and {1} <= set(mine.expunged_since(seen[1].status.modseq))
        for view in seen:
            with pytest.raises(NoSuchMessage):
                view.envelope(0)
        (placed,) = await house.deliver(letter(9), folder="Other")
        assert placed.uid > 1, "a number that a session may have seen means nothing else"
        for folder in (mine, theirs):
            assert [await folder.read(uid) for uid in folder.view().uids] == [letter(9).data]
            assert await folder.expunge(seen[0].uids) == []
        assert len(await mine.index()) == 3
        assert await house.store.check("example", "alice") == []
        assert list(theirs.view().uids) == list(mine.view().uids) and len(mine.view()) == 4
        beside.close()
        house.close()

    run(main())


@pytest.mark.parametrize("deed", ["copy", "append_all", "replace"])
@pytest.mark.parametrize("dies", [False, True])
def test_no_reader_sees_a_part_of_what_comes_all_or_none(tmp_path: Path, deed: str, dies: bool) -> None:
    """While it is being written, after the write failed, and where the writer died at the end of a record, so that the log is whole."""

    async def main() -> None:
        disk = HalfWay()
        house = House(tmp_path, disk=disk)
        inbox, mine = await three_and_another(house)
        beside = house.beside()
        theirs = await beside.folder("Other")
        (first,) = await house.deliver(letter(4), folder="Other")
        seen: list[View] = []
        log = Path(mine.directory, "log")
        left: list[bytes] = []

        def meanwhile() -> None:
            seen.extend((theirs.view(), mine.view()))
            left.append(log.read_bytes()[:-30])  # up to the end of the first record that was written

        disk.meanwhile, disk.armed = meanwhile, True
        with pytest.raises(DiskError):
            if deed == "copy":
                await inbox.copy([1, 2, 3], mine)
            elif deed == "append_all":
                await mine.append_all([Upload(letter(number)) for number in (5, 6, 7)])
            else:
                await mine.replace(first.uid, Upload(letter(5)), mine)
        if dies:
            log.write_bytes(left[0])
        assert [list(view.uids) for view in (*seen, theirs.view(), mine.view())] == [[first.uid]] * 4
        (placed,) = await house.deliver(letter(9), folder="Other")
        assert placed.uid > first.uid + dies, "a number that was written means nothing else"
        for folder in (mine, theirs):
            assert [await folder.read(uid) for uid in folder.view().uids] == [letter(4).data, letter(9).data]
            assert (
                folder.view().status.octets
                == letter(4).size + letter(9).size
                == house.means.usage.used(mine.mailbox_path, but=inbox.directory)
            )
        assert len(await inbox.copy([1, 2, 3], mine)) == 3
        assert list(theirs.view().uids) == list(mine.view().uids) and len(mine.view()) == 5
        assert await house.store.check("example", "alice") == []
        beside.close()
        house.close()

    run(main())


@pytest.mark.parametrize("saved", [False, True])
def test_a_record_in_the_place_of_another_is_noticed_even_where_both_have_one_length(house: House, saved: bool) -> None:
    """The size of the log was all a reader looked at; a `view` file kept the wrong one over restarts."""

    async def main() -> None:
        folder = await house.folder()
        size = folder.log.size()
        await house.deliver(letter(1))
        assert folder.view().message(0).id == letter(1).id
        if saved:
            folder.save_view()
        log = Path(folder.directory, "log")
        before = log.stat().st_size
        os.truncate(log, size)
        beside = house.beside()
        await beside.deliver(letter(2))
        assert log.stat().st_size == before
        reader = await beside.folder() if saved else folder
        assert reader.view().message(0).id == letter(2).id
        assert await reader.read(1) == letter(2).data
        beside.close()

    run(main())
    house.close()


def test_several_records_are_written_where_there_is_room_for_all_and_one_costs_no_call_more(tmp_path: Path) -> None:
    """A disk that filled up in the middle let readers see half of a copy."""
    calls: list[str] = []

    class Counting(ShortDisk):
        def allocate(self, fd: int, offset: int, length: int) -> None:  # type: ignore[override]
            calls.append("allocate")
            if length > self.room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        def pwrite(self, fd: int, data: bytes, at: int) -> int:  # type: ignore[override]
            calls.append("pwrite")
            return super().pwrite(fd, data, at)

    async def main() -> None:
        disk = Counting()
        house = House(tmp_path, disk=disk)
        inbox, other = await three_and_another(house)
        calls.clear()
        await house.deliver(letter(4))
        await inbox.change_flags([1, 2], add=SEEN)
        assert calls == ["pwrite", "pwrite"]
        calls.clear()
        disk.room = 1000
        with pytest.raises(DiskError) as refused:
            await inbox.copy([1, 2, 3], other)
        assert refused.value.full and calls == ["allocate"]
        assert files_in(other) == [] and len(other.view()) == 0
        disk.room = 1 << 30
        assert [new for _, new in await inbox.copy([1, 2, 3], other)] == [1, 2, 3]
        assert calls == ["allocate", "allocate", "pwrite"]
        house.close()

    run(main())


def test_room_is_made_without_changing_what_readers_see(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"begun")
    fd = os.open(path, os.O_RDWR)
    try:
        Disk.allocate(fd, 5, 1 << 20)
        assert path.read_bytes() == b"begun" and os.fstat(fd).st_blocks * 512 >= 1 << 20
        with pytest.raises(OSError, match=r"large|space"):
            Disk.allocate(fd, 5, 1 << 62)
    finally:
        os.close(fd)


def test_what_another_worker_added_is_seen_by_one_who_remembers_its_own_write(house: House) -> None:
    async def main() -> None:
        beside = house.beside()
        uids = []
        for number, writer in enumerate((house, house, beside, house, beside, beside, house), 1):
            uids.append((await writer.deliver(letter(number)))[0].uid)
        assert uids == [1, 2, 3, 4, 5, 6, 7]
        assert await house.store.check("example", "alice") == []
        beside.close()

    run(main())
    house.close()


def test_a_lock_that_is_taken_is_waited_for(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        with Path(folder.directory, "log").open("rb") as other:
            fcntl.flock(other, fcntl.LOCK_EX)
            assert folder.log.seize() is None
            delivery = asyncio.create_task(house.deliver(letter(1)))
            flags = asyncio.create_task(folder.change_flags([1], add=SEEN))
            cancelled = asyncio.create_task(folder.expunge([1]))
            for _ in range(5):
                await asyncio.sleep(0)
            cancelled.cancel()
            assert not delivery.done()
            fcntl.flock(other, fcntl.LOCK_UN)
        assert (await delivery)[0].uid == 1
        await flags
        assert list(folder.view().uids) == [1]

    run(main())
    house.close()


@pytest.mark.parametrize("octets", [1, 20, 60, 300])
def test_a_torn_end_is_invisible_and_cut_by_the_next_writer(house: House, octets: int) -> None:
    async def main() -> None:
        folder = await house.folder()
        await house.deliver(letter(1))
        log = Path(folder.directory, "log")
        log.write_bytes(log.read_bytes() + log.read_bytes()[-octets:])
        assert list(folder.view().uids) == [1]
        await house.deliver(letter(2))
        assert list(folder.view().uids) == [1, 2]
        assert "log_tail_cut" in house.log.events
        assert await house.store.check("example", "alice") == []

    run(main())
    house.close()


def test_a_hole_loses_nothing_that_lies_behind_it(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        for number in range(1, 5):
            await house.deliver(letter(number))
        folder.refresh()
        hole = folder.columns.offsets[1]
        fd = os.open(f"{folder.directory}/log", os.O_WRONLY)
        os.pwrite(fd, bytes(200), hole)
        os.close(fd)
        after = house.again(power_lost=True)
        inbox = await after.folder()
        assert list(inbox.view().uids) == [1, 3, 4] and inbox.view().status.uidnext == 1005
        assert "log_hole" in after.log.events
        assert len(await after.store.check("example", "alice", repair=True)) == 1
        assert [inbox.view().message(row).id for row in range(4)] == [letter(number).id for number in (1, 3, 4, 2)]
        after.close()

    run(main())
    house.close()


def test_a_power_cut_makes_numbers_jump_once(house: House) -> None:
    async def main() -> None:
        await house.deliver(letter(1))
        before = (await house.folder()).view().status
        after = house.again(power_lost=True)
        status = (await after.folder()).view().status
        assert (status.uidnext, status.modseq) == (before.uidnext + 1000, before.modseq + 1000)
        later = after.again()
        assert (await later.folder()).view().status.uidnext == before.uidnext + 1000
        assert (await later.deliver(letter(2)))[0].uid == before.uidnext + 1000
        later.close()

    run(main())
    house.close()


def test_a_move_that_never_came_to_pass_is_taken_back(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        await house.deliver(letter(1))
        with folder.log.hold_now():
            mending.say_moved(house.means, folder.log.fd)
        assert (await house.deliver(letter(2)))[0].uid == 2
        assert list(folder.view().uids) == [1, 2]

    run(main())
    house.close()


def test_who_holds_an_old_descriptor_finds_the_new_log(house: House) -> None:
    beside = house.beside()

    async def main() -> None:
        from postroom_store import compaction

        mine, theirs = await house.folder(), await beside.folder()
        await house.deliver(letter(1))
        await beside.deliver(letter(2))
        await mine.expunge([1])
        compaction.compact(mine.apart())
        assert (await beside.deliver(letter(3)))[0].uid == 3
        assert list(theirs.view().uids) == list(mine.view().uids) == [2, 3]
        assert list(theirs.expunged_since(0)) == [1]

    run(main())
    house.close()
    beside.close()


def test_the_last_uid_is_the_last(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        with folder.log.hold_now() as held:
            held.uidnext = LAST_UID
            held.stage(NAMED, held.modseq)
            held.commit()
        assert (await house.deliver(letter(1)))[0].uid == LAST_UID
        with pytest.raises(StoreError, match="UIDs"):
            await house.deliver(letter(2))

    run(main())
    house.close()


def test_what_is_not_there_cannot_be_opened(house: House) -> None:
    log = FolderLog(house.means, str(house.root / "nowhere"))
    with pytest.raises(NoSuchFolder):
        log.seize()
    (house.root / "log").write_bytes(b"")
    with pytest.raises(NoSuchFolder):
        FolderLog(house.means, str(house.root)).size()
    assert log.fd == -1 and encode(MOVED, 0, (0,) * 6)
    house.close()


def test_descriptors_are_shared_by_many_folders(house: House) -> None:
    async def main() -> None:
        folders = []
        for number in range(40):
            await house.deliver(letter(number), f"box{number}")
            folders.append(await house.folder(mailbox=f"box{number}"))
        assert sum(folder.log.fd >= 0 for folder in folders) <= 16
        for number, folder in enumerate(folders):
            assert folder.view().message(0).id == letter(number).id
            assert b"Letter" in folder.view().envelope(0)
        assert sum(folder.log.fd >= 0 for folder in folders) <= 16

    run(main())
    house.close()


WORKER = """
import asyncio, sys
from pathlib import Path
from tests.providers_store.house import House, letter

async def main() -> None:
    house = House(Path(sys.argv[1]))
    folder = await house.folder()
    for number in range(int(sys.argv[2]), int(sys.argv[2]) + 150):
        await house.deliver(letter(number))
        if number % 7 == 0:
            await folder.change_flags(folder.view().uids[-3:], add=1)
        if number % 11 == 0:
            await folder.expunge(folder.view().uids[-1:])
    house.close()

asyncio.run(main())
"""


@pytest.mark.long
def test_processes_that_write_at_once_give_every_uid_once(house: House) -> None:
    async def main() -> None:
        await house.folder()
        workers = [
            await asyncio.create_subprocess_exec(sys.executable, "-c", WORKER, str(house.root), str(first), cwd=Path(__file__).parents[2])
            for first in (0, 1000, 2000)
        ]
        assert [await worker.wait() for worker in workers] == [0, 0, 0]
        folder = await house.folder()
        view = folder.view()
        known = folder.columns
        assert view.status.uidnext == 451
        assert sorted([*known.uids, *known.gone_uids]) == list(range(1, 451))
        assert len({view.message(row).id for row in range(len(view))}) == len(view)
        assert await house.store.check("example", "alice") == []

    run(main())
    house.close()
