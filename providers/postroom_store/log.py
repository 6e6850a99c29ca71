"""One folder's log as a file: open it, lock it, know its last state, add records with one write. The last octets tell the state; while the
file has the size at which our own last write left it, that write does.

A short or failed write is cut back under the lock. Of several records the first may have been read by then: so there is room for all
before any is written, and should it fail all the same, a record that says nothing takes the place of what was written, at its full length
(others have the log mapped): no number that a session may have seen is used twice. A reader finds by the CRC of the record it read last
whether that is still there. What a dead writer left torn, and what a power cut took, is found when the log is next locked and mended before
anything is added. The lock is `flock`, held for microseconds and never across an await of the loop, so who
finds it taken tries again shortly. A log that was replaced (compaction, repair) ends in a record of generation zero, and a renamed folder's
generation is one higher: who holds an old descriptor sees either under the lock and opens the log again by its name.
"""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from postroom.errors import NoSuchFolder, StoreError
from postroom_store import layout, mending
from postroom_store.records import (
    ARRIVE,
    BIRTH,
    COMING,
    HEAD,
    HEADER,
    LAST_UID,
    SPAN,
    TAIL,
    TOGETHER,
    VERSION,
    Birth,
    Buffer,
    Tail,
    encode,
    entry,
    read_tail,
    whole,
)

if TYPE_CHECKING:
    from postroom_store.means import Means

_FLAGS = os.O_RDWR | os.O_CLOEXEC
_FIRST = HEAD.size + BIRTH.size + TAIL  # octets of the first record
_SPINS = 3
_LONGEST_WAIT = 0.01  # seconds between two tries for a lock


class Held:
    """A log under lock: the state it is in, and what is to be added. Leave it with `release`."""

    __slots__ = ("_before", "_coming", "_last", "_log", "_staged", "at", "modseq", "octets", "messages", "uidnext")  # noqa: RUF023

    def __init__(self, log: FolderLog, size: int, tail: Tail) -> None:
        self._log = log
        self._staged: list[bytes] = []
        self._coming: list[tuple[int, int]] = []  # UID and octets of what was staged to come together
        self._before = tail  # the state that is written
        self._last = tail  # the state after what is staged
        self.at = size  # where the next record goes
        self.uidnext, self.modseq, _, _, self.octets, self.messages = tail
        log.is_held = True

    def arrive(self, uid: int, modseq: int, octets: int, fixed: bytes, described: Buffer) -> None:
        """Stage an arrival."""
        self._number(uid)
        self.octets += octets
        self.messages += 1
        self.stage(ARRIVE, modseq, fixed, described)

    def come(self, uid: int, modseq: int, octets: int, fixed: bytes, described: Buffer) -> None:
        """Stage an arrival that counts only with those before and behind it, once `together` is staged."""
        self._number(uid)
        self._coming.append((uid, octets))
        self.stage(COMING, modseq, fixed, described)

    def together(self, ended: bytes = b"") -> None:
        """What was staged to come does so at one moment, at which these runs end; `octets` and `messages` are without them already."""
        coming, self._coming = self._coming, []
        self.octets += sum(octets for _, octets in coming)
        self.messages += len(coming)
        self.stage(TOGETHER, self.modseq + bool(ended), SPAN.pack(coming[0][0], coming[-1][0]), ended)

    def _number(self, uid: int) -> None:
        if uid > LAST_UID:
            raise StoreError(f"folder {self._log.shown} has given out all its UIDs; rename it and make a new one")
        self.uidnext = max(self.uidnext, uid + 1)

    def stage(self, kind: int, modseq: int, *payload: Buffer, generation: int | None = None) -> None:
        """Stage a record."""
        self.modseq = max(self.modseq, modseq)
        log = self._log
        number = log.generation if generation is None else generation
        self._last = Tail(self.uidnext, self.modseq, log.epoch, number, self.octets, self.messages)
        record = encode(kind, self.at, self._last, *payload)
        self._staged.append(record)
        self.at += len(record)

    def commit(self) -> None:
        """Write what was staged with one call; OSError, and then nothing was added."""
        staged, self._staged = self._staged, []
        data = staged[0] if len(staged) == 1 else b"".join(staged)
        if data:
            log, at = self._log, self.at - len(data)
            log.known = None
            if len(staged) > 1:  # of one record nobody reads a part
                log.means.disk.allocate(log.fd, at, len(data))
            write_whole(log.means, log.fd, data, at, lambda length: self._nothing(at, length))
            log.known, self._before = (self.at, self._last), self._last

    def _nothing(self, at: int, length: int) -> bytes:
        """What takes the place of records that were not to be: their numbers are passed over, the folder is as before."""
        return mending.filling(at, length, self._last._replace(octets=self._before.octets, messages=self._before.messages))

    def release(self) -> None:
        self._log.is_held = False
        if self._log.fd >= 0:
            fcntl.flock(self._log.fd, fcntl.LOCK_UN)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *exc: object) -> None:
        self.release()


class FolderLog:
    """The log of the folder in directory `path`. Not yet opened, and closed whenever descriptors are short: `fd` is then -1."""

    __slots__ = ("_map", "began", "birth", "fd", "generation", "is_held", "known", "means", "path")

    def __init__(self, means: Means, path: str) -> None:
        self.means = means
        self.path = path
        self.fd = -1
        self.generation = 0  # as of the last lock; zero: not known
        self.began = 0  # generation in which this very file was begun; says whether two descriptors are of one file
        self.birth = Birth(b"", 0, 0, 0)
        self.is_held = False  # its lock, by this object
        self.known: tuple[int, Tail] | None = None  # the size at which our last write left this file, and the state written there
        self._map: mmap.mmap | None = None

    @property
    def epoch(self) -> int:
        return self.means.epoch

    def shut(self) -> None:
        """Close the descriptor; the next use opens it again."""
        if self.fd >= 0:
            self.means.descriptors.closed(self)
            fd, self.fd, self.generation, self.known, self.is_held, self._map = self.fd, -1, 0, None, False, None
            self.means.disk.close(fd)

    def rest(self, *, only_if_removed: bool = False) -> None:
        """Close the descriptor unless the lock is held by it; or only where the log's name is another file's now, or nobody's."""
        if self.fd >= 0 and not self.is_held and not (only_if_removed and self.is_at_path()):
            self.shut()

    def size(self) -> int:
        """Octets of the log; opens it where needed. NoSuchFolder when there is none."""
        return self.state()[0]

    def state(self) -> tuple[int, int, int]:
        """Octets of the log, the time of its last change, and its file: while all are as before, nobody wrote. Errors as `size`."""
        if self.fd < 0:
            self._open()
        self.means.descriptors.used(self)
        status = os.fstat(self.fd)
        return status.st_size, status.st_mtime_ns, status.st_ino

    @property
    def shown(self) -> str:
        """The folder's own name, for people: nothing of where it lies."""
        return layout.decode(self.path.rpartition("/")[2])

    def is_known(self) -> bool:
        """Whether it is open, and nobody wrote since this object did: then it is whole, and nothing took its place."""
        return self.fd >= 0 and self.known is not None and self.known[0] == os.fstat(self.fd).st_size

    @property
    def identity(self) -> tuple[int, bytes]:
        """Of the file that is open: the generation in which it was begun, and its folder's object id."""
        return self.began, self.birth.object_id

    def mapped(self, identity: tuple[int, bytes], covered: int) -> mmap.mmap | None:
        """The first `covered` octets, at least, of the file with this identity; None where another took its place. Opens the log where needed. A map
        has a descriptor of its own and is closed when nobody holds it: whoever holds one longer than for an answer keeps that open."""
        size = self.size()
        if self.identity != identity:
            return None
        if self._map is None or len(self._map) < covered:
            self._map = mmap.mmap(self.fd, size, access=mmap.ACCESS_READ)
        return self._map

    # Locking.

    def seize(self) -> Held | None:
        """The lock, if it is free and the log needs no care; else None. NoSuchFolder when there is no log."""
        if self.fd < 0:
            self._open()
        self.means.descriptors.used(self)
        if not self._flock():
            return None
        try:
            held = self._enter()
        except BaseException:
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            raise
        if held is None:
            fcntl.flock(self.fd, fcntl.LOCK_UN)
        return held

    async def hold(self) -> Held:
        """The lock, as soon as it is to be had, on a log that is whole. Suspends only when somebody else has it or it must be mended."""
        pause = 0.0005
        while (held := self.seize()) is None:
            if self.needs_care():
                await asyncio.to_thread(FolderLog(self.means.apart(), self.path).mend)
                self.shut()
            else:  # somebody else has the lock
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_WAIT)
        return held

    def hold_now(self) -> Held:
        """The lock, waiting for it in this thread: for recovery and for work done in a thread of its own."""
        while True:
            self.size()
            fcntl.flock(self.fd, fcntl.LOCK_EX)
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            if (held := self.seize()) is not None:
                return held
            if self.needs_care():
                self.mend()

    def _flock(self) -> bool:
        for _ in range(_SPINS):
            try:
                fcntl.flock(self.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return True
            except BlockingIOError:
                os.sched_yield()
        return False

    def _enter(self) -> Held | None:
        """Under the lock: the state, if the descriptor is of the right file and its end is whole and of this epoch."""
        size = os.fstat(self.fd).st_size
        if self.known is not None and self.known[0] == size:  # a log only grows, or loses a torn end: nobody wrote since we did
            tail: Tail | None = self.known[1]
        else:
            tail = read_tail(os.pread(self.fd, TAIL, max(size - TAIL, 0)), size)
        if tail is None or tail.epoch != self.epoch or not tail.generation:
            return None
        if tail.generation != self.generation:
            if self.generation or not self.is_at_path():
                return None
            self.generation = tail.generation
        return Held(self, size, tail)

    def is_at_path(self) -> bool:
        try:
            return os.path.samestat(os.stat(f"{self.path}/{layout.LOG}"), os.fstat(self.fd))
        except (FileNotFoundError, NotADirectoryError):
            return False

    def needs_care(self) -> bool:
        """Whether more is wrong than that somebody has the lock. Opens the log again by its name."""
        self.shut()
        size = self.size()
        tail = read_tail(os.pread(self.fd, TAIL, max(size - TAIL, 0)), size)
        return tail is None or tail.epoch != self.epoch or not tail.generation

    # Opening, making, mending.

    def _open(self) -> None:
        try:
            self.fd = self.means.disk.open(f"{self.path}/{layout.LOG}", _FLAGS)
        except (FileNotFoundError, NotADirectoryError):
            raise NoSuchFolder(f"there is no folder {self.shown}") from None
        if os.fstat(self.fd).st_size == 0:
            self.shut()
            raise NoSuchFolder(f"the folder {self.shown} was never begun")
        self.means.descriptors.used(self)
        first = os.pread(self.fd, _FIRST, 0)
        if length := whole(first, 0):
            begun = entry(first, 0, length)
            if begun.kind == HEADER:
                self.birth, self.began = Birth._make(BIRTH.unpack(begun.payload)[1:]), begun.tail.generation

    def mend(self) -> None:
        """Set right, under the lock, what a crash left: a torn end, a hole, another epoch, a move that never happened. It syncs, so
        the loop has a thread do it."""
        self.size()
        fcntl.flock(self.fd, fcntl.LOCK_EX)
        replaced = False
        try:
            if self.is_at_path():
                replaced = mending.mend(self.means, self.path, self.fd)
                if not replaced:
                    self._renew()
        finally:
            fcntl.flock(self.fd, fcntl.LOCK_UN)
            self.shut()

    def _renew(self) -> None:
        """Begin this epoch in the log: numbers that a client may know and the log may have lost are passed over."""
        size = os.fstat(self.fd).st_size
        tail = read_tail(os.pread(self.fd, TAIL, max(size - TAIL, 0)), size)
        if tail is not None and tail.epoch != self.epoch:
            write_whole(self.means, self.fd, mending.renewal(size, tail, self.epoch), size)
            self.means.disk.fdatasync(self.fd)  # else the next power cut makes us jump to the same numbers again

    def begin(self, birth: Birth, *, durable: bool) -> None:
        """Make the log of a new folder, unless somebody was faster. The directory is there. OSError when the disk refuses."""
        disk = self.means.disk
        self.shut()
        fd = disk.open(f"{self.path}/{layout.LOG}", _FLAGS | os.O_CREAT, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_size == 0:
                first = encode(HEADER, 0, (1, 1, self.epoch, 1, 0, 0), BIRTH.pack(VERSION, *birth))
                write_whole(self.means, fd, first, 0)
            if durable:
                disk.fsync(fd)
                disk.sync_folder(self.path)
        finally:
            disk.close(fd)

    def read(self, offset: int, n: int) -> bytes:
        """Up to n octets of the log from `offset`."""
        return os.pread(self.fd, n, offset)


def write_whole(means: Means, fd: int, data: bytes, at: int, nothing: Callable[[int], bytes] | None = None) -> None:
    """Write all of it or, with an OSError, nothing; `nothing` makes so many octets to put over what readers may have read by then."""
    written = 0
    try:
        written = means.disk.pwrite(fd, data, at)
        while written < len(data):  # a full disk says so only at the next try
            written += means.disk.pwrite(fd, data[written:], at + written)
    except OSError:
        with suppress(OSError):
            if nothing is not None and written >= HEAD.unpack_from(data)[1]:
                write_whole(means, fd, nothing(written), at)
            else:
                means.disk.ftruncate(fd, at)
        raise
