"""The index of a folder's text: SEARCH TEXT and BODY read the few messages that it names instead of all of them.

The file lies beside the messages and goes with them. It is derived: it may be removed at any time, and nothing in it is believed unchecked; what is
damaged is removed and made anew. It only grows, by whole groups of messages (trigrams.py), written by whichever worker holds its lock, in the
background; readers wait for nobody. What it does not cover is read. A disk that refuses stops the filling and nothing else.

    header: magic, object id of the folder, UIDVALIDITY; then groups, UIDs ascending
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
from array import array
from bisect import bisect_right
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import cached_property
from typing import Final, TypeVar
from weakref import WeakKeyDictionary

from postroom.clock import Clock
from postroom.errors import NoSuchMessage
from postroom.mailstore import Folder, View
from postroom_disk.disk import Disk, DiskError
from postroom_imap4 import matching, trigrams
from postroom_imap4.contents import Filling, Looked, Wanted, beside, rows_told, rows_untold, said, wanted
from postroom_imap4.pace import Pace
from postroom_imap4.trigrams import HEAD, Damaged, Gathering, Group, group, needed, places, rest_of_head

T = TypeVar("T")

NAME: Final = ".index"
BATCH: Final = 10  # messages taken in between two rests: some milliseconds during which a thread may hold the interpreter
LEAST: Final = 64  # fewer messages than these are read and not looked up
_RUNS: Final = 24  # runs of a text that are looked up: more would name hardly fewer messages
_LOOK: Final = 150  # work for a run in a group
_HEADER: Final = struct.Struct("<8s16sQ")
_MAGIC: Final = b"prindex1"


class Known:
    """What a file was found to hold, up to `size`. Does not change once others see it."""

    def __init__(self, identity: bytes) -> None:
        self.identity = identity
        self.size = 0
        self.groups: list[Group] = []
        self.uids = array("I")

    @property
    def last(self) -> int:
        """Messages up to this UID are in it, or were gone when it was made."""
        return self.uids[-1] if self.uids else 0

    @cached_property
    def told(self) -> frozenset[int]:
        return frozenset(self.uids)

    def copied(self) -> Known:
        other = Known(self.identity)
        other.size, other.groups, other.uids = self.size, self.groups[:], self.uids[:]
        return other

    def add(self, one: Group) -> None:
        self.groups.append(one)
        self.uids.extend(one.uids)
        self.size = one.after


class Index:
    """The indexes of all folders that somebody searched, for the sessions of this worker. An `Aid`."""

    def __init__(self, disk: Disk, clock: Clock) -> None:
        self._disk = disk
        self._known: WeakKeyDictionary[Folder, Known] = WeakKeyDictionary()
        self.filling = Filling(clock, self._fill)

    async def close(self) -> None:
        await self.filling.close()

    def were_read(self, folder: Folder, view: View, messages: int) -> None:
        if messages >= trigrams.MOST:
            self.filling.were_read(folder, view, messages)

    async def look(self, folder: Folder, view: View, what: matching.Needle, headers: bool, among: Sequence[int], pace: Pace) -> Looked:
        runs = needed(what.text)[:_RUNS]
        if not runs or len(among) < LEAST:
            return Looked((), among)
        try:
            path = beside(folder, view, NAME)
            known = await self._load(folder, view, path)
            if known is None or not known.uids:
                return Looked((), among, len(among))
            with _opened(path) as fd:
                named = await _named(fd, known, runs, pace)
            if _is_stale(known, view):
                self.filling.begin(folder, view)
        except Damaged:
            self._known.pop(folder, None)
            with suppress(OSError, DiskError):
                await asyncio.to_thread(_remove_damaged, self._disk, path, _identity(view))
            return Looked((), among, len(among))
        except (OSError, NoSuchMessage):
            return Looked((), among, len(among))
        unknown = await rows_untold(view, known.uids, lambda: known.told, among, pace)
        return Looked((), sorted([*rows_told(view, named, among), *unknown]), len(unknown))

    async def _load(self, folder: Folder, view: View, path: str) -> Known | None:
        known = self._known.get(folder)
        identity = _identity(view)
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            self._known.pop(folder, None)
            return None
        if known is None or known.identity != identity or size < known.size:
            known = Known(identity)
        if size > known.size:
            known = await asyncio.to_thread(_read_on, path, known)
        self._known[folder] = known
        return known

    # Filling.

    async def _fill(self, folder: Folder, view: View) -> None:
        path = beside(folder, view, NAME)
        async with _held(self._disk, path) as fd:
            if fd is None:
                return  # another worker is at it
            known = await self._load(folder, view, path) or Known(_identity(view))
            if _is_stale(known, view):
                self._disk.unlink(path)  # and the next one begins anew
                return
            first = bisect_right(view.uids, known.last)
            while len(view) - first >= trigrams.MOST:
                gathering, first = await self._gathered(folder, view, first)
                if not gathering.is_full:
                    break
                octets = await self._packed(gathering)
                self._known[folder] = known = await _to_its_end(_append, self._disk, fd, known, octets)

    async def _gathered(self, folder: Folder, view: View, first: int) -> tuple[Gathering, int]:
        """A group of the messages from this row on, and the row after them."""
        gathering = Gathering()
        while not gathering.is_full and first < len(view):
            batch = wanted(folder, view, range(first, min(first + BATCH, len(view))))
            first += await asyncio.to_thread(_gather, gathering, batch)
            await self.filling.rest()
        return gathering, first

    async def _packed(self, gathering: Gathering) -> bytes:
        """In steps, as a thread that takes long keeps the loop waiting too."""
        octets, packing = b"", gathering.packing()
        while not octets:
            octets = await asyncio.to_thread(next, packing)
            await self.filling.rest()
        return octets


def _identity(view: View) -> bytes:
    status = view.status
    return _HEADER.pack(_MAGIC, status.object_id.encode()[:16], status.uidvalidity)


def _is_stale(known: Known, view: View) -> bool:
    """Whether it is mostly of messages that are gone."""
    return len(known.uids) > 2 * len(view) + 1_000


@contextmanager
def _opened(path: str) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


# Looking.


async def _named(fd: int, known: Known, runs: Sequence[int], pace: Pace) -> list[int]:
    """UIDs of the messages that have all these runs, ascending. Damaged."""
    named: list[int] = []
    for one in known.groups:
        bits, looked = -1, 0
        for run in runs:
            looked += 1
            begin, end = one.block(run)
            bits &= one.having(os.pread(fd, end - begin, begin), run)
            if not bits:
                break
        named += [one.uids[place] for place in places(bits | one.always)]
        await pace.did(looked * _LOOK)
    return named


# In threads.


def _read_on(path: str, known: Known) -> Known:
    """Learn what was added since; what is not whole, and all behind it, is not there for us, and who fills next cuts it off."""
    known = known.copied()
    with _opened(path) as fd:
        size = os.fstat(fd).st_size
        if not known.size:
            if os.pread(fd, _HEADER.size, 0) != known.identity:
                return known
            known.size = _HEADER.size
        while (one := _group_at(fd, known.size, size)) is not None and one.uids[0] > known.last:
            known.add(one)
    return known


def _group_at(fd: int, at: int, size: int) -> Group | None:
    start = os.pread(fd, HEAD.size, at)
    told = rest_of_head(start)
    if told is None or at + told[0] > size:
        return None
    return group(start, os.pread(fd, told[1], at + HEAD.size), at)


def _gather(gathering: Gathering, batch: Sequence[Wanted]) -> int:
    """Add these messages until the group is full; how many were gone through."""
    for count, one in enumerate(batch):
        if gathering.is_full:
            return count
        try:
            text = said(one)
        except NoSuchMessage:
            continue
        except DiskError:
            text = None
        gathering.add(one.uid, None if text is None else b" ".join(text))
    return len(batch)


def _append(disk: Disk, fd: int, known: Known, octets: bytes) -> Known:
    """Write this group; `fd` holds the lock. OSError: the disk refused."""
    begin = known.size
    if os.fstat(fd).st_size != begin:
        disk.ftruncate(fd, begin)
    if not begin:
        octets, begin = known.identity + octets, _HEADER.size
    os.lseek(fd, known.size, os.SEEK_SET)
    disk.write_all(fd, octets)
    after = known.copied()
    one = _group_at(fd, begin, os.fstat(fd).st_size)
    if one is None:
        raise OSError("the index does not say what was written")
    after.add(one)
    return after


def _locked(disk: Disk, path: str) -> int | None:
    """The file, open and ours; None where another worker has it, or has just removed it."""
    fd = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    with suppress(BlockingIOError):
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(fd).st_nlink:
            return fd
    disk.close(fd)
    return None


@asynccontextmanager
async def _held(disk: Disk, path: str) -> AsyncIterator[int | None]:
    fd = _locked(disk, path)
    try:
        yield fd
    finally:
        if fd is not None:
            disk.close(fd)


async def _to_its_end(act: Callable[..., T], *arguments: object) -> T:
    """In a thread, waited for even by who is cancelled meanwhile: what it uses is closed behind it."""
    task = asyncio.ensure_future(asyncio.to_thread(act, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _remove_damaged(disk: Disk, path: str, identity: bytes) -> None:
    """Where it is damaged indeed, and not another file by now."""
    if (fd := _locked(disk, path)) is None:
        return
    try:
        known = _read_on(path, Known(identity))
        if not all(_is_whole(fd, one) for one in known.groups):
            disk.unlink(path)
    finally:
        disk.close(fd)


def _is_whole(fd: int, one: Group) -> bool:
    with suppress(Damaged):
        for number in range(len(one.ends)):
            begin, end = one.block(number << 8)
            one.having(os.pread(fd, end - begin, begin), number << 8)
        return True
    return False
