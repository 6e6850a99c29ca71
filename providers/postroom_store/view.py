"""A folder at one moment, as sessions hold it. It never changes: later arrivals lie beyond its count, other changes in other columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from functools import cached_property
from mmap import mmap
from struct import Struct
from typing import TYPE_CHECKING, cast, overload
from weakref import ReferenceType, ref

from postroom.errors import NoSuchMessage
from postroom.mailstore import FolderStatus, StoredMessage
from postroom_store.columns import Columns, Numbers
from postroom_store.reading import read_whole
from postroom_store.records import ARRIVAL, CAME, HEAD, LENGTHS, MAGIC, id_text, id_texts

if TYPE_CHECKING:
    from postroom_store.folder import LocalFolder

ROWS = 1024  # ids made at once where somebody goes through all of them
_TEXTS = HEAD.size + ARRIVAL.size  # where an arrival's lengths lie
_KINDS = {"envelope": 0, "bodystructure": 1, "parts": 2, "header": 3, "subject": 4, "base_subject": 5}
_UP_TO = tuple(Struct(f"<{count}I").unpack_from for count in range(1, len(_KINDS) + 1))  # the lengths up to a text's own
_MARK, _MARKS = Struct("<Bh"), {"is_plain": 0, "sent_zone": 1}  # before the lengths
_FIRST_LENGTH = _TEXTS + 3  # of an arrival: before it lie a flag and a zone
_FIRST_TEXT = _TEXTS + LENGTHS.size
_FEW = 16  # arrivals whose texts are taken from the mapped log one by one
_NEAR = 4096  # octets between two arrivals, where they lie close enough to copy what is between


class Ids(Sequence[str]):
    """Message ids, made from their columns when they are asked for; nothing is kept."""

    __slots__ = ("_count", "_high", "_low")

    def __init__(self, high: Numbers, low: Numbers, count: int) -> None:
        self._high, self._low, self._count = high, low, count

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, row: int) -> str: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[str]: ...
    def __getitem__(self, row: int | slice) -> str | Sequence[str]:
        if isinstance(row, slice):
            rows = range(self._count)[row]
            if rows.step == 1:
                return id_texts(self._high[rows.start : rows.stop], self._low[rows.start : rows.stop])
            return [id_text(self._high[one], self._low[one]) for one in rows]
        one = range(self._count)[row]
        return id_text(self._high[one], self._low[one])

    def __iter__(self) -> Iterator[str]:
        for first in range(0, self._count, ROWS):
            yield from self[first : first + ROWS]


class FolderView:
    """See postroom.mailstore.View. Columns are handed out as copies made at the first request and shared by all who hold this view."""

    def __init__(self, folder: LocalFolder, columns: Columns, status: FolderStatus) -> None:
        self._folder = folder
        self._count = len(columns)
        self._identity, self._covered = columns.identity, columns.covered
        self._map: ReferenceType[mmap] | None = None  # the log's, which keeps it while it is open
        self.status = status
        self._uids, self._flags, self._modseqs, self._octets = columns.uids, columns.flags, columns.modseqs, columns.octets
        self._offsets, self._arrived, self._saved, self._sent = columns.offsets, columns.arrived, columns.saved, columns.sent
        self._high, self._low = columns.high, columns.low

    def __len__(self) -> int:
        return self._count

    @cached_property
    def uids(self) -> Sequence[int]:
        return self._uids[: self._count]

    @cached_property
    def flags(self) -> Sequence[int]:
        return self._flags[: self._count]

    @cached_property
    def modseqs(self) -> Sequence[int]:
        return self._modseqs[: self._count]

    @cached_property
    def octets(self) -> Sequence[int]:
        return self._octets[: self._count]

    @cached_property
    def ids(self) -> Sequence[str]:
        return Ids(self._high, self._low, self._count)

    def is_of(self, columns: Columns) -> bool:
        """Whether this is what the columns say now."""
        return self._identity == columns.identity and self._covered == columns.covered

    def message(self, row: int) -> StoredMessage:
        row = range(self._count)[row]
        return StoredMessage(
            uid=self._uids[row],
            id=id_text(self._high[row], self._low[row]),
            flags=self._flags[row],
            modseq=self._modseqs[row],
            octets=self._octets[row],
            arrived=self._arrived[row],
            saved=self._saved[row],
            sent=self._sent[row],
        )

    def envelope(self, row: int) -> bytes:
        return self._text(row, 0)

    def bodystructure(self, row: int) -> bytes:
        return self._text(row, 1)

    def parts(self, row: int) -> bytes:
        return self._text(row, 2)

    def header(self, row: int) -> bytes:
        return self._text(row, 3)

    def subject(self, row: int) -> bytes:
        return self._text(row, 4)

    def base_subject(self, row: int) -> bytes:
        return self._text(row, 5)

    def texts(self, what: str, first: int, after: int) -> Sequence[bytes]:
        rows = range(self._count)[first:after]
        number, log = _KINDS[what], self._log()
        if log is None:
            return [self._text(row, number) for row in rows]
        found = _slices(log, self._offsets[rows.start : rows.stop], number)
        if not all(found):
            found = [text or self._text(row, number) for row, text in zip(rows, found)]
        return found

    def messages(self, rows: Sequence[int], *, waits: bool = True) -> Sequence[bytes]:
        if isinstance(rows, range) and rows.step == 1:
            high, low, octets = (column[rows.start : rows.stop] for column in (self._high, self._low, self._octets))
        else:
            high, low, octets = (array("Q", [column[row] for row in rows]) for column in (self._high, self._low, self._octets))
        return read_whole(self._folder.directory, id_texts(high, low), octets, waits=waits)

    def numbers(self, what: str, first: int, after: int) -> Sequence[float]:
        rows = range(self._count)[first:after]
        if what in _MARKS:
            log, place = self._log(), _MARKS[what]
            if log is None:
                return [LENGTHS.unpack_from(*self._arrival(row))[place] for row in rows]
            marks = _MARK.unpack_from
            return [marks(log, at + _TEXTS)[place] for at in self._offsets[rows.start : rows.stop]]
        return {"arrived": self._arrived, "saved": self._saved, "sent": self._sent}[what][rows.start : rows.stop]

    def _text(self, row: int, number: int) -> bytes:
        log, at = self._arrival(row)
        lengths = LENGTHS.unpack_from(log, at)
        begin = at + LENGTHS.size + sum(lengths[2 : 2 + number])
        text = log[begin : begin + lengths[2 + number]]
        if not text:
            magic, _, kind = HEAD.unpack_from(log, at - _TEXTS)
            if magic != MAGIC or kind not in CAME:  # its write failed half way (log.py)
                raise NoSuchMessage(f"no message {self._uids[row]} in {self.status.name}")
        return text

    def _arrival(self, row: int) -> tuple[mmap, int]:
        """The mapped log, and where the lengths of a row's texts lie in it."""
        row = range(self._count)[row]
        log = self._log()
        if log is not None:
            return log, self._offsets[row] + _TEXTS
        return self._folder.moved_arrival(self._uids[row], self._identity[1])  # the log was written anew before this view looked into it

    def _log(self) -> mmap | None:
        log = None if self._map is None else self._map()
        if log is None and (log := self._folder.log.mapped(self._identity, self._covered)) is not None:
            self._map = ref(log)
        return log


def _slices(log: mmap, offsets: Sequence[int], number: int) -> list[bytes]:
    """One text of many arrivals, which lie one behind the other. Those that whole folders are asked for in the fewest steps."""
    lengths, octets, begin = _UP_TO[number], cast("mmap | bytes", log), 0
    if len(offsets) > _FEW:
        last = offsets[-1]
        end = last + _FIRST_TEXT + sum(lengths(log, last + _FIRST_LENGTH))
        if end - offsets[0] <= _NEAR * len(offsets):  # copied at once: a slice of octets is faster than one of a mapped file
            begin = offsets[0]
            octets = log[begin:end]
    first, text = _FIRST_LENGTH - begin, _FIRST_TEXT - begin
    if number == 0:
        return [octets[(at := place + text) : at + lengths(octets, place + first)[0]] for place in offsets]
    found = []
    if number == 1:
        for place in offsets:
            before, length = lengths(octets, place + first)
            at = place + text + before
            found.append(octets[at : at + length])
        return found
    if number == 3:
        for place in offsets:
            envelope, structure, parts, length = lengths(octets, place + first)
            at = place + text + envelope + structure + parts
            found.append(octets[at : at + length])
        return found
    for place in offsets:
        known = lengths(octets, place + first)
        end = place + text + sum(known)
        found.append(octets[end - known[-1] : end])
    return found
