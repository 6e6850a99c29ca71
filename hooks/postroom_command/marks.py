"""Which pairs in the queues are private copies: a locked mark for each, `run/private/<id>`, beside the pair and not in it.

A program may rename a new command file over the old one, or copy it; lock and `Private=` of the command file do not survive that, the
mark does. It is made before the first file of a pair and removed after the last. A mark whose lock is free was left by a process that
died: its pair, its room and what its program had set aside are removed, because the item itself is still held by the
kernel and will be asked about again. So neither a half-edited copy nor a second one in quarantine is ever mail.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from postroom.message import new_id
from postroom_disk.disk import Disk

_ID = re.compile(r"[0-9A-F]{32}")
ACRONYM = re.compile(r"[A-Za-z][A-Za-z0-9]{0,15}")
_ROOM: Final = ".room"
_DIRECTIONS: Final = ("Inbound", "Outgoing")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a private pair lies: in a queue below the site, or below a room that looks like one."""

    root: Path
    id: str
    command: Path
    message: Path
    held: tuple[Path, Path]  # what a program that quarantines makes of the two


def place(root: Path, connector: str, direction: str, item: str) -> Place:
    """The paths of a pair; each is made once, for they are asked for often."""
    queue, shelf, name = f"{root}/Queues/{connector}/{direction}", f"{root}/Quarantine", f"{item}.MAI"
    held = Path(f"{shelf}/{name}"), Path(f"{shelf}/Messages/{name}")
    return Place(root, item, Path(f"{queue}/{name}"), Path(f"{queue}/Messages/{name}"), held)


def aside(command: Path) -> Path:
    """The name of a command file until it is whole."""
    return command.with_name(f".{command.name}.new")


def marks(root: Path) -> Path:
    return root / "run" / "private"


def room(root: Path, item: str) -> Path:
    """The room of a program that runs under another account."""
    return marks(root) / f"{item}{_ROOM}"


def make(root: Path, disk: Disk, queue: str, item: str) -> tuple[str, int]:
    """A new private id for a pair in this queue ("SMTP/Inbound"), marked; the descriptor holds the lock. OSError."""
    folder = marks(root)
    disk.make_folders(folder)
    while True:
        made = new_id()
        mark = folder / made
        fd = disk.open(mark, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            if _locked(fd, mark):
                disk.write_all(fd, f"Queue={queue}\r\nItem={item}\r\n".encode())
                return made, fd
        except BaseException:
            disk.close(fd)
            raise
        disk.close(fd)  # swept between the two calls


def sweep(root: Path, disk: Disk) -> Iterator[tuple[str, OSError | None]]:
    """Remove what dead processes left: the id of each, and what the disk said where it refused."""
    try:
        names = os.listdir(marks(root))
    except FileNotFoundError:
        return
    for name in sorted({name.removesuffix(_ROOM) for name in names}):
        if not _ID.fullmatch(name):
            continue
        try:
            if _swept(root, disk, name):
                yield name, None
        except OSError as error:
            yield name, error


def _swept(root: Path, disk: Disk, name: str) -> bool:
    """Whether its process was dead, and nothing of it is left."""
    mark = marks(root) / name
    try:
        fd = disk.open(mark, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # a room without a mark: the power was cut, for a mark is made first and removed last
        clear(room(root, name), disk)
        return False
    try:
        is_dead = _locked(fd, mark)
        if is_dead:
            _forget(root, disk, name, os.pread(fd, 1024, 0).decode("ascii", "replace"))
        return is_dead
    finally:
        disk.close(fd)


def _forget(root: Path, disk: Disk, name: str, text: str) -> None:
    connector, _, direction = text.partition("\r\n")[0].removeprefix("Queue=").partition("/")
    if ACRONYM.fullmatch(connector) and direction in _DIRECTIONS:
        remove(place(root, connector, direction, name), disk, held=True)
    clear(room(root, name), disk)
    gone(marks(root) / name, disk)


def remove(pair: Place, disk: Disk, *, held: bool) -> None:
    """Take away both files, and with `held` what the program made of them in quarantine. OSError."""
    for path in (pair.command, pair.message, *(pair.held if held else ()), aside(pair.command), aside(pair.held[0])):
        gone(path, disk)


def gone(path: Path, disk: Disk) -> None:
    """Remove a file that may not be there; also a folder that a program put in its place."""
    try:
        disk.unlink(path)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        clear(path, disk)


def clear(folder: Path, disk: Disk) -> None:
    """Remove a folder with all that a program left in it; symbolic links are removed, never followed. OSError."""
    if not folder.is_dir() or folder.is_symlink():
        return
    todo = [folder]
    while todo:
        inner = []
        with os.scandir(todo[-1]) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    inner.append(Path(entry.path))
                else:
                    disk.unlink(Path(entry.path))
        if inner:
            todo += inner
        else:
            disk.rmdir(todo.pop())


def _locked(fd: int, path: Path) -> bool:
    """Lock an open file; False when another process has it or it lost its name meanwhile."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return os.fstat(fd).st_ino == path.stat().st_ino
    except (BlockingIOError, FileNotFoundError):
        return False
