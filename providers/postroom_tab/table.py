"""The grammar of a TAB row: one line of text to one record, and back. Nothing here acts.

A line is cells between tabs, in the table's order, without quoting. Missing trailing cells take the record's defaults; further
cells are the record's `extra`. Spaces around a key cell are an editor's and are dropped. A line that starts with `#` or `;`, and
a blank one, is the operator's own and no row: files of the original have neither, and switching a row off with a `#` is what people do
(a row that starts with a bracket address is always a row). Hence no record may start so: writing one is refused.

Errors: a broken line is a `ConfigError` that names file, line, column and remedy. A record that this grammar cannot hold is a
`RecordError`: whatever `write` returns reads back as the same record.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from functools import lru_cache
from operator import attrgetter
from typing import Generic, TypeVar

from postroom.errors import ConfigError, Origin, RecordError
from postroom.records import Record
from postroom_tab.layout import Pattern

R = TypeVar("R", bound=Record)

_DIGITS = 15  # no column of ours counts further


class Shape(Generic[R]):
    """One kind of table: its record, where its files lie, its columns in file order and which of them are its key.

    The names on a file's path are the record's first fields (`given`), and the first part of its key.
    """

    def __init__(
        self,
        record: type[R],
        *patterns: Pattern,
        columns: str,
        key: str,
        given: str = "",
        secret: bool = False,  # holds passwords: kept from other users, never quoted
        repeats: bool = False,  # rows of one key belong together
    ) -> None:
        self.record, self.patterns, self.name = record, patterns, patterns[0][-1]
        self.columns, self.given, self.key = tuple(columns.split()), tuple(given.split()), tuple(key.split())
        self.secret, self.repeats = secret, repeats
        self.fields = {field.name: field for field in fields(record)}
        self._width = len(self.columns)
        self._needed = max((at for at, name in enumerate(self.columns, 1) if self.fields[name].default is MISSING), default=1)
        self._defaults = [self._default(name) for name in self.columns]
        self._numbers = [at for at, name in enumerate(self.columns) if self.fields[name].type in ("int", int)]
        self._keys = [self.columns.index(name) for name in self.key]
        self._make: Callable[..., R] = record
        self._values: Callable[[R], tuple[object, ...]] = attrgetter(*self.given, *self.columns)
        self._key_cells: Callable[[R], str | tuple[str, ...]] = attrgetter(*self.key)

    def _default(self, name: str) -> str:
        default = self.fields[name].default
        return "" if default is MISSING else self.cell(default)

    # Keys.

    def key_of(self, record: R) -> str:
        """A record's key within its file: cells hold no tab, so a tab parts them."""
        cells = self._key_cells(record)
        return cells.casefold() if isinstance(cells, str) else "\t".join(cells).casefold()

    def given_of(self, record: R) -> tuple[str, ...]:
        """The names on the path of a record's file."""
        return tuple(getattr(record, name) for name in self.given)

    def moved(self, record: R, origin: Origin) -> R:
        """The record, as read at another place."""
        return self._make(*self._values(record), origin=origin, extra=record.extra)

    # Reading.

    def read(self, line: str, given: tuple[str, ...], origin: Origin) -> R | None:
        """The record of a line without its line end; None for a comment or a blank line."""
        if line[:1] in _NO_ROW and (not line or line[0] in _COMMENT or line.isspace()):
            return None
        if "\0" in line or "\r" in line:
            raise ConfigError("the line holds a NUL or a lone carriage return", origin=origin, remedy=_RESAVE)
        cells = self.split(line.split("\t"))
        extra: tuple[str, ...] = ()
        if len(cells) != self._width:
            if len(cells) < self._width:
                self._want_enough(cells, origin)
                cells += self._defaults[len(cells) :]
            else:
                extra = tuple(cells[self._width :])
                del cells[self._width :]
        for at in self._keys:
            cells[at] = cells[at].strip(" ") or self._defaults[at]
            if not cells[at]:
                raise ConfigError("the column is empty", origin=origin, key=self.columns[at], remedy="Fill it in or remove the line")
        return self._make(*given, *self.values(cells, origin), origin=origin, extra=extra)

    def _want_enough(self, cells: Sequence[str], origin: Origin) -> None:
        if len(cells) < self._needed:
            missing = self.columns[len(cells)]
            remedy = f"Part the columns by tabs: {', '.join(self.columns)}"
            raise ConfigError("the line ends before this column", origin=origin, key=missing, remedy=remedy)

    def split(self, cells: list[str]) -> list[str]:
        """The cells of a line in our order of columns."""
        return cells

    def values(self, cells: list[str], origin: Origin) -> Sequence[object]:
        """What the cells mean, numbers as numbers; an empty number is the default."""
        values: list[object] = list(cells)
        for at in self._numbers:
            number = _number(cells[at])
            values[at] = self._odd_number(at, cells[at], origin) if number is None else number
        return values

    def _odd_number(self, at: int, cell: str, origin: Origin) -> int:
        number = _number(cell.strip() or self._defaults[at])
        if number is not None:
            return number
        said = "" if self.secret else f": {cell[:40]!r}"
        remedy = f"Write a whole number such as {self._defaults[at] or 0}; the columns are {', '.join(self.columns)}"
        raise ConfigError(f"not a number{said}", origin=origin, key=self.columns[at], remedy=remedy)

    # Writing.

    def write(self, record: R, like: Sequence[str] = ()) -> str:
        """A record as a line without its line end. `like` are the cells of the line it replaces or follows, for tables of two forms."""
        if not isinstance(record, self.record):
            raise RecordError(f"{self.name} holds {self.record.__name__}s, not a {type(record).__name__}")
        cells = [self._checked(name, self.cell(getattr(record, name))) for name in self.columns]
        cells += [self._checked("extra", cell) for cell in record.extra]
        line = "\t".join(self.join(cells, like))
        self._want_same(record, line)
        return line

    def join(self, cells: list[str], like: Sequence[str]) -> list[str]:
        """The cells of a line in the file's order of columns; undoes `split`."""
        return cells

    def cell(self, value: object) -> str:
        """One value as text."""
        return str(value)

    def _checked(self, name: str, cell: str) -> str:
        if _FORBIDDEN & set(cell):
            raise RecordError(f"{self.name}: {name} holds a tab, a line end or a NUL, which no TAB file can keep")
        if not cell and name in self.key:
            raise RecordError(f"{self.name}: {name} is empty, and it is part of the key")
        if not cell.isascii():
            self._want_text(name, cell)
        return cell

    def _want_text(self, name: str, cell: str) -> None:
        try:
            cell.encode()
        except UnicodeEncodeError:
            raise RecordError(f"{self.name}: {name} is no Unicode text") from None

    def _want_same(self, record: R, line: str) -> None:
        """The last word on what can be kept: a line that reads back as this record."""
        if line[:1] in _COMMENT or line[:1] == "\ufeff":
            raise RecordError(f"{self.name}: {self.columns[0]} starts with {line[0]!r}; such a line is a comment")
        try:
            again = self.read(line, self.given_of(record), Origin(self.name))
        except ConfigError as error:
            raise RecordError(str(error)) from None
        if again != record:
            differs = next((name for name in self.fields if again and getattr(again, name) != getattr(record, name)), self.columns[0])
            raise RecordError(f"{self.name}: {differs} would not read back as it was given; drop spaces around it or a wrong type")


@lru_cache(maxsize=4096)
def _number(cell: str) -> int | None:
    """A whole number in plain digits; None for anything else that `int` would take."""
    digits = cell.removeprefix("-")
    return int(cell) if digits.isascii() and digits.isdigit() and len(digits) <= _DIGITS else None


_COMMENT = ("#", ";")
_NO_ROW = frozenset(("", "#", ";", " ", "\t"))  # how a line that may be none starts
_FORBIDDEN = frozenset("\t\r\n\0")
_RESAVE = "Save the file as UTF-8 or ANSI text with CRLF or LF line ends"
