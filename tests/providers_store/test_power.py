"""What a power cut leaves of things nobody was told of, and what it must not take of those that somebody was."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest

from postroom.journal import Segment
from postroom.mailstore import FLAGGED, SEEN, Upload
from postroom_disk.disk import Disk
from postroom_store import compaction, notes, replaying
from postroom_store.records import ARRIVAL, ARRIVE, EXPUNGE, Arrival, Entry, Tail, runs
from postroom_testing.faults import Died, FaultDisk, PowerDisk
from tests.providers_store.house import House, cut_log, files_in, letter, run


def test_a_flag_change_under_the_number_at_which_the_new_epoch_begins_is_put_back(tmp_path: Path) -> None:
    """Replay took the epoch's own record for it."""

    async def main() -> None:
        house = House(tmp_path)
        await house.deliver(letter(1))
        folder = await house.folder()
        size, modseq = folder.log.size(), folder.view().status.modseq
        for number in range(1, 1100):
            seen = number % 2 == (number < 1000)
            add, remove = (FLAGGED, 0) if number == 1000 else (SEEN, 0) if seen else (0, SEEN)
            assert (await folder.change_flags([1], add=add, remove=remove)).modseq == modseq + number
        log = Path(folder.directory, "log")
        cut_log(log, size)
        house = house.again(power_lost=True)
        assert (await house.folder()).view().flags[0] == FLAGGED
        house.close()

    run(main())


def test_a_message_a_session_saw_and_a_power_cut_took_is_told_as_gone(tmp_path: Path) -> None:
    """Who resynchronised (RFC 7162) kept it for ever: its UID was neither there nor expunged."""

    async def main() -> None:
        house = House(tmp_path)
        for number in (1, 2):
            await house.deliver(letter(number))
        house.journal.sync()
        folder = await house.folder()
        size = folder.log.size()
        await house.deliver(letter(3))
        seen = folder.view()
        assert list(seen.uids) == [1, 2, 3]
        cut_log(Path(folder.directory, "log"), size)
        Path(folder.file(letter(3).id)).unlink()
        house = house.again(power_lost=True)
        folder = await house.folder()
        assert list(folder.view().uids) == [1, 2]
        gone = folder.expunged_since(seen.status.modseq)
        assert 3 in gone and not {1, 2} & set(gone)
        house.close()

    run(main())


@pytest.mark.parametrize("deed", ["copy", "move"])
def test_what_was_copied_into_a_folder_that_a_delivery_made_outlives_a_power_cut(tmp_path: Path, deed: str) -> None:
    """The folder's own name was not durable yet, and with it went the links in it."""

    async def main() -> None:
        root = tmp_path / "site"
        root.mkdir()
        before = House(root)
        await before.deliver(letter(1))
        before.close()
        disk = PowerDisk(root)  # all so far is durable
        house = House(root, disk=disk)
        await house.deliver(letter(2), folder="Made by a rule")
        inbox, target = await house.folder(), await house.folder("Made by a rule")
        await (inbox.copy([1], target) if deed == "copy" else inbox.move([1], target))
        await inbox.expunge([1])
        house.close()
        disk.cut(tmp_path / "cut")
        house = house.again(power_lost=True, root=tmp_path / "cut")
        target = await house.folder("Made by a rule")
        assert [await target.read(uid) for uid in target.view().uids] == [letter(2).data, letter(1).data]
        house.close()

    run(main())


def test_a_large_message_appended_to_a_folder_that_a_delivery_made_outlives_a_power_cut(tmp_path: Path) -> None:
    """Its file and its name were durable, the folder's name was not; the journal names the file only."""

    async def main() -> None:
        root = tmp_path / "site"
        root.mkdir()
        disk = PowerDisk(root)
        house = House(root, disk=disk)
        await house.deliver(letter(2), folder="Made by a rule/Below")
        target = await house.folder("Made by a rule/Below")
        await target.append(letter(1, size=300_000))
        house.close()
        disk.cut(tmp_path / "cut")
        house = house.again(power_lost=True, root=tmp_path / "cut")
        target = await house.folder("Made by a rule/Below")
        assert [await target.read(uid) for uid in target.view().uids] == [letter(2).data, letter(1, size=300_000).data]
        house.close()

    run(main())


UPLOADS = {
    "append_all": [letter(11), letter(12, size=300_000), letter(13)],
    "replace": [letter(11)],
    "replace large": [letter(12, size=300_000)],
    "replace elsewhere": [letter(11)],
    "replace elsewhere large": [letter(12, size=300_000)],
}


async def upload(deed: str, house: House) -> None:
    inbox = await house.folder()
    if deed == "append_all":
        await inbox.append_all([Upload(message) for message in UPLOADS[deed]])
    else:
        await inbox.replace(2, Upload(UPLOADS[deed][0]), await house.folder("Other") if "elsewhere" in deed else inbox)


def expected(deed: str, *, done: bool) -> list[bytes]:
    """All that lies in the mailbox."""
    were = [letter(number).data for number in (1, 2, 3) if not (done and number == 2 and deed != "append_all")]
    return sorted(were + [message.data for message in UPLOADS[deed] if done])


async def lying(house: House) -> list[bytes]:
    folders = [await house.folder(name) for name in ("Inbox", "Other")]
    return sorted([await folder.read(uid) for folder in folders for uid in folder.view().uids])


async def furnished(root: Path, disk_of: Callable[[Path], Disk]) -> House:
    root.mkdir()
    before = House(root)
    for number in (1, 2):
        await before.deliver(letter(number))
    await (await before.store.mailbox("example", "alice")).create("Other")
    await before.deliver(letter(3), folder="Other")
    before.journal.sync()
    before.close()
    disk = disk_of(root)
    return House(root, disk=disk, journal=before.journal.after_crash(disk))


@pytest.mark.parametrize("deed", UPLOADS)
def test_what_was_uploaded_outlives_a_power_cut_and_what_it_replaced_does_not(tmp_path: Path, deed: str) -> None:
    async def main() -> None:
        house = await furnished(tmp_path / "site", PowerDisk)
        disk = cast(PowerDisk, house.disk)
        await upload(deed, house)
        house.close()
        disk.cut(tmp_path / "cut")
        house = house.again(power_lost=True, root=tmp_path / "cut")
        assert await lying(house) == expected(deed, done=True)
        said = await house.store.check("example", "alice", repair=True)
        assert all("left behind" in line for line in said), "files that nobody was told are gone"
        assert await lying(house) == expected(deed, done=True)
        house.close()

    run(main())


@pytest.mark.parametrize("at", ["octets", "records", "all"])
@pytest.mark.parametrize("deed", UPLOADS)
def test_an_upload_that_was_not_answered_is_done_whole_or_not_at_all_after_a_power_cut(tmp_path: Path, deed: str, at: str) -> None:
    """The journal refused its last record and the power failed then: of the files or the log a part had reached the disk, or all."""

    async def main() -> None:
        disk = FaultDisk()
        house = await furnished(tmp_path / "site", lambda root: disk)
        inbox, other = await house.folder(), await house.folder("Other")
        whole, note = house.journal.append, 2 if "elsewhere" in deed else 1

        async def append(kind: int, *parts: bytes) -> Segment:
            nonlocal note
            note -= 1
            if not note:
                raise Died
            return await whole(kind, *parts)

        house.journal.append = append  # type: ignore[method-assign]
        target = other if "elsewhere" in deed else inbox
        before = target.log.size()
        with pytest.raises(Died):
            await upload(deed, house)
        disk.dead = True
        disk.bury()
        house.close()
        if at == "octets":
            Path(target.file(UPLOADS[deed][0].id)).write_bytes(b"Sub")
        elif at == "records":
            cut_log(Path(target.directory, "log"), (before + Path(target.directory, "log").stat().st_size) // 2)
        house = house.again(power_lost=True)
        assert await lying(house) in (
            [expected(deed, done=at == "all")] if at != "all" else [expected(deed, done=done) for done in (True, False)]
        )
        house.close()

    run(main())


@pytest.mark.parametrize("torn", [False, True])
@pytest.mark.parametrize("deed", ["copy", "append", "append large"])
def test_a_record_without_octets_that_nobody_was_told_of_does_not_come_alive(tmp_path: Path, deed: str, torn: bool) -> None:
    """The log reached the disk, the message did not, and the journal has no note of it: who had asked was never answered."""

    async def main() -> None:
        disk = FaultDisk()
        house = House(tmp_path / "site", disk=disk)
        for number in (1, 2):
            await house.deliver(letter(number))
        await (await house.store.mailbox("example", "alice")).create("Other")
        await house.deliver(letter(3), folder="Other")
        house.journal.sync()
        target = await house.folder("Other")
        house.journal.refuse, house.journal.is_slow = Died(), True  # type: ignore[assignment]
        with pytest.raises(Died):
            if deed == "copy":
                await (await house.folder()).copy([1, 2], target)
            else:
                await target.append(letter(9, size=300_000 if "large" in deed else 0))
        house.journal.refuse = None
        disk.dead = True
        disk.bury()
        house.close()
        lost = [name for name in files_in(target) if name != letter(3).id]
        assert lost
        for name in lost:
            if torn:
                Path(target.file(name)).unlink()  # its inode is the source's
                Path(target.file(name)).write_bytes(b"Sub")
            else:
                Path(target.file(name)).unlink()
        house = house.again(power_lost=True)
        other = await house.folder("Other")
        assert list(other.view().uids) == [1] and await other.read(1) == letter(3).data
        said = await house.store.check("example", "alice")
        assert len(said) == len(lost) * torn and all(".torn.new was left behind by a crash" in line for line in said)
        torn_ones = list(Path(other.directory).glob(".*.torn.new"))
        assert [path.read_bytes() for path in torn_ones] == [b"Sub"] * len(lost) * torn, "nothing is thrown away at once"
        (placed,) = await house.deliver(letter(50), folder="Other")
        assert placed.uid > 1000, "no number that somebody may have seen is used again"
        house.close()

    run(main())


def test_a_delivery_without_octets_comes_again_and_one_the_journal_notes_keeps_its_uid(tmp_path: Path) -> None:
    """What does not come alive must not be taken for what was expunged."""

    async def main() -> None:
        house = House(tmp_path / "site")
        await house.deliver(letter(1))
        house.journal.sync()
        await house.deliver(letter(2))  # its note is not durable, its acceptance is
        folder = await house.folder()
        house.close()
        for number in (1, 2):
            Path(folder.file(letter(number).id)).unlink()
        house = house.again(power_lost=True)
        (placed,) = await house.deliver(letter(2), again=True)
        folder = await house.folder()
        assert await folder.read(1) == letter(1).data
        assert [await folder.read(uid) for uid in folder.view().uids] == [letter(1).data, letter(2).data]
        assert placed.uid in folder.view().uids
        house.close()

    run(main())


def test_a_message_file_removed_by_hand_long_ago_is_not_touched_by_a_new_epoch(tmp_path: Path) -> None:
    """Whose octets were durable before is the operator's to look at; `check` tells of it."""

    async def main() -> None:
        house = House(tmp_path / "site")
        await house.deliver(letter(1))
        house.clock.set(house.clock.now() + 3600)
        await house.deliver(letter(2))
        folder = await house.folder()
        Path(folder.path(1)).unlink()
        house.journal.durable.clear()
        house.close()
        house = house.again(power_lost=True)
        assert list((await house.folder()).view().uids) == [1, 2]
        assert await house.store.check("example", "alice") == ["Inbox: message 1 has no file"]
        house.close()

    run(main())


def test_a_disk_that_fills_under_a_compaction_gets_its_octets_back(tmp_path: Path) -> None:
    """Half a new log stayed behind under a hidden name, on a disk that is full."""

    async def main() -> None:
        disk = FaultDisk()
        house = House(tmp_path, disk=disk)
        for number in range(1, 6):
            await house.deliver(letter(number))
        folder = await house.folder()
        await folder.expunge([1, 2])
        refusals = 0
        for at in range(1, 14):
            disk.calls.clear()
            disk.at, disk.how = at, "full"
            try:
                compaction.compact(folder.apart())
            except OSError:
                refusals += 1
                assert not list(Path(folder.directory).glob(".log*")), disk.calls
            disk.heal()
        assert refusals == 3
        assert list(folder.view().uids) == [3, 4, 5]
        house.close()

    run(main())


def test_replay_of_a_folder_with_many_gaps_takes_time_in_proportion() -> None:
    """Every second message expunged: each run was looked for among all messages."""
    count = 40_000
    uids = list(range(1, count + 1))
    fixed = [ARRIVAL.pack(*Arrival(uid, 0, uid, 10, 0.0, 0.0, 0.0, 0, uid)) for uid in uids]
    records = [Entry(0, ARRIVE, payload, Tail(uid + 1, uid, 1, 1, 0, 0)) for uid, payload in zip(uids, fixed, strict=True)]
    records.append(Entry(0, EXPUNGE, runs(range(0, count, 2), uids), Tail(count + 1, count + 1, 1, 1, 0, 0)))
    begun = time.process_time()
    alive = replaying._alive(records)
    assert sorted(alive) == uids[1::2]
    assert time.process_time() - begun < 3.0, "linear it is a twentieth of this, else half a minute"


def test_runs_that_span_gaps_end_what_is_in_them() -> None:
    chance = random.Random(1)
    uids = sorted(chance.sample(range(1, 10_000), 300))
    gone = sorted(chance.sample(range(300), 120))
    records = [
        Entry(0, ARRIVE, ARRIVAL.pack(*Arrival(uid, 0, n, 10, 0.0, 0.0, 0.0, 0, uid)), Tail(uid + 1, n, 1, 1, 0, 0))
        for n, uid in enumerate(uids, 1)
    ]
    records.append(Entry(0, EXPUNGE, runs(gone, uids), Tail(10_000, 400, 1, 1, 0, 0)))
    assert sorted(replaying._alive(records)) == [uid for row, uid in enumerate(uids) if row not in gone]


def test_mail_was_lost_that_came_into_the_folder_that_another_worker_made_in_the_place_of_a_deleted_one(tmp_path: Path) -> None:
    """The journal named the deleted one for it, so that a power cut took it."""

    async def main() -> None:
        house = House(tmp_path)
        other = house.beside()
        await house.deliver(letter(1), folder="Work")
        await (await other.store.mailbox("example", "alice")).delete("Work")
        await other.deliver(letter(2), folder="Work")
        work = await other.folder("Work")
        log, size, object_id = Path(work.directory, "log"), work.log.size(), work.log.birth.object_id
        await house.deliver(letter(3), folder="Work")
        (note,) = notes.read(house.journal.waiting[-1].payload)
        assert isinstance(note, notes.ArrivalNote) and note.where.object_id == object_id
        house.journal.durable += [*other.journal.durable, *other.journal.waiting]
        house.journal.sync()
        house.close()
        other.close()
        cut_log(log, size)
        house = house.again(power_lost=True)
        assert len((await house.folder("Work")).view()) == 2
        house.close()

    run(main())
