"""Turns of the loop for long work: who counts what it does gives way before anybody has waited for long.

Counting costs less than asking the time, and it makes the same turns in every run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Final, TypeVar

T = TypeVar("T")

STEP: Final = (
    40_000  # units of work between two turns; a unit is about 50 ns, so that a turn comes every 2 ms, and after 5 where it is dear
)
ROW: Final = 6  # one row of a column looked at
TEXT: Final = 20  # one row's text cut out of a column of texts
LOOK: Final = 150  # one row whose cached fields are taken apart
FILE: Final = 700  # one message's file read
OCTET: Final = 0.05  # of a message that is decoded


class Pace:
    """One long piece of work. Not shared: two of them take turns of their own."""

    __slots__ = ("_done",)

    def __init__(self) -> None:
        self._done = 0.0

    async def did(self, work: float) -> None:
        """So much was done; the others get their turn if it is time."""
        self._done += work
        if self._done >= STEP:
            self._done = 0.0
            await asyncio.sleep(0)


def slices(rows: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """In order, `size` at a time."""
    for first in range(0, len(rows), size):
        yield rows[first : first + size]
