"""When a pair at rest is due: at its command file's mtime, or since all of its folder were made due, where that came after.

To set ten thousand times one by one takes as long as to send that mail. So the word for all is one file, and what was set before it by
ctime, which nobody sets by hand, is due since then. An attempt that fails later sets a new time, and that counts.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from postroom_ops.files import put

if TYPE_CHECKING:
    from pathlib import Path

    from postroom_disk.disk import Disk

HELD: Final = 4102444800.0  # the time an item is due that waits for an operator's `release`: the year 2100
_MARK: Final = ".retried"


def all_due(folder: Path) -> os.stat_result | None:
    """The word for all of a queue folder, or None. OSError."""
    with suppress(FileNotFoundError):
        return os.stat(f"{folder}/{_MARK}")
    return None


def due_of(pair: os.stat_result, said: os.stat_result | None) -> float:
    """When a pair is due whose command file is this, in unix seconds."""
    if said is not None and pair.st_ctime_ns <= said.st_ctime_ns and pair.st_mtime < HELD:
        return min(pair.st_mtime, said.st_mtime)
    return pair.st_mtime


def make_all_due(disk: Disk, folder: Path, now: float) -> None:
    """All pairs of a queue folder that are not held, at once or not at all. OSError."""
    put(disk, folder / _MARK, b"", now)
