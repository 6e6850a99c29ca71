"""Files that go with their last handle: how long they live, and what failures, crashes and other users of the folder make of them."""

from __future__ import annotations

import copy
import errno
import os
import threading
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from postroom.message import FileMessage
from postroom_disk.disk import Disk
from postroom_disk.kept import Kept, KeptFiles, clear
from postroom_testing.dying import ends_before
from postroom_testing.faults import FaultDisk

OCTETS = b"0123456789abcd\r\n"


def made(files: KeptFiles, octets: bytes = OCTETS) -> FileMessage:
    """A message in a file of these; the only handle on it."""
    with files.begin() as file:
        file.write(octets)
    return FileMessage("A" * 32, file.path, file.size)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_lives_as_long_as_any_handle_on_it(tmp_path: Path) -> None:
    message = made(KeptFiles(tmp_path / "run", Disk()))
    path = Path(str(message.path))
    assert path.read_bytes() == OCTETS and message.size == len(OCTETS) and path.stat().st_mode & 0o777 == 0o600
    renamed = replace(message, id="B" * 32)
    os.link(message.path, tmp_path / "linked")
    del message
    assert renamed.path.exists() and renamed.path == path
    del renamed
    assert not path.exists() and (tmp_path / "linked").read_bytes() == OCTETS


@pytest.mark.parametrize("copied", [copy.copy, copy.deepcopy])
def test_a_copy_of_a_handle_shares_the_file(tmp_path: Path, copied: Callable[[FileMessage], FileMessage]) -> None:
    message = made(KeptFiles(tmp_path, Disk()))
    other = copied(message)
    del message
    assert other.path.read_bytes() == OCTETS
    del other
    assert not names(tmp_path)


def test_a_path_made_of_the_path_keeps_nothing(tmp_path: Path) -> None:
    message = made(KeptFiles(tmp_path, Disk()))
    strangers = [Path(message.path), message.path.parent / message.path.name, message.path.with_suffix(".MAI"), Kept(message.path)]
    assert all(one == message.path for one in strangers)
    del message
    assert not names(tmp_path)


def test_what_lies_in_front_may_be_written_last_and_in_pieces(tmp_path: Path) -> None:
    class Grudging(Disk):
        def pwrite(self, fd: int, data: bytes, offset: int) -> int:  # type: ignore[override]
            return os.pwrite(fd, data[:3], offset)

    with KeptFiles(tmp_path, Grudging()).begin() as file:
        file.write(bytes(8))
        file.write(b"rest")
        file.overwrite(b"in front")
    assert file.path.read_bytes() == b"in frontrest" and file.size == 12


@pytest.mark.parametrize("how", ["full", "broken"])
def test_a_disk_that_refuses_leaves_nothing_while_its_error_is_held(tmp_path: Path, how: str) -> None:
    refusals: list[OSError] = []
    for at in range(1, 20):
        folder = tmp_path / str(at) / "run"
        try:
            made(KeptFiles(folder, FaultDisk(at, how)))
            break  # what is called after that is the removal
        except OSError as error:  # with its traceback, and so with whatever the failed call had in hand
            refusals.append(error)
        assert not folder.exists() or not names(folder), at
    assert [refusal.errno for refusal in refusals] == [errno.ENOSPC if how == "full" else errno.EIO] * len(refusals)
    assert len(refusals) >= 3, "folder, file and octets"


def test_an_error_of_closing_leaves_nothing(tmp_path: Path) -> None:
    class Late(Disk):
        @staticmethod
        def close(fd: int) -> None:
            os.close(fd)
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(OSError, match="Input/output") as held:
        made(KeptFiles(tmp_path, Late()))
    assert not names(tmp_path) and held.value.errno == errno.EIO


def test_closing_twice_closes_nothing_of_anybody_elses(tmp_path: Path) -> None:
    file = KeptFiles(tmp_path, Disk()).begin()
    file.write(OCTETS)
    file.close()
    taken = [os.open(os.devnull, os.O_WRONLY) for _ in range(8)]  # one of them has the number that was given back
    file.close()
    with pytest.raises(OSError) as refusal:
        file.write(OCTETS)
    assert refusal.value.errno == errno.EBADF
    file.drop()
    for descriptor in taken:
        os.close(descriptor)  # EBADF where the file took it along
    assert not file.path.exists()


def test_a_file_is_removed_once_and_its_name_is_not_ours_after_that(tmp_path: Path) -> None:
    file = KeptFiles(tmp_path, Disk()).begin()
    name = str(file.path)
    file.drop()
    Path(name).write_bytes(b"somebody else's")
    file.drop()
    del file
    assert Path(name).read_bytes() == b"somebody else's"


def test_one_reads_while_another_lets_go(tmp_path: Path) -> None:
    """The reader's handle keeps the file through it; a descriptor outlives the last handle."""
    begun, let_go, read = threading.Event(), threading.Event(), list[bytes]()
    mine = made(KeptFiles(tmp_path, Disk()), OCTETS * 1000)

    def reader(theirs: FileMessage) -> None:
        for at in range(0, theirs.size, 4000):
            read.append(theirs.path.read_bytes()[at : at + 4000])
            begun.set()
            assert let_go.wait(10)

    thread = threading.Thread(target=reader, args=(replace(mine),))
    thread.start()
    assert begun.wait(10)
    descriptor = os.open(mine.path, os.O_RDONLY)
    del mine
    let_go.set()
    thread.join(10)
    del thread
    assert b"".join(read) == OCTETS * 1000 and not names(tmp_path)
    assert os.pread(descriptor, 16, 0) == OCTETS
    os.close(descriptor)


def test_the_next_start_sweeps_what_was_left_and_nothing_in_use(tmp_path: Path) -> None:
    files = KeptFiles(tmp_path / "run", Disk())
    files.sweep()  # there is no folder yet
    message = made(files)
    (tmp_path / "run" / "LEFT.MAI").write_bytes(b"x")
    files.sweep()
    assert names(tmp_path / "run") == {message.path.name}
    KeptFiles(tmp_path / "run", Disk()).sweep()  # another life, in which nobody uses it
    assert not names(tmp_path / "run")


def test_a_sweep_in_another_thread_spares_what_is_just_made(tmp_path: Path) -> None:
    class Swept(Disk):
        def open(self, path: Path, flags: int, mode: int = 0o777) -> int:  # type: ignore[override]
            descriptor = os.open(path, flags, mode)
            sweeper = threading.Thread(target=files.sweep)
            sweeper.start()
            sweeper.join(10)
            return descriptor

    files = KeptFiles(tmp_path, Swept())
    message = made(files)
    assert message.path.read_bytes() == OCTETS


def test_what_a_failed_making_left_is_nobodys_and_swept(tmp_path: Path) -> None:
    class Late(Disk):
        def open(self, path: Path, flags: int, mode: int = 0o777) -> int:  # type: ignore[override]
            os.close(os.open(path, flags, mode))
            raise OSError(errno.EIO, "Input/output error")

    files = KeptFiles(tmp_path, Late())
    with pytest.raises(OSError, match="Input/output"):
        files.begin()
    assert len(names(tmp_path)) == 1
    files.sweep()
    assert not names(tmp_path)


def test_what_would_not_go_is_the_next_sweeps(tmp_path: Path) -> None:
    class Stubborn(Disk):
        refuses = True

        def unlink(self, path: Path) -> None:  # type: ignore[override]
            if self.refuses:
                raise OSError(errno.EROFS, "Read-only file system")
            os.unlink(path)

    disk = Stubborn()
    files = KeptFiles(tmp_path, disk)
    made(files)
    files.sweep()
    assert len(names(tmp_path)) == 1
    disk.refuses = False
    files.sweep()
    assert not names(tmp_path)


def test_a_crash_at_any_call_leaves_nothing_that_the_start_does_not_sweep(tmp_path: Path) -> None:
    left = set[int]()
    for number in range(1, 20):
        folder = tmp_path / str(number) / "run"

        async def life(disk: FaultDisk, arm: Callable[[], None], folder: Path = folder) -> None:
            arm()
            made(KeptFiles(folder, disk))

        ended = ends_before(number, life)
        left.add(len(names(folder)) if folder.exists() else 0)
        KeptFiles(folder, Disk()).sweep()
        assert not folder.exists() or not names(folder), number
        if ended:
            break
    assert ended and left == {0, 1}, "some deaths leave a file, or nothing was tried"


def test_a_fork_that_ends_has_no_say(tmp_path: Path) -> None:
    message = made(KeptFiles(tmp_path, Disk()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that the fork leaves behind
        child = os.fork()
    if child == 0:
        del message
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert message.path.read_bytes() == OCTETS


def test_a_folder_whose_owner_is_gone_is_cleared_also_when_another_does_it_too(tmp_path: Path) -> None:
    class Overtaken(Disk):
        def unlink(self, path: Path) -> None:  # type: ignore[override]
            for one in folder.iterdir():
                one.unlink()
            folder.rmdir()
            os.unlink(path)

    folder = tmp_path / "gone"
    for disk in (Disk(), Overtaken()):
        folder.mkdir()
        for name in ("a", "b"):
            (folder / name).write_bytes(b"x")
        clear(folder, disk)
        assert not folder.exists()
    clear(folder, Disk())  # there is none
