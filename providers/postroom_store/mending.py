"""A log set right after a crash, and a log written anew. Everything here runs under the log's lock.

A torn end is cut off; nobody has read it, for readers stop at the first record that is not whole. A hole with whole records behind it (a power cut may
lose any unsynced page) makes a new generation of what is left; what is missing comes back from the journals, or is told by `check`.
An arrival whose octets the power cut took is left out as if its page had been lost too: who was told of it finds it in the journals.
A log that lost its first record is set aside as `log.damaged`: the folder is indexed again from its files.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from postroom_store import files, layout
from postroom_store.epoch import JUMP
from postroom_store.means import YOUNG
from postroom_store.records import (
    ARRIVAL,
    ARRIVE,
    BIRTH,
    EPOCH,
    EXPUNGE,
    HEADER,
    LAST_UID,
    LENGTHS,
    LIMIT,
    MOVED,
    OVERHEAD,
    TAIL,
    Arrival,
    Birth,
    Entry,
    Tail,
    encode,
    read_runs,
    read_tail,
    salvage,
)

if TYPE_CHECKING:
    from postroom_store.means import Means


def mend(means: Means, path: str, fd: int) -> bool:
    """Make the log at `fd` end in a whole record with no hole before it; whether a new file took its place."""
    size = os.fstat(fd).st_size
    tail = read_tail(os.pread(fd, TAIL, max(size - TAIL, 0)), size)
    if tail is not None and tail.epoch == means.epoch and tail.generation:
        return False  # somebody else was faster
    found, intact = salvage(read_all(fd, size))
    if found and found[-1].kind == MOVED and found[-1].tail.generation == 0:
        intact = min(intact, found.pop().at)  # the move never came to pass: we are here under the old name
    if not found or found[0].kind != HEADER or found[0].at:
        means.log.error("log_lost", path=path, octets=size)
        means.disk.rename(f"{path}/{layout.LOG}", f"{path}/{layout.DAMAGED}")
        return True
    lost = _without_octets(path, found) if found[-1].tail.epoch != means.epoch else {}
    if intact < found[-1].at or lost:
        means.log.error("log_hole", path=path, at=intact, records=len(found), without_octets=sorted(lost))
        rewrite(means, path, fd, _without(found, lost), max(record.tail.generation for record in found) + 1)
        for file in lost.values():
            _hide(means, file)
        return True
    if intact < size:
        means.log.warning("log_tail_cut", path=path, octets=size - intact)
        means.disk.ftruncate(fd, intact)
    return False


def _without_octets(path: str, found: Sequence[Entry]) -> dict[int, str]:
    """Messages that came shortly before a power cut and whose octets it took, by UID their files. A COPY or an APPEND was not
    answered yet; a delivery comes again; what the journals note is put back with its number, but not what a compaction made durable
    since: that stays. Moves are finished elsewhere (moving.py)."""
    base = Birth._make(BIRTH.unpack(found[0].payload)[1:]).base
    came = [record for record in found if record.kind == ARRIVE and record.tail.modseq > base and not _came_by_move(record)]
    arrivals = [Arrival._make(ARRIVAL.unpack_from(record.payload)) for record in came]
    since = max((arrival.saved for arrival in arrivals), default=0.0) - YOUNG
    young = {arrival.uid: arrival for arrival in arrivals if arrival.saved >= since}
    alive = sorted(young)
    for record in found:
        if record.kind == EXPUNGE:
            end_runs(alive, record.payload)
    paths = {uid: f"{path}/{young[uid].id}{layout.SUFFIX}" for uid in alive}
    return {uid: file for uid, file in paths.items() if files.size(file) < young[uid].octets}


def _without(found: Sequence[Entry], lost: Collection[int]) -> list[Entry]:
    """All but the arrivals of these UIDs, and but what came or ended together with one of them: it was to be all or none."""
    uids = [ARRIVAL.unpack_from(record.payload)[0] if record.kind == ARRIVE else 0 for record in found]
    batches = {record.batch for record, uid in zip(found, uids) if uid in lost and record.batch}
    return [record for record, uid in zip(found, uids) if uid not in lost and record.batch not in batches]


def _hide(means: Means, file: str) -> None:
    """What is left of a torn message, under a name that no index takes for one; `check` removes it after a day."""
    folder, name = file.rsplit("/", 1)
    with suppress(FileNotFoundError):
        means.disk.rename(file, f"{folder}/.{name}.torn.new")


def _came_by_move(record: Entry) -> bool:
    texts: int = sum(LENGTHS.unpack_from(record.payload, ARRIVAL.size)[2:])
    return len(record.payload) > ARRIVAL.size + LENGTHS.size + texts


def end_runs(uids: list[int], runs: bytes) -> Collection[int]:
    """Take what an EXPUNGE names out of these ascending UIDs; those that went."""
    gone: list[int] = []
    for first, last in read_runs(runs):
        begin, end = bisect_left(uids, first), bisect_right(uids, last)
        gone += uids[begin:end]
        del uids[begin:end]
    return gone


def read_all(fd: int, size: int) -> bytes:
    """All octets of a log; more than one call where it is larger than a call may be."""
    pieces, at = [], 0
    while at < size and (piece := os.pread(fd, min(size - at, 1 << 30), at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def say_moved(means: Means, fd: int) -> None:
    """Tell every holder of this descriptor's file to open the log again by its name."""
    at = os.fstat(fd).st_size
    left = encode(MOVED, at, (1, 0, means.epoch, 0, 0, 0))
    while left:  # a full disk says so only at the next try
        written = means.disk.pwrite(fd, left, at)
        left, at = left[written:], at + written


def renewal(size: int, tail: Tail, epoch: int) -> bytes:
    """The record that begins an epoch."""
    uidnext = min(tail.uidnext + JUMP, LAST_UID + 1)
    return encode(EPOCH, size, (uidnext, tail.modseq + JUMP, epoch, tail.generation, tail.octets, tail.messages))


def filling(at: int, length: int, tail: Tail) -> bytes:
    """Records that say nothing but what the folder is, and that what was read here before is forgotten; so many octets in all."""
    records = []
    while length:
        octets = length if length <= LIMIT else LIMIT // 2
        records.append(encode(EPOCH, at, tail, bytes(octets - OVERHEAD)))
        at, length = at + octets, length - octets
    return b"".join(records)


def rewrite(means: Means, path: str, fd: int, entries: Iterable[Entry], generation: int) -> None:
    """Put a log with these records in the place of the one at `fd`; whole and durable, or the old one stays.

    Counters are computed anew; a record's own MODSEQ is kept, and so is its epoch, so that the next opening still finds the old one."""
    aside = f"{path}/.{layout.LOG}.{os.getpid()}.new"
    try:
        _write(means, aside, recount(entries, generation))
        say_moved(means, fd)
        means.disk.rename(aside, f"{path}/{layout.LOG}")
    except OSError:
        with suppress(OSError):  # on a full disk above all
            means.disk.unlink(aside)
        raise
    means.disk.sync_folder(path)


def _write(means: Means, path: str, pieces: Iterable[bytes]) -> None:
    """A new file, durable on return."""
    fd = means.disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        for piece in pieces:
            means.disk.write_all(fd, piece)
        means.disk.fsync(fd)
    finally:
        means.disk.close(fd)


def recount(entries: Iterable[Entry], generation: int) -> Iterable[bytes]:
    """The octets of a log with these records, in pieces, each record's state of the folder recomputed."""
    at = total = 0
    uidnext, modseq, sizes = 1, 0, dict[int, int]()
    staged: list[bytes] = []
    for record in entries:
        if record.kind == ARRIVE:
            fixed = ARRIVAL.unpack_from(record.payload)
            sizes[fixed[0]] = fixed[3]
            total += fixed[3]
        elif record.kind == EXPUNGE:
            total -= _expunge(sizes, record.payload)
        uidnext, modseq = max(uidnext, record.tail.uidnext), max(modseq, record.tail.modseq)
        fields = (uidnext, modseq, record.tail.epoch, generation, total, len(sizes))
        staged.append(encode(record.kind, at, fields, record.payload))
        at += len(staged[-1])
        if len(staged) > 500:
            yield b"".join(staged)
            staged.clear()
    yield b"".join(staged)


def _expunge(sizes: dict[int, int], payload: bytes) -> int:
    gone = 0
    for first, last in read_runs(payload):
        there = range(first, last + 1) if last - first < len(sizes) else [uid for uid in sizes if first <= uid <= last]
        gone += sum(sizes.pop(uid, 0) for uid in there)
    return gone
