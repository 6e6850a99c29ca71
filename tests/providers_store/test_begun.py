"""An upload whose octets are in the journal before the folder has them: what a death, a refusal or a power cut in between leaves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from postroom.errors import DiskError, SpoolError
from postroom.mailstore import FLAGGED, SEEN
from postroom_testing.faults import Died, FaultDisk
from tests.providers_store.house import House, cut_log, letter, run

NOTED = 2  # the call behind that of the journal


async def with_two(root: Path) -> tuple[House, FaultDisk]:
    """Letters 1 and 2, long durable."""
    disk = FaultDisk()
    house = House(root, disk=disk)
    for number in (1, 2):
        await house.deliver(letter(number))
    house.journal.sync()
    (await house.folder()).view()
    disk.calls.clear()
    return house, disk


async def dies_with(house: House, disk: FaultDisk, number: int) -> None:
    """The journal has the letter; no file and no record was made."""
    inbox = await house.folder()
    disk.at, disk.how = len(disk.calls) + NOTED, "die"
    with pytest.raises(Died):
        await inbox.append(letter(number), flags=SEEN)
    disk.at = 0
    disk.bury()
    house.close()


async def died_beside_another(root: Path) -> tuple[House, House, Callable[[], None]]:
    """Letter 9 was begun by a process that is dead; another worker, and what takes all from the log that comes after this."""
    house, disk = await with_two(root)
    inbox = await house.folder()
    log, size = Path(inbox.directory, "log"), inbox.log.size()
    await dies_with(house, disk, 9)
    await house.clock.advance(1)
    return house, house.beside(), lambda: cut_log(log, size)


async def lying(house: House) -> dict[int, bytes]:
    inbox = await house.folder()
    return {uid: await inbox.read(uid) for uid in inbox.view().uids}


async def stays(house: House, expected: dict[int, bytes]) -> None:
    """So it is, and so it is after another replay, and after a check."""
    assert await lying(house) == expected
    house.journal.replay()
    assert await lying(house) == expected
    assert await house.store.check("example", "alice") == []
    modseqs = list((await house.folder()).view().modseqs)
    assert len(set(modseqs)) == len(modseqs)
    house.close()


ONE, TWO, EIGHT, NINE = (letter(number).data for number in (1, 2, 8, 9))


@pytest.mark.parametrize("power_lost", [False, True])
def test_what_was_begun_comes_with_the_next_process_as_it_was_meant(tmp_path: Path, power_lost: bool) -> None:
    async def main() -> None:
        house, disk = await with_two(tmp_path)
        await dies_with(house, disk, 9)
        house = house.again(power_lost=power_lost)
        view = (await house.folder()).view()
        assert view.flags[2] == SEEN and view.message(2).id == letter(9).id
        assert view.message(2).sent == datetime(2026, 3, 2, 9, tzinfo=UTC).timestamp(), "as its Date field says"
        assert b'"Letter 9"' in view.envelope(2)
        await stays(house, {1: ONE, 2: TWO, 3: NINE})

    run(main())


def test_another_worker_got_its_number_and_it_never_was_there(tmp_path: Path) -> None:
    async def main() -> None:
        house, other, _ = await died_beside_another(tmp_path)
        assert (await (await other.folder()).append(letter(8))).uid == 3
        house = house.again()
        await stays(house, {1: ONE, 2: TWO, 3: EIGHT})
        assert await lying(other) == {1: ONE, 2: TWO, 3: EIGHT}
        other.close()

    run(main())


@pytest.mark.parametrize("answered_first", [False, True], ids=["journal of the dead first", "journal of the other first"])
def test_a_power_cut_leaves_two_of_one_number_and_both_are_kept(tmp_path: Path, answered_first: bool) -> None:
    """One of them was answered, and the journals do not say which."""

    async def main() -> None:
        house, other, cut = await died_beside_another(tmp_path)
        theirs = await other.folder()
        await theirs.append(letter(8))
        other.close()
        cut()
        Path(theirs.file(letter(8).id)).write_bytes(b"")
        both = (other.journal, house.journal) if answered_first else (house.journal, other.journal)
        house.journal.durable = [record for journal in both for record in journal.durable]
        house = house.again(power_lost=True)
        found = await lying(house)
        assert sorted(found.values()) == sorted([ONE, TWO, EIGHT, NINE])
        assert found[3] == EIGHT, "what came last has the number: it was told, if any was"
        assert max(found) > 1000, "the other's is one that nobody has seen"
        await stays(house, found)

    run(main())


@pytest.mark.parametrize("log_is_lost", [False, True])
def test_a_change_has_its_modseq(tmp_path: Path, log_is_lost: bool) -> None:
    """Two changes under one number: who resynchronises would miss one (RFC 7162)."""

    async def main() -> None:
        house, other, cut = await died_beside_another(tmp_path)
        await (await other.folder()).change_flags([1], add=FLAGGED)
        other.close()
        if log_is_lost:
            cut()
            house.journal.durable += other.journal.durable
        house = house.again(power_lost=log_is_lost)
        assert (await house.folder()).view().flags[0] == FLAGGED
        found = await lying(house)
        assert sorted(found.values()) == (sorted([ONE, TWO, NINE]) if log_is_lost else [ONE, TWO])
        await stays(house, found)

    run(main())


@pytest.mark.parametrize("power_lost", [False, True])
@pytest.mark.parametrize("refused", ["file", "octets", "record"])
def test_what_the_disk_refused_is_withdrawn_and_does_not_come_later(tmp_path: Path, refused: str, power_lost: bool) -> None:
    async def main() -> None:
        house, disk = await with_two(tmp_path)
        inbox = await house.folder()
        disk.at, disk.how = (
            len(disk.calls) + NOTED + {"file": 0, "octets": 1, "record": 2}[refused],
            "full" if refused != "file" else "broken",
        )
        with pytest.raises(DiskError):
            await inbox.append(letter(9))
        disk.heal()
        assert await lying(house) == {1: ONE, 2: TWO}
        assert (await inbox.append(letter(8))).uid == 3
        house.close()
        house = house.again(power_lost=power_lost)
        await stays(house, {1: ONE, 2: TWO, 3: EIGHT})

    run(main())


def test_a_journal_without_room_is_an_answer_before_anything_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        house, disk = await with_two(tmp_path)
        inbox = await house.folder()

        def full(kind: int, *parts: bytes) -> None:
            raise SpoolError("the journal has no free segment")

        disk.calls.clear()
        with monkeypatch.context() as patch, pytest.raises(DiskError, match="no free segment"):
            patch.setattr(house.journal, "begin", full)
            await inbox.append(letter(9))
        assert disk.calls == []
        assert (await inbox.append(letter(8))).uid == 3, "the lock was let go"
        house.close()

    run(main())


def test_what_a_scan_fails_at_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault of ours is no reason for a message that was refused to come at the next check."""
    from postroom_store import uploading

    async def main() -> None:
        house, _ = await with_two(tmp_path)
        inbox = await house.folder()

        def broken(*_: object) -> None:
            raise ZeroDivisionError

        monkeypatch.setattr(uploading, "in_memory", broken)
        with pytest.raises(ZeroDivisionError):
            await inbox.append(letter(9))
        house.close()
        house = house.again()
        await stays(house, {1: ONE, 2: TWO})

    run(main())


def test_a_folder_that_was_lost_with_all_but_a_withdrawn_one_is_not_begun_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        house, disk = await with_two(tmp_path)
        box = await house.store.mailbox("example", "alice")
        await box.create("New")
        new = await house.folder("New")
        disk.at, disk.how = len(disk.calls) + NOTED, "broken"
        with pytest.raises(DiskError):
            await new.append(letter(9))
        disk.heal()
        await box.delete("New")
        house.close()
        house = house.again(power_lost=True)
        assert list(await (await house.store.mailbox("example", "alice")).folders()) == ["Inbox"]
        house.close()

    run(main())
