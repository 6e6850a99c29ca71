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


def after(before: Numbers, keep: int, add: int, bits: int) -> Numbers:
    """Each number n as n & keep | add; `bits` has all that any of them has."""
    if bits >= _NARROW or add >= _NARROW:
        table = {flags: flags & keep | add for flags in set(before)}
        return array("Q", map(table.__getitem__, before))
    low = _lows(before).translate(_becoming(keep & 255, add))
    if low and low.count(low[0]) == len(low):
        return array("Q", (low[0],)) * len(low)
    wide = bytearray(8 * len(before))
    wide[_LOW::8] = low
    changed: Numbers = array("Q")
    changed.frombytes(wide)
    return changed


def differing(before: Numbers, keep: int, add: int, bits: int) -> bytes:
    """An octet each: 1 where n & keep | add is another number; `bits` as for `after`."""
    if bits >= _NARROW or add >= _NARROW:
        table = {flags: int(flags & keep | add != flags) for flags in set(before)}
        return bytes(map(table.__getitem__, before))
    return _lows(before).translate(_changing(keep & 255, add))


def having(flags: Numbers, wanted: int, bits: int) -> bytes:
    """An octet each: 1 where all of the wanted ones are set; `bits` as for `after`."""
    return differing(flags, -1, wanted, bits).translate(_NOT)


def count(flags: Numbers, bit: int) -> int:
    """How many have this bit, one of the lowest eight."""
    return _lows(flags).translate(_having(bit)).count(1)


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


def _lows(flags: Numbers) -> bytes:
    """The lowest octet of each."""
    return flags.tobytes()[_LOW::8]
