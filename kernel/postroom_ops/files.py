"""Files that are whole under their name, and `Key=Value` files that are added to under a lock.

What changes the disk is the caller's, so that a test can fail it. Nothing is synced unless said. An OSError leaves the old file, or none,
under the name; what was put aside for it may lie beside it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Final, Protocol

_PAGE: Final = 4096  # octets that reach the disk together


class Calls(Protocol):
    """Changes of a disk; the kernel's `postroom_disk.disk.Disk`. OSError when the disk refuses."""

    def open(self, path: Path | str, flags: int, mode: int = 0o777, /) -> int: ...
    def close(self, fd: int, /) -> None: ...
    def fsync(self, fd: int, /) -> None: ...
    def utime(self, path: int, times: tuple[float, float], /) -> None: ...
    def link(self, old: Path, new: Path, /) -> None: ...
    def replace(self, old: Path, new: Path, /) -> None: ...
    def unlink(self, path: Path, /) -> None: ...
    def write_all(self, fd: int, data: bytes) -> None: ...
    def make_folders(self, folder: Path) -> None: ...
    def sync_folder(self, folder: Path) -> None: ...


def put(disk: Calls, path: Path, data: bytes, at: float = 0.0, *, sync: bool = False) -> None:
    """These octets under this name, at once or not at all, in folders that are made where missing; with this mtime, where one is said.
    With `sync`, a power cut leaves the old file or this one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}.new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        fd = disk.open(aside, flags, 0o600)
    except FileNotFoundError:
        disk.make_folders(path.parent)
        fd = disk.open(aside, flags, 0o600)
    try:
        disk.write_all(fd, data)
        if at:
            disk.utime(fd, (at, at))
        if sync:
            disk.fsync(fd)
    finally:
        disk.close(fd)
    disk.replace(aside, path)


def link(disk: Calls, old: Path, new: Path) -> None:
    """The old file under the new name too, whatever had that name until then."""
    disk.make_folders(new.parent)
    try:
        disk.link(old, new)
    except FileExistsError:
        if not new.samefile(old):
            aside = new.with_name(f".{new.name}.{os.getpid()}.new")
            with suppress(FileNotFoundError):  # of a process that died here
                disk.unlink(aside)
            disk.link(old, aside)
            disk.replace(aside, new)


def move(disk: Calls, old: Path, new: Path) -> None:
    """The file under the new name only, in a folder that is made where missing. Where there is none, nothing."""
    disk.make_folders(new.parent)
    with suppress(FileNotFoundError):
        disk.replace(old, new)


def sync_file(disk: Calls, path: Path) -> None:
    """Make the octets and the name of a file durable."""
    fd = disk.open(path, os.O_RDONLY)
    try:
        disk.fsync(fd)
    finally:
        disk.close(fd)
    disk.sync_folder(path.parent)


def lock_file(disk: Calls, path: Path | str) -> int | None:
    """A descriptor to read and to append with, whose lock is ours; None where another process has it, or there is no such file."""
    try:
        fd = disk.open(path, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_ino == os.stat(path).st_ino:
            return fd
    except (BlockingIOError, FileNotFoundError):
        pass
    except BaseException:
        disk.close(fd)
        raise
    disk.close(fd)  # another process has it, or finished it between two calls
    return None


def retime(disk: Calls, path: Path, when: float, *, before: float = inf) -> bool:
    """Give a file another mtime (unix seconds), unless it has one of `before` or later; whether it has it now. False also where another process
    has its lock, or there is no such file. OSError."""
    if (fd := lock_file(disk, path)) is None:
        return False
    try:
        if is_earlier := os.fstat(fd).st_mtime < before:
            disk.utime(fd, (when, when))
        return is_earlier
    finally:
        disk.close(fd)


def add_lines(disk: Calls, fd: int, lines: bytes) -> bool:
    """Add to a file that may not be torn by a power cut; False where it might, and then nothing is. Lines within a page reach the disk with
    it or not at all. OSError."""
    size = os.fstat(fd).st_size
    if size // _PAGE != (size + len(lines)) // _PAGE:
        return False
    disk.write_all(fd, lines)
    return True


def is_whole(path: Path, data: bytes | None) -> bool:
    """Whether more lies there than a power cut may have left: nothing, the beginning of these octets, or zeros at the end of any. Where they are not
    said, anything will do."""
    try:
        if data is None:
            return path.stat().st_size > 0
        there = path.read_bytes()
    except FileNotFoundError:
        return False
    return there == data or not (there.endswith(b"\0") or data.startswith(there))


def entries(folder: Path) -> list[Path]:
    """What lies in a folder, sorted; nothing where it is missing."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def amended(old: Mapping[str, str], new: Mapping[str, str], *, always: Iterable[str] = ()) -> Sequence[str]:
    """Lines that, added to the old file, make it say what the new one says: of a key that stands twice the last one counts. `always` are keys
    that are said whether they differ or not."""
    keys = {key: None for key in (*old, *new) if old.get(key, "") != new.get(key, "")}
    return [f"{key}={new.get(key, '')}" for key in {**keys, **dict.fromkeys(always)}]


def whole(data: bytes) -> bytes:
    """A file without the line at its end that was being added when a process or the power went, if there is one: it ends in no line end, and
    its key stands there before, or it has none."""
    head, _, tail = data.rpartition(b"\n")
    key, said, _ = tail.partition(b"=")
    return head + b"\n" if tail and (not said or b"\n" + key + b"=" in b"\n" + head) else data
