"""What a change of flags does to many messages, without a look at each: a folder's flags are few different numbers. Pure."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postroom_store.columns import Numbers

_LOW = 0 if sys.byteorder == "little" else 7  # where of eight octets the lowest lies
_NARROW = 256  # flags below it fit an octet: those of folders with up to three keywords


def after(before: Numbers, keep: int, add: int) -> Numbers:
    """Each number n as n & keep | add."""
    low = _lows(before)
    if low is None or add >= _NARROW:
        table = {flags: flags & keep | add for flags in set(before)}
        return array("Q", map(table.__getitem__, before))
    wide = bytearray(8 * len(before))
    wide[_LOW::8] = low.translate(_becoming(keep & 255, add))
    changed: Numbers = array("Q")
    changed.frombytes(wide)
    return changed


def differing(before: Numbers, keep: int, add: int) -> bytes:
    """An octet each: 1 where n & keep | add is another number."""
    low = _lows(before)
    if low is None:
        table = {flags: int(flags & keep | add != flags) for flags in set(before)}
        return bytes(map(table.__getitem__, before))
    return low.translate(_changing(keep & 255, add))


def count(flags: Numbers, bit: int) -> int:
    """How many have this bit, one of the lowest eight."""
    return flags.tobytes()[_LOW::8].translate(_having(bit)).count(1)


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


def _lows(flags: Numbers) -> bytes | None:
    """The lowest octet of each, where there is nothing above it."""
    octets = flags.tobytes()
    low = octets[_LOW::8]
    return low if len(octets) - octets.count(0) == len(low) - low.count(0) else None
