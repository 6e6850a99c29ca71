"""Which young arrivals of a folder this worker's journal has, durable: a change of theirs need not bring them there once more.

The journal keeps a note until all that lay on the disk at that time is durable, so what is forgotten here, or was another worker's, is noted
again, and that is all it costs.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from typing import Final

from postroom_store.columns import Columns
from postroom_store.flagging import spans_of
from postroom_store.uids import Marks

_MOST: Final = 1 << 17  # UIDs kept of a folder


class Noted:
    """Of one folder at a time: its name may come to mean another."""

    __slots__ = ("_marks", "_of")

    def __init__(self) -> None:
        self._of, self._marks = b"", Marks()

    def add(self, of: bytes, first: int, last: int) -> None:
        """The arrivals with these UIDs in the folder of this object id are in the journal, durable."""
        if of != self._of or len(self._marks) > _MOST:
            self._of, self._marks = of, Marks()
        self._marks.add(first, last)

    def missing(self, known: Columns, spans: Iterable[tuple[int, int]], since: float) -> list[tuple[int, int]]:
        """What of these spans of rows arrived after `since` and is not known to be in the journal."""
        first = bisect_left(known.saved, since)
        if first == len(known) or self._of != known.birth.object_id:
            self._of, self._marks = known.birth.object_id, Marks()
        clipped = ((max(begin, first), end) for begin, end in spans if end > first)
        return [part for begin, end in clipped for part in self._lacking(known, begin, end)]

    def _lacking(self, known: Columns, begin: int, end: int) -> list[tuple[int, int]]:
        uids, marks = known.uids, self._marks
        if marks.has_all(uids[begin], uids[end - 1]):
            return []
        return spans_of(row for row in range(begin, end) if not marks.has_all(uids[row], uids[row]))
