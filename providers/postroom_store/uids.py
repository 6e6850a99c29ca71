"""UIDs kept as runs: what many of them cost follows from how often they break off, never from how many they are. Pure."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate, chain
from typing import overload


class Uids(Sequence[int]):
    """Ascending UIDs; `runs` has them as a sequence set does (RFC 9051 section 9). Never changes."""

    __slots__ = ("_ends", "runs")

    def __init__(self, runs: Iterable[range]) -> None:
        self.runs = tuple(runs)
        self._ends = tuple(accumulate(map(len, self.runs)))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, place: int) -> int: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[int]: ...
    def __getitem__(self, place: int | slice) -> int | Sequence[int]:
        if isinstance(place, slice):
            return [self[one] for one in range(len(self))[place]]
        place = range(len(self))[place]
        run = bisect_right(self._ends, place)
        return self.runs[run][place - self._ends[run]]  # from the run's end

    def __iter__(self) -> Iterator[int]:
        return chain.from_iterable(self.runs)

    def __contains__(self, uid: object) -> bool:
        if not isinstance(uid, int):
            return False
        run = bisect_right(self.runs, uid, key=lambda run: run.start)
        return run > 0 and uid in self.runs[run - 1]


class Marks:
    """A set of UIDs that lie close together, an octet each."""

    __slots__ = ("_base", "_marks")

    def __init__(self) -> None:
        self._base, self._marks = 0, bytearray()

    def __len__(self) -> int:
        """From the first to the last, those between them that are not in it too."""
        return len(self._marks)

    def has_all(self, first: int, last: int) -> bool:
        begin, end = first - self._base, last - self._base + 1
        return begin >= 0 and end <= len(self._marks) and self._marks.find(0, begin, end) < 0

    def add(self, first: int, last: int) -> None:
        """All from the first to the last."""
        if not self._marks:
            self._base = first
        elif first < self._base:
            self._marks[:0] = bytes(self._base - first)
            self._base = first
        begin, end = first - self._base, last - self._base + 1
        self._marks.extend(bytes(max(end - len(self._marks), 0)))
        self._marks[begin:end] = b"\1" * (end - begin)


def gaps(uids: Iterable[int], uidnext: int) -> Uids:
    """The UIDs below `uidnext` that are not among these, which ascend."""
    runs = []
    expected = 1
    for uid in uids:
        if uid != expected:
            runs.append(range(expected, uid))
        expected = uid + 1
    if expected < uidnext:
        runs.append(range(expected, uidnext))
    return Uids(runs)


def joined(uids: Iterable[int]) -> Uids:
    """These UIDs, which ascend."""
    runs: list[range] = []
    for uid in uids:
        if runs and uid == runs[-1].stop:
            runs[-1] = range(runs[-1].start, uid + 1)
        else:
            runs.append(range(uid, uid + 1))
    return Uids(runs)
