"""The journal: what `append` returned for is replayed after any crash, in order.

One a worker, in a slot held by a lock: `Journal/<slot>/<n>.seg`. Segments are zero-filled once and written over from then on,
because overwriting needs no change of metadata. A record carries its segment's generation and a CRC, so replay ends where
the last synced batch ended and never reads what an earlier use of the segment left behind.

Records wait in a queue for one thread, which writes all that is there with one call and one sync. A failed write fails
everyone who waited for it (`SpoolError`; nothing was acknowledged), is made void and retires the segment. Records that nobody waits for
(notes) are written with the next batch.

A segment is cut, oldest first, when nobody holds it and a `syncfs` that began later has ended. docs/decisions/0002.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import groupby, takewhile
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from postroom_disk.disk import Disk, SpoolError, refused, unkept
from postroom_disk.segments import (
    HEADER,
    RECORD,
    generations,
    has_record,
    header,
    lock_a_slot,
    read_segment,
    record_head,
    slots_in,
    try_lock,
)

_PIECES: Final = 1000  # below the operating system's limit for one vectored write
_LINGER: Final = 0.02  # seconds a note may wait for company
_READ: Final = 1.0  # mtime of a slot's lock whose owner has read what the one before left; before that it is zero
_LONG: Final = 10  # times that `rotate` leaves a segment in which there is little

Done = Callable[[BaseException | None], None]
M = TypeVar("M")


@dataclass(eq=False, slots=True)
class Segment:
    """One file of the journal in one use. Whoever needs its records after a crash holds it."""

    journal: Journal[Any]
    path: Path
    fd: int
    generation: int = 0  # zero: free
    end: int = 0
    holds: int = 0
    failed: bool = False
    leftovers: list[Path] = field(default_factory=list)  # files to be removed once it is cut
    dirty: bool = False  # something in it was written and not synced; the writing thread's own

    def hold(self) -> None:
        self.holds += 1

    def release(self) -> None:
        """Drop one hold. All that was written for its sake must be in the file system by now, synced or not."""
        self.holds -= 1
        if self.holds == 0:
            self.journal.relax()


@dataclass(frozen=True, slots=True)
class Record:
    """One record as replay finds it."""

    kind: int
    payload: bytes
    slot: int


class Replay(Generic[M]):
    """What the journals of dead workers hold: each slot's records in order, and whatever the records belong to, found by its id."""

    def __init__(self, records: Sequence[Record], slots: Collection[int], find: Callable[[Sequence[Record], str], M | None]) -> None:
        self.records, self.slots = records, slots
        self.afterwards: list[Path] = []  # files to be removed once all that was replayed is durable
        self._all, self._find = records, find

    def of(self, kinds: Collection[int]) -> Replay[M]:
        """The same, with the records of these kinds only."""
        some = Replay((), self.slots, self._find)
        some.records, some._all, some.afterwards = [record for record in self.records if record.kind in kinds], self._all, self.afterwards
        return some

    def message(self, message_id: str) -> M | None:
        """What lies under this id in the replayed journals or beside them; None where nobody has it."""
        return self._find(self._all, message_id)


@dataclass(slots=True)
class _Waiting:
    """A record on its way to the disk."""

    segment: Segment
    offset: int
    parts: Sequence[bytes]
    done: Done | None


@dataclass(eq=False)
class Journal(Generic[M]):
    """A worker's journal. `open` takes a slot, `start` needs the running loop, `recover` reads what dead workers left."""

    folder: Path
    disk: Disk = field(default_factory=Disk)
    segment_size: int = 16 << 20
    most_segments: int = 16
    settle: Callable[[], None] = lambda: None  # asked in the loop right before a cut
    find: Callable[[Sequence[Record], str], M | None] = lambda records, name: None  # how replay finds what records belong to

    _used: deque[Segment] = field(default_factory=deque, init=False)  # oldest first; the last is being written
    _replayers: list[tuple[Collection[int], Callable[[Replay[M]], None]]] = field(default_factory=list, init=False)
    slot: int = field(default=-1, init=False)
    is_stuck: bool = field(default=False, init=False)  # the disk has no place for a segment: waiting for one is no use
    failure: str = field(default="", init=False)  # the last error, for health; empty when the last write went well

    def open(self, slot: int | None = None) -> int:
        """Lock a slot (the first free one unless told), and make its first segments. SpoolError when the disk refuses."""
        self._queue: deque[_Waiting] = deque()
        self._gate = threading.Lock()
        self._gate.acquire()
        self._timer: asyncio.TimerHandle | None = None
        self._soon = False
        self._wanted = False
        self._owed = False  # the writing thread's own
        self._closing = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._free: list[Segment] = []
        self._cutting = False
        self._making = False
        self._work: asyncio.Future[Any] | None = None  # the cut or the making under way, or the last
        self._room: list[asyncio.Future[None]] = []
        self._left = 0  # times that `rotate` left the current segment
        try:
            self.disk.make_folders(self.folder)
            lock, number = lock_a_slot(self.disk, self.folder, slot)
            try:
                self.disk.utime(lock, (0.0, 0.0))
                self.disk.make_durable_folders(self.folder / str(number), self.folder.parent)
                self._generation = int.from_bytes(os.urandom(6), "big")  # no earlier life's: what that left behind is not of this use
            except BaseException:
                self.disk.close(lock)
                raise
        except OSError as error:
            raise unkept(error, "opening the journal") from error
        self._lock, self.slot = lock, number
        return number

    # Recovery.

    def replayer(self, kinds: Collection[int], replay: Callable[[Replay[M]], None]) -> None:
        """Register recovery for some kinds of records; asked in the order of registration, with all slots' records at once."""
        self._replayers.append((kinds, replay))

    def recover(self, slots: Iterable[int] | None = None) -> int:
        """Replay every slot that nobody else holds (or just these), our own included, then cut them; how many records there were.

        Safe to be killed at any point: nothing is cut before all is replayed and synced. DiskError: nothing was cut."""
        held, wanted = [], sorted(slots if slots is not None else slots_in(self.folder))
        try:
            for slot in wanted:
                if slot != self.slot and (fd := try_lock(self.disk, self.folder / str(slot))) is not None:
                    held.append((slot, fd))
            mine = [self.slot] if self.slot in wanted else []
            count = self._replay([*mine, *(slot for slot, _ in held)])
            if mine:
                self.disk.utime(self._lock, (_READ, _READ))
            return count
        except OSError as error:
            raise refused(error, "replaying the journal") from error
        finally:
            for _, fd in held:
                self.disk.close(fd)

    def are_read(self) -> bool:
        """Whether all that dead workers left is read: a slot that is held again may not be yet. Asked in any thread, after `recover`. OSError."""
        return all(self._is_read(self.folder / str(slot)) for slot in slots_in(self.folder) if slot != self.slot)

    def _is_read(self, slot: Path) -> bool:
        if not any(number for _, number in generations(slot)):
            return True  # and its lock is left alone: somebody may be about to take it
        if (fd := try_lock(self.disk, slot)) is None:
            return os.stat(slot / "lock").st_mtime == _READ
        self.disk.close(fd)
        return False

    def _replay(self, slots: Sequence[int]) -> int:
        files = [(slot, path, number) for slot in slots for path, number in generations(self.folder / str(slot)) if number]
        files.sort(key=lambda file: (file[0], file[2]))
        records = [Record(kind, payload, slot) for slot, path, _ in files for kind, payload in read_segment(path)]
        replay = Replay(records, slots, self.find)
        for kinds, replayer in self._replayers:
            replayer(replay.of(kinds))
        if replay.records or replay.afterwards:
            self._sync_all()
        self._remove(replay.afterwards)
        for _, path, _ in files:
            self._clear(path)
        return len(replay.records)

    def _remove(self, paths: Sequence[Path]) -> None:
        """For good: the records that told of their end go next, and a file that came back without them would be taken for mail."""
        for path in paths:
            with suppress(FileNotFoundError):
                self.disk.unlink(path)
        if paths:
            self._sync_all()

    def _sync_all(self) -> None:
        fd = self.disk.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            self.disk.syncfs(fd)
        finally:
            self.disk.close(fd)

    def _clear(self, path: Path) -> None:
        fd = self.disk.open(path, os.O_WRONLY)
        try:
            self.disk.pwritev_sync(fd, [bytes(HEADER.size)], 0)
        finally:
            self.disk.close(fd)

    def live(self) -> frozenset[tuple[int, int]]:
        """(slot, generation) of every segment of every slot that is not cut; asked in any thread."""
        written = {(slot, number) for slot in slots_in(self.folder) for _, number in generations(self.folder / str(slot)) if number}
        return frozenset(written | {(self.slot, segment.generation) for segment in tuple(self._used)})  # a header may still be in the queue

    def holding(self) -> frozenset[tuple[int, int]]:
        """Those of `live` in which there is a record: what is in none of them no replay can bring. Asked in any thread."""
        mine = {(self.slot, segment.generation) for segment in tuple(self._used) if segment.end > HEADER.size}
        found = [(slot, path, number) for slot in slots_in(self.folder) for path, number in generations(self.folder / str(slot))]
        return frozenset(mine.union((slot, number) for slot, path, number in found if number and has_record(path)))

    # Writing.

    async def start(self) -> None:
        """Begin to take records; after `recover`."""
        try:
            for path in sorted((self.folder / str(self.slot)).glob("*.seg")):
                if path.stat().st_size < self.segment_size:  # half made, or made for smaller ones
                    self.disk.unlink(path)
                else:
                    self._free.append(Segment(self, path, self.disk.open(path, os.O_WRONLY)))
            while len(self._free) < 2:
                self._free.append(self._make())
        except OSError as error:
            raise unkept(error, "making the journal's segments") from error
        self._loop = asyncio.get_running_loop()
        self._next()
        self._thread = threading.Thread(target=self._write_batches, name="journal", daemon=True)
        self._thread.start()

    async def close(self) -> None:
        """Write what is queued, cut what can be cut, let the slot go. What is still held is replayed by the next owner."""
        if self._loop is not None:
            self._closing = True
            self._wake()
            await asyncio.to_thread(self._thread.join)
            await asyncio.sleep(0)  # the last batch's callbacks
            if self._work is not None:
                await asyncio.wait([self._work])  # a cut or a new segment under way: neither is done twice, nor under our hands
                await asyncio.sleep(0)  # its callback
            self.settle()
            await asyncio.to_thread(self._cut_at_close)
            self._loop = None
        for segment in (*self._used, *self._free):
            self.disk.close(segment.fd)
        self._used.clear()
        self._free.clear()
        self.disk.close(self._lock)

    def _cut_at_close(self) -> None:
        try:
            self._sync_all()
            ready = [*takewhile(lambda segment: segment.holds <= 0, self._used)]
            self._remove([path for segment in ready for path in segment.leftovers])
            for segment in ready:
                self._free.append(self._used.popleft())
                self.disk.pwritev_sync(segment.fd, [bytes(HEADER.size)], 0)
        except OSError as error:
            self.failure = str(refused(error, "cutting the journal"))

    async def append(self, kind: int, *parts: bytes) -> Segment:
        """Write a record; durable on return. SpoolError: it is not, and the caller keeps what it has."""
        return await self._queued(kind, parts)

    def begin(self, kind: int, *parts: bytes) -> asyncio.Future[Segment]:
        """As `append`, for who has to do something else meanwhile: the disk begins with it now, not at the end of this turn of the loop, so what the
        rest of the turn brings has the next write. SpoolError at once or in the answer; the answer is to be asked for."""
        waiter = self._queued(kind, parts)
        self._wake()
        return waiter

    def _queued(self, kind: int, parts: Sequence[bytes]) -> asyncio.Future[Segment]:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[Segment] = loop.create_future()

        def done(error: BaseException | None) -> None:
            if not waiter.done():
                waiter.set_result(segment) if error is None else waiter.set_exception(error)

        segment = self.write(kind, parts, done)
        segment.hold()  # a cut must not overtake whoever waits
        waiter.add_done_callback(lambda _: loop.call_soon(segment.release))  # whoever goes on now may take a hold of his own before
        return waiter

    def note(self, kind: int, *parts: bytes) -> Segment:
        """Write a record nobody waits for; durable with the next one that somebody does."""
        return self.write(kind, parts)

    def write(self, kind: int, parts: Sequence[bytes], done: Done | None = None) -> Segment:
        """Queue a record. `done` is called in the loop: with None when it is durable, with the error when it cannot be.
        SpoolError at once where no segment is free."""
        length = sum(map(len, parts))
        segment = self._used[-1]
        if segment.failed or segment.end + RECORD.size + length > self.segment_size:
            if HEADER.size + RECORD.size + length > self.segment_size:
                raise SpoolError(f"a record of {length} octets is larger than a journal segment")
            segment = self._next()
        self._queue.append(_Waiting(segment, segment.end, (record_head(segment.generation, kind, parts, length), *parts), done))
        segment.end += RECORD.size + length
        if self._loop is None:
            pass
        elif done is not None:
            if not self._soon:  # at the end of this turn of the loop: what the turn brings shares one write
                self._soon = True
                self._loop.call_soon(self._wake)
        elif self._timer is None:
            self._timer = self._loop.call_later(_LINGER, self._wake)
        return segment

    @property
    def has_room(self) -> bool:
        """Whether another segment is ready; where not, acceptance should slow down."""
        return bool(self._free)

    async def room(self) -> None:
        """Returns when `has_room`."""
        while not self._free:
            waiter = asyncio.get_running_loop().create_future()
            self._room.append(waiter)
            self.relax()
            await waiter

    def after_cut(self, path: Path) -> None:
        """Remove this file once a `syncfs` that began after now has ended: what it became elsewhere is durable then."""
        self._used[-1].leftovers.append(path)

    @property
    def octets(self) -> int:
        """Octets in segments that are not cut."""
        return sum(segment.end for segment in self._used)

    def rotate(self) -> None:
        """Let the current segment be cut when its holds are gone, if there is something in it; called now and then on idle workers. A little
        may stay for a while."""
        current, self._left = self._used[-1], self._left + 1
        is_much = current.end > self.segment_size // 16 or self._left >= _LONG
        if (current.leftovers or (is_much and current.end > HEADER.size)) and self._free:
            self._next()
            self.relax()

    def _next(self) -> Segment:
        if not self._free:
            self.relax()
            why = "the disk has no place for another" if self.is_stuck else "delivery is behind"
            raise SpoolError(f"the journal has no free segment: {why}", full=self.is_stuck)
        segment = self._free.pop()
        self._generation += 1
        segment.generation, segment.failed, segment.end = self._generation, False, HEADER.size
        self._left = 0
        self._used.append(segment)
        self._queue.append(_Waiting(segment, 0, (header(segment.generation),), None))
        self.relax()
        return segment

    def _wake(self) -> None:
        """One token for the writing thread; only the loop gives, only the thread takes."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._soon, self._wanted = None, False, True
        if self._gate.locked():
            self._gate.release()

    # The writing thread.

    def _write_batches(self) -> None:
        while True:
            self._gate.acquire()
            while self._queue and (self._wanted or self._closing):
                self._wanted = False
                batch: list[_Waiting] = []
                while self._queue and len(batch) < _PIECES // 4:
                    batch.append(self._queue.popleft())
                if self._queue and len(batch) >= _PIECES // 4:
                    self._wanted = True
                for segment, run in groupby(batch, key=lambda item: item.segment):
                    self._write_run(segment, list(run))
            if self._closing:
                return

    def _write_run(self, segment: Segment, run: list[_Waiting]) -> None:
        """Write records that follow each other in one segment, and sync it if anyone waits."""
        error: SpoolError | None = None
        if segment.failed:
            self._owed = True
            error = SpoolError("an earlier write to this journal segment failed")
        else:
            try:
                if self._owed:  # notes were lost with an earlier write: what they told of must be durable before anything that follows
                    self.disk.syncfs(segment.fd)
                    self._owed = False
                self._write_pieces(segment, run[0].offset, [part for item in run for part in item.parts], any(item.done for item in run))
                self.failure = ""
            except OSError as cause:
                segment.failed = self._owed = True
                self._void(segment, run[0].offset)
                error = unkept(cause, "writing the journal")
                self.failure = str(error)
        self._tell(run, error)

    def _void(self, segment: Segment, offset: int) -> None:
        """What is refused must not be replayed, though its octets may have reached the file: here the segment ends."""
        with suppress(OSError):
            self.disk.pwritev_sync(segment.fd, [bytes(RECORD.size)], offset)

    def _write_pieces(self, segment: Segment, offset: int, pieces: list[bytes], sync: bool) -> None:
        """A per-write sync covers that write only; what notes left unsynced before it wants the whole file synced."""
        one_call = sync and not segment.dirty
        write = self.disk.pwritev_sync if one_call else self.disk.pwritev
        size = sum(map(len, pieces))
        written = write(segment.fd, pieces if len(pieces) <= _PIECES else [b"".join(pieces)], offset)
        while written < size:  # a short write goes on where it stopped
            written += write(segment.fd, [b"".join(pieces)[written:]], offset + written)
        if sync and not one_call:
            self.disk.fdatasync(segment.fd)
        segment.dirty = not sync

    def _tell(self, run: Sequence[_Waiting], error: SpoolError | None) -> None:
        waiting = [item.done for item in run if item.done is not None]
        if waiting and self._loop is not None:
            try:
                self._loop.call_soon_threadsafe(_call_all, waiting, error)
            except RuntimeError:  # the loop is closed: nobody waits any more
                pass

    # Cutting and making segments, in a thread of the loop's executor.

    def relax(self) -> None:
        """Cut what nobody holds, make a segment where none is free. Called in the loop; the work is done in a thread."""
        if self._loop is None or self._cutting or self._making or self._closing:
            return
        ready = []
        for segment in list(self._used)[:-1]:
            if segment.holds > 0:
                break
            ready.append(segment)
        if ready:
            self._cutting = True
            self.settle()
            task = self._work = self._loop.run_in_executor(None, self._cut, ready)
            task.add_done_callback(lambda done: self._after_cut(ready, done.exception()))
        elif not self._free and len(self._used) < self.most_segments:
            self._making = True
            made = self._work = self._loop.run_in_executor(None, self._make)
            made.add_done_callback(self._after_make)

    def _cut(self, segments: Sequence[Segment]) -> None:
        self.disk.syncfs(segments[0].fd)
        self._remove([path for segment in segments for path in segment.leftovers])
        for segment in segments:
            segment.leftovers = []
            self.disk.pwritev_sync(segment.fd, [bytes(HEADER.size)], 0)

    def _after_cut(self, segments: Sequence[Segment], error: BaseException | None) -> None:
        self._cutting = False
        if error is not None:
            self.failure = f"cutting the journal: {error}"
            return  # still in use; the next release or rotation tries again
        for segment in segments:
            self._used.popleft()
            segment.generation = 0
            self._free.append(segment)
        self.is_stuck = False
        self._after_room()

    def _make(self) -> Segment:
        taken = {segment.path.name for segment in (*self._used, *self._free)}
        name = next(name for number in range(self.most_segments + 3) if (name := f"{number}.seg") not in taken)
        path = self.folder / str(self.slot) / name
        fd = self.disk.open(path, os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            zeros = bytes(1 << 20)
            for offset in range(0, self.segment_size, len(zeros)):
                self.disk.write_all(fd, zeros[: self.segment_size - offset])
            self.disk.fsync(fd)
            self.disk.sync_folder(path.parent)
        except BaseException:
            self.disk.close(fd)
            self.disk.unlink(path)  # half a segment must not be found as a whole one
            raise
        return Segment(self, path, fd)

    def _after_make(self, made: asyncio.Future[Segment]) -> None:
        self._making = False
        error = made.exception()
        if isinstance(error, OSError):
            self.failure, self.is_stuck = str(refused(error, "making a journal segment")), True
        elif error is not None:
            raise error
        else:
            self.failure, self.is_stuck = "", False
            self._free.append(made.result())
            self._after_room()

    def _after_room(self) -> None:
        waiters, self._room = self._room, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        self.relax()


def _call_all(waiting: Sequence[Done], error: SpoolError | None) -> None:
    for done in waiting:
        done(error)
