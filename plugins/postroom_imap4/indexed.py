"""The index of a folder's text: SEARCH TEXT and BODY read the few messages that it names instead of all of them.

The file lies beside the messages and goes with them. It is derived: it may be removed at any time, and nothing in it is believed unchecked; what is
damaged is removed and made anew. It only grows, by whole groups of messages (trigrams.py), written by whichever worker holds its lock, in the
background; readers wait for nobody. What it does not cover is read. A disk that refuses stops the filling and nothing else.

    header: magic, object id of the folder, UIDVALIDITY; then groups, UIDs ascending
"""

from __future__ import annotations

import asyncio
import os
from array import array
from bisect import bisect_right
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import cached_property, partial
from typing import Final, TypeVar

from postroom.clock import Clock
from postroom.errors import NoSuchMessage
from postroom.mailstore import Folder, View
from postroom_disk.disk import Disk, DiskError
from postroom_imap4 import matching, trigrams
from postroom_imap4.beside import HEADER, Beside, is_stale, locked, opened, put, rows_told, rows_untold
from postroom_imap4.contents import Filling, Looked, Wanted, batch_from, said, wanted
from postroom_imap4.pace import Pace
from postroom_imap4.trigrams import HEAD, Choice, Damaged, Gathering, Group, group, needed, places, rest_of_head

T = TypeVar("T")

NAME: Final = ".index"
BATCH: Final = 10  # messages taken in between two rests: some milliseconds during which a thread may hold the interpreter
LEAST: Final = 64  # fewer messages than these are read and not looked up
_RUNS: Final = 24  # runs of a text that are looked up: more would name hardly fewer messages
_LOOK: Final = 150  # work for a run in a group
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
        self._files = Beside(NAME, _MAGIC, Known, _read_on)
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
            path = self._files.path(folder, view)
            known = await self._files.load(folder, view, path)
            if known is None or not known.uids:
                return Looked((), among, len(among))
            with opened(path) as fd:
                named = await _named(fd, known, runs, pace)
            if is_stale(known, view):
                self.filling.begin(folder, view)
        except Damaged:
            self._files.known.pop(folder, None)
            with suppress(OSError, DiskError):
                await asyncio.to_thread(_remove_damaged, self._disk, path, self._files.nothing(view))
            return Looked((), among, len(among))
        except (OSError, NoSuchMessage):
            return Looked((), among, len(among))
        unknown = await rows_untold(view, known.uids, lambda: known.told, among, pace)
        return Looked((), sorted([*rows_told(view, named, among), *unknown]), len(unknown))

    # Filling.

    async def _fill(self, folder: Folder, view: View) -> None:
        path = self._files.path(folder, view)
        with locked(self._disk, path) as fd:
            if fd is None:
                return  # another worker is at it
            known = await self._files.load(folder, view, path) or self._files.nothing(view)
            if is_stale(known, view):
                self._disk.unlink(path)  # and the next one begins anew
                return
            first = bisect_right(view.uids, known.last)
            while len(view) - first >= trigrams.MOST:
                gathering, first = await self._gathered(folder, view, first)
                if not gathering.is_full:
                    break
                octets = await self._packed(gathering)
                self._files.known[folder] = known = await _to_its_end(_append, self._disk, fd, known, octets)

    async def _gathered(self, folder: Folder, view: View, first: int) -> tuple[Gathering, int]:
        """A group of the messages from this row on, and the row after them."""
        gathering = Gathering()
        while not gathering.is_full and first < len(view):
            batch = wanted(folder, view, batch_from(view, first, BATCH))
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


# Looking.


async def _named(fd: int, known: Known, runs: Sequence[int], pace: Pace) -> list[int]:
    """UIDs of the messages that may have all these runs, ascending. Damaged."""
    named: list[int] = []
    choice = Choice(runs)
    for one in known.groups:
        bits, looked = choice.named(partial(_having, fd, one))
        named += [one.uids[place] for place in places(bits | one.always)]
        await pace.did(looked * _LOOK)
    return named


def _having(fd: int, one: Group, run: int) -> int:
    begin, end = one.block(run)
    return one.having(os.pread(fd, end - begin, begin), run)


# In threads.


def _read_on(path: str, known: Known) -> Known:
    """Learn what was added since; what is not whole, and all behind it, is not there for us, and who fills next cuts it off."""
    known = known.copied()
    with opened(path) as fd:
        size = os.fstat(fd).st_size
        if not known.size:
            if os.pread(fd, HEADER.size, 0) != known.identity:
                return known
            known.size = HEADER.size
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
    if not begin:
        octets, begin = known.identity + octets, HEADER.size
    put(disk, fd, known.size, octets)
    after = known.copied()
    one = _group_at(fd, begin, os.fstat(fd).st_size)
    if one is None:
        raise OSError("the index does not say what was written")
    after.add(one)
    return after


async def _to_its_end(act: Callable[..., T], *arguments: object) -> T:
    """In a thread, waited for even by who is cancelled meanwhile: what it uses is closed behind it."""
    task = asyncio.ensure_future(asyncio.to_thread(act, *arguments))
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise


def _remove_damaged(disk: Disk, path: str, nothing: Known) -> None:
    """Where it is damaged indeed, and not another file by now."""
    with locked(disk, path) as fd:
        if fd is not None and not all(_is_whole(fd, one) for one in _read_on(path, nothing).groups):
            disk.unlink(path)


def _is_whole(fd: int, one: Group) -> bool:
    with suppress(Damaged):
        for number in range(len(one.ends)):
            begin, end = one.block(number << 8)
            one.having(os.pread(fd, end - begin, begin), number << 8)
        return True
    return False
