"""The epoch: a number that changes whenever power may have been lost since the logs were last written.

Kept in `run/boot` beside the machine's boot id. A folder log whose last record names another epoch may lack what was written
unsynced; who opens it first checks it whole and lets its UIDs and MODSEQs jump, so that no number a client may know is used twice.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from postroom_disk.disk import Disk

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
JUMP = 1000  # UIDs and MODSEQs passed over at the first opening in a new epoch


def boot_id() -> str:
    """This machine's boot, or nothing where the system does not tell: then every start is a new epoch."""
    try:
        return BOOT_ID.read_text("ascii").strip()
    except OSError:
        return ""


def following(text: str, boot: str, now: float) -> tuple[int, str]:
    """The epoch that holds now, given what `run/boot` says; and what it should say."""
    words = text.split()
    if len(words) == 2 and words[0].isdigit() and boot and words[1] == boot:
        return int(words[0]), text
    last = int(words[0]) if words and words[0].isdigit() else 0
    number = max(int(now), last + 1) & 0xFFFFFFFF
    return number, f"{number} {boot or '-'}\n"


def current(root: Path, disk: Disk, boot: str, now: float) -> int:
    """The site's epoch; a new one is durable when this returns. OSError when the disk refuses."""
    path = root / "run" / "boot"
    disk.make_folders(path.parent)
    fd = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        said = os.pread(fd, 200, 0).decode("ascii", "replace")
        number, text = following(said, boot, now)
        if text != said:
            disk.ftruncate(fd, 0)
            disk.pwrite(fd, text.encode(), 0)
            disk.fsync(fd)
            disk.sync_folder(path.parent)
        return number
    finally:
        disk.close(fd)
