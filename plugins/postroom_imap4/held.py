"""A view in which messages that were expunged still have their rows, until the client may be told of their end.

Everything else is as of now: flags, MODSEQs, arrivals at the end. What is asked of a lost row is answered from the view that had it last; its
file may be gone, which whoever reads it meets as NoSuchMessage.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import groupby
from operator import itemgetter
from typing import overload

from postroom.mailstore import StoredMessage, View


class _Ids(Sequence[str]):
    """Message ids of a held view, asked for one by one."""

    def __init__(self, view: HeldView) -> None:
        self._view = view

    def __len__(self) -> int:
        return len(self._view)

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[str]: ...
    def __getitem__(self, row: int | slice) -> str | Sequence[str]:
        if isinstance(row, slice):
            return [self[one] for one in range(len(self._view))[row]]
        view, place = self._view.had(row)
        return view.ids[place]


class HeldView:
    """A `View` of the store's contract: `now`, and the rows `lost` of `old` that it has no more."""

    def __init__(self, old: View, now: View, lost: Sequence[int]) -> None:
        """`lost` ascends."""
        self._now = now
        self._lost = list(lost)
        self._had = [old.had(row) if isinstance(old, HeldView) else (old, row) for row in lost]
        self._count = len(now) + len(lost)
        extra = sum(view.octets[row] for view, row in self._had)
        self.status = replace(now.status, messages=self._count, octets=now.status.octets + extra)

    def __len__(self) -> int:
        return self._count

    def is_lost(self, row: int) -> bool:
        place = bisect_left(self._lost, row)
        return place < len(self._lost) and self._lost[place] == row

    def had(self, row: int) -> tuple[View, int]:
        """The view that answers for a row, and its number there."""
        row = range(self._count)[row]
        place = bisect_left(self._lost, row)
        if place < len(self._lost) and self._lost[place] == row:
            return self._had[place]
        return self._now, row - place

    @cached_property
    def lost_uids(self) -> tuple[int, ...]:
        """The UIDs of those rows: with them, two views of one length can be told apart."""
        return tuple(view.uids[row] for view, row in self._had)

    @cached_property
    def uids(self) -> Sequence[int]:
        return self._merged("I", self._now.uids, self.lost_uids)

    @cached_property
    def flags(self) -> Sequence[int]:
        return self._merged("Q", self._now.flags, [view.flags[row] for view, row in self._had])

    @cached_property
    def modseqs(self) -> Sequence[int]:
        return self._merged("Q", self._now.modseqs, [view.modseqs[row] for view, row in self._had])

    @cached_property
    def octets(self) -> Sequence[int]:
        return self._merged("Q", self._now.octets, [view.octets[row] for view, row in self._had])

    @cached_property
    def ids(self) -> Sequence[str]:
        return _Ids(self)

    def _merged(self, code: str, now: Sequence[int], had: Sequence[int]) -> array[int]:
        merged = array(code)
        begin = 0
        for place, (row, value) in enumerate(zip(self._lost, had)):
            merged.extend(now[begin : row - place])
            merged.append(value)
            begin = row - place
        merged.extend(now[begin:])
        return merged

    def message(self, row: int) -> StoredMessage:
        view, row = self.had(row)
        return view.message(row)

    def envelope(self, row: int) -> bytes:
        view, row = self.had(row)
        return view.envelope(row)

    def bodystructure(self, row: int) -> bytes:
        view, row = self.had(row)
        return view.bodystructure(row)

    def parts(self, row: int) -> bytes:
        view, row = self.had(row)
        return view.parts(row)

    def header(self, row: int) -> bytes:
        view, row = self.had(row)
        return view.header(row)

    def subject(self, row: int) -> bytes:
        view, row = self.had(row)
        return view.subject(row)

    def base_subject(self, row: int) -> bytes:
        view, row = self.had(row)
        return view.base_subject(row)

    def texts(self, what: str, first: int, after: int) -> Sequence[bytes]:
        found: list[bytes] = []
        for view, begin, end in self._runs(first, after):
            found += view.texts(what, begin, end)
        return found

    def messages(self, rows: Sequence[int], *, waits: bool = True) -> Sequence[bytes]:
        found: list[bytes] = []
        for view, had in groupby(map(self.had, rows), key=itemgetter(0)):
            places = [row for _, row in had]
            told = view.messages(places, waits=waits)
            found += told
            if len(told) < len(places):
                break
        return found

    def numbers(self, what: str, first: int, after: int) -> Sequence[float]:
        found: list[float] = []
        for view, begin, end in self._runs(first, after):
            found += view.numbers(what, begin, end)
        return found

    def _runs(self, first: int, after: int) -> Iterator[tuple[View, int, int]]:
        """The rows from `first` on as rows of the views that answer for them."""
        place = bisect_left(self._lost, first)
        while first < after:
            lost = self._lost[place] if place < len(self._lost) else after
            if first < lost:
                end = min(lost, after)
                yield self._now, first - place, end - place
                first = end
            else:
                view, row = self._had[place]
                yield view, row, row + 1
                first, place = first + 1, place + 1
