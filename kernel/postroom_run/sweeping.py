"""What the spool may forget: marks of finished items that nothing can make again, and octets that were never accepted.

Removing too late costs room, too early a message: a mark goes when every segment that held a record when it was first met is cut, and the
message it was parted from does not wait to be parted again; a message without a command file goes when it is a day old and no journal names it.
"""

from __future__ import annotations

import re
from collections.abc import Container, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from postroom.journal import ACCEPTED
from postroom.spool import Queue, Spool
from postroom_disk.segments import read_segment
from postroom_ops.ends import was_ended
from postroom_ops.files import entries

ORPHAN_AGE: Final = 86400.0  # seconds
Segments = frozenset[tuple[int, int]]  # slot and generation
_PARTED = re.compile(rb"(?m)^Message=([0-9A-F]{32})\r?$")


def sweep(spool: Spool, seen: MutableMapping[str, Segments]) -> None:
    """One round. `seen` is the caller's memory between rounds: which segments held something when a mark was first met."""
    queues = list(spool.queues())
    marks = [mark for queue in queues for slot in entries(queue.folder / "Done") for mark in entries(slot)]
    live = spool.journal.holding()  # asked after: what could make an item again was written before its mark
    waiting = {item for queue in queues if queue.name == "Inbound" for item, _ in queue.items()}
    for mark in marks:
        if not seen.setdefault(str(mark), live) & live and not (waiting and _is_parted_from(mark, waiting)):
            with suppress(FileNotFoundError):  # a replay of a dead worker's journal took it up again
                spool.disk.unlink(mark)
            del seen[str(mark)]
    _sweep_orphans(spool, queues)


def _is_parted_from(mark: Path, waiting: Container[str]) -> bool:
    found = _PARTED.search(mark.read_bytes())
    return found is not None and found[1].decode() in waiting


def _sweep_orphans(spool: Spool, queues: Sequence[Queue]) -> None:
    """Messages that were never accepted: their transfer was cut off by a crash, or their program died between the two files. What a journal
    names was, and is carried by some worker, however long that takes or the clock says that it took."""
    found = [(queue, path) for queue in queues for path in entries(queue.folder / "Messages") if _is_orphan(spool, queue, path)]
    named = _accepted(spool.journal.folder) if found else ()
    for queue, path in found:
        if path.stem not in named and _is_orphan(spool, queue, path):  # asked again: it may have come to rest, and then no journal names it
            spool.disk.unlink(path)


def _is_orphan(spool: Spool, queue: Queue, path: Path) -> bool:
    try:
        is_old = path.stat().st_ctime < spool.clock.now() - ORPHAN_AGE  # not mtime: a link is made before its command file
    except FileNotFoundError:
        return False
    return is_old and not queue.command_path(path.stem).exists() and not was_ended(queue.folder, path.stem)


def _accepted(journals: Path) -> frozenset[str]:
    records = (record for path in journals.glob("*/*.seg") for record in read_segment(path))
    return frozenset(payload[:16].hex().upper() for kind, payload in records if kind == ACCEPTED)
