"""A file beside a folder's messages that is made of them and only grows: found, locked, and known as far as it was read. `.texts` and `.index` are such.

It may be removed at any time. Its header says which folder it is of, so that it is nobody else's after a rename or in a copy of the site. Any worker
reads, one at a time writes. OSError and NoSuchMessage mean that it is not to be had now: who asked reads the messages.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Final, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary

from postroom.errors import NoSuchMessage
from postroom.mailstore import Folder, View
from postroom_disk.disk import Disk
from postroom_imap4.pace import ROW, Pace, slices

HEADER: Final = struct.Struct("<8s16sQ")  # magic, object id of the folder, UIDVALIDITY
_ROWS: Final = 10_000  # rows gone through between two counts


class Grown(Protocol):
    """What such a file was found to hold."""

    identity: bytes  # its header
    size: int  # octets read, all of them whole
    uids: array[int]


K = TypeVar("K", bound=Grown)


class Beside(Generic[K]):
    """What this worker knows of such files of one kind, by folder."""

    def __init__(self, name: str, magic: bytes, new: Callable[[bytes], K], read_on: Callable[[str, K], K]) -> None:
        """`new` of a header knows nothing; `read_on`, called in a thread, is what is known once more of the file was read."""
        self._name, self._magic, self._new, self._read_on = name, magic, new, read_on
        self.known: WeakKeyDictionary[Folder, K] = WeakKeyDictionary()

    def path(self, folder: Folder, view: View) -> str:
        """Where it lies, or would. NoSuchMessage where there is none to ask for."""
        for uid in reversed(view.uids[-20:]):
            with suppress(NoSuchMessage):
                return f"{os.path.dirname(folder.path(uid))}/{self._name}"
        raise NoSuchMessage("the folder is empty")

    def nothing(self, view: View) -> K:
        """What is known of a file that is to be begun."""
        status = view.status
        return self._new(HEADER.pack(self._magic, status.object_id.encode()[:16], status.uidvalidity))

    async def load(self, folder: Folder, view: View, path: str) -> K | None:
        """What the file holds now; None where there is none. OSError."""
        try:
            size = os.stat(path).st_size
        except FileNotFoundError:
            self.known.pop(folder, None)
            return None
        known, nothing = self.known.get(folder), self.nothing(view)
        if known is None or known.identity != nothing.identity or size < known.size:
            known = nothing
        if size > known.size:
            known = await asyncio.to_thread(self._read_on, path, known)
        self.known[folder] = known
        return known


def is_stale(known: Grown, view: View) -> bool:
    """Whether it is mostly of messages that are gone."""
    return len(known.uids) > 2 * len(view) + 1_000


@contextmanager
def opened(path: str) -> Iterator[int]:
    """To read from."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def locked(disk: Disk, path: str) -> Iterator[int | None]:
    """The file to write to, made where there is none; None where another worker has it, or has just removed it."""
    fd = disk.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        is_ours = False
        with suppress(BlockingIOError):
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            is_ours = os.fstat(fd).st_nlink > 0
        yield fd if is_ours else None
    finally:
        disk.close(fd)


def put(disk: Disk, fd: int, at: int, octets: bytes) -> None:
    """Add to a locked file, behind what is whole there. OSError."""
    if os.fstat(fd).st_size != at:
        disk.ftruncate(fd, at)
    os.lseek(fd, at, os.SEEK_SET)
    disk.write_all(fd, octets)


def rows_told(view: View, told: Iterable[int], among: Sequence[int]) -> Iterator[int]:
    """Where these UIDs are, of the rows that were asked."""
    uids = view.uids
    rows = len(uids)
    is_all = len(among) == rows
    for uid in told:
        row = bisect_left(uids, uid)
        if row < rows and uids[row] == uid:
            if not is_all:
                place = bisect_left(among, row)
                if place == len(among) or among[place] != row:
                    continue
            yield row


async def rows_untold(view: View, known: Sequence[int], told: Callable[[], frozenset[int]], among: Sequence[int], pace: Pace) -> list[int]:
    """The rows of which a file that knows these UIDs says nothing: `told` are those of which it says something. All of them, unless messages
    went, or one came back that a power cut had taken."""
    uids = view.uids
    covered = bisect_right(uids, known[-1]) if known else 0
    beyond = bisect_left(among, covered)
    missing: list[int] = []
    if known != uids[:covered]:
        for some in slices(among[:beyond], _ROWS):
            if not told().issuperset(map(uids.__getitem__, some)):
                missing += [row for row in some if uids[row] not in told()]
            await pace.did(len(some) * ROW)
    return [*missing, *among[beyond:]]
