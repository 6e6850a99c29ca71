"""A move is whole or never happened, whatever dies in the middle of it and whoever clears up afterwards."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postroom.errors import DiskError, SpoolError
from postroom.message import derived_id
from postroom_store import compaction, notes
from postroom_store.notes import MoveNote
from postroom_testing.faults import Died, FaultDisk
from tests.providers_store.house import House, files_in, letter, run, turns

BEFORE, AFTER = ([1, 2, 3], [4]), ([3], [4, 1, 2])


async def scene(root: Path) -> tuple[House, FaultDisk]:
    """Letters 1 to 3 in Inbox, 4 in Other; both folders open."""
    disk = FaultDisk()
    house = House(root, disk=disk)
    for number in (1, 2, 3):
        await house.deliver(letter(number))
    await (await house.store.mailbox("example", "alice")).create("Other")
    await house.deliver(letter(4), folder="Other")
    house.journal.sync()
    await house.folder("Other")
    disk.calls.clear()
    return house, disk


async def move(house: House) -> None:
    await (await house.folder()).move([1, 2], await house.folder("Other"))


async def where(house: House, other: str = "Other") -> tuple[list[int], list[int]]:
    """Which letters lie in Inbox and in Other, each with its octets."""
    found = []
    for name in ("Inbox", other):
        numbers = []
        folder = await house.folder(name)
        for uid in folder.view().uids:
            text = await folder.read(uid)
            numbers += [number for number in range(1, 10) if letter(number).data == text]
        assert len(numbers) == len(folder.view()) == folder.view().status.messages
        found.append(numbers)
    return found[0], found[1]


async def cut_in_two(root: Path, *, files: bool = True) -> House:
    """The process died when the messages had arrived and were still where they had been; `files`: as of the target a power cut left them."""
    counted, counting = await scene(root.with_name(f"{root.name} counted"))
    await move(counted)
    counted.close()
    house, disk = await scene(root)
    disk.at = counting.calls.index("pwrite") + 2
    with pytest.raises(Died):
        await move(house)
    disk.bury()
    target = house.root / "Postoffices/example/MAILROOT/alice/Other"
    if not files:
        for number in (1, 2):
            (target / f"{letter(number).id}.MAI").unlink()
    house.close()
    return house


@pytest.mark.parametrize("power_lost", [False, True])
@pytest.mark.parametrize("how", ["die", "tear"])
def test_a_move_killed_at_any_call_is_whole_or_never_happened(tmp_path: Path, how: str, power_lost: bool) -> None:
    async def main() -> None:
        seen = set()
        house, disk = await scene(tmp_path / "counted")
        await move(house)
        house.close()
        calls = list(disk.calls)
        for at in (*turns(calls, how), len(calls) + 1):
            house, disk = await scene(tmp_path / str(at))
            disk.at, disk.how = at, how
            try:
                await move(house)
            except Died:
                disk.bury()
            house.close()
            for _ in range(2):  # replayed again it is the same
                house = house.again(power_lost=power_lost)
                found = await where(house)
                assert found in (BEFORE, AFTER), f"killed at call {at}"
                assert await house.store.check("example", "alice", repair=True) is not None
                assert await where(house) == found
                house.close()
            seen.add(found == AFTER)
        assert seen == {False, True}

    run(main())


def test_a_crash_while_a_move_is_finished_is_followed_by_another(tmp_path: Path) -> None:
    async def main() -> None:
        for at in range(1, 50):
            dead = await cut_in_two(tmp_path / str(at))
            disk = FaultDisk(at)
            try:
                dead.again(disk=disk).close()
            except Died:
                disk.bury()
            house = dead.again()
            assert await where(house) == AFTER, f"killed at call {at}"
            house.close()
            if at > len(disk.calls):
                assert at > 3
                return
        raise AssertionError("it takes fewer calls")

    run(main())


def test_another_worker_finishes_it_under_the_eyes_of_its_sessions(tmp_path: Path) -> None:
    async def main() -> None:
        dead = await cut_in_two(tmp_path / "site")
        living = dead.beside()
        inbox, other = await living.folder(), await living.folder("Other")
        assert (len(inbox.view()), len(other.view())) == (3, 3)
        known = inbox.view().status.modseq
        await living.deliver(letter(5))
        living.journal.durable = dead.journal.durable
        living.journal.replay()
        assert await where(living) == ([3, 5], [4, 1, 2])
        assert list(inbox.expunged_since(known)) == [1, 2]
        assert len(files_in(inbox)) == 2
        (placed,) = await living.deliver(letter(1), again=True)
        assert (placed.folder, placed.doubled) == ("Other", True)
        living.close()

    run(main())


def test_it_is_finished_wherever_the_folders_lie_now(tmp_path: Path) -> None:
    async def main() -> None:
        dead = await cut_in_two(tmp_path / "site")
        living = dead.beside()
        box = await living.store.mailbox("example", "alice")
        await box.rename("Other", "Else/Where")
        await living.deliver(letter(9), folder="Other")  # another folder of the old name, another message under the old UIDs
        living.journal.durable = dead.journal.durable
        living.journal.replay()
        assert await where(living, "Else/Where") == AFTER
        assert list((await living.folder("Other")).view().uids) == [1]
        living.close()

    run(main())


@pytest.mark.parametrize("gone", ["Other", "Source"])
def test_a_folder_that_was_deleted_meanwhile_changes_nothing_else(tmp_path: Path, gone: str) -> None:
    async def main() -> None:
        dead = await cut_in_two(tmp_path / "site")
        living = dead.beside()
        box = await living.store.mailbox("example", "alice")
        if gone == "Source":
            await box.create("Source")
            inbox = await living.folder()
            await box.rename("Inbox", "Kept")  # a move of its own
            assert list(inbox.view().uids) == []
        else:
            await box.delete("Other")
        living.journal.durable = dead.journal.durable + living.journal.durable
        living.journal.replay()
        if gone == "Other":
            assert await where(living, "Inbox") == (BEFORE[0], BEFORE[0])
        else:
            assert await where(living) == ([], AFTER[1])
            assert list((await living.folder("Kept")).view().uids) == [1, 2, 3]
        living.close()

    run(main())


def test_a_compaction_does_not_forget_which_move_a_message_came_by(tmp_path: Path) -> None:
    async def main() -> None:
        dead = await cut_in_two(tmp_path / "site")
        living = dead.beside()
        compaction.compact((await living.folder("Other")).apart())
        compaction.compact((await living.folder()).apart())
        living.journal.durable = dead.journal.durable
        living.journal.replay()
        assert await where(living) == AFTER
        living.close()

    run(main())


def test_after_a_power_cut_the_octets_come_from_where_the_message_was(tmp_path: Path) -> None:
    """The target's log reached the disk, the links did not, and no journal holds the letters any more."""

    async def main() -> None:
        dead = await cut_in_two(tmp_path / "site", files=False)
        dead.journal.accepted.clear()
        dead.journal.durable = [
            record for record in dead.journal.durable if any(isinstance(n, MoveNote) for n in notes.read(record.payload))
        ]
        house = dead.again(power_lost=True)
        assert await where(house) == AFTER
        house.close()

    run(main())


def test_records_without_octets_anywhere_end_where_they_were_never_promised(tmp_path: Path) -> None:
    async def main() -> None:
        dead = await cut_in_two(tmp_path / "site", files=False)
        dead.journal.accepted.clear()
        dead.journal.durable = [
            record for record in dead.journal.durable if any(isinstance(n, MoveNote) for n in notes.read(record.payload))
        ]
        living = dead.beside()
        await (await living.folder()).expunge([1])
        living.close()
        house = dead.again(power_lost=True)
        assert await where(house) == ([3], [4, 2])
        house.close()

    run(main())


def test_copies_made_after_a_failed_move_are_not_mistaken_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        house, _ = await scene(tmp_path / "site")
        inbox, other = await house.folder(), await house.folder("Other")
        appends = 0
        append = house.journal.append

        async def refuse_the_second(kind: int, *parts: bytes) -> object:
            nonlocal appends
            appends += 1
            if appends == 2:
                raise SpoolError("the journal is full", full=True)
            return await append(kind, *parts)

        house.journal.append = refuse_the_second  # type: ignore[assignment,method-assign]
        with pytest.raises(DiskError):
            await inbox.move([1, 2], other)
        assert await where(house) == BEFORE, "what could not be promised is taken back"
        assert len(files_in(other)) == 1
        await inbox.copy([1, 2], other)
        house.close()
        for power_lost in (False, True):
            house = house.again(power_lost=power_lost)
            assert await where(house) == ([1, 2, 3], [4, 1, 2])
            house.close()

    run(main())


@pytest.mark.parametrize("refused_at", ["pwrite", "second pwrite"])
def test_a_log_that_refuses_takes_the_whole_move_back(tmp_path: Path, refused_at: str) -> None:
    async def main() -> None:
        counted, disk = await scene(tmp_path / "counted")
        await move(counted)
        counted.close()
        places = [place for place, name in enumerate(disk.calls, 1) if name == "pwrite"]
        house, disk = await scene(tmp_path / "site")
        disk.at, disk.how = places[refused_at == "second pwrite"], "full"
        with pytest.raises(DiskError) as refused:
            await move(house)
        assert refused.value.full
        assert await where(house) == BEFORE
        house.close()
        house = house.again()
        assert await where(house) == BEFORE
        house.close()

    run(main())


def test_the_journal_keeps_what_was_begun_until_the_sources_ended(tmp_path: Path) -> None:
    async def main() -> None:
        house, _ = await scene(tmp_path / "site")
        house.journal.holds.clear()
        await move(house)
        assert house.journal.holds == [0, 1, 1]
        assert house.journal.segment.holds == 0
        house.journal.holds.clear()
        await (await house.folder()).move([77], await house.folder("Other"))
        assert house.journal.holds == [], "nothing to move, nothing to tell"
        house.close()

    run(main())


def test_who_waits_for_a_move_may_go_away(tmp_path: Path) -> None:
    async def main() -> None:
        house, _ = await scene(tmp_path / "site")
        waiting = asyncio.ensure_future(move(house))
        while not house.journal.holds:
            await asyncio.sleep(0)
        waiting.cancel()
        others = [task for task in asyncio.all_tasks() if task not in (waiting, asyncio.current_task())]
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.gather(*others)
        assert await where(house) == AFTER
        house.close()

    run(main())


def test_a_source_that_is_renamed_at_the_last_moment_is_found(tmp_path: Path) -> None:
    async def main() -> None:
        house, _ = await scene(tmp_path / "site")
        beside = house.beside()
        kept = await (await house.store.mailbox("example", "alice")).create("Kept")
        await (await house.folder()).move([1, 2, 3], kept)
        append, appends = house.journal.append, 0

        async def rename_at_the_second(kind: int, *parts: bytes) -> object:
            nonlocal appends
            appends += 1
            if appends == 2:
                await (await beside.store.mailbox("example", "alice")).rename("Kept", "Moved")
            return await append(kind, *parts)

        house.journal.append = rename_at_the_second  # type: ignore[assignment,method-assign]
        await kept.move([1, 2], await house.folder("Other"))
        assert list((await house.folder("Moved")).view().uids) == [3]
        assert await where(house) == ([], [4, 1, 2])
        beside.close()
        house.close()

    run(main())


def test_a_message_moved_beside_its_copy_gets_a_name_of_its_own_and_no_old_trail(tmp_path: Path) -> None:
    async def main() -> None:
        house, _ = await scene(tmp_path / "site")
        inbox, other = await house.folder(), await house.folder("Other")
        await inbox.copy([1], other)
        await inbox.move([1], other)
        view = other.view()
        assert list(view.ids) == [letter(4).id, letter(1).id, derived_id(letter(1).id, view.status.object_id, "3")]
        assert (other.trail(1), len(other.trail(2))) == (b"", 24)
        third = await (await house.store.mailbox("example", "alice")).create("Third")
        await other.copy([3], third)
        assert (await house.folder("Third")).trail(0) == b""
        house.close()

    run(main())
