"""What a change of flags does to many messages, without a look at each: a folder's flags are few different numbers. Pure."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator
from functools import lru_cache, reduce
from operator import or_
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postroom_store.columns import Numbers

_LOW = 0 if sys.byteorder == "little" else 7  # where of eight octets the lowest lies
_NARROW = 256  # flags below it fit an octet: those of folders with up to three keywords
_NOT = bytes([1, *bytes(255)])


def ever(flags: Numbers) -> int:
    """All bits that any of them has; what has more is as good, but slower where it does not fit an octet."""
    octets = flags.tobytes()
    low = octets[_LOW::8]
    is_narrow = len(octets) - octets.count(0) == len(low) - low.count(0)
    return _NARROW - 1 if is_narrow else reduce(or_, set(flags))


class Piece:
    """The flags of rows beside each other, while the column stays as it is. `bits` has all that any of them has."""

    __slots__ = ("_begin", "_bits", "_end", "_flags", "_lows")

    def __init__(self, flags: Numbers, begin: int, end: int, bits: int) -> None:
        self._flags, self._begin, self._end, self._bits = flags, begin, end, bits
        self._lows: bytes | None = None

    def __len__(self) -> int:
        return self._end - self._begin

    def after(self, keep: int, add: int) -> Numbers:
        """Each number n as n & keep | add."""
        if self._bits >= _NARROW or add >= _NARROW:
            before = self._numbers()
            table = {flags: flags & keep | add for flags in set(before)}
            return array("Q", map(table.__getitem__, before))
        low = self._lowest().translate(_becoming(keep & 255, add))
        if low and low.count(low[0]) == len(low):
            return array("Q", (low[0],)) * len(low)
        wide = bytearray(8 * len(low))
        wide[_LOW::8] = low
        changed: Numbers = array("Q")
        changed.frombytes(wide)
        return changed

    def differing(self, keep: int, add: int) -> bytes:
        """An octet each: 1 where n & keep | add is another number."""
        if self._bits >= _NARROW or add >= _NARROW:
            before = self._numbers()
            table = {flags: int(flags & keep | add != flags) for flags in set(before)}
            return bytes(map(table.__getitem__, before))
        return self._lowest().translate(_changing(keep & 255, add))

    def having(self, wanted: int) -> bytes:
        """An octet each: 1 where all of the wanted ones are set."""
        return self.differing(-1, wanted).translate(_NOT)

    def count(self, bit: int) -> int:
        """How many have this bit, one of the lowest eight."""
        return self._lowest().translate(_having(bit)).count(1)

    def _numbers(self) -> Numbers:
        return self._flags[self._begin : self._end]

    def _lowest(self) -> bytes:
        """The lowest octet of each, looked for once."""
        if self._lows is None:
            self._lows = memoryview(self._flags)[self._begin : self._end].tobytes()[_LOW::8]
        return self._lows


def spans(mask: bytes, first: int) -> Iterator[tuple[int, int]]:
    """The rows of a mask's ones, each (first, after); its own first row is `first`."""
    begin = mask.find(1)
    while begin >= 0:
        end = mask.find(0, begin)
        end = len(mask) if end < 0 else end
        yield first + begin, first + end
        begin = mask.find(1, end)


def spans_of(rows: Iterable[int]) -> list[tuple[int, int]]:
    """Ascending rows as spans."""
    found: list[tuple[int, int]] = []
    begin = end = -1
    for row in rows:
        if row != end:
            if begin >= 0:
                found.append((begin, end))
            begin = row
        end = row + 1
    if begin >= 0:
        found.append((begin, end))
    return found


@lru_cache(64)
def _becoming(keep: int, add: int) -> bytes:
    return bytes([flags & keep | add for flags in range(_NARROW)])


@lru_cache(64)
def _changing(keep: int, add: int) -> bytes:
    return bytes([flags & keep | add != flags for flags in range(_NARROW)])


@lru_cache(8)
def _having(bit: int) -> bytes:
    return bytes([bool(flags & bit) for flags in range(_NARROW)])
