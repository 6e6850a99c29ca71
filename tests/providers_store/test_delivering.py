from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from postroom.errors import DiskError, OverQuota, StoreError
from postroom.mailstore import FLAGGED, Placed, Target
from postroom.message import FileMessage, MemoryMessage
from postroom_mime.scan import Scan, scan
from postroom_store import compaction, incoming
from postroom_testing.faults import FaultDisk
from tests.providers_store.house import House, files_in, letter, run


@pytest.fixture
def house(tmp_path: Path) -> House:
    return House(tmp_path)


def test_one_file_stands_for_all_recipients(house: House) -> None:
    async def main() -> None:
        await house.deliver(letter(1), "alice", "bob", "carol")
        folders = [await house.folder(mailbox=name) for name in ("alice", "bob", "carol")]
        assert len({os.stat(folder.path(1)).st_ino for folder in folders}) == 1
        assert [await folder.read(1) for folder in folders] == [letter(1).data] * 3

    run(main())
    house.close()


def test_a_message_in_a_file_is_linked_not_copied(house: House) -> None:
    async def main() -> None:
        large = letter(1, size=400_000)
        path = house.root / "queued.MAI"
        path.write_bytes(large.data)
        await house.deliver(FileMessage(large.id, path, large.size))
        folder = await house.folder()
        assert os.stat(folder.path(1)).st_ino == path.stat().st_ino
        path.unlink()
        assert await folder.read(1) == large.data

    run(main())
    house.close()


def test_a_message_in_a_file_is_scanned_beside_the_loop_and_one_in_memory_in_it(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A scan of 25 MiB of hostile octets took over a second, and nobody else was served meanwhile."""
    where = []

    def watched(data: bytes) -> Scan:
        where.append(threading.current_thread() is threading.main_thread())
        return scan(data)

    async def main() -> None:
        large = letter(1, size=400_000)
        path = house.root / "queued.MAI"
        path.write_bytes(large.data)
        await house.deliver(FileMessage(large.id, path, large.size))
        await (await house.folder()).append(FileMessage(letter(2).id, path, large.size))
        await house.deliver(letter(3))

    monkeypatch.setattr(incoming, "scan", watched)
    run(main())
    house.close()
    assert where == [False, False, True]


def test_answers_stand_in_the_order_of_the_targets_and_failures_are_values(house: House) -> None:
    async def main() -> None:
        targets = [
            Target("example", "alice", limit=10),
            Target("example", "bob", "Junk E-Mail", flags=FLAGGED),
            Target("example", "carol", "a//b"),
            Target("example", "x" * 300),
        ]
        answers = await house.store.deliver(letter(1), targets, arrived=5.0)
        assert isinstance(answers[0], OverQuota)
        assert isinstance(answers[1], Placed) and answers[1].folder == "Junk E-Mail"
        assert isinstance(answers[2], StoreError) and isinstance(answers[3], StoreError)
        assert (await house.folder("Junk E-Mail", "bob")).view().flags[0] == FLAGGED
        assert (await house.folder("junk e-mail", "BOB")).view().message(0).arrived == 5.0

    run(main())
    house.close()


def test_a_file_message_that_is_gone_is_a_disk_error(house: House) -> None:
    async def main() -> None:
        answers = await house.store.deliver(
            FileMessage(letter(1).id, house.root / "nowhere", 10), [Target("example", "alice")] * 2, arrived=0
        )
        assert [type(answer) for answer in answers] == [DiskError, DiskError]

    run(main())
    house.close()


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "meanwhile", ["nothing", "flags", "expunge", "move", "compact", "delete folder", "remove mailbox", "move and compact"]
)
def test_what_was_delivered_is_never_delivered_again(house: House, meanwhile: str, restart: bool) -> None:
    async def main() -> None:
        box = await house.store.mailbox("example", "alice")
        await box.create("Other")
        name = "Other" if meanwhile == "delete folder" else "Inbox"
        await house.deliver(letter(1), folder=name)
        folder, other = await house.folder(name), await house.folder("Other")
        if meanwhile == "flags":
            await folder.change_flags([1], add=1)
        elif meanwhile in ("expunge", "compact"):
            await folder.expunge([1])
        elif meanwhile.startswith("move"):
            await folder.move([1], other)
        elif meanwhile == "delete folder":
            await box.delete("Other")
        elif meanwhile == "remove mailbox":
            await house.store.remove("example", "alice")
        if meanwhile.endswith("compact"):
            compaction.compact(folder.apart())
            await other.expunge(other.view().uids)
            compaction.compact(other.apart())
        now = house.again() if restart else house
        (placed,) = await now.deliver(letter(1), again=True)
        assert placed.doubled
        for shown in await (await now.store.mailbox("example", "alice")).folders():
            assert len((await now.folder(shown)).view()) == (
                1 if meanwhile in ("nothing", "flags", "move") and shown == placed.folder else 0
            )
        assert not (await now.deliver(letter(2), again=True))[0].doubled
        assert not (await now.deliver(letter(1), "bob", again=True))[0].doubled, "another mailbox never had it"
        now.close()

    run(main())
    house.close()


def test_this_process_remembers_without_being_asked_to_search(house: House) -> None:
    async def main() -> None:
        assert not (await house.deliver(letter(1)))[0].doubled
        assert (await house.deliver(letter(1)))[0].doubled
        assert (await house.deliver(letter(1), "alice", "ALICE"))[1].doubled

    run(main())
    house.close()


def test_a_file_that_a_crash_left_torn_is_made_whole_when_its_message_comes_again(house: House) -> None:
    async def main() -> None:
        await house.deliver(letter(1))
        folder = await house.folder()
        Path(folder.path(1)).write_bytes(letter(1).data[:20])
        await house.deliver(letter(1), again=True)
        assert await folder.read(1) == letter(1).data

    run(main())
    house.close()


def test_a_file_without_a_record_is_not_done(house: House) -> None:
    async def main() -> None:
        folder = await house.folder()
        Path(folder.file(letter(1).id)).write_bytes(b"half a mess")
        (placed,) = await house.deliver(letter(1), again=True)
        assert not placed.doubled and await folder.read(1) == letter(1).data

    run(main())
    house.close()


def test_two_workers_with_the_same_message_deliver_it_once(house: House) -> None:  # case 9
    beside = house.beside()

    async def main() -> None:
        first = await house.deliver(letter(1), again=True)
        second = await beside.deliver(letter(1), again=True)
        assert (first[0].doubled, second[0].doubled, second[0].uid) == (False, True, first[0].uid)

    run(main())
    house.close()
    beside.close()


@pytest.mark.parametrize("how", ["full", "broken"])
def test_a_disk_that_refuses_leaves_nothing_behind(tmp_path: Path, how: str) -> None:  # case 5
    async def main() -> None:
        for at in range(1, 40):
            root = tmp_path / str(at)
            disk = FaultDisk()
            house = House(root, disk=disk)
            await house.deliver(letter(1))
            disk.calls.clear()
            disk.at, disk.how = at, how
            (answer,) = await house.store.deliver(letter(2), [Target("example", "alice")], arrived=0)
            if isinstance(answer, Placed):
                assert at > len(disk.calls)
                house.close()
                return
            assert isinstance(answer, DiskError)
            assert answer.full == (how == "full")
            disk.heal()
            folder = await house.folder()
            assert list(folder.view().uids) == [1] and len(files_in(folder)) == 1
            assert (await house.deliver(letter(2), again=True))[0].uid == 2, "and it heals by itself"
            assert await house.store.check("example", "alice") == []
            house.close()
        raise AssertionError("a delivery takes fewer calls")

    run(main())


def test_an_id_that_is_none_is_refused(house: House) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="message id"):
            await house.store.deliver(MemoryMessage("../../etc/passwd", b""), [Target("example", "alice")], arrived=0)

    run(main())
    house.close()
