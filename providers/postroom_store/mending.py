"""A log set right after a crash, and a log written anew. Everything here runs under the log's lock.

A torn end is cut off; nobody has read it, for readers stop at the first record that is not whole. A hole with whole records behind it (a power cut may
lose any unsynced page) makes a new generation of what is left; what is missing comes back from the journals, or is told by `check`.
A log that lost its first record is set aside as `log.damaged`: the folder is indexed again from its files.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING

from postroom_store import layout
from postroom_store.epoch import JUMP
from postroom_store.records import (
    ARRIVAL,
    ARRIVE,
    EPOCH,
    EXPUNGE,
    HEADER,
    LAST_UID,
    MOVED,
    TAIL,
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
    if intact < found[-1].at:
        means.log.error("log_hole", path=path, at=intact, records=len(found))
        rewrite(means, path, fd, found, max(record.tail.generation for record in found) + 1)
        return True
    if intact < size:
        means.log.warning("log_tail_cut", path=path, octets=size - intact)
        means.disk.ftruncate(fd, intact)
    return False


def read_all(fd: int, size: int) -> bytes:
    """All octets of a log; more than one call where it is larger than a call may be."""
    pieces, at = [], 0
    while at < size and (piece := os.pread(fd, min(size - at, 1 << 30), at)):
        pieces.append(piece)
        at += len(piece)
    return b"".join(pieces)


def say_moved(means: Means, fd: int) -> None:
    """Tell every holder of this descriptor's file to open the log again by its name."""
    size = os.fstat(fd).st_size
    means.disk.pwrite(fd, encode(MOVED, size, (1, 0, means.epoch, 0, 0, 0)), size)


def renewal(size: int, tail: Tail, epoch: int) -> bytes:
    """The record that begins an epoch."""
    uidnext = min(tail.uidnext + JUMP, LAST_UID + 1)
    return encode(EPOCH, size, (uidnext, tail.modseq + JUMP, epoch, tail.generation, tail.octets, tail.messages))


def rewrite(means: Means, path: str, fd: int, entries: Iterable[Entry], generation: int) -> None:
    """Put a log with these records in the place of the one at `fd`; whole and durable, or the old one stays.

    Counters are computed anew; a record's own MODSEQ is kept, and so is its epoch, so that the next opening still finds the old one."""
    aside = f"{path}/.{layout.LOG}.{os.getpid()}.new"
    new = means.disk.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        for piece in recount(entries, generation):
            means.disk.write_all(new, piece)
        means.disk.fsync(new)
    finally:
        means.disk.close(new)
    say_moved(means, fd)
    means.disk.rename(aside, f"{path}/{layout.LOG}")
    means.disk.sync_folder(path)


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
