"""How a pair ends: its command file goes, or becomes a mark where a journal could make the pair again.

A mark lies in the queue's `Done` folder, under the slot of the worker that ended it, and goes by the sweep. Nothing is synced here; an
OSError leaves the pair.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from postroom_ops.files import entries


class Calls(Protocol):
    """Changes of a disk; the kernel's `postroom_disk.disk.Disk`. OSError when the disk refuses."""

    def rename(self, old: Path | str, new: Path | str, /) -> None: ...
    def unlink(self, path: Path | str, /) -> None: ...
    def make_folders(self, folder: Path) -> None: ...


def end_pair(disk: Calls, queue: Path, item: str, slot: int, *, marked: bool) -> None:
    """The octets stay. Where a pickup program took the pair away, it is handled too."""
    path, folder = f"{queue}/{item}.MAI", f"{queue}/Done/{slot}"  # no Path: each takes as long as a call to the disk
    if not marked:
        with suppress(FileNotFoundError):
            disk.unlink(path)
        return
    try:
        disk.rename(path, f"{folder}/{item}")
    except FileNotFoundError:
        disk.make_folders(Path(folder))
        with suppress(FileNotFoundError):
            disk.rename(path, f"{folder}/{item}")


def remove_pair(disk: Calls, queue: Path, item: str) -> None:
    """Octets and command file of a pair that is no mail."""
    for path in (f"{queue}/Messages/{item}.MAI", f"{queue}/{item}.MAI"):
        with suppress(FileNotFoundError):
            disk.unlink(path)


def was_ended(queue: Path, item: str) -> bool:
    """Whether a pair of this id ended, as far back as any journal could make it again."""
    return any((slot / item).exists() for slot in entries(queue / "Done"))


def find_octets(queues: Iterable[Path], message: str) -> tuple[Path, int] | None:
    """Where the octets of this message lie in some queue, finished pairs included, and how many they are. Reads only."""
    for queue in queues:
        items = [path.name.removesuffix(".MAI") for path in _commands(queue) if _is_of(path, message)]
        for item in (*items, message):
            with suppress(FileNotFoundError):
                return (path := queue / "Messages" / f"{item}.MAI"), path.stat().st_size
    return None


def _commands(queue: Path) -> Iterator[Path]:
    for folder in (queue, *entries(queue / "Done")):
        yield from (path for path in entries(folder) if path.is_file())


def _is_of(path: Path, message: str) -> bool:
    with suppress(FileNotFoundError):
        return path.name.removesuffix(".MAI") == message or f"Message={message}\r\n".encode() in path.read_bytes()
    return False
