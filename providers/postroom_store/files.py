"""Message files: made once, linked from then on, never changed in place.

"It exists" is not "it is done": a file that is there already is compared, and replaced by a whole one where it differs. What is put
aside begins with a dot and is renamed when whole. Errors are the disk's own OSError; nothing half made stays behind.
"""

from __future__ import annotations

import errno
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from postroom_disk.disk import Disk

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
_PIECE = 1 << 20
_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP)


def put(disk: Disk, path: str, data: bytes) -> None:
    """Make the file with these octets, not yet durable."""
    try:
        fd = disk.open(path, _NEW, 0o600)
    except FileExistsError:
        if not holds(path, data):
            replace(disk, path, data)
        return
    _fill(disk, fd, path, data)


def replace(disk: Disk, path: str, data: bytes) -> None:
    """Put a new file in the place of whatever is there."""
    aside = _aside(path)
    with suppress(FileNotFoundError):
        disk.unlink(aside)
    _fill(disk, disk.open(aside, _NEW, 0o600), aside, data)
    disk.rename(aside, path)


def _fill(disk: Disk, fd: int, path: str, data: bytes) -> None:
    try:
        written = disk.write(fd, data)
        if written < len(data):
            disk.write_all(fd, data[written:])
    except OSError:
        with suppress(OSError):
            disk.unlink(path)
        raise
    finally:
        disk.close(fd)


def link(disk: Disk, source: str, path: str) -> None:
    """Make the file a further name of `source`, or a copy where the file system cannot."""
    try:
        disk.link(source, path)
    except FileExistsError:
        if not same(source, path):
            copy(disk, source, path)
    except OSError as error:
        if error.errno not in _NO_LINK:
            raise
        copy(disk, source, path)


def copy(disk: Disk, source: str, path: str, *, durable: bool = False) -> None:
    """Make the file a copy of `source`, replacing what is there."""
    aside = _aside(path)
    with suppress(FileNotFoundError):
        disk.unlink(aside)
    source_fd = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fd = disk.open(aside, _NEW, 0o600)
        try:
            while piece := os.read(source_fd, _PIECE):
                disk.write_all(fd, piece)
            if durable:
                disk.fsync(fd)
        finally:
            disk.close(fd)
    except OSError:
        with suppress(OSError):
            disk.unlink(aside)
        raise
    finally:
        os.close(source_fd)
    disk.rename(aside, path)


def make_durable(disk: Disk, path: str) -> None:
    """Bring a file's octets to the disk."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        disk.fsync(fd)
    finally:
        os.close(fd)


def remove(disk: Disk, path: str) -> None:
    """Remove a file that may be gone already."""
    with suppress(FileNotFoundError):
        disk.unlink(path)


def holds(path: str, data: bytes) -> bool:
    """Whether the file has exactly these octets."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        return os.fstat(fd).st_size == len(data) and os.pread(fd, len(data) + 1, 0) == data
    finally:
        os.close(fd)


def size(path: str) -> int:
    """Octets of a file; -1 where there is none."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return -1


def same(first: str, second: str) -> bool:
    """Whether two files are one file, or have the same octets."""
    try:
        one, other = os.stat(first), os.stat(second)
    except FileNotFoundError:
        return False
    if os.path.samestat(one, other):
        return True
    if one.st_size != other.st_size:
        return False
    with mapped(first) as left, mapped(second) as right:
        return left[:] == right[:]


@contextmanager
def mapped(path: str) -> Iterator[mmap.mmap | bytes]:
    """The octets of a file, without reading what nobody looks at."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(fd).st_size
        if size == 0:
            yield b""
            return
        with mmap.mmap(fd, size, access=mmap.ACCESS_READ) as octets:
            yield octets
    finally:
        os.close(fd)


def _aside(path: str) -> str:
    folder, name = path.rsplit("/", 1)
    return f"{folder}/.{name}.{os.getpid()}.new"
