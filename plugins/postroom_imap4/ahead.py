"""Whole texts of a folder's messages, portion after portion, for who answers with all of them.

What is in memory is read when its turn comes, which takes microseconds. Where the first message of a portion would have to wait for a disk, that
portion and some behind it are read in threads, side by side: the loop waits for no more of the disk than to open a file, and the disk has more than
one to fetch.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Final

from postroom.errors import DiskError, NoSuchMessage
from postroom.mailstore import Folder, View
from postroom_imap4.numbers import Span
from postroom_imap4.sections import SMALL

MANY: Final = 4  # messages that are read faster together
_DEEP: Final = 4  # portions that are read side by side
_BLIND: Final = 16  # portions behind a slow one that are taken for slow unasked: who asks opens a file, and may wait for that


class Ahead:
    """Of one command. To be closed."""

    def __init__(self, folder: Folder, view: View) -> None:
        self._folder, self._view = folder, view
        self._begun: dict[Span, asyncio.Task[Sequence[bytes]]] = {}
        self._blind = 0

    def over(self, portions: Iterable[Span]) -> Iterator[Span]:
        """The same portions of rows; those of MANY or more are looked at before their turn, and have at most SMALL octets."""
        rest, coming = iter(portions), deque[Span]()
        while True:
            while len(coming) < _DEEP and (not coming or coming[-1] in self._begun) and (portion := next(rest, None)) is not None:
                coming.append(portion)
                if portion[1] - portion[0] >= MANY and self._is_slow(portion[0]):
                    self._begun[portion] = task = asyncio.create_task(asyncio.to_thread(self._view.messages, range(*portion)))
                    task.add_done_callback(_heard)
            if not coming:
                return
            yield coming.popleft()

    def _is_slow(self, row: int) -> bool:
        if self._blind:
            self._blind -= 1
            return True
        with suppress(NoSuchMessage, DiskError):  # whoever reads meets it
            if self._folder.peek(self._view.uids[row], SMALL) is None:
                self._blind = _BLIND
        return bool(self._blind)

    async def texts(self, first: int, after: int) -> Sequence[bytes]:
        """Of a portion. NoSuchMessage where one of them is gone; DiskError."""
        begun = self._begun.pop((first, after), None)
        return self._view.messages(range(first, after)) if begun is None else await begun

    def close(self) -> None:
        """What is read for nobody is not waited for."""
        begun, self._begun = self._begun, {}
        for task in begun.values():
            task.cancel()


async def at_once(view: View, rows: Sequence[int]) -> Sequence[bytes]:
    """Whole texts behind which nobody knows of others to come: from the first on that is not in memory in a thread. NoSuchMessage, DiskError."""
    found = view.messages(rows, waits=False)
    if len(found) == len(rows):
        return found
    return [*found, *await asyncio.to_thread(view.messages, rows[len(found) :])]


def _heard(task: asyncio.Task[Sequence[bytes]]) -> None:
    """Its error is told to who asks, or to nobody."""
    if not task.cancelled():
        task.exception()
