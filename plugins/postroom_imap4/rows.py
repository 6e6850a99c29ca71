"""How FETCH answers are written: many rows by few steps each (RFC 9051 section 7.5.2). Pure.

What the index holds is formatted, all rows by one format; sections of messages are not copied until the answers of all rows are joined. So such a
section is one strand or several: sequences of octets that follow each other in every row.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import compress
from typing import Final, TypeAlias, TypeVar, overload

from postroom_imap4 import answers
from postroom_imap4.commands import FetchItem, Macro
from postroom_imap4.sections import without_nul
from postroom_mime import dates

T = TypeVar("T")
_PLACES: Final = re.compile(rb"(%[%db])")
_END: Final = b")\r\n"
Strands: TypeAlias = tuple[Sequence[bytes], ...]

FORMATS: Final = {
    Macro.UID: b"UID %d",
    Macro.FLAGS: b"FLAGS %b",
    Macro.INTERNALDATE: b"INTERNALDATE %b",
    Macro.SIZE: b"RFC822.SIZE %d",
    Macro.MODSEQ: b"MODSEQ (%d)",
    Macro.EMAILID: b"EMAILID (%b)",
    Macro.THREADID: b"THREADID (%b)",
    Macro.SAVEDATE: b"SAVEDATE %b",
}
LABELS: Final = {
    Macro.ENVELOPE: b"ENVELOPE ",
    Macro.BODY: b"BODY ",
    Macro.BODYSTRUCTURE: b"BODYSTRUCTURE ",
    Macro.PREVIEW: b"PREVIEW ",
    Macro.PREVIEW_LAZY: b"PREVIEW ",  # RFC 8970 section 3.2: the answer is named alike
}


class Layout:
    """How a row is written whose items are these: each with its format where it is short, with what stands before it where it is long.
    `row` tells two layouts apart; `short` and `long` are the items with their places."""

    __slots__ = ("_parts", "long", "row", "short")

    def __init__(self, verb: bytes, items: Sequence[tuple[FetchItem, bytes]]) -> None:
        self.short = [(place, item) for place, (item, _) in enumerate(items) if isinstance(item, Macro) and is_short(item)]
        self.long = [(place, item) for place, (item, _) in enumerate(items) if not is_short(item)]
        self._parts: list[tuple[bytes, list[int], int]] = []  # a format, the columns it takes, the section behind it or -1
        text, taken = b"* %%d %b (" % verb, list[int]()
        for place, (item, shown) in enumerate(items):
            if place:
                text += b" "
            if is_short(item):
                text += shown
                taken.append(place)
                continue
            text += shown.replace(b"%", b"%%")
            if isinstance(item, Macro):
                text += b"%b"
                taken.append(place)
            else:
                self._parts.append((text, taken, place))
                text, taken = b"", []
        self._parts.append((text + _END, taken, -1))
        self.row = tuple(text for text, _, _ in self._parts)

    def render(self, names: Sequence[int], short: Mapping[int, Sequence[object]], long: Mapping[int, Strands]) -> bytes:
        """The answers of these rows, given each item's column by the item's place."""
        columns = [[long[one][0] if one in long else short[one] for one in taken] for _, taken, _ in self._parts]
        columns[0].insert(0, names)
        if len(columns) == 1:
            return _at_once(self._parts[0][0], columns[0], len(names))
        strands: list[Sequence[bytes]] = []
        for (text, _, section), values in zip(self._parts, columns):
            strands.append(_filled(text, values, len(names)))
            strands.extend(long.get(section, ()))
        return b"".join(woven(strands))


def is_short(item: FetchItem) -> bool:
    """Whether it takes a few octets whatever the message."""
    return isinstance(item, Macro) and item in FORMATS


class Alike(Sequence[T]):
    """A column that says the same in every row, as flags often do: it is written into the format once."""

    __slots__ = ("_count", "value")

    def __init__(self, value: T, count: int) -> None:
        self.value, self._count = value, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, row: int) -> T: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[T]: ...
    def __getitem__(self, row: int | slice) -> T | Sequence[T]:
        rows = range(self._count)[row]
        return Alike(self.value, len(rows)) if isinstance(rows, range) else self.value


def is_alike(column: Sequence[int]) -> bool:
    """Whether a piece of a view's column has one number only."""
    return isinstance(column, array) and len(column) > 1 and column.tobytes() == column[:1].tobytes() * len(column)


def _at_once(text: bytes, values: Sequence[Sequence[object]], count: int) -> bytes:
    """All rows by one format, which takes two thirds of what a format for each does."""
    text, values = _with_alike(text, values)
    return text * count % tuple(woven(values))


def _filled(text: bytes, values: Sequence[Sequence[object]], count: int) -> Sequence[bytes]:
    text, values = _with_alike(text, values)
    if not values:
        return [text % ()] * count
    if len(values) == 1:
        return [text % value for value in values[0]]
    return list(map(text.__mod__, zip(*values)))


def _with_alike(text: bytes, values: Sequence[Sequence[object]]) -> tuple[bytes, Sequence[Sequence[object]]]:
    """The format with what is alike in it, and the other columns."""
    if not any([isinstance(column, Alike) for column in values]):
        return text, values
    left, columns, pieces = list[Sequence[object]](), iter(values), list[bytes]()
    for piece in _PLACES.split(text):
        if piece in (b"%d", b"%b"):
            column = next(columns)
            if isinstance(column, Alike):
                pieces.append((piece % (column.value,)).replace(b"%", b"%%"))
                continue
            left.append(column)
        pieces.append(piece)
    return b"".join(pieces), left


def woven(strands: Sequence[Sequence[T]]) -> list[T]:
    """Row by row, what the strands say of it."""
    if len(strands) == 1:
        return list(strands[0])
    width = len(strands)
    values = list(strands[0]) * width
    for place, strand in enumerate(strands):
        values[place::width] = strand
    return values


def literals(values: Sequence[bytes]) -> Strands:
    """Whole sections as literals, empty ones in quotes; without NUL, which a literal may not hold (RFC 9051 section 4.3)."""
    return [b"{%d}\r\n" % len(one) if one else b'""' for one in values], [without_nul(one) for one in values]


def kept(column: Sequence[T], keep: Sequence[bool]) -> list[T]:
    """A column without the rows that are gone."""
    return list(compress(column, keep))


class FlagTexts(dict[int, bytes]):
    """Flags as they are sent, each combination rendered once."""

    def __init__(self, keywords: Sequence[str]) -> None:
        super().__init__()
        self._keywords = keywords

    def __missing__(self, flags: int) -> bytes:
        text = self[flags] = answers.flag_list(flags, self._keywords)
        return text


def date_times(times: Sequence[float]) -> list[bytes]:
    """INTERNALDATE of many: the day's text is made once a day."""
    found = []
    for at in times:
        days, seconds = divmod(int(at // 1), 86400)
        found.append(b'%b%02d:%02d:%02d +0000"' % (_day(days), seconds // 3600, seconds // 60 % 60, seconds % 60))
    return found


@lru_cache(maxsize=4096)
def _day(days: int) -> bytes:
    return dates.internal(days * 86400.0)[:13]  # the quote, the day and a blank
