"""What messages say, all of it, for the files that are made of it to help SEARCH; and when such a file is worth making.

The text of a message is that of `matching`: header fields decoded, a line each, and text parts decoded, all of it folded. Nothing here writes.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from itertools import accumulate
from typing import Final, NamedTuple, Protocol
from weakref import WeakKeyDictionary

from postroom.clock import Clock
from postroom.errors import NoSuchMessage
from postroom.mailstore import Folder, View
from postroom_disk.disk import DiskError
from postroom_imap4 import matching, sorting
from postroom_imap4.pace import Pace
from postroom_imap4.sections import SMALL, on_disk
from postroom_mime.headers import MAX_HEADER
from postroom_mime.parts import Part, Parts

WORTH: Final = 3  # times that searches have read what is lacking, before it is taken in
PAUSE: Final = 0.01  # seconds the filling rests after each batch, so that it takes a share of the processor only
_OCTETS: Final = (
    1 << 17
)  # of messages taken in between two rests: while a thread is at it, whatever the loop reads from the disk waits for it
_MANY: Final = 20_000  # octets of a table of parts that is not gone through for this


class Looked(NamedTuple):
    """What an aid knows of the rows that were asked."""

    found: Sequence[int]  # it stands in these, for certain
    left: Sequence[int]  # these have to be read
    unknown: int = 0  # so many of them because the aid has not taken them in yet


class Aid(Protocol):
    """Something beside a folder by which fewer messages have to be read. It may lack messages and it may be gone; it is never wrong."""

    async def look(self, folder: Folder, view: View, what: matching.Needle, headers: bool, among: Sequence[int], pace: Pace) -> Looked:
        """`among` ascends, and so do the answers."""

    def were_read(self, folder: Folder, view: View, messages: int) -> None:
        """A search had to read so many because they were not taken in: perhaps that is worth doing now. Returns at once."""

    async def close(self) -> None:
        """Stop what goes on in the background."""


class Filling:
    """Takes in what a folder's file lacks, in the background, once searches have read it often enough: what nobody searches costs nothing."""

    def __init__(self, clock: Clock, fill: Callable[[Folder, View], Awaitable[None]]) -> None:
        self._clock, self._fill = clock, fill
        self._read: WeakKeyDictionary[Folder, int] = WeakKeyDictionary()
        self._tasks: WeakKeyDictionary[Folder, asyncio.Task[None]] = WeakKeyDictionary()

    def were_read(self, folder: Folder, view: View, messages: int) -> None:
        read = self._read.get(folder, 0) + messages
        if messages and read >= WORTH * messages:
            self.begin(folder, view)
            read = 0
        self._read[folder] = read

    def begin(self, folder: Folder, view: View) -> None:
        """Unless it goes on already."""
        if folder not in self._tasks or self._tasks[folder].done():
            self._tasks[folder] = asyncio.create_task(self._run(folder, view))

    async def _run(self, folder: Folder, view: View) -> None:
        with suppress(OSError, DiskError, NoSuchMessage):  # the next search reads what is not there
            await self._fill(folder, view)

    async def rest(self) -> None:
        """Between two batches."""
        await self._clock.sleep(PAUSE)

    async def filled(self, folder: Folder) -> None:
        """Wait until nothing is being taken in."""
        if (task := self._tasks.get(folder)) is not None:
            await asyncio.wait([task])

    async def close(self) -> None:
        """What was taken in stays."""
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Wanted(NamedTuple):
    """A message that is to be taken in; a thread needs no folder for it."""

    uid: int
    path: str  # empty: it is gone
    parts: bytes  # empty: it has too many of them


def batch_from(view: View, first: int, most: int) -> range:
    """The rows from this one on that are taken in together: one at least, no more than `most`."""
    ends = list(accumulate(view.octets[first : first + most]))
    return range(first, first + max(bisect_right(ends, _OCTETS), 1))


def wanted(folder: Folder, view: View, rows: range) -> list[Wanted]:
    """The messages of these rows."""
    found = []
    for row, pack in zip(rows, sorting.texts_of(view, rows, "parts")):
        path = ""
        with suppress(NoSuchMessage):
            path = folder.path(view.uids[row])
        found.append(Wanted(view.uids[row], path if pack else "", pack if len(pack) <= _MANY else b""))
    return found


def said(one: Wanted) -> tuple[bytes, bytes] | None:
    """Its headers and its bodies; None where there is more text than anybody keeps. For a thread. NoSuchMessage, DiskError."""
    if not one.path:
        raise NoSuchMessage("the message is gone")
    if not one.parts:
        return None
    parts = Parts.load(one.parts)
    if sum(map(_octets_of_text, parts.rows)) > SMALL:
        return None
    with on_disk(one.path) as source:
        headers = [matching.header_text(source.read(part.header, part.body)) for part in parts.rows]
        return b"\0".join(headers), b"\0".join([matching.body_text(source, parts, part) for part in parts.texts()])


def _octets_of_text(part: Part) -> int:
    return part.body - part.header + (part.end - part.body if part.is_text else 0)


assert SMALL < MAX_HEADER  # what is taken in is what a search of the message itself looks at
