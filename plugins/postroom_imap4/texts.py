"""What the messages of a folder say, decoded and folded, in one file beside them: SEARCH TEXT and BODY look through it instead of through the messages.

The file is derived: it may be removed at any time, and every record is checked before it is believed. It only grows, in the order of UIDs, so it
speaks of every message up to its last UID, and messages behind that are read as they are; a record says so where its message is too large
to be kept. It is filled in the background by whichever worker holds its lock, some messages at a time, after somebody has searched. A disk that refuses
stops the filling and nothing else.

    header: magic, object id of the folder, UIDVALIDITY; then records: magic, UID, octets of headers, octets of bodies, CRC-32, headers, NUL, bodies
"""

from __future__ import annotations

import asyncio
import os
import struct
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from functools import cached_property
from typing import Final
from zlib import crc32

from postroom.clock import Clock
from postroom.errors import DiskError, NoSuchMessage
from postroom.mailstore import Folder, View
from postroom_disk.disk import Disk
from postroom_imap4 import matching
from postroom_imap4.beside import HEADER, Beside, is_stale, locked, opened, put, rows_told, rows_untold
from postroom_imap4.contents import Filling, Looked, Wanted, batch_from, said, wanted
from postroom_imap4.pace import FILE, OCTET, Pace

NAME: Final = ".texts"
BATCH: Final = 50  # messages taken in at once
LEAST: Final = 100  # fewer than these are read each time
_WINDOW: Final = 1 << 20  # octets looked through at once
_READ: Final = 4 << 20
_FEW: Final = 16  # where fewer than one message in so many is asked, each is looked up by itself
_RECORD: Final = struct.Struct("<4sIIII")
_MAGIC, _MARK = b"prtexts1", b"\xfetx\xff"
_UNREAD: Final = 0xFFFFFFFF  # in place of the octets of headers: read the message


class Known:
    """What a file was found to hold, up to `size`."""

    def __init__(self, identity: bytes) -> None:
        self.identity = identity
        self.size = 0
        self.uids, self.starts = array("I"), array("Q")
        self.headers, self.bodies = array("I"), array("I")

    @property
    def last(self) -> int:
        """Messages up to this UID are in it."""
        return self.uids[-1] if self.uids else 0

    @cached_property
    def told(self) -> frozenset[int]:
        return frozenset(self.uids)

    def region(self, place: int, *, headers: bool) -> tuple[int, int]:
        """Where in the file the text of a record lies; empty where the message has to be read."""
        if self.headers[place] == _UNREAD:
            return 0, 0
        begin = self.starts[place] + _RECORD.size
        body = begin + self.headers[place] + 1
        return begin if headers else body, body + self.bodies[place]

    def take(self, octets: bytes) -> int:
        """Add the whole records these octets begin with, which lie at `size`; how many octets they are."""
        at = 0
        if not self.size:
            if octets[: HEADER.size] != self.identity:
                return 0
            at = self.size = HEADER.size
        while at + _RECORD.size <= len(octets):
            magic, uid, headers, bodies, crc = _RECORD.unpack_from(octets, at)
            end = at + _RECORD.size + (0 if headers == _UNREAD else headers + 1 + bodies)
            if magic != _MARK or end > len(octets) or uid <= self.last or _check(uid, octets[at + _RECORD.size : end]) != crc:
                break
            self.uids.append(uid)
            self.starts.append(self.size)
            self.headers.append(headers)
            self.bodies.append(bodies)
            self.size += end - at
            at = end
        return at


class Texts:
    """The files of all folders that somebody searched, for the sessions of this worker. An `Aid`."""

    def __init__(self, disk: Disk, clock: Clock) -> None:
        self._disk = disk
        self._files = Beside(NAME, _MAGIC, Known, _read_on)
        self.filling = Filling(clock, self._fill)

    async def close(self) -> None:
        await self.filling.close()

    def were_read(self, folder: Folder, view: View, messages: int) -> None:
        if messages >= LEAST:
            self.filling.were_read(folder, view, messages)

    async def look(self, folder: Folder, view: View, what: matching.Needle, headers: bool, among: Sequence[int], pace: Pace) -> Looked:
        try:
            path = self._files.path(folder, view)
            known = await self._files.load(folder, view, path)
            if known is None or not known.uids:
                return Looked((), among, len(among))
            with opened(path) as fd:
                return await _looked(fd, known, view, what, headers, among, pace)
        except (OSError, NoSuchMessage):
            return Looked((), among, len(among))

    # Filling.

    async def _fill(self, folder: Folder, view: View) -> None:
        path = self._files.path(folder, view)
        known = await self._files.load(folder, view, path) or self._files.nothing(view)
        if is_stale(known, view):
            known = self._files.nothing(view)
            self._disk.unlink(path)
        while (first := bisect_right(view.uids, known.last)) < len(view):
            batch = wanted(folder, view, batch_from(view, first, BATCH))
            after = await asyncio.to_thread(_take_in, self._disk, path, known, batch)
            if after is None:
                return  # another worker is at it
            self._files.known[folder] = known = after
            await self.filling.rest()


def _check(uid: int, octets: bytes) -> int:
    return crc32(octets, uid)


def _copied(known: Known) -> Known:
    """Apart from what others look at meanwhile."""
    other = Known(known.identity)
    other.size = known.size
    other.uids, other.starts, other.headers, other.bodies = known.uids[:], known.starts[:], known.headers[:], known.bodies[:]
    return other


def _read_on(path: str, known: Known) -> Known:
    """In a thread: check and learn what was added since. What is damaged, and all behind it, is not believed; who fills next cuts it off."""
    known = _copied(known)
    with opened(path) as fd:
        size = _READ
        while octets := os.pread(fd, size, known.size):
            if known.take(octets):
                size = _READ
            elif len(octets) < size:
                break
            else:
                size *= 2
    return known


def _take_in(disk: Disk, path: str, known: Known, batch: Sequence[Wanted]) -> Known | None:
    """In a thread: append these messages; None where another worker has the file. OSError, DiskError: the disk refused."""
    octets = b"".join(_record(one.uid, _said(one)) for one in batch)
    with locked(disk, path) as fd:
        if fd is None:
            return None
        after = _read_on(path, known)
        if after.last > known.last:
            return after
        if not after.size:
            octets = after.identity + octets
        put(disk, fd, after.size, octets)
        after.take(octets)
        return after


def _said(one: Wanted) -> tuple[bytes, bytes] | None:
    """None where the message has to be read by who wants to know: it has too much text, or is gone, and might come back."""
    try:
        return said(one)
    except (NoSuchMessage, DiskError):
        return None


def _record(uid: int, said: tuple[bytes, bytes] | None) -> bytes:
    if said is None:
        return _RECORD.pack(_MARK, uid, _UNREAD, 0, _check(uid, b""))
    text = b"%b\0%b" % said
    return _RECORD.pack(_MARK, uid, len(said[0]), len(said[1]), _check(uid, text)) + text


async def _looked(fd: int, known: Known, view: View, what: matching.Needle, headers: bool, among: Sequence[int], pace: Pace) -> Looked:
    left = await rows_untold(view, known.uids, lambda: known.told, among, pace)
    beyond = bisect_left(among, bisect_right(view.uids, known.last))
    unknown = len(among) - beyond
    if _UNREAD in known.headers:
        unread = [uid for uid, size in zip(known.uids, known.headers) if size == _UNREAD]
        left = sorted({*left, *rows_told(view, unread, among)})
    if beyond * _FEW < len(known.uids):
        hits = await _looked_up(fd, known, view, what.text, headers, among[:beyond], pace)
    else:
        places = await _scanned(fd, known, what.text, headers, pace)
        hits = list(rows_told(view, map(known.uids.__getitem__, places), among))
    return Looked(hits, left, unknown)


async def _looked_up(fd: int, known: Known, view: View, text: bytes, headers: bool, rows: Sequence[int], pace: Pace) -> list[int]:
    """One record after the other."""
    found = []
    for row in rows:
        place = bisect_left(known.uids, view.uids[row])
        if place < len(known.uids) and known.uids[place] == view.uids[row]:
            begin, end = known.region(place, headers=headers)
            if end > begin and text in os.pread(fd, end - begin, begin):
                found.append(row)
            await pace.did(FILE / 2 + (end - begin) * OCTET)
    return found


async def _scanned(fd: int, known: Known, text: bytes, headers: bool, pace: Pace) -> list[int]:
    """Places of the records in which it stands, of all of them: the file is searched window by window."""
    found: list[int] = []
    at = HEADER.size  # nothing before it is looked at any more
    while at < known.size:
        base = at
        window = os.pread(fd, min(_WINDOW + len(text) - 1, known.size - base), base)
        if not window:
            break
        while (spot := window.find(text, at - base)) >= 0 and base + spot < base + _WINDOW:
            place = bisect_right(known.starts, base + spot) - 1
            begin, end = known.region(place, headers=headers)
            if begin <= base + spot and base + spot + len(text) <= end:
                found.append(place)
                at = known.starts[place + 1] if place + 1 < len(known.starts) else known.size
            else:
                at = base + spot + 1
            if at >= base + len(window):
                break
            await pace.did(20)
        at = max(at, base + _WINDOW)
        await pace.did(len(window) * OCTET)
    return found
