"""Two workers at one mailbox: what one does between two steps of the other is neither lost nor forgotten."""

from __future__ import annotations

import asyncio
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from postroom.errors import DiskError, NoSuchFolder
from postroom.mailstore import FLAGGED, SEEN
from postroom.message import MemoryMessage
from postroom_disk.disk import Disk
from postroom_pop3.maildrop import Locks, Maildrop
from postroom_store import beginning, compaction, tree
from postroom_store.folder import LocalFolder
from postroom_store.forgotten import Segments
from tests.providers_store.house import House, files_in, letter, logs_open, run

Wrapped = Callable[..., Any]


@contextmanager
def two(root: Path) -> Iterator[tuple[House, House]]:
    """Two workers of one site."""
    house = House(root)
    other = house.beside()
    try:
        yield house, other
    finally:
        other.close()
        house.close()


async def is_known(house: House, message: MemoryMessage) -> bool:
    """Whether a message that comes again is known to have been delivered."""
    (placed,) = await house.deliver(message, again=True)
    return placed.doubled


class Meanwhile:
    """Another worker's deed, begun at a chosen call of ours. Our call waits until it has ended, or until a lock keeps it out: then it ends later."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, module: Any, name: str, deed: Callable[[], Any]) -> None:
        self._call: Wrapped = getattr(module, name)
        self._deed, self._thread = deed, threading.Thread(target=self._do)
        self._begun, self._caller = False, 0
        self._is_far = threading.Event()  # ended, or kept out
        self._flock = fcntl.flock
        self.error: BaseException | None = None
        monkeypatch.setattr(module, name, self)
        monkeypatch.setattr(fcntl, "flock", self._locking)

    def __call__(self, *args: Any, **named: Any) -> Any:
        if not self._begun:
            self._begun, self._caller = True, threading.get_ident()
            self._thread.start()
            self._is_far.wait(20)
        return self._call(*args, **named)

    def _locking(self, fd: int, operation: int) -> None:
        """While our call waits only the deed asks for locks."""
        if self._begun and threading.get_ident() != self._caller and operation & fcntl.LOCK_EX:
            try:
                return self._flock(fd, operation | fcntl.LOCK_NB)
            except BlockingIOError:
                self._is_far.set()
        return self._flock(fd, operation)

    def _do(self) -> None:
        try:
            asyncio.run(self._deed())
        except BaseException as error:
            self.error = error
        finally:
            self._is_far.set()

    def end(self) -> None:
        assert self._begun, "the call was made"
        self._thread.join(20)
        assert self.error is None, repr(self.error)


async def texts(house: House, name: str) -> list[bytes]:
    folder = await house.folder(name)
    return [await folder.read(uid) for uid in folder.view().uids]


def test_a_folder_that_two_workers_bring_back_at_once_keeps_the_mail_of_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slower one cleared away the faster one's log and message as leftovers of the deleted folder."""

    async def main() -> None:
        house = House(tmp_path)
        other = house.beside()
        box = await house.store.mailbox("example", "alice")
        await box.create("Doomed/Inner")
        await house.deliver(letter(9), folder="Doomed")
        await box.delete("Doomed")
        meanwhile = Meanwhile(monkeypatch, beginning, "clear", lambda: other.deliver(letter(2), folder="Doomed"))
        try:
            await house.deliver(letter(1), folder="Doomed")
        finally:
            meanwhile.end()
            assert letter(2).data in await texts(house, "Doomed")
        assert letter(1).data in await texts(house, "Doomed")
        other.close()
        house.close()

    run(main())


@pytest.mark.parametrize("deed", ["delete", "remove"])
def test_what_comes_into_a_folder_that_is_just_being_deleted_is_kept_in_mind_or_comes_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deed: str
) -> None:
    """It was deleted with the folder, and no log and no `forgotten` knew its id: a replay brought it, and the folder, back."""

    async def main() -> None:
        with two(tmp_path) as (house, other):
            box = await house.store.mailbox("example", "alice")
            await house.deliver(letter(1), folder="Doomed")
            meanwhile = Meanwhile(monkeypatch, tree, "keep_in_mind", lambda: other.deliver(letter(2), folder="Doomed"))
            await (box.delete("Doomed") if deed == "delete" else house.store.remove("example", "alice"))
            meanwhile.end()
            assert await is_known(house, letter(2))

    run(main())


def test_a_folder_begun_while_its_mailbox_is_about_to_be_removed_goes_too_and_is_kept_in_mind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        with two(tmp_path) as (house, other):
            await house.deliver(letter(1))
            meanwhile = Meanwhile(monkeypatch, tree, "is_there", lambda: other.deliver(letter(2), folder="New"))
            await house.store.remove("example", "alice")
            meanwhile.end()
            assert await is_known(house, letter(2))

    run(main())


def test_what_is_forgotten_while_the_caretaker_looks_around_is_not_dropped_at_once(tmp_path: Path) -> None:
    """It held what was just forgotten against the segments that lived when its round began."""

    async def main() -> None:
        house = House(tmp_path)
        await house.deliver(letter(1), folder="Doomed")
        box = await house.store.mailbox("example", "alice")
        folder = await house.folder("Doomed")
        live, asked = house.journal.live, 0

        def told() -> Segments:
            nonlocal asked
            asked += 1
            if asked > 1:
                return live()
            before = live()
            house.journal.segments = {(0, 2)}  # the first was cut meanwhile
            tree.delete(folder.apart())
            return before

        house.journal.live = told  # type: ignore[method-assign]
        await house.store.tend()
        assert (await box.folders()) == ["Inbox"]
        other = house.beside()  # ours remembers what it delivered anyway
        assert await is_known(other, letter(1)), "segment 2 could still bring it back"
        other.close()
        house.close()

    run(main())


def test_copies_are_not_taken_back_from_another_folder_of_that_name(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        beside = house.beside()
        box = await house.store.mailbox("example", "alice")
        await house.deliver(letter(1))
        target = await box.create("Other")

        async def refuse(kind: int, *parts: bytes, at_once: bool = False) -> Any:
            there = await beside.store.mailbox("example", "alice")
            await there.delete("Other")
            await there.create("Other")
            await beside.deliver(letter(5), folder="Other")
            raise DiskError("the journal is full", full=True)

        append, house.journal.append = house.journal.append, refuse  # type: ignore[method-assign]
        with pytest.raises(DiskError, match="journal is full"):
            await (await house.folder()).copy([1], target)
        house.journal.append = append  # type: ignore[method-assign]
        assert await texts(house, "Other") == [letter(5).data]
        beside.close()
        house.close()

    run(main())


def test_two_who_clear_away_the_same_directory_do_not_stumble_over_each_other(tmp_path: Path) -> None:
    """A deletion that had happened was told as failed."""

    async def main() -> None:
        house = House(tmp_path)
        box = await house.store.mailbox("example", "alice")
        await house.deliver(letter(1), folder="Doomed")
        gone = Path(box.path, ".gone.0123")
        (gone / "inner").mkdir(parents=True)
        (gone / "inner" / "rest").write_bytes(b"x")
        unlink = house.disk.unlink

        def race(path: str) -> None:
            unlink(path)
            if str(path).endswith("/rest"):  # the other one is a step ahead from here
                (gone / "inner").rmdir()
                gone.rmdir()

        house.means.disk.unlink = race  # type: ignore[assignment]
        await box.delete("Doomed")
        assert not gone.exists() and await box.folders() == ["Inbox"]
        house.close()

    run(main())


def test_the_caretaker_reads_no_folder_for_what_cannot_be_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Directories to be cleared away lie where directories are; it went through all messages of every folder for them."""

    async def main() -> None:
        house = House(tmp_path)
        await house.deliver(letter(1))
        folder = await house.folder()
        assert files_in(folder)
        scandir, scanned = os.scandir, list[str]()

        def listed(path: Any) -> Any:
            scanned.append(str(path))
            return scandir(path)

        monkeypatch.setattr(os, "scandir", listed)
        await house.store.tend()
        monkeypatch.undo()
        assert folder.mailbox_path in scanned and folder.directory not in scanned
        house.close()

    run(main())


def opened(folder: Path) -> list[str]:
    """What this process has open below a folder."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):  # the listing's own is gone
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return [path for path in found if path.startswith(str(folder))]


def test_a_mailbox_of_many_folders_is_removed_with_few_descriptors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        house = House(tmp_path)
        box = await house.store.mailbox("example", "alice")
        for number in range(40):
            await box.create(f"Folder {number}")
        house.close()
        before, most, keep = len(opened(tmp_path)), 0, compaction.keep_in_mind

        def count(*args: Any) -> None:
            nonlocal most
            most = max(most, len(opened(tmp_path)))
            keep(*args)

        monkeypatch.setattr(tree, "keep_in_mind", count)
        await house.store.remove("example", "alice")
        assert before < most < before + 20
        assert await box.folders() == ["Inbox"]
        house.close()

    run(main())


def test_two_subscriptions_at_once_are_both_kept(tmp_path: Path) -> None:
    """Each read the list before the other had written it."""

    async def main() -> None:
        house = House(tmp_path)
        box = await house.store.mailbox("example", "alice")
        await asyncio.gather(*(box.subscribe(f"Folder {number}") for number in range(10)))
        assert len(await box.subscriptions()) == 10
        await asyncio.gather(*(box.subscribe(f"Folder {number}", False) for number in range(9)))
        assert list(await box.subscriptions()) == ["Folder 9"]
        house.close()

    run(main())


@pytest.mark.parametrize("how", ["open", "deliver"])
def test_a_folder_is_begun_beside_the_loop_where_another_worker_has_the_mailbox(tmp_path: Path, how: str) -> None:
    """The whole worker stood still for as long as the other had the lock."""

    async def main() -> None:
        house = House(tmp_path)
        box = await house.store.mailbox("example", "alice")
        await box.create("Other")
        used = (await box.quota()).used
        locked, turned = threading.Event(), threading.Event()
        waited: list[bool] = []

        def other_worker() -> None:
            with beginning.mailbox_lock(house.beside().means, box.path):
                locked.set()
                waited.append(turned.wait(5))

        other = threading.Thread(target=other_worker)
        other.start()
        await asyncio.to_thread(locked.wait)
        begun = asyncio.ensure_future(house.folder() if how == "open" else house.deliver(letter(1)))
        for _ in range(20):  # the loop has its turns
            await asyncio.sleep(0)
        assert not begun.done()
        turned.set()
        await begun
        other.join()
        assert waited == [True], "the lock was let go because the loop went on, not because nobody could wait any longer"
        (await house.deliver(letter(2)))
        assert (await box.quota()).used == used + letter(2).size + (letter(1).size if how == "deliver" else 0), "the folder counts at once"
        house.close()

    run(main())


def replaced_at_the_lock(folder: LocalFolder, beside: House) -> None:
    """From here on another worker removes the mailbox, and mail comes to a new one of its name, whenever this folder's lock is asked for."""
    hold = folder.hold

    async def late(**how: bool) -> Any:
        folder.hold = hold  # type: ignore[method-assign]
        await beside.store.remove("example", "alice")
        await beside.deliver(letter(7))
        return await hold(**how)

    folder.hold = late  # type: ignore[method-assign]


@pytest.mark.parametrize("deed", ["expunge", "flags", "copy", "move"])
def test_who_knew_the_folder_before_touches_no_mail_of_the_one_that_took_its_place(tmp_path: Path, deed: str) -> None:
    """Between a session's look and the lock the folder was removed and made anew: the same UID was another message."""

    async def main() -> None:
        house = House(tmp_path)
        beside = house.beside()
        await house.deliver(letter(1))
        await house.deliver(letter(2), "bob")
        folder, other = await house.folder(), await house.folder(mailbox="bob")
        known = folder.view().status.uidvalidity
        assert list((await folder.change_flags([1], add=FLAGGED, uidvalidity=known)).changed) == [1]
        assert await folder.copy([1], other, uidvalidity=known) == [(1, 2)]
        replaced_at_the_lock(folder, beside)
        with pytest.raises(NoSuchFolder, match="another folder"):
            if deed == "expunge":
                await folder.expunge([1], uidvalidity=known)
            elif deed == "flags":
                await folder.change_flags([1], add=SEEN, uidvalidity=known)
            elif deed == "copy":
                await folder.copy([1], other, uidvalidity=known)
            else:
                await folder.move([1], other, uidvalidity=known)
        assert await texts(house, "Inbox") == [letter(7).data] and list(folder.view().flags) == [0]
        assert len(other.view()) == 2
        assert await folder.expunge([1], uidvalidity=folder.view().status.uidvalidity) == [1]
        beside.close()
        house.close()

    run(main())


@pytest.mark.parametrize("read", [False, True])
def test_a_maildrop_whose_inbox_was_made_anew_takes_nothing_from_the_new_one(tmp_path: Path, read: bool) -> None:
    async def main() -> None:
        house = House(tmp_path)
        beside = house.beside()
        for number in (1, 2):
            await house.deliver(letter(number))
        drop = await Maildrop.open(house.store, Locks(tmp_path / "locks", Disk()), "example", "alice")
        assert drop is not None
        drop.retrieved.add(1) if read else drop.delete(1)
        replaced_at_the_lock(await house.folder(), beside)
        with pytest.raises(NoSuchFolder):
            await drop.commit(mark_read=True)
        drop.release()
        inbox = await house.folder()
        assert [await inbox.read(uid) for uid in inbox.view().uids] == [letter(7).data] and list(inbox.view().flags) == [0]
        beside.close()
        house.close()

    run(main())


def test_each_of_several_first_deliveries_to_a_mailbox_kept_a_log_open_of_its_own(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        await asyncio.gather(*(house.deliver(letter(number)) for number in range(5)))
        box = await house.store.mailbox("example", "alice")
        await asyncio.gather(*(box.folder("INBOX") for _ in range(5)))
        assert logs_open(tmp_path) == ["Postoffices/example/MAILROOT/alice/Inbox/log"]
        assert len((await house.folder()).view()) == 5
        house.close()

    run(main())
