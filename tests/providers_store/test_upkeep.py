"""Check, repair, compaction, the caretaker's round, and what is forgotten when."""

from __future__ import annotations

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from postroom.mailstore import FLAGGED, SEEN
from postroom_disk.disk import Disk
from postroom_store import compaction, forgotten, indexing
from postroom_store.columns import Columns
from postroom_store.forgotten import Batch, Forgotten
from postroom_store.incoming import in_memory
from postroom_store.records import ARRIVAL, CHANGE, MASK64, Arrival, Buffer, runs
from tests.providers_store.house import House, files_in, letter, run


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


async def five(house: House) -> None:
    for number in range(1, 6):
        await house.deliver(letter(number))


def test_check_finds_nothing_wrong_and_changes_nothing_in_a_good_house(house: House) -> None:
    async def main() -> None:
        await five(house)
        before = {path: path.read_bytes() for path in house.root.rglob("*") if path.is_file()}
        assert await house.store.check("example", "alice", repair=True) == []
        assert {path: path.read_bytes() for path in house.root.rglob("*") if path.is_file()} == before
        assert await house.store.check("example", "nobody", repair=True) == []

    run(main())
    house.close()


def test_check_tells_what_hands_did_and_repair_sets_it_right(house: House) -> None:
    async def main() -> None:
        await five(house)
        folder = await house.folder()
        await folder.change_flags([2, 4], add=SEEN)
        Path(folder.path(1)).unlink()
        Path(folder.path(2)).write_bytes(letter(2).data + b"added by hand\r\n")
        Path(folder.file(letter(8).id)).write_bytes(letter(8).data)
        Path(folder.directory, "restored letter.mai").write_bytes(letter(9).data)
        said = await house.store.check("example", "alice")
        assert said == await house.store.check("example", "alice"), "without repair nothing is changed"
        assert [line for line in said if "no file" in line] == ["Inbox: message 1 has no file"]
        assert sum("was changed" in line for line in said) == sum("not in the index" in line for line in said) == 1
        assert sum("not named as a message" in line for line in said) == 1
        await house.store.check("example", "alice", repair=True)
        assert await house.store.check("example", "alice") == []
        view = folder.view()
        assert list(view.uids)[:3] == [3, 4, 5] and len(view) == 6 and view.flags[1] == SEEN
        octets = [await folder.read(uid) for uid in view.uids]
        assert letter(8).data in octets and letter(9).data in octets and letter(2).data + b"added by hand\r\n" in octets

    run(main())
    house.close()


def test_a_folder_marked_as_changed_is_indexed_when_it_is_opened(house: House) -> None:
    async def main() -> None:
        await five(house)
        folder = await house.folder()
        Path(folder.path(3)).unlink()
        Path(folder.file(letter(8).id)).write_bytes(letter(8).data)
        Path(folder.directory, "_change.dty").write_text("index")
        assert list((await house.folder()).view().uids) == [1, 2, 4, 5, 6]
        assert not Path(folder.directory, "_change.dty").exists()

    run(main())
    house.close()


def test_a_lost_log_is_made_from_the_files_with_a_new_uidvalidity(house: House) -> None:
    async def main() -> None:
        await five(house)
        folder = await house.folder()
        old = folder.view().status
        for number in range(1, 6):
            os.utime(folder.path(number), (1000 - number, 1000 - number))
        Path(folder.directory, "log").unlink()
        house.clock.set(house.clock.now() + 1)
        house.journal.durable.clear()
        again = house.again()
        said = await again.store.check("example", "alice", repair=True)
        assert said[0] == "Inbox: there is no log"
        view = (await again.folder()).view()
        assert [view.message(row).id for row in range(5)] == [letter(number).id for number in (5, 4, 3, 2, 1)]
        assert view.status.uidvalidity > old.uidvalidity
        assert await again.store.check("example", "alice") == []
        again.close()

    run(main())
    house.close()


@pytest.mark.parametrize("journal", [False, True])
def test_a_log_that_lost_its_beginning_gives_its_flags_back_and_where_a_journal_knows_it_its_identity(house: House, journal: bool) -> None:
    async def main() -> None:
        await five(house)
        folder = await house.folder()
        await folder.change_flags([2], add=FLAGGED)
        old = folder.view().status
        log = Path(folder.directory, "log")
        log.write_bytes(bytes(60) + log.read_bytes()[60:])
        house.clock.set(house.clock.now() + 5)
        if not journal:
            house.journal.durable.clear()
        after = house.again(power_lost=True)
        inbox = await after.folder()
        view = inbox.view()
        assert len(view) == 5 and (view.status.uidvalidity == old.uidvalidity) == journal
        assert {view.message(row).id for row in range(5) if view.flags[row] == FLAGGED} == {letter(2).id}
        assert await after.store.check("example", "alice") == []
        after.close()

    run(main())
    house.close()


def test_damage_in_the_middle_of_a_log_is_found_by_check_only_and_repaired(house: House) -> None:
    async def main() -> None:
        await five(house)
        folder = await house.folder()
        folder.refresh()
        fd = os.open(f"{folder.directory}/log", os.O_WRONLY)
        os.pwrite(fd, b"??", folder.columns.offsets[2] + 200)
        os.close(fd)
        assert "damaged" in (await house.store.check("example", "alice"))[0]
        await house.store.check("example", "alice", repair=True)
        assert await house.store.check("example", "alice") == []
        assert list((await house.folder()).view().uids) == [1, 2, 4, 5, 6], "3 came in again from its file"

    run(main())
    house.close()


def test_a_view_that_lies_is_found(house: House) -> None:
    async def main() -> None:
        await five(house)
        folder = await house.folder()
        folder.view()
        folder.columns.flags[0] = FLAGGED
        folder.save_view()
        assert "view" in (await house.store.check("example", "alice"))[0]
        await house.store.check("example", "alice", repair=True)
        assert await house.store.check("example", "alice") == []

    run(main())
    house.close()


def test_two_directories_of_one_name_are_told(house: House) -> None:
    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        await box.create("Work")
        Path(box.path, "work").mkdir()
        assert any("two directories of one name" in line for line in await house.store.check("example", "alice"))

    run(main())
    house.close()


def test_compaction_drops_garbage_and_nothing_else(house: House) -> None:
    async def main() -> None:
        await five(house)
        folder = await house.folder()
        label = await folder.keyword("label")
        for _ in range(20):
            await folder.change_flags([1, 2, 3], add=SEEN | label)
            await folder.change_flags([1, 2], remove=SEEN)
        await folder.expunge([4, 5])
        before, size = folder.view(), os.path.getsize(f"{folder.directory}/log")
        kept = [(before.message(row), before.envelope(row), before.header(row), before.parts(row)) for row in range(3)]
        compaction.compact(folder.apart())
        after = folder.view()
        assert os.path.getsize(f"{folder.directory}/log") < size / 2
        assert after.status == before.status and list(folder.keywords()) == ["label"]
        assert [(after.message(row), after.envelope(row), after.header(row), after.parts(row)) for row in range(3)] == kept
        assert list(folder.expunged_since(before.status.modseq)) == [] and list(folder.expunged_since(1)) == [4, 5]
        assert set(forgotten.load(folder.mailbox_path).batches[0].ids) == {letter(4).id, letter(5).id}
        assert (await house.again().folder()).view().status == after.status

    run(main())
    house.close()


def test_tending_compacts_saves_views_clears_and_forgets_in_time(house: House) -> None:
    async def main() -> None:
        await five(house)
        folder = await house.folder()
        box = await house.store.mailbox("example", "alice")
        await box.create("Doomed")
        await house.deliver(letter(6), folder="Doomed")
        await box.delete("Doomed")
        Path(box.path, ".gone.0123").mkdir()
        Path(box.path, ".gone.0123", "rest").write_bytes(b"x")
        for number in range(500):
            await house.deliver(letter(100 + number, size=2000 if number else 300_000))
        await house.store.tend()
        assert Path(folder.directory, "view").exists()
        assert not list(Path(box.path).glob(".gone*"))
        assert letter(6).id in forgotten.load(box.path), "a journal could still bring it back"
        assert (await house.deliver(letter(6), again=True))[0].doubled
        await folder.expunge(range(6, 600))
        size = os.path.getsize(f"{folder.directory}/log")
        await house.store.tend()
        assert os.path.getsize(f"{folder.directory}/log") < size / 10
        assert list(folder.view().uids) == [1, 2, 3, 4, 5] and len(files_in(folder)) == 5
        house.journal.segments = {(0, 2)}
        house.clock.set(house.clock.now() + 2 * 86400)
        await house.store.tend()
        assert not Path(box.path, "forgotten").exists()

    run(main())
    house.close()


def test_a_removed_mailbox_leaves_no_directory_in_the_end(house: House) -> None:
    async def main() -> None:
        await five(house)
        box = await house.store.mailbox("example", "alice")
        await house.store.remove("example", "alice")
        await house.store.tend()
        assert Path(box.path).exists()
        house.journal.segments = set()
        house.clock.set(house.clock.now() + 2 * 86400)
        await house.store.tend()
        assert not Path(box.path).exists()

    run(main())
    house.close()


def test_what_is_forgotten_is_written_and_read() -> None:
    said = (
        Forgotten().and_also(["A" * 32, "B" * 32, "A" * 32], frozenset({(0, 3), (1, 9)}), 77).and_also(["C" * 32], frozenset({(1, 10)}), 5)
    )
    assert forgotten.parse(said.text()) == said
    assert said.batches[0] == Batch(frozenset({(0, 3), (1, 9)}), ("A" * 32, "B" * 32)) and said.uidvalidity == 77
    assert "B" * 32 in said and "D" * 32 not in said
    left = said.after(frozenset({(1, 10), (0, 4)}), now=0)
    assert [batch.ids for batch in left.batches] == [("C" * 32,)] and left.uidvalidity == 77
    assert said.after(frozenset(), now=77 + forgotten.KEEP).is_empty
    assert Forgotten().and_also(["A" * 32], frozenset(), 0).is_empty, "no journal lives that could bring it back"


@pytest.mark.parametrize("text", ["", "rubbish\n\0", "A" * 32, "live x:y 1: :2 3:4\n" + "A" * 32, "uidvalidity many"])
def test_a_forgotten_file_made_by_others_is_read_as_far_as_it_goes(text: str) -> None:
    assert forgotten.parse(text).uidvalidity == 0


def test_a_large_folder_without_a_view_is_read_beside_the_loop(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its first reader held up everybody else: 0.15 s with 20,000 messages."""
    in_loop: list[int] = []
    apply = Columns.apply

    def applied(self: Columns, log: Buffer) -> None:
        if threading.current_thread() is threading.main_thread():
            in_loop.append(len(log))
        apply(self, log)

    async def main() -> None:
        folder = await house.folder()
        incoming = in_memory(letter(1).id, letter(1).data, 0, 0.0)
        with folder.log.hold_now() as held:
            for number in range(3000):
                arrival = incoming.named(letter(number).id).arrival(held.uidnext, held.modseq + 1, 0.0)
                held.arrive(arrival.uid, arrival.modseq, arrival.octets, ARRIVAL.pack(*arrival), incoming.described)
            held.commit()
        monkeypatch.setattr(Columns, "apply", applied)
        for again in (False, True):
            other = house.beside()
            if again:
                assert (await other.deliver(letter(1), again=True))[0].doubled
            opened = await other.folder()
            assert len(opened.view()) == 3000
            other.close()
            if not again:
                Path(opened.directory, "view").unlink()
        assert len(folder.view()) == 3000, "who had it open before takes the view that another saved"
        assert sum(in_loop) < 1000

    run(main())
    house.close()


def test_after_a_compaction_nobody_reads_all_of_the_log_again(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every worker's next look at the folder read it from the beginning, in the loop."""

    async def main() -> None:
        await five(house)
        beside = house.beside()
        folder, theirs = await house.folder(), await beside.folder()
        await folder.expunge([2, 3])
        compaction.compact(folder.apart())
        octets: list[int] = []
        apply = Columns.apply

        def applied(self: Columns, log: Buffer) -> None:
            octets.append(len(log))
            apply(self, log)

        monkeypatch.setattr(Columns, "apply", applied)
        assert list(theirs.view().uids) == list(folder.view().uids) == [1, 4, 5]
        assert theirs.view().envelope(0) == folder.view().envelope(0) != b""
        assert sum(octets) < 500, "what says that the log has moved"
        assert await house.store.check("example", "alice") == []
        beside.close()

    run(main())
    house.close()


def test_flags_of_a_log_that_lost_its_beginning_take_time_in_proportion() -> None:
    """Each change went through all messages: 7.4 s for 20,000, and a folder that could not be used meanwhile."""
    count = 20_000
    arrivals = {uid: Arrival(uid, 0, uid, 10, 0.0, 0.0, 0.0, 0, uid) for uid in range(1, count + 1)}
    uids = list(arrivals)
    begun = time.process_time()
    for uid in uids:
        indexing._reflag(arrivals, uids, CHANGE.pack(-1 & MASK64, SEEN) + runs([0], [uid]))
    assert {arrival.flags for arrival in arrivals.values()} == {SEEN}
    assert time.process_time() - begun < 2.0, "linear it is a twentieth of this"


def test_a_view_that_a_full_disk_refuses_leaves_no_half_of_it(tmp_path: Path) -> None:
    class Full(Disk):
        def write_all(self, fd: int, data: bytes) -> None:
            self.write(fd, data[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    async def main() -> None:
        house = House(tmp_path, disk=Full())
        await five(house)
        folder = await house.folder()
        before = os.listdir(folder.directory)
        folder.save_view()
        assert os.listdir(folder.directory) == before
        house.close()

    run(main())


def test_a_view_that_is_saved_twice_at_once_is_one_of_both(tmp_path: Path) -> None:
    """A thread and the loop wrote into one file under a hidden name, which was the view by then."""

    class Between(Disk):
        meanwhile: Callable[[], None] | None = None

        def write_all(self, fd: int, data: bytes) -> None:
            self.write(fd, data[:100])
            if self.meanwhile is not None:
                meanwhile, self.meanwhile = self.meanwhile, None
                meanwhile()
            super().write_all(fd, data[100:])

    async def main() -> None:
        disk = Between()
        house = House(tmp_path, disk=disk)
        await five(house)
        folder = await house.folder()
        late = folder.apart()
        late.refresh()
        await folder.change_flags([1, 2, 3], add=SEEN)
        disk.meanwhile = folder.save_view
        late.save_view()
        late.log.shut()
        saved = Path(folder.directory, "view").read_bytes()
        assert saved in (folder.columns.save(), late.columns.save())
        house.close()

    run(main())
