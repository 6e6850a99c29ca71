from __future__ import annotations

import asyncio
import errno
import os
import threading
import tracemalloc
from pathlib import Path

import pytest

from postroom.errors import DiskError, NoSuchFolder, NoSuchMessage, OverQuota, SpoolError, StoreError
from postroom.mailstore import DELETED, FLAGGED, SEEN, Upload
from postroom.message import FileMessage
from postroom_mime.fields import header_fields
from postroom_mime.parts import Parts
from postroom_store import notes
from postroom_store import view as view_module
from postroom_store.records import EPOCH
from tests.providers_store.house import House, files_in, letter, logs_open, run


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_a_delivered_message_can_be_read_and_described(house: House) -> None:
    async def main() -> None:
        (placed,) = await house.deliver(letter(1))
        folder = await house.folder()
        view = folder.view()
        message = view.message(0)
        assert (placed.folder, placed.uid, placed.doubled) == ("Inbox", 1, False)
        assert placed.uidvalidity == view.status.uidvalidity
        assert (message.uid, message.id, message.octets, message.sent) == (1, letter(1).id, letter(1).size, 1772442000.0)
        assert message.arrived == message.saved == house.clock.now()
        assert await folder.read(1) == letter(1).data == Path(folder.path(1)).read_bytes()
        assert await folder.read(1, 6, 4) == letter(1).data[6:10]
        assert b'"Letter 1"' in view.envelope(0) and view.bodystructure(0).startswith(b'("TEXT" "PLAIN"')
        assert Parts.load(view.parts(0)).section(b"TEXT") is not None
        assert b"Subject: Letter 1" in (header_fields(view.header(0), [b"SUBJECT"]) or b"")
        assert (view.subject(0), view.base_subject(0)) == (b"letter 1", b"letter 1")
        assert [view.numbers(what, 0, 1)[0] for what in ("sent_zone", "is_plain")] == [60, True]

    run(main())
    house.close()


def test_what_is_appended_opened_the_log_again_behind_the_end_of_the_store(house: House) -> None:
    """The new message is read behind the answer, and the store may be closed by then."""

    async def main() -> None:
        folder = await house.folder()
        await folder.append(letter(1))
        house.close()
        for _ in range(3):
            await asyncio.sleep(0)
        assert not [fd for fd in os.listdir("/proc/self/fd") if str(house.root) in os.path.realpath(f"/proc/self/fd/{fd}")]

    run(main())


def test_each_view_that_was_looked_into_kept_a_descriptor_of_the_log(house: House) -> None:
    """A session that says nothing keeps its view; and what a session held stayed for a while."""

    async def main() -> None:
        folder, views = await house.folder(), []
        for number in range(1, 6):
            await house.deliver(letter(number))
            views.append(folder.view())
            views[-1].envelope(0)
        log = f"{folder.directory}/log".removeprefix(f"{house.root}/")
        assert logs_open(house.root) == [log, log], "to write, and mapped"
        assert [view.envelope(0) for view in views] == [views[0].envelope(0)] * 5
        assert logs_open(house.root) == [log, log]

    run(main())
    house.close()


def test_maps_of_logs_were_not_closed_with_the_logs_that_were_used_least(house: House) -> None:
    """Descriptors of up to four thousand of them stayed open."""

    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        folders = [await box.create(f"F{number}") for number in range(20)]
        for number, folder in enumerate(folders):
            await folder.append(letter(number))
            folder.view().envelope(0)
        assert len(logs_open(house.root)) <= 2 * 16, "`most_open`"
        assert all(f"Letter {number}".encode() in folder.view().envelope(0) for number, folder in enumerate(folders))
        assert len(logs_open(house.root)) <= 2 * 16

    run(main())
    house.close()


@pytest.mark.parametrize("tells", [True, False])
def test_what_lies_on_a_slow_disk_was_read_by_the_loop(house: House, monkeypatch: pytest.MonkeyPatch, tells: bool) -> None:
    """`tells`: whether the file system says what is in memory."""
    readers: list[int] = []
    pread = os.pread

    def reads(fd: int, n: int, offset: int) -> bytes:
        readers.append(threading.get_ident())
        return pread(fd, n, offset)

    def asked(fd: int, buffers: object, offset: int, flags: int) -> int:
        raise BlockingIOError if tells else OSError(errno.EOPNOTSUPP, "not here")

    async def main() -> None:
        await house.deliver(letter(1))
        folder = await house.folder()
        monkeypatch.setattr(os, "pread", reads)
        monkeypatch.setattr(os, "preadv", asked)
        data, here = letter(1).data, threading.get_ident()
        assert folder.peek(1, 1 << 20) == (None if tells else data)
        readers.clear()
        assert await folder.read(1) == data and await folder.read(1, 5, 7) == data[5:12]
        assert [reader == here for reader in readers] == [not tells] * 2
        Path(folder.path(1)).unlink()
        with pytest.raises(NoSuchMessage):
            await folder.read(1)

    run(main())
    house.close()


def forgotten(path: str) -> None:
    """What memory holds of this file is given back."""
    with open(path, "rb") as file:  # noqa: PTH123
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def is_in_memory(path: str) -> bool:
    """As the system tells. To ask begins to read what is not: it may be in memory at the next look."""
    with open(path, "rb") as file:  # noqa: PTH123
        try:
            return os.preadv(file.fileno(), (bytearray(1),), 0, os.RWF_NOWAIT) == 1
        except BlockingIOError:
            return False


def test_a_message_that_is_in_memory_is_at_hand_and_one_that_is_not_is_not(house: House) -> None:
    async def main() -> None:
        await house.deliver(letter(1))
        folder = await house.folder()
        path = folder.path(1)
        assert folder.peek(1, 1 << 20) == letter(1).data
        seen = []
        for _ in range(100):  # a disk that is quick may have read it between two calls
            forgotten(path)
            if is_in_memory(path):
                pytest.skip("the file system of the tests' folder keeps its files in memory, or does not tell")
            forgotten(path)
            seen.append(folder.peek(1, 1 << 20))
            if seen[-1] is None:
                break
        assert seen[-1] is None
        assert await folder.read(1) == letter(1).data
        assert folder.peek(1, 1 << 20) == letter(1).data

    run(main())
    house.close()


def test_a_text_is_taken_at_once_where_it_is_short_enough(house: House) -> None:
    async def main() -> None:
        await house.deliver(letter(1))
        await house.deliver(letter(2))
        folder = await house.folder()
        size = letter(1).size
        assert folder.peek(1, size) == letter(1).data
        assert folder.peek(1, size - 1) is None
        await folder.expunge([1])
        with pytest.raises(NoSuchMessage):
            folder.peek(1, size)
        Path(folder.path(2)).unlink()
        with pytest.raises(NoSuchMessage):
            folder.peek(2, size)
        Path(folder.path(2)).symlink_to(Path(folder.path(2)).name)
        with pytest.raises(DiskError):
            folder.peek(2, size)

    run(main())
    house.close()


def test_all_ids_of_a_folder_are_made_without_a_message_each(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        for number in range(1, 8):
            await house.deliver(letter(number))
        folder = await house.folder()
        before = folder.view()
        ids = [letter(number).id for number in range(1, 8)]
        await folder.expunge([2])
        await house.deliver(letter(8))
        view = folder.view()
        monkeypatch.setattr(view_module, "ROWS", 3)
        monkeypatch.setattr(view_module, "id_text", None)  # what makes a single id
        assert list(before.ids) == list(before.ids[:]) == ids and len(before.ids) == 7
        assert list(view.ids) == [ids[0], *ids[2:], letter(8).id]
        assert before.ids[2:4] == ids[2:4] and before.ids[5:99] == ids[5:] and before.ids[4:4] == []
        monkeypatch.undo()
        assert (before.ids[0], before.ids[-1], before.ids[::-3]) == (ids[0], ids[-1], ids[::-3])
        with pytest.raises(IndexError):
            before.ids[7]

    run(main())
    house.close()


def test_who_asks_for_a_folder_that_is_gone_is_not_told_where_it_lay(house: House) -> None:
    """Clients were: its path on the server stood in the answer."""

    async def main() -> None:
        box = await house.store.mailbox("PO", "ann")
        gone = await box.create("Now & then")
        await box.delete("Now & then")
        with pytest.raises(NoSuchFolder, match="Now & then") as told:
            await gone.append(letter(1))
        assert "/" not in str(told.value)

    run(main())
    house.close()


def test_a_view_never_changes(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        for number in range(5):
            await house.deliver(letter(number))
        before = folder.view()
        kept = (list(before.uids), list(before.flags), list(before.modseqs), [before.message(row) for row in range(5)])
        assert folder.view() is before, "nothing changed, so it is the same view"
        await house.deliver(letter(5))
        await folder.change_flags([1, 2, 3], add=SEEN)
        await folder.expunge([2, 4])
        after = folder.view()
        assert (list(before.uids), list(before.flags), list(before.modseqs), [before.message(row) for row in range(5)]) == kept
        assert (list(after.uids), list(after.flags)) == ([1, 3, 5, 6], [SEEN, SEEN, 0, 0])
        assert b"Letter 1" in before.envelope(1), "texts of what was expunged stay readable"
        assert (after.status.messages, after.status.unseen, after.status.uidnext) == (4, 2, 7)
        assert after.status.octets == sum(after.octets)
        with pytest.raises(IndexError):
            before.message(5)

    run(main())
    house.close()


def test_a_view_older_than_a_compaction_still_answers_for_what_lives(house: House) -> None:
    async def main() -> None:
        from postroom_store import compaction

        folder = await house.folder()
        for number in (1, 2, 3):
            await house.deliver(letter(number))
        before = folder.view()
        await folder.expunge([2])
        compaction.compact(folder.apart())
        assert list(folder.view().uids) == [1, 3]
        assert b"Letter 3" in before.envelope(2)
        with pytest.raises(NoSuchMessage):
            before.envelope(1)
        assert list(folder.view().uids) == [1, 3]
        assert b"Letter 3" in folder.view().envelope(1)

    run(main())
    house.close()


def test_flags_are_added_removed_and_replaced(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        for number in range(4):
            await house.deliver(letter(number))
        start = folder.view().status.modseq
        assert list((await folder.change_flags([1, 2, 9], add=SEEN | FLAGGED)).changed) == [1, 2]
        assert list((await folder.change_flags([2, 3], remove=SEEN)).changed) == [2], "3 was not seen"
        assert list((await folder.change_flags([4], remove=-1, add=DELETED)).changed) == [4]
        last = folder.view()
        assert list(last.flags) == [SEEN | FLAGGED, FLAGGED, 0, DELETED]
        assert (last.status.unseen, last.status.deleted, last.status.modseq) == (3, 1, start + 3)
        assert list(last.modseqs) == [start + 1, start + 2, last.modseqs[2], start + 3]
        idle = await folder.change_flags([4], add=DELETED)
        assert (idle.changed, idle.modseq) == ([], start + 3)

    run(main())
    house.close()


def test_unchanged_since_refuses_what_changed_meanwhile(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        for number in range(3):
            await house.deliver(letter(number))
        known = folder.view().status.modseq
        await folder.change_flags([2], add=SEEN)
        answer = await folder.change_flags([1, 2, 3], add=FLAGGED, unchanged_since=known)
        assert (list(answer.changed), answer.refused) == ([1, 3], [2])

    run(main())
    house.close()


def test_expunge_removes_for_good_and_is_remembered(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        for number in range(6):
            await house.deliver(letter(number))
        known = folder.view().status.modseq
        assert await folder.expunge([2, 3, 3, 77]) == [2, 3]
        assert await folder.expunge([2]) == []
        await folder.expunge([5])
        assert list(folder.expunged_since(known)) == [2, 3, 5]
        assert list(folder.expunged_since(known + 1)) == [5]
        assert list(folder.expunged_since(0)) == [2, 3, 5], "older than all we know: every gap"
        assert len(files_in(folder)) == 3
        with pytest.raises(NoSuchMessage):
            await folder.read(2)
        with pytest.raises(NoSuchMessage):
            folder.path(5)

    run(main())
    house.close()


def test_gaps_between_far_apart_uids_cost_nothing_for_the_uids_in_them(house: House) -> None:
    """A set of all UIDs up to UIDNEXT was made; numbers jump at each power cut, and there are four thousand million."""

    async def main() -> None:
        folder = await house.folder()
        for number in (1, 2, 3):
            await house.deliver(letter(number))
        with folder.log.hold_now() as held:
            held.uidnext = 5_000_000
            held.stage(EPOCH, held.modseq + 1)
            held.commit()
        await house.deliver(letter(4))
        await folder.expunge([2])
        folder.refresh()
        tracemalloc.start()
        try:
            gone = folder.expunged_since(0)
            assert len(gone) == 1 + 4_999_999 - 3
            assert tracemalloc.get_traced_memory()[1] < 10_000
        finally:
            tracemalloc.stop()
        assert list(gone[:3]) == [2, 4, 5] and gone[-1] == 4_999_999 and gone[1] == 4
        assert 4_000_000 in gone and 3 not in gone and 5_000_000 not in gone
        assert [number for number, uid in zip(range(2), gone, strict=False) if uid in (2, 4)] == [0, 1]
        with pytest.raises(IndexError):
            _ = gone[len(gone)]
        await folder.expunge([1, 4_999_999, 5_000_000])
        later = folder.expunged_since(held.modseq)
        assert list(later) == [1, 2, 5_000_000] and later.index(5_000_000) == 2

    run(main())
    house.close()


def test_many_scattered_expunges_leave_the_right_rows(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        for number in range(120):
            await house.deliver(letter(number))
        await folder.change_flags(range(1, 121, 3), add=SEEN)
        await folder.expunge(range(1, 121, 2))
        view = folder.view()
        assert list(view.uids) == list(range(2, 121, 2))
        assert [bool(flags & SEEN) for flags in view.flags] == [uid % 3 == 1 for uid in view.uids]
        assert view.status.unseen == sum(1 for uid in view.uids if uid % 3 != 1)
        assert b"Letter 119" in view.envelope(59)

    run(main())
    house.close()


def test_keywords_are_made_once_and_end_at_59(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        await house.deliver(letter())
        bit = await folder.keyword("$Forwarded")
        assert bit == 32 == await folder.keyword("$forwarded")
        await folder.change_flags([1], add=bit)
        assert folder.view().flags[0] == 32 and list(folder.keywords()) == ["$Forwarded"]
        for number in range(58):
            last = await folder.keyword(f"k{number}")
        assert last == 1 << 63
        await folder.change_flags([1], add=last)
        assert folder.view().flags[0] == 32 | last
        with pytest.raises(StoreError, match="59"):
            await folder.keyword("one too many")

    run(main())
    house.close()


def test_append_keeps_flags_and_time_and_never_reuses_a_name(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        first = await folder.append(letter(1), flags=SEEN, arrived=1000.5)
        again = await folder.append(letter(1))
        view = folder.view()
        assert (first.uid, again.uid) == (1, 2)
        assert (view.message(0).flags, view.message(0).arrived) == (SEEN, 1000.5)
        assert view.message(0).id == letter(1).id != view.message(1).id
        assert await folder.read(2) == letter(1).data
        assert len(files_in(folder)) == 2

    run(main())
    house.close()


@pytest.mark.parametrize("in_file", [False, True])
def test_a_large_append_is_set_aside_and_whole(house: House, in_file: bool) -> None:
    async def main() -> None:
        folder = await house.folder()
        large = letter(1, size=300_000)
        path = house.root / "upload"
        path.write_bytes(large.data)
        await folder.append(FileMessage(large.id, path, large.size) if in_file else large)
        assert await folder.read(1) == large.data
        assert sorted(name for name in os.listdir(folder.directory) if name.startswith(".")) == []

    run(main())
    house.close()


def test_copy_keeps_what_belongs_to_the_message(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        target = await (await house.store.mailbox("example", "alice")).create("Archive")
        await target.keyword("first")
        label = await folder.keyword("label")
        await house.deliver(letter(1))
        await house.deliver(letter(2))
        await folder.change_flags([2], add=SEEN | label)
        assert list(await folder.copy([1, 2, 9], target)) == [(1, 1), (2, 2)]
        view = target.view()
        assert list(view.flags) == [0, SEEN | 64] and list(target.keywords()) == ["first", "label"]
        assert view.message(1).id == letter(2).id and await target.read(2) == letter(2).data
        assert view.message(0).arrived == folder.view().message(0).arrived
        assert os.stat(target.path(1)).st_ino == os.stat(folder.path(1)).st_ino
        assert list(await folder.copy([1], target)) == [(1, 3)]
        assert target.view().message(2).id != letter(1).id, "one name cannot stand for two messages of a folder"
        assert list(await folder.copy([1], folder)) == [(1, 3)], "also within one folder"

    run(main())
    house.close()


@pytest.mark.parametrize("count", [3, 250])
def test_move_leaves_nothing_behind(house: House, count: int) -> None:
    async def main() -> None:
        folder = await house.folder()
        target = await (await house.store.mailbox("example", "alice")).create("Trash")
        for number in range(count + 1):
            await house.deliver(letter(number))
        before = folder.view().status.modseq
        pairs = await folder.move(range(1, count + 1), target)
        assert list(pairs) == [(uid, uid) for uid in range(1, count + 1)]
        await house.means.errands.done()
        assert list(folder.view().uids) == [count + 1] and len(files_in(folder)) == 1
        assert list(target.view().uids) == list(range(1, count + 1)) and len(files_in(await house.folder("Trash"))) == count
        assert list(folder.expunged_since(before)) == list(range(1, count + 1))
        await target.move([1], folder)
        assert await folder.read(count + 2) == letter(0).data, "and back, under the name it had"
        assert await house.store.check("example", "alice") == []

    run(main())
    house.close()


def test_another_mailbox_is_a_target_too(house: House) -> None:
    async def main() -> None:
        await house.deliver(letter(1))
        mine, other = await house.folder(), await house.folder(mailbox="bob")
        await mine.move([1], other)
        assert await other.read(1) == letter(1).data and len(mine.view()) == 0

    run(main())
    house.close()


def test_quota_is_kept_by_delivery_append_and_copy(tmp_path: Path) -> None:
    async def limit(postoffice: str, mailbox: str) -> int | None:
        return 1000 if mailbox == "alice" else None

    house = House(tmp_path, limit=limit)

    async def main() -> None:
        folder = await house.folder()
        box = await house.store.mailbox("example", "alice")
        await house.deliver(letter(1, size=400), limit=1000)
        await folder.append(letter(2, size=400))
        assert (await box.quota()).used == 800 and (await box.quota()).limit == 1000
        with pytest.raises(OverQuota):
            await house.deliver(letter(3, size=201), limit=1000)
        with pytest.raises(OverQuota):
            await folder.append(letter(3, size=201))
        target = await box.create("Copies")
        with pytest.raises(OverQuota):
            await folder.copy([1], target)
        assert len(target.view()) == 0 and files_in(await house.folder("Copies")) == []
        await folder.move([1], target)
        await house.deliver(letter(4, size=200), limit=1000)
        assert (await box.quota()).used == 1000
        await target.expunge([1])
        assert (await box.quota()).used == 600

    run(main())
    house.close()


def test_two_parallel_appends_exceed_the_quota_by_one_message_at_most(tmp_path: Path) -> None:  # case 37
    async def limit(postoffice: str, mailbox: str) -> int | None:
        return 1000

    house = House(tmp_path, limit=limit)
    beside = house.beside()

    async def main() -> None:
        import asyncio

        one, other = await house.folder(), await beside.folder()
        answers = await asyncio.gather(
            *((one, other)[number % 2].append(letter(number, size=300)) for number in range(8)), return_exceptions=True
        )
        assert sum(not isinstance(answer, OverQuota) for answer in answers) <= 4
        assert one.view().status.octets <= 1300

    run(main())
    house.close()
    beside.close()


def test_what_the_journal_refuses_was_not_promised(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        await house.deliver(letter())
        house.journal.refuse = SpoolError("no room")
        with pytest.raises(DiskError):
            await folder.change_flags([1], add=SEEN)
        with pytest.raises(DiskError):
            await folder.expunge([1])
        with pytest.raises(SpoolError):
            await house.deliver(letter(2))
        house.journal.refuse = None
        assert (await house.deliver(letter(2), again=True))[0].doubled, "the attempt is known, and noted now"
        assert house.journal.waiting[-1].kind == 32

    run(main())
    house.close()


def test_workers_see_each_other(house: House) -> None:
    beside = house.beside()

    async def main() -> None:
        mine, theirs = await house.folder(), await beside.folder()
        await house.deliver(letter(1))
        await beside.deliver(letter(2))
        await house.deliver(letter(3))
        await theirs.change_flags([1], add=SEEN)
        await mine.expunge([2])
        assert list(mine.view().uids) == list(theirs.view().uids) == [1, 3]
        assert list(mine.view().flags) == list(theirs.view().flags) == [SEEN, 0]
        assert mine.view().status == theirs.view().status

    run(main())
    house.close()
    beside.close()


def test_followers_are_told(house: House) -> None:
    async def main() -> None:
        import asyncio

        folder = await house.folder()
        told: list[int] = []
        end = folder.follow(lambda: told.append(len(folder.view())))
        await house.deliver(letter(1))
        await folder.change_flags([1], add=SEEN)
        await asyncio.sleep(0)
        assert told == [1, 1]
        end()
        end()
        await house.deliver(letter(2))
        await asyncio.sleep(0)
        assert told == [1, 1]

    run(main())
    house.close()


def test_a_folder_opened_again_is_the_same(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        await folder.keyword("label")
        for number in range(700):
            await house.deliver(letter(number))
        await folder.change_flags(range(1, 701, 2), add=SEEN)
        await folder.expunge(range(10, 20))
        view = folder.view()
        assert Path(folder.directory, "view").exists(), "enough to be worth a view file"
        await house.deliver(letter(1000))
        view = folder.view()
        after = await house.again().folder()
        seen = after.view()
        assert seen.status == view.status
        for column in ("uids", "flags", "modseqs", "octets"):
            assert list(getattr(seen, column)) == list(getattr(view, column))
        assert [seen.message(row) for row in range(len(seen))] == [view.message(row) for row in range(len(view))]
        assert list(after.keywords()) == ["label"] and list(after.expunged_since(0)) == list(folder.expunged_since(0))
        Path(folder.directory, "view").unlink()
        assert (await house.again().folder()).view().status == view.status, "the view may be deleted at any time"

    run(main())
    house.close()


def test_flags_of_many_mails_just_appended_or_copied_held_the_loop_for_half_a_second(house: House) -> None:
    """All of them were noted once more; the call that brought them had done so."""

    def arrivals() -> int:
        found = [note for record in house.journal.durable for note in notes.read(record.payload)]
        return sum(isinstance(note, notes.ArrivalNote) for note in found)

    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        folder, other = await house.folder(), await box.create("Other")
        await folder.append(letter(1))
        await folder.append_all([Upload(letter(2)), Upload(letter(3))])
        await folder.copy([1, 3], other)
        assert arrivals() == 5
        await folder.change_flags([1, 2, 3], add=SEEN)
        await other.change_flags([1, 2], add=SEEN)
        assert arrivals() == 5
        beside = house.beside()
        await (await beside.folder()).change_flags([2, 3], add=FLAGGED)
        theirs = [note for record in beside.journal.durable for note in notes.read(record.payload)]
        assert sum(isinstance(note, notes.ArrivalNote) for note in theirs) == 2, "another worker's journal has none of them"
        beside.close()

    run(main())
    house.close()


def test_a_young_arrival_was_noted_again_at_each_change_of_its_flags(house: House) -> None:
    """Once is enough: the journal has it until all before it is durable. Another folder of that name begins anew."""

    def arrivals() -> int:
        found = [note for record in house.journal.durable for note in notes.read(record.payload)]
        return sum(isinstance(note, notes.ArrivalNote) for note in found)

    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        folder = await house.folder()
        await house.deliver(letter(1))
        await house.deliver(letter(2))
        house.journal.waiting.clear()
        await folder.change_flags([1], add=SEEN)
        assert arrivals() == 1
        await folder.change_flags([1, 2], add=FLAGGED)
        assert arrivals() == 2
        await folder.change_flags([1, 2], remove=FLAGGED)
        await folder.expunge([2])
        assert arrivals() == 2
        for number in (3, 4):
            await box.create("Other")
            await house.deliver(letter(number), folder="Other")
            house.journal.waiting.clear()
            before = arrivals()
            await (await house.folder("Other")).change_flags([1], add=SEEN)
            assert arrivals() == before + 1
            await box.delete("Other")

    run(main())
    house.close()
