"""What lies in a mailbox stays there, once and as it is, whatever a replay, a second attempt, another worker or an index makes of it."""

from __future__ import annotations

import asyncio
import errno
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from postroom.mailstore import SEEN, Target
from postroom.message import SMALL, FileMessage, MemoryMessage
from postroom_disk.disk import Disk, DiskError
from postroom_store import compaction, layout, tree
from postroom_testing.faults import Died, FaultDisk
from tests.providers_store.house import House, files_in, letter, run


def changed(message: MemoryMessage, mark: bytes) -> MemoryMessage:
    """The message as a filter leaves it: another text under the same id (mta.py), and at each attempt perhaps another one."""
    return MemoryMessage(message.id, b"X-Score: " + mark + b"\r\n" + message.data)


def in_file(message: MemoryMessage, folder: Path) -> FileMessage:
    path = folder / f"{message.id}.waiting"
    path.write_bytes(message.data)
    return FileMessage(message.id, path, message.size)


@pytest.mark.parametrize("second", [b"12345", b"1"])
@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_message_that_a_filter_changes_at_each_attempt_is_delivered_once(tmp_path: Path, second: bytes, where: str) -> None:
    """What was delivered was taken for a torn file, ended wherever its owner had put it, and delivered once more, unread."""

    async def main() -> None:
        house = House(tmp_path)
        (first,) = await house.deliver(changed(letter(1), b"123"))
        await (await house.folder()).change_flags([first.uid], add=SEEN)
        box = await house.store.mailbox("example", "alice")
        await (await house.folder()).move([first.uid], await box.create("Read"))
        house = house.again()
        other = changed(letter(1), second)
        (placed,) = await house.store.deliver(
            other if where == "memory" else in_file(other, tmp_path), [Target("example", "alice")], arrived=0.0, again=True
        )
        assert not isinstance(placed, Exception)
        assert placed.doubled
        read = await house.folder("Read")
        assert len(read.view()) == 1
        assert read.view().flags[0] == SEEN
        assert await read.read(read.view().uids[0]) == changed(letter(1), b"123").data
        assert not len((await house.folder()).view())
        house.close()

    run(main())


@pytest.mark.parametrize("power_lost", [False, True])
def test_a_replay_leaves_the_text_that_a_filter_made(tmp_path: Path, power_lost: bool) -> None:
    """The journal has the message as it was accepted: it took the place of what the filter had made of it, and of what was delivered."""

    async def main() -> None:
        house = House(tmp_path)
        clean = changed(letter(1, text="attachment removed"), b"1")
        (placed,) = await house.deliver(clean)
        house.journal.sync()
        house.journal.accepted[clean.id] = letter(1, text="attachment " * 20)
        house = house.again(power_lost=power_lost)
        assert await (await house.folder()).read(placed.uid) == clean.data
        house.close()

    run(main())


@pytest.mark.parametrize("text", ["Hello.", "Hello. " * 20])
def test_a_text_that_a_filter_made_and_a_power_cut_took_comes_back_as_it_was_accepted(tmp_path: Path, text: str) -> None:
    """Under the size that the filter's text had: the end of a longer one was never seen."""

    async def main() -> None:
        house = House(tmp_path)
        clean = changed(letter(1), b"1")
        (placed,) = await house.deliver(clean)
        house.journal.sync()
        house.journal.accepted[clean.id] = letter(1, text=text)
        Path((await house.folder()).path(placed.uid)).write_bytes(b"")
        for _ in range(2):
            house = house.again(power_lost=True)
            assert await (await house.folder()).read(placed.uid) == letter(1, text=text).data
        house.close()

    run(main())


def test_a_mailbox_of_more_folders_than_logs_may_be_open_gets_what_comes_again(tmp_path: Path) -> None:
    """The search for it closed the log whose lock was held: nothing of a group's mail ever came in there."""

    async def main() -> None:
        house = House(tmp_path)
        box = await house.store.mailbox("example", "alice")
        for number in range(20):
            await box.create(f"Folder {number}")
        (placed,) = await house.deliver(letter(1), again=True)
        assert not placed.doubled
        assert (await house.deliver(letter(1), again=True))[0].doubled
        assert files_in(await house.folder()) == [letter(1).id]
        house.close()

    run(main())


async def moved_by_hand(house: House, source: str, target: str) -> None:
    """As an operator does it: the files go over, and both folders are marked."""
    here, there = await house.folder(source), await house.folder(target)
    for name in files_in(here):
        os.rename(here.file(name), there.file(name))
    for folder in (here, there):
        Path(folder.directory, layout.CHANGED).touch()


def test_files_moved_by_hand_are_taken_in_though_their_old_folder_forgot_them(tmp_path: Path) -> None:
    """The caretaker indexed and compacted the one folder, and then took what it had forgotten out of the other, for good."""

    async def main() -> None:
        house = House(tmp_path)
        box = await house.store.mailbox("example", "alice")
        for name in ("A", "B"):
            await box.create(name)
        for number in range(300):
            await house.deliver(letter(number), folder="A")
        await moved_by_hand(house, "A", "B")
        await house.store.tend()
        assert len((await house.folder("B")).view()) == 300
        assert len(files_in(await house.folder("B"))) == 300
        house.close()

    run(main())


def test_a_folder_that_lost_its_log_keeps_what_was_moved_into_it(tmp_path: Path) -> None:
    """The folder it had come from was deleted, and so all its ids were forgotten: an index took the files for what it had left."""

    async def main() -> None:
        house = House(tmp_path)
        box = await house.store.mailbox("example", "alice")
        source, target = await box.create("Old"), await box.create("New")
        await house.deliver(letter(1), folder="Old")
        await source.move([1], target)
        await box.delete("Old")
        house.close()
        Path((await house.folder("New")).directory, layout.LOG).unlink()
        house = house.again()
        folder = await house.folder("New")
        assert [await folder.read(uid) for uid in folder.view().uids] == [letter(1).data]
        house.close()

    run(main())


def test_a_file_put_back_by_hand_after_an_expunge_can_still_be_brought_back(tmp_path: Path) -> None:
    """Moved there and back by hand, or restored from a backup: the index took it for what an expunge had left, and removed the last copy."""

    async def main() -> None:
        house = House(tmp_path)
        house.means.keep_expunged = 86400.0
        box = await house.store.mailbox("example", "alice")
        for name in ("A", "B"):
            await box.create(name)
        await house.deliver(letter(1), folder="A")
        await moved_by_hand(house, "A", "B")
        await house.store.tend()
        await moved_by_hand(house, "B", "A")
        await house.store.tend()
        assert await box.undelete(None) == 1
        folder = await house.folder("A")
        assert [await folder.read(uid) for uid in folder.view().uids] == [letter(1).data]
        house.close()

    run(main())


def test_mail_that_comes_while_its_folder_is_being_renamed_lies_where_its_record_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It made the folder of the old name anew; then the loop heard of the rename, and took that folder's log for the renamed one's."""

    async def main() -> None:
        house = House(tmp_path)
        box = await house.store.mailbox("example", "alice")
        await box.create("Lists")
        await house.deliver(letter(1), folder="Lists")
        loop, rename = asyncio.get_running_loop(), tree.rename

        def late(*how: Any) -> tuple[str, str]:
            done = rename(*how)
            asyncio.run_coroutine_threadsafe(house.deliver(letter(2), folder="Lists"), loop).result(10)
            selected.append(asyncio.run_coroutine_threadsafe(house.folder("Lists"), loop).result(10))
            return done

        monkeypatch.setattr(tree, "rename", late)
        selected = [await house.folder("Lists")]  # by sessions
        await box.rename("Lists", "Old")
        await house.deliver(letter(3), folder="Old")
        for name, letters in (("Lists", [2]), ("Old", [1, 3])):
            folder = await house.folder(name)
            assert [await folder.read(uid) for uid in folder.view().uids] == [letter(number).data for number in letters]
        house.close()

    run(main())


@pytest.mark.parametrize("again", [False, True])
def test_a_folder_that_another_worker_wrote_in_another_case_is_not_made_twice(tmp_path: Path, again: bool) -> None:
    """Beside it lay a second directory of its name, which no client would ever open."""

    async def main() -> None:
        house = House(tmp_path)
        beside = house.beside()
        await house.deliver(letter(1), folder="lists")
        await (await beside.store.mailbox("example", "alice")).rename("lists", "Lists")
        await house.deliver(letter(2), folder="lists", again=again)
        assert not await house.store.check("example", "alice")
        folder = await beside.folder("Lists")
        assert len(folder.view()) == 2
        beside.close()
        house.close()

    run(main())


@pytest.mark.parametrize("many", [1, 30])
def test_a_sweep_leaves_the_folder_alone_that_took_the_name_of_its_own(tmp_path: Path, many: int) -> None:
    """What was copied into the new one lay there under the same ids, and lost its files."""

    async def main() -> None:
        house = House(tmp_path)
        beside = house.beside()
        box = await beside.store.mailbox("example", "alice")
        uids = [(await house.deliver(letter(number), folder="Work"))[0].uid for number in range(many)]
        folder = await house.folder("Work")
        await (await house.store.mailbox("example", "alice")).create("Copy")
        await folder.copy(uids, await house.folder("Copy"))
        append = house.journal.append

        async def late(kind: int, *parts: bytes, at_once: bool = False) -> Any:
            await box.rename("Work", "Old")
            await (await beside.folder("Copy")).copy(uids, await box.create("Work"))
            return await append(kind, *parts)

        house.journal.append = late  # type: ignore[method-assign]
        await folder.expunge(uids)
        house.journal.append = append  # type: ignore[method-assign]
        await house.means.errands.done()
        assert len(files_in(await beside.folder("Work"))) == many
        beside.close()
        house.close()

    run(main())


@pytest.mark.parametrize("died", [False, True])
def test_what_a_filter_made_for_one_mailbox_outlives_a_power_cut(tmp_path: Path, died: bool) -> None:
    """The journal had its arrival and what it was made of, but these octets nowhere: the message was settled, and gone."""

    async def main() -> None:
        house = House(tmp_path)
        message, target = letter(1), Target("example", "alice")
        house.journal.accepted[message.id] = letter(1, text="As it was accepted.")
        await house.store.deliver(message, [target], arrived=1.0, own=True)
        if died:  # with its note; the next attempt finds the message
            house = house.again()
            (placed,) = await house.store.deliver(message, [target], arrived=1.0, again=True, own=True)
            assert not isinstance(placed, Exception)
            assert placed.doubled
        house.journal.sync()
        Path((await house.folder()).path(1)).unlink()
        house = house.again(power_lost=True)
        folder = await house.folder()
        assert [await folder.read(uid) for uid in folder.view().uids] == [message.data]
        house.close()

    run(main())


class Syncs(Disk):
    """Remembers what was made durable."""

    def __init__(self) -> None:
        super().__init__()
        self.files: list[int] = []

    def fsync(self, fd: int) -> None:  # type: ignore[override]
        self.files.append(os.fstat(fd).st_ino)
        super().fsync(fd)


def test_what_a_filter_made_and_no_journal_would_hold_is_durable_before_the_answer(tmp_path: Path) -> None:
    async def main() -> None:
        disk = Syncs()
        house = House(tmp_path, disk=disk)
        for own in (False, True):
            message = letter(own, size=SMALL + 1)
            await house.store.deliver(message, [Target("example", "alice")], arrived=1.0, own=own)
            assert (os.stat((await house.folder()).file(message.id)).st_ino in disk.files) == own
        house.close()

    run(main())


def test_a_file_changed_by_hand_is_taken_in_though_the_disk_refused_at_first(tmp_path: Path) -> None:
    """Its message was ended before the file had a name of its own: the next index took it for what an expunge had left, and removed it."""

    async def main() -> None:
        house = House(tmp_path)
        await house.deliver(letter(1))
        folder = await house.folder()
        text = letter(1).data + b"added by hand\r\n"
        Path(folder.file(letter(1).id)).write_bytes(text)
        Path(folder.directory, layout.CHANGED).touch()

        def refuse(source: Any, target: Any) -> None:
            raise OSError(errno.ENOSPC, "full")

        house.disk.rename = refuse  # type: ignore[assignment]
        with pytest.raises(DiskError):
            await house.folder()
        house = house.again()
        folder = await house.folder()
        assert [await folder.read(uid) for uid in folder.view().uids] == [text]
        house.close()

    run(main())


def test_who_looks_while_another_worker_puts_a_new_log_in_place_finds_it(tmp_path: Path) -> None:
    """It had read that the log had moved, opened the old one once more, and heard of no mail from then on."""

    async def main() -> None:
        house = House(tmp_path)
        beside = house.beside()
        await house.deliver(letter(1))
        here, rename = await house.folder(), beside.disk.rename

        def late(source: Any, target: Any) -> None:
            if str(target).endswith("/log"):
                here.view()
            rename(source, target)

        beside.disk.rename = late  # type: ignore[assignment]
        compaction.compact((await beside.folder()).apart())
        await beside.deliver(letter(2))
        assert len(here.view()) == 2
        beside.close()
        house.close()

    run(main())


@pytest.mark.parametrize("deed", ["copied", "moved"])
def test_a_message_that_somebody_else_brought_here_is_still_delivered(tmp_path: Path, deed: str) -> None:
    """Both got it; one's attempt was put off, and the other copied his into a folder they share: an attempt later it counted as delivered."""

    async def main() -> None:
        house = House(tmp_path)
        await house.deliver(letter(1), "bob")
        shared = await (await house.store.mailbox("example", "alice")).create("Shared")
        theirs = await house.folder(mailbox="bob")
        pairs = await (theirs.copy([1], shared) if deed == "copied" else theirs.move([1], shared))
        await shared.expunge([new for _, new in pairs])
        (placed,) = await house.deliver(letter(1), "alice", again=True)
        assert not placed.doubled
        house.close()

    run(main())


@pytest.mark.parametrize("size", [0, SMALL + 1])
@pytest.mark.parametrize("how", ["die", "full", "broken"])
def test_what_takes_the_place_of_a_stump_is_not_lost_at_any_call(tmp_path: Path, how: str, size: int) -> None:
    """The stump was ended first; where the message itself did not come then, its id was known as delivered and gone for ever after."""

    async def attempt(root: Path, at: int) -> bool:
        """Whether the attempt was over before that call."""
        whole, disk = letter(1, size=size), FaultDisk()
        house = House(root, disk=disk)
        folder = await house.folder()
        Path(folder.file(whole.id)).write_bytes(whole.data[:40])
        Path(folder.directory, layout.CHANGED).touch()
        assert len((await house.folder()).view()) == 1
        disk.calls.clear()
        disk.at, disk.how = at, how
        with suppress(Died, DiskError):
            await house.deliver(whole, again=True)
        disk.heal()
        if disk.dead:
            disk.bury()
            house = house.again()
        await house.deliver(whole, again=True)
        folder = await house.folder()
        assert [await folder.read(uid) for uid in folder.view().uids] == [whole.data], at
        house.close()
        return at > len(disk.calls)

    for at in range(1, 60):
        if run(attempt(tmp_path / str(at), at)):
            return
    raise AssertionError("it takes fewer calls")


def test_the_word_that_a_log_has_moved_is_written_whole(tmp_path: Path) -> None:
    """A disk that was nearly full took a part of it: who read the old log waited for the rest for ever, and heard of no mail."""

    async def main() -> None:
        house = House(tmp_path)
        beside = house.beside()
        await house.deliver(letter(1))
        here, there, pwrite = await house.folder(), (await beside.folder()).apart(), Disk.pwrite
        assert len(here.view()) == 1

        def in_part(fd: int, data: bytes, at: int) -> int:
            beside.disk.pwrite = pwrite
            return pwrite(fd, data[:20], at)

        beside.disk.pwrite = in_part  # type: ignore[assignment]
        compaction.compact(there)
        await beside.deliver(letter(2))
        assert len(here.view()) == 2
        beside.close()
        house.close()

    run(main())
