"""TAB files on a disk that other programs use too: read whole, replaced whole, one writer at a time.

A file is never changed in place: the new text is written aside and synced, the old file becomes the `.SAV` beside it, the new one takes
its name, the folder is synced. A crash at any call leaves the old file or the new one. A change of several files writes
down its intent (`.postroom.batch`) between the two steps; whoever next takes the lock or looks finishes what the intent names, so that all of
the change happens or none.

The lock (`.postroom.lock`, flock) keeps out other postroom processes. A panel of another maker knows no lock: what it wrote before
our write is read again under the lock and kept; nothing can help a write of its own at the very same moment.

Errors: OSError from every function that touches the disk; the caller makes it a DiskError. `Busy` when the lock was not to be had in time.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
import threading
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from postroom.clock import Clock
from postroom.errors import DiskError
from postroom_disk.disk import Disk

LOCK, INTENT = ".postroom.lock", ".postroom.batch"
LARGEST = 256 * 1024 * 1024  # octets; no TAB file of a real site comes near
_NO_LINKS = frozenset((errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EMLINK))
_TRIES = 5  # looks at a file that changes while it is read


class Busy(DiskError):
    """Another process kept the lock for too long. Nothing was changed."""


@dataclass(frozen=True, slots=True)
class Signature:
    """By what a changed file is known without reading it."""

    inode: int
    size: int
    modified: int  # nanoseconds
    changed: int


def signature(path: Path | int) -> Signature | None:
    """A file's signature now, None where there is no file."""
    try:
        found = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Signature(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def read(path: Path) -> tuple[Signature | None, bytes]:
    """A whole file, with the signature under which these octets were there; no file is an empty one without signature."""
    for _ in range(_TRIES):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None, b""
        with os.fdopen(fd, "rb") as file:
            before = signature(fd)
            if before and before.size > LARGEST:
                raise OSError(f"{before.size} octets are more than a TAB file may have")
            data = file.read()
            if signature(fd) == before and before and before.size == len(data):
                return before, data
    raise OSError("it changes faster than it can be read")


# Writing.


@dataclass(frozen=True, slots=True)
class Rewrite:
    """A file and the text it is to have."""

    path: Path
    data: bytes
    secret: bool = False  # for the owner's eyes only, whatever the old file allowed


def commit(disk: Disk, folder: Path, rewrites: Sequence[Rewrite]) -> None:
    """Replace all of these files or none; durable on return. The lock on `folder` is held. An error leaves all old or, once the intent is
    written, leaves it to `recover` to finish."""
    targets = [Rewrite(Path(os.path.realpath(one.path)), one.data, one.secret) for one in rewrites]
    try:
        for one in targets:
            _make_folders(disk, one.path.parent)
            _write_aside(disk, one)
        if len(targets) > 1:
            _write_intent(disk, folder, [one.path for one in targets])
    except OSError:
        _forget(disk, folder, [one.path for one in targets])
        raise
    _rename(disk, [one.path for one in targets])
    if len(targets) > 1:
        _drop_intent(disk, folder)


def recover(disk: Disk, folder: Path) -> None:
    """Finish a change of several files that a crash or a failing disk cut short. The lock on `folder` is held."""
    try:
        names = (folder / INTENT).read_bytes()
    except FileNotFoundError:
        return
    _rename(disk, [folder / os.fsdecode(name) for name in names.split(b"\0")])
    _drop_intent(disk, folder)


def _write_intent(disk: Disk, folder: Path, paths: Sequence[Path]) -> None:
    """The names of what lies aside are durable before the intent tells of them."""
    for parent in {path.parent for path in paths}:
        disk.sync_folder(parent)
    root = os.path.realpath(folder)
    disk.write_aside(folder / INTENT, b"\0".join(os.fsencode(os.path.relpath(path, root)) for path in paths))


def _drop_intent(disk: Disk, folder: Path) -> None:
    disk.unlink(folder / INTENT)
    disk.sync_folder(folder)


def _rename(disk: Disk, paths: Sequence[Path]) -> None:
    """Give what lies aside its name, durably; what has it already is passed over."""
    for path in paths:
        if _aside(path).exists():
            _keep_old(disk, path)
            disk.replace(_aside(path), path)
    for parent in {path.parent for path in paths if path.parent.exists()}:  # a panel may have removed a post office meanwhile
        disk.sync_folder(parent)


def _forget(disk: Disk, folder: Path, paths: Sequence[Path]) -> None:
    """Give the space back that an unfinished change took, unless its intent got out."""
    if is_unfinished(folder):
        return
    for path in paths:
        with contextlib.suppress(OSError):
            disk.unlink(_aside(path))


def is_unfinished(folder: Path) -> bool:
    """Whether `recover` has something to do."""
    return (folder / INTENT).exists()


def saved(path: Path) -> Path:
    """Where a file's previous text is kept."""
    return path.with_suffix(".sav" if path.suffix.islower() else ".SAV")


def _aside(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _write_aside(disk: Disk, one: Rewrite) -> None:
    """The lock is held, so a file of this name is a leftover of a crash and no other writer's."""
    mode = _mode(one)
    fd = disk.open(_aside(one.path), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        disk.fchmod(fd, mode)  # the umask does not decide who may read; the file is nobody's yet
        disk.write_all(fd, one.data)
        disk.fsync(fd)
    finally:
        disk.close(fd)


def _mode(one: Rewrite) -> int:
    """A file keeps its mode, so that a panel's user can still read it; a new or secret one is for us alone."""
    if one.secret or not one.path.exists():
        return 0o600
    return stat.S_IMODE(one.path.stat().st_mode)


def _keep_old(disk: Disk, path: Path) -> None:
    """The file becomes its `.SAV` as well: a second name where the file system has such, else a copy. It is for no more eyes than the new."""
    if not path.exists():
        return
    old, new = (stat.S_IMODE(one.stat().st_mode) for one in (path, _aside(path)))
    if old & ~new:
        disk.chmod(path, old & new)
    spare = path.with_name(f".{path.name}.old")
    with contextlib.suppress(FileNotFoundError):
        disk.unlink(spare)
    try:
        disk.link(path, spare)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        disk.write_aside(saved(path), path.read_bytes(), mode=stat.S_IMODE(path.stat().st_mode))
    else:
        disk.replace(spare, saved(path))


def _make_folders(disk: Disk, folder: Path) -> None:
    """Make a folder where missing, durably."""
    missing = [parent for parent in (folder, *folder.parents) if not parent.exists()]
    disk.make_folders(folder)
    for made in missing:
        disk.sync_folder(made.parent)


# The lock.


@contextlib.asynccontextmanager
async def locked(disk: Disk, clock: Clock, folder: Path, seconds: float) -> AsyncIterator[None]:
    """Hold the folder's lock inside the block. Busy after that many."""
    fd = disk.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    if not _lock_now(disk, fd):
        await _lock_soon(disk, fd, folder, clock, seconds)
    try:
        yield
    finally:
        disk.close(fd)


def _lock_now(disk: Disk, fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        disk.close(fd)
        raise
    return True


async def _lock_soon(disk: Disk, fd: int, folder: Path, clock: Clock, seconds: float) -> None:
    """Wait in a thread. It owns the descriptor until it has the lock, because nothing can call a waiting thread back."""
    waiter = _Waiter(disk, fd)
    alarm = asyncio.ensure_future(clock.sleep(seconds))
    try:
        await asyncio.wait((waiter.locked, alarm), return_when=asyncio.FIRST_COMPLETED)
        if not waiter.locked.done():
            raise Busy(f"{folder / LOCK}: another process has held the lock for {seconds:g} s")
        waiter.locked.result()
    except BaseException:
        waiter.leave()
        raise
    finally:
        alarm.cancel()
        await asyncio.gather(alarm, return_exceptions=True)


class _Waiter:
    """A thread that waits for the lock, and what is to become of the descriptor then."""

    def __init__(self, disk: Disk, fd: int) -> None:
        self.disk, self.fd = disk, fd
        self.loop = asyncio.get_running_loop()
        self.locked: asyncio.Future[None] = self.loop.create_future()
        threading.Thread(target=self._wait, name="tab-lock", daemon=True).start()

    def leave(self) -> None:
        """Nobody waits any more: close the descriptor now, or when the thread comes back."""
        if self.locked.done():
            self.disk.close(self.fd)
        self.locked.cancel()

    def _wait(self) -> None:
        error: OSError | None = None
        try:
            fcntl.flock(self.fd, fcntl.LOCK_EX)
        except OSError as refused:
            error = refused
        try:
            self.loop.call_soon_threadsafe(self._tell, error)
        except RuntimeError:  # the loop is closed, and with it whoever waited
            self.disk.close(self.fd)

    def _tell(self, error: OSError | None) -> None:
        if self.locked.done():
            self.disk.close(self.fd)
        elif error:
            self.locked.set_exception(error)
        else:
            self.locked.set_result(None)
