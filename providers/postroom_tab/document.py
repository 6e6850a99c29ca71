"""One TAB file in memory: its lines to the octet, and the records they mean. Nothing here acts, nothing here changes in place.

Reading never fails and keeps every octet: `decode(...).encode()` is what was read. A line that cannot be read is a problem and keeps its
text through every rewrite; so do comments, blank lines, unknown columns, line ends and a byte order mark. Text is UTF-8; a line that
is not is read as latin-1, as old panels wrote it. Rows we write are UTF-8, with the line end of the file's first line (CRLF in a new file).

An edit answers with a new document, or with a `RecordError` and nothing changed.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Generic, TypeVar

from postroom.errors import ConfigError, Origin, RecordError
from postroom.records import Record
from postroom_tab.table import Shape

R = TypeVar("R", bound=Record)

MOST_PROBLEMS = 100  # told per file; a file of another kind would tell of every line
_BOM = codecs.BOM_UTF8
_CRLF = b"\r\n"


@dataclass(frozen=True)
class Document(Generic[R]):
    """A file's lines and rows. `rows` has a record or None for every line; `index` the line of every key in force."""

    shape: Shape[R]
    where: str  # the file, as problems and origins name it
    given: tuple[str, ...] = ()
    mark: bytes = b""  # the byte order mark
    lines: list[bytes] = field(default_factory=list)  # with their line ends
    rows: Sequence[R | None] = ()
    index: Mapping[str, int] = field(default_factory=dict)
    repeats: Mapping[str, Sequence[int]] = field(default_factory=dict)  # further lines of a key
    problems: tuple[ConfigError, ...] = ()
    broken: int = 0  # lines that could not be read
    torn: bool = False  # NUL octets: rows are missing, or it is no text of ours at all

    @cached_property
    def records(self) -> tuple[R, ...]:
        """The rows in force, in order."""
        return tuple(row for row in self.rows if row is not None)

    @property
    def is_readable(self) -> bool:
        """Whether there is a row to serve, or nothing that looks like one, and no hole where rows may have been."""
        return not self.torn and (bool(self.index) or not self.broken)

    def get(self, key: str) -> R | None:
        at = self.index.get(key)
        return None if at is None else self.rows[at]

    def encode(self) -> bytes:
        """The file's octets."""
        return self.mark + b"".join(self.lines)

    # Edits.

    def put(self, records: Sequence[R], before: R | None = None) -> Document[R]:
        """These records in the places of their keys, new ones last or before the given row."""
        lines, rows, fresh = list(self.lines), list(self.rows), dict[str, R]()
        for record in records:
            key = self.shape.key_of(record)
            at = self.index.get(key)
            if at is None:
                fresh[key] = record
            elif rows[at] != record:
                lines[at], rows[at] = self._rewritten(at, record)
        changed = self if lines == self.lines else replace(self, lines=lines, rows=rows)
        return changed._with_fresh(list(fresh.values()), before)

    def _rewritten(self, at: int, record: R) -> tuple[bytes, R | None]:
        text = self.shape.write(record, self._cells(at))
        end = self.lines[at][len(self.lines[at].rstrip(b"\r\n")) :]
        return text.encode() + end, self._read(text, at)

    def _read(self, text: str, at: int) -> R | None:
        return self.shape.read(text, self.given, Origin(self.where, at + 1))

    def _cells(self, at: int) -> Sequence[str]:
        return text_of(self.lines[at]).split("\t")

    def _with_fresh(self, records: Sequence[R], before: R | None) -> Document[R]:
        if not records:
            return self
        at = len(self.lines) if before is None else self.index.get(self.shape.key_of(before))
        if at is None:
            raise RecordError(f"{self.where}: there is no row like the one to stand before")
        like = self._cells(self._row_before(at)) if self.index else ()
        texts = [self.shape.write(record, like) for record in records]
        if at < len(self.lines):
            return self._arranged([*range(at), *(~number for number in range(len(texts))), *range(at, len(self.lines))], texts)
        return self._appended(texts, [text.encode() + self.line_end for text in texts])

    def _row_before(self, at: int) -> int:
        """The row whose form a new line at this place takes: the next one upwards, or the first."""
        upwards = (line for line in range(at - 1, -1, -1) if self.rows[line] is not None)
        return next(upwards, min(self.index.values()))

    def _appended(self, texts: Sequence[str], added: Sequence[bytes]) -> Document[R]:
        """New last rows cost no second look at the rows before them."""
        lines, index = list(self.lines), dict(self.index)
        if lines and not lines[-1].endswith(b"\n"):
            lines[-1] += self.line_end
        rows = [*self.rows, *(self._read(text, at) for at, text in enumerate(texts, len(lines)))]
        index.update((self.shape.key_of(row), at) for at, row in enumerate(rows[len(lines) :], len(lines)) if row is not None)
        return replace(self, lines=[*lines, *added], rows=rows, index=index)

    def delete(self, keys: Sequence[str]) -> tuple[Document[R], int]:
        """Without the rows of these keys, the hidden ones included; and how many rows in force there were."""
        gone = {at for key in keys if key in self.index for at in (self.index[key], *self.repeats.get(key, ()))}
        count = sum(self.rows[at] is not None for at in gone)
        if not gone:
            return self, 0
        return self._arranged([at for at in range(len(self.lines)) if at not in gone]), count

    def _arranged(self, order: Sequence[int], texts: Sequence[str] = ()) -> Document[R]:
        """Old lines by their places, and as ~n the n-th of the new texts. Rows are moved and not read again, which is three times as
        fast, unless there are problems that would move too."""
        added = [text.encode() + self.line_end for text in texts]
        lines = [self.lines[at] if at >= 0 else added[~at] for at in order]
        if self.problems or self.repeats:
            return decode(self.shape, self.mark + b"".join(lines), self.where, self.given)
        where, old, moved = self.where, self.rows, self.shape.moved
        rows = [
            (self._read(texts[~at], to) if at < 0 else row if (row := old[at]) is None or at == to else moved(row, Origin(where, to + 1)))
            for to, at in enumerate(order)
        ]
        place = dict(zip(order, range(len(order))))
        index = {key: place[at] for key, at in self.index.items() if at in place}
        index.update((self.shape.key_of(row), to) for at, to in place.items() if at < 0 and (row := rows[to]))
        return replace(self, lines=lines, rows=rows, index=index)

    @property
    def line_end(self) -> bytes:
        """What ends the file's lines."""
        return b"\n" if self.lines and self.lines[0].endswith(b"\n") and not self.lines[0].endswith(_CRLF) else _CRLF


def decode(shape: Shape[R], data: bytes, where: str, given: tuple[str, ...] = ()) -> Document[R]:
    """Read a whole file; never raises."""
    mark = _BOM if data.startswith(_BOM) else b""
    lines = [line + b"\n" for line in data[len(mark) :].split(b"\n")]
    last = lines.pop()[:-1]
    lines += [last] if last else []
    rows, problems, broken = list[R | None](), list[ConfigError](), 0
    index, repeats = dict[str, int](), dict[str, list[int]]()
    for at, text in enumerate(_texts(data[len(mark) :], lines)):
        row: R | None = None
        try:
            row = shape.read(text, given, Origin(where, at + 1))
        except ConfigError as problem:
            broken += 1
            problems.append(problem)
        if row is not None and (first := index.setdefault(shape.key_of(row), at)) != at:
            key = shape.key_of(row)
            repeats.setdefault(key, []).append(at)
            if not shape.repeats:
                problems.append(_repeated(shape, Origin(where, at + 1), first + 1))
                row = None
        rows.append(row)
    return Document(shape, where, given, mark, lines, rows, index, repeats, _told(problems), broken, b"\0" in data)


def _repeated(shape: Shape[R], origin: Origin, first: int) -> ConfigError:
    key = " and ".join(shape.key)
    return ConfigError(
        f"the row has the key of line {first}, which is the one in force", origin=origin, key=key, remedy="Remove one of the two"
    )


def _told(problems: Sequence[ConfigError]) -> tuple[ConfigError, ...]:
    if len(problems) <= MOST_PROBLEMS:
        return tuple(problems)
    next_one = problems[MOST_PROBLEMS]
    more = ConfigError(
        f"{len(problems) - MOST_PROBLEMS} more lines from here on", origin=next_one.origin, remedy="See whether this is a TAB file"
    )
    return (*problems[:MOST_PROBLEMS], more)


def _texts(data: bytes, lines: Sequence[bytes]) -> Iterator[str]:
    """The lines as text without line ends: at one stroke where all is UTF-8, else line by line."""
    try:
        texts = data.decode().split("\n")
    except UnicodeDecodeError:
        yield from map(text_of, lines)
        return
    for text in texts[: len(lines)]:
        yield text.rstrip("\r")


def text_of(line: bytes) -> str:
    """One line as text without its line end: UTF-8, else latin-1."""
    line = line.removesuffix(b"\n").rstrip(b"\r")
    try:
        return line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1")
