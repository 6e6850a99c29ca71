"""The octets of a file as the scanner wants them, seen through windows: memory does not grow with the file, nor does a mapping.

Each octet is read about once, by `pread`, so other threads run while the disk is slow; a mapping would hold them all at each page fault.
OSError is the disk's own, or says that the file is shorter than it was. Not for two threads at once.
"""

from __future__ import annotations

import errno
import os
from typing import overload

WINDOW = 512 * 1024  # octets; larger is no faster, and a call should not keep other threads waiting for longer than a moment


class FileOctets:
    """An open file of `size` octets, which nobody changes meanwhile; whoever opened it closes it."""

    __slots__ = ("_ascii", "_base", "_before", "_counted", "_edge", "_fd", "_size", "_window")

    def __init__(self, fd: int, size: int) -> None:
        self._fd, self._size = fd, size
        self._base, self._edge, self._window = 0, 0, b""  # the window looked at last, and where it begins and ends
        self._before = (0, b"")  # the one before it: a line may lie across two, and is asked for more than once
        self._ascii: dict[int, bool] = {}  # by where a window that was read begins
        self._counted: dict[tuple[bytes, int], int] = {}  # of whole windows: messages within messages ask for the same ones again

    def __len__(self) -> int:
        return self._size

    @overload
    def __getitem__(self, where: int) -> int: ...
    @overload
    def __getitem__(self, where: slice) -> bytes: ...
    def __getitem__(self, where: int | slice) -> int | bytes:
        """One octet, or those between two offsets; neither is negative, nor the second one below the first."""
        if not isinstance(where, slice):
            return self[where : where + 1][0]
        start, stop, base = where.start or 0, self._size if where.stop is None else where.stop, self._base
        if base <= start and stop <= self._edge:
            return self._window[start - base : stop - base]
        stop = min(stop, self._size)
        if start < stop and start // WINDOW == (stop - 1) // WINDOW:
            window = self._look(start)
            return window[start - self._base : stop - self._base]
        return self._read(start, stop)

    def find(self, what: bytes, start: int = 0, stop: int | None = None) -> int:
        """Where `what` first stands between two offsets, or -1; neither is negative, nor the second one below the first."""
        stop = self._size if stop is None else stop
        base = self._base
        if base <= start and (found := self._window.find(what, start - base, stop - base)) >= 0:
            return base + found
        stop = min(stop, self._size)
        while start + len(what) <= stop:
            found = self._look(start).find(what, start - self._base, stop - self._base)
            if found >= 0:
                return self._base + found
            edge = self._edge
            seam = max(start, edge - len(what) + 1)
            if edge < stop and (found := self[seam : min(edge + len(what) - 1, stop)].find(what)) >= 0:
                return seam + found
            start = edge
        return -1

    def count(self, what: bytes, start: int, stop: int) -> int:
        """How often one octet stands between two offsets that are not negative."""
        total = 0
        while start < stop:
            base = start // WINDOW * WINDOW
            whole = start == base and base + WINDOW <= stop
            total += self._count(what, base) if whole else self._look(base).count(what, start - base, stop - base)
            start = base + WINDOW
        return total

    def _count(self, what: bytes, base: int) -> int:
        known = self._counted.get((what, base))
        if known is None:
            known = self._counted[what, base] = count_even(self._look(base), what)
        return known

    def isascii(self) -> bool:
        """Whether all octets are below 128. What was read is not read again."""
        for base in range(0, self._size, WINDOW):
            if base not in self._ascii:
                self._look(base)
        return all(self._ascii.values())

    def _look(self, offset: int) -> bytes:
        """The window that has this offset; it is the one looked at last from here on."""
        base = offset // WINDOW * WINDOW
        if base != self._base or not self._window:
            before, self._before = self._before, (self._base, self._window)
            window = before[1] if before[0] == base and before[1] else self._read(base, min(base + WINDOW, self._size))
            if base not in self._ascii:
                self._ascii[base] = window.isascii()
            self._base, self._edge, self._window = base, base + len(window), window
        return self._window

    def _read(self, start: int, stop: int) -> bytes:
        octets = os.pread(self._fd, stop - start, start) if start < stop else b""
        if len(octets) < stop - start:
            raise OSError(errno.EIO, "a file has become shorter while it was read")
        return octets


def count_even(block: bytes, what: bytes) -> int:
    """How often one octet stands in a block; five times faster than `count` where it stands at even distances, as line ends in base64."""
    first = block.find(what)
    step = block.find(what, first + 1) - first
    if step < 8:  # fewer than two; or so close together that taking them one by one is no gain
        return block.count(what)
    evenly = len(range(first, len(block), step))
    if block[first::step] != what * evenly:
        return block.count(what)
    others = bytearray(block)
    others[first::step] = bytes((what[0] ^ 1,)) * evenly
    return evenly + (others.count(what) if what in others else 0)
