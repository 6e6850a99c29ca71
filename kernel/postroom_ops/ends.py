"""How a pair ends: its command file goes, or becomes a mark where a journal could make the pair again.

A mark lies in the queue's `Done` folder, under the slot of the worker that ended it, and goes by the sweep. Nothing is synced here; an
OSError leaves the pair.
"""

from __future__ import annotations

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
