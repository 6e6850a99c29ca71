"""Which file system a folder lies on, and whether that keeps a journal: without this no durable rate means anything. And how to have nothing of
any file in memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

CACHES = Path("/proc/sys/vm/drop_caches")
ALWAYS_LOGGED = {"xfs", "btrfs", "zfs", "f2fs", "bcachefs"}


@dataclass(frozen=True, slots=True)
class FileSystem:
    kind: str
    device: str
    options: str
    journaled: bool

    def __str__(self) -> str:
        if self.kind in ("tmpfs", "ramfs"):
            return f"{self.kind}: in memory, a sync costs nothing and keeps nothing"
        return f"{self.kind} on {self.device} ({self.options}), {'with' if self.journaled else 'WITHOUT'} a journal"


def file_system(folder: Path) -> FileSystem:
    """Of the mount whose device number the folder has; the last one listed wins, as it lies on top."""
    number = os.stat(folder).st_dev
    wanted = f"{os.major(number)}:{os.minor(number)}"
    found = FileSystem("unknown", "?", "", False)
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        if left.split()[2] == wanted:
            kind, device, options = right.split(" ")[:3]
            found = FileSystem(kind, device, options, _journaled(kind, device))
    return found


def _journaled(kind: str, device: str) -> bool:
    if kind in ALWAYS_LOGGED:
        return True
    name = Path(os.path.realpath(device)).name
    return kind in ("ext3", "ext4") and any(Path("/proc/fs/jbd2").glob(f"{name}-*"))


def can_forget() -> bool:
    return os.access(CACHES, os.W_OK)


def forget() -> None:
    """What the system holds in memory of files, their names and their inodes is given back, all of it, everybody's. Root only."""
    os.sync()
    CACHES.write_text("3")
