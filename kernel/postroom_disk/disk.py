"""Every call by which postroom changes a disk goes through here, so that a test can fail, tear or drop any of them.

`Disk` is the operating system's own functions under one name: no wrapper, no cost. `tests/faults` fills it with a layer that
dies at the n-th call or forgets what was never synced. Reading is free to use `os` directly.

What is durable: the journal after `pwritev_sync`; everything else after `fsync` of file and folder, or after `syncfs` of the
file system. docs/decisions/0002-one-sync.md says who relies on which.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_long)
_KEEP_SIZE = 1  # FALLOC_FL_KEEP_SIZE
_CANNOT = (errno.EOPNOTSUPP, errno.ENOSYS)
DSYNC = getattr(os, "RWF_DSYNC", 0)


class DiskError(Exception):
    """The disk refused: full, failing or gone. Nothing was acknowledged; the caller keeps the message."""

    def __init__(self, what: str, *, full: bool = False) -> None:
        self.full = full
        super().__init__(what)


class DamagedFile(DiskError):
    """A file of ours cannot be read as what it is; nothing was written over it. The operator's move: the text says which file, and what to do."""

    def __init__(self, path: str, why: str) -> None:
        self.path = path
        super().__init__(f"{path} is damaged ({why}): mend it or remove it")


class SpoolError(DiskError):
    """The spool or its journal could not take a message; the peer is told to try again (452 or 451)."""


class Disk:
    """The operating system's calls. Each raises OSError; `refused` turns that into a DiskError."""

    open = staticmethod(os.open)
    close = staticmethod(os.close)
    write = staticmethod(os.write)
    pwrite = staticmethod(os.pwrite)
    pwritev = staticmethod(os.pwritev)
    ftruncate = staticmethod(os.ftruncate)
    fsync = staticmethod(os.fsync)
    fdatasync = staticmethod(os.fdatasync)
    link = staticmethod(os.link)
    rename = staticmethod(os.rename)
    replace = staticmethod(os.replace)
    unlink = staticmethod(os.unlink)
    mkdir = staticmethod(os.mkdir)
    rmdir = staticmethod(os.rmdir)
    utime = staticmethod(os.utime)
    chmod = staticmethod(os.chmod)
    fchmod = staticmethod(os.fchmod)

    @staticmethod
    def pwritev_sync(fd: int, parts: Sequence[bytes], offset: int) -> int:
        """Write and make durable in one call; the octets written, which may be fewer than asked."""
        if DSYNC:
            return os.pwritev(fd, parts, offset, DSYNC)
        written = os.pwritev(fd, parts, offset)
        os.fsync(fd)
        return written

    @staticmethod
    def syncfs(fd: int) -> None:
        """Make the whole file system that fd lies on durable; reports write-back errors (Linux 5.8 and newer)."""
        if _libc.syncfs(fd) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    @staticmethod
    def allocate(fd: int, offset: int, length: int) -> None:
        """Have room on the disk for these octets, beyond the file's end too, whose size stays: a write there is not cut short for want
        of room. Does nothing on a file system that cannot."""
        while _libc.fallocate(fd, _KEEP_SIZE, offset, length) != 0:
            number = ctypes.get_errno()
            if number in _CANNOT:
                return
            if number != errno.EINTR:
                raise OSError(number, os.strerror(number))

    # What is built of the calls above, the same for every layer.

    def write_all(self, fd: int, data: bytes) -> None:
        """Write every octet; a short write goes on where it stopped."""
        done = self.write(fd, data)
        while done < len(data):
            done += self.write(fd, data[done:])

    def sync_folder(self, folder: Path | str) -> None:
        """Make the names in a folder durable."""
        fd = self.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.fsync(fd)
        finally:
            self.close(fd)

    def make_folders(self, folder: Path) -> None:
        """Make a folder and its parents where missing; not yet durable."""
        try:
            self.mkdir(folder, 0o700)
        except FileNotFoundError:
            self.make_folders(folder.parent)
            self.make_folders(folder)
        except FileExistsError:
            pass

    def make_durable_folders(self, folder: Path, root: Path) -> None:
        """As `make_folders`, and the names of all of them below `root` are durable on return."""
        self.make_folders(folder)
        for one in (folder, *folder.parents):
            self.sync_folder(one)
            if one == root:
                return

    def write_aside(self, path: Path, data: bytes, *, mode: int = 0o600) -> None:
        """Put data at path so that a crash leaves the old file or the new one, whole; durable on return."""
        aside = path.with_name(f".{path.name}.{os.getpid()}.new")
        fd = self.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
        try:
            self.write_all(fd, data)
            self.fsync(fd)
        finally:
            self.close(fd)
        self.replace(aside, path)
        self.sync_folder(path.parent)


def refused(error: OSError, doing: str) -> DiskError:
    """An OSError as the kernel's own word."""
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return DiskError(f"{doing}: {error.strerror or error}", full=full)


def unkept(error: OSError, doing: str) -> SpoolError:
    """The same where what was to be kept is not, and its giver keeps it."""
    failure = refused(error, doing)
    return SpoolError(str(failure), full=failure.full)


@contextmanager
def refusing(doing: str, word: Callable[[OSError, str], DiskError] = refused) -> Iterator[None]:
    """An OSError inside is the kernel's own word outside."""
    try:
        yield
    except OSError as error:
        raise word(error, doing) from error
