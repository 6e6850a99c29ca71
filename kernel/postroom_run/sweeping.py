"""What the spool may forget: marks of finished items that no journal can bring back, and octets that were never accepted.

Removing too late costs room, too early a message: a mark goes when every segment that lived when it was first met is cut, a
message without a command file when it is a day old.
"""

from __future__ import annotations

from collections.abc import MutableMapping
from pathlib import Path
from typing import Final

from postroom.spool import Queue, Spool
from postroom_ops.files import entries

ORPHAN_AGE: Final = 86400.0  # seconds
Segments = frozenset[tuple[int, int]]  # slot and generation


def sweep(spool: Spool, live: Segments, seen: MutableMapping[str, Segments]) -> None:
    """One round. `live` are the segments not yet cut; `seen` is the caller's memory between rounds: which lived when a mark was first met."""
    for queue in spool.queues():
        for mark in [mark for slot in entries(queue.folder / "Done") for mark in entries(slot)]:
            if not seen.setdefault(str(mark), live) & live:
                spool.disk.unlink(mark)
                del seen[str(mark)]
        for path in entries(queue.folder / "Messages"):
            _sweep_orphan(spool, queue, path)


def _sweep_orphan(spool: Spool, queue: Queue, path: Path) -> None:
    """A message that was never accepted: its transfer was cut off by a crash, or its program died between the two files."""
    try:
        is_old = path.stat().st_mtime < spool.clock.now() - ORPHAN_AGE
    except FileNotFoundError:
        return
    if is_old and not queue.command_path(path.stem).exists() and not spool.was_done(queue, path.stem):
        spool.disk.unlink(path)
