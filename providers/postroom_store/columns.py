"""A folder in columns: what its log adds up to. Built from the log's records, written to and read from `view`. No I/O.

Rows are in UID order. Columns that a `View` may share are never changed where it looks: arrivals extend them beyond its count,
flag changes put copies in their place, an expunge puts shorter ones there.
"""

from __future__ import annotations

import struct
import sys
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import compress
from typing import TypeAlias
from zlib import crc32

from postroom.mailstore import DELETED, SEEN
from postroom_store import flagging
from postroom_store.records import (
    ARRIVAL,
    ARRIVE,
    BIRTH,
    CHANGE,
    CHECK,
    COMING,
    END,
    EPOCH,
    EXPUNGE,
    FIELDS,
    FLAGS,
    HEADER,
    KEYWORD,
    MOVED,
    NAMED,
    SPAN,
    TAIL,
    TOGETHER,
    Arrival,
    Birth,
    Buffer,
    id_halves,
    read_runs,
    walk,
)

Numbers: TypeAlias = "array[int]"
Times: TypeAlias = "array[float]"
_Fixed: TypeAlias = tuple[int, int, int, int, float, float, float, int, int]  # of an arrival, as ARRIVAL has it

KEYWORDS = 59  # 64 bits less five system flags
COLUMNS = (
    ("uids", "I"),
    ("flags", "Q"),
    ("modseqs", "Q"),
    ("octets", "Q"),
    ("offsets", "Q"),
    ("arrived", "d"),
    ("saved", "d"),
    ("sent", "d"),
    ("high", "Q"),
    ("low", "Q"),
)
GONE = (("gone_uids", "I"), ("gone_modseqs", "Q"), ("gone_high", "Q"), ("gone_low", "Q"))

MARK = END.size + CHECK.size  # octets at a record's end that begin with its CRC
_SAVED = struct.Struct("<8s6IQ8sIIQQQQQIII")
_MAGIC = b"prview1" + (b"l" if sys.byteorder == "little" else b"b")


class Columns:
    """Mutable, one owner: the folder object of this worker."""

    uids: Numbers
    flags: Numbers
    modseqs: Numbers
    octets: Numbers
    offsets: Numbers
    arrived: Times
    saved: Times
    sent: Times
    high: Numbers
    low: Numbers
    gone_uids: Numbers
    gone_modseqs: Numbers
    gone_high: Numbers
    gone_low: Numbers

    def __init__(self) -> None:
        for name, code in (*COLUMNS, *GONE):
            setattr(self, name, array(code))
        self.keywords: list[str] = []
        self.birth = Birth(b"", 0, 0, 0)
        self.began = 0  # generation in which this log file was begun
        self.generation = 0
        self.epoch = 0
        self.uidnext, self.modseq = 1, 0
        self.unseen = self.deleted = 0
        self.bits = 0  # all flags that any message may have, or more
        self.total = 0  # octets of all messages
        self.garbage = 0  # octets of the log that a compaction would drop
        self.covered = 0  # octets of the log that are in these columns
        self.mark = 0  # CRC of the last record that is: another may have taken its place (log.py)
        self.work = 0  # records applied since the last save
        self.moved = False  # the log goes on elsewhere
        self.lent = False  # a View holds the flags

    @property
    def identity(self) -> tuple[int, bytes]:
        """Of the log that was read; see `FolderLog.identity`."""
        return self.began, self.birth.object_id

    def __len__(self) -> int:
        return len(self.uids)

    # Reading the log.

    def apply(self, log: Buffer) -> None:
        """Add the records in `log`, the octets that follow `covered`; stops at the first that is damaged or not all there, and at messages
        that have to come all or none and did not all come yet."""
        base = self.covered
        coming: list[tuple[_Fixed, int]] = []
        for at, kind, start, stop in walk(log, base):
            if kind == COMING:
                coming.append((ARRIVAL.unpack_from(log, start), base + at))
                continue
            tail = FIELDS.unpack_from(log, stop)
            self.uidnext, self.modseq, self.epoch, self.generation = tail[0], tail[1], tail[2], tail[3]
            if kind == ARRIVE:
                self._arrive(ARRIVAL.unpack_from(log, start), base + at)
            else:
                if kind == TOGETHER:
                    self._arrive_all(coming, *SPAN.unpack_from(log, start))
                self._apply_rare(kind, bytes(log[start:stop]))
                self.garbage += stop - start
            self.work += 1
            self.covered = base + stop + TAIL
            self.mark = END.unpack_from(log, stop + FIELDS.size)[0]
            if coming:
                coming = []

    def goes_on(self, octets: Buffer) -> bool:
        """Whether these last octets before `covered` are still those of the record that was read there."""
        return len(octets) == MARK and bool(END.unpack_from(octets)[0] == self.mark)

    def _arrive_all(self, coming: Sequence[tuple[_Fixed, int]], first: int, last: int) -> None:
        """Those with these UIDs; before them may lie some of which a crash took the others."""
        named = [(fixed, place) for fixed, place in coming if first <= fixed[0] <= last]
        for fixed, place in named:
            self._arrive(fixed, place)
        self.work += len(named)

    def _arrive(self, fixed: _Fixed, place: int) -> None:
        uid, flags, modseq, octets, arrived, saved, sent, high, low = fixed
        self.uids.append(uid)
        self.flags.append(flags)
        self.bits |= flags
        self.modseqs.append(modseq)
        self.octets.append(octets)
        self.offsets.append(place)
        self.arrived.append(arrived)
        self.saved.append(saved)
        self.sent.append(sent)
        self.high.append(high)
        self.low.append(low)
        self.total += octets
        self.unseen += not flags & SEEN
        self.deleted += bool(flags & DELETED)

    def _apply_rare(self, kind: int, payload: bytes) -> None:
        if kind == FLAGS:
            keep, add = CHANGE.unpack_from(payload)
            self._change(self.rows_in(read_runs(payload[CHANGE.size :])), keep, add)
        elif kind == EXPUNGE:
            self._expunge(self.rows_in(read_runs(payload)))
        elif kind == TOGETHER:
            self._expunge(self.rows_in(read_runs(payload[SPAN.size :])))
        elif kind == KEYWORD:
            self.keywords.append(payload.decode())
        elif kind == HEADER:
            self.birth = Birth._make(BIRTH.unpack(payload)[1:])
            self.began = self.generation
        elif kind == EPOCH:  # what a session saw and a power cut took is no expunge that anybody wrote down
            self.birth = self.birth._replace(horizon=self.modseq)
        elif kind == MOVED:
            self.moved = True
        elif kind == NAMED:
            self.garbage += len(payload)

    def rows_in(self, bounds: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """First row and row after the last of each run of UIDs, empty ones left out."""
        found = ((bisect_left(self.uids, first), bisect_right(self.uids, last)) for first, last in bounds)
        return [(begin, end) for begin, end in found if begin < end]

    def _change(self, spans: Sequence[tuple[int, int]], keep: int, add: int) -> None:
        flags, modseqs = self.flags, self.modseqs
        is_all = spans == [(0, len(flags))]
        if self.lent and not is_all:
            flags, modseqs = flags[:], modseqs[:]
        for begin, end in spans:
            before = flagging.Piece(flags, begin, end, self.bits)
            self.unseen -= _gained(before, SEEN, keep, add)
            self.deleted += _gained(before, DELETED, keep, add)
            changed, when = before.after(keep, add), array("Q", (self.modseq,)) * (end - begin)
            if is_all:
                flags, modseqs = changed, when
            else:
                flags[begin:end], modseqs[begin:end] = changed, when
        self.flags, self.modseqs, self.lent = flags, modseqs, False
        self.bits |= add

    def _expunge(self, spans: Sequence[tuple[int, int]]) -> None:
        if not spans:
            return
        gone = _mask(len(self.uids), spans)
        flags = array("Q", compress(self.flags, gone))
        self.total -= sum(compress(self.octets, gone))
        going = flagging.Piece(flags, 0, len(flags), self.bits)
        self.unseen -= len(flags) - going.count(SEEN)
        self.deleted -= going.count(DELETED)
        self.garbage += len(flags) * _USUAL
        self.gone_uids.extend(compress(self.uids, gone))
        self.gone_high.extend(compress(self.high, gone))
        self.gone_low.extend(compress(self.low, gone))
        self.gone_modseqs.extend([self.modseq] * len(flags))
        keep = gone.translate(_INVERTED)
        for name, code in COLUMNS:
            column = getattr(self, name)
            setattr(self, name, _without(column, spans) if len(spans) < _FEW_SPANS else array(code, compress(column, keep)))
        self.lent = False

    # Asking.

    def row(self, uid: int) -> int:
        """The row of a UID, or -1."""
        row = bisect_left(self.uids, uid)
        return row if row < len(self.uids) and self.uids[row] == uid else -1

    def rows(self, uids: Iterable[int]) -> list[int]:
        """The rows of these UIDs, ascending; UIDs that are not there are passed over."""
        wanted = set(uids)
        if len(wanted) * 8 < len(self.uids):
            return sorted(row for uid in wanted if (row := self.row(uid)) >= 0)
        return list(compress(range(len(self.uids)), map(wanted.__contains__, self.uids)))

    def spans(self, uids: Iterable[int]) -> list[tuple[int, int]]:
        """The same as spans, (first, after) each. Of a piece of `uids` it costs one comparison."""
        if isinstance(uids, array) and uids.typecode == self.uids.typecode and len(uids):
            begin = bisect_left(self.uids, uids[0])
            if self.uids[begin : begin + len(uids)] == uids:
                return [(begin, begin + len(uids))]
        return flagging.spans_of(self.rows(uids))

    def uids_of(self, spans: Iterable[tuple[int, int]]) -> Numbers:
        """The UIDs of spans of rows."""
        uids = array(self.uids.typecode)
        for begin, end in spans:
            uids += self.uids[begin:end]
        return uids

    def unchanged(self, spans: Iterable[tuple[int, int]], since: int) -> tuple[list[tuple[int, int]], list[int]]:
        """What of these spans did not change after that MODSEQ, and the UIDs of what did."""
        left, changed = list[tuple[int, int]](), list[int]()
        for begin, end in spans:
            if max(self.modseqs[begin:end]) <= since:
                left.append((begin, end))
                continue
            changed += [self.uids[row] for row in range(begin, end) if self.modseqs[row] > since]
            left += flagging.spans_of(row for row in range(begin, end) if self.modseqs[row] <= since)
        return left, changed

    def differing(self, spans: Iterable[tuple[int, int]], keep: int, add: int) -> list[tuple[int, int]]:
        """What of these spans has other flags once they are flags & keep | add."""
        masks = ((flagging.Piece(self.flags, begin, end, self.bits).differing(keep, add), begin) for begin, end in spans)
        return [span for mask, begin in masks for span in flagging.spans(mask, begin)]

    def having(self, spans: list[tuple[int, int]], bits: int) -> list[tuple[int, int]]:
        """What of these spans has all these flags."""
        if not bits:
            return spans
        masks = ((flagging.Piece(self.flags, begin, end, self.bits).having(bits), begin) for begin, end in spans)
        return [span for mask, begin in masks for span in flagging.spans(mask, begin)]

    def arrival(self, row: int) -> Arrival:
        return Arrival(
            self.uids[row],
            self.flags[row],
            self.modseqs[row],
            self.octets[row],
            self.arrived[row],
            self.saved[row],
            self.sent[row],
            self.high[row],
            self.low[row],
        )

    def arrivals(self, begin: int, end: int) -> Iterator[tuple[int, int, int, int, float, float, float, int, int]]:
        """The fields of many, as `Arrival` has them."""
        some = slice(begin, end)
        return zip(
            self.uids[some], self.flags[some], self.modseqs[some], self.octets[some],
            self.arrived[some], self.saved[some], self.sent[some], self.high[some], self.low[some],
        )  # fmt: skip

    def find(self, message_id: str) -> int:
        """The row of a message, or -1."""
        return _find(self.high, self.low, message_id)

    def find_gone(self, message_id: str) -> int:
        """The UID under which a message was here until it was expunged, or 0."""
        place = _find(self.gone_high, self.gone_low, message_id)
        return self.gone_uids[place] if place >= 0 else 0

    # Saving.

    def save(self) -> bytes:
        """The octets of a `view` file."""
        names = "\n".join(self.keywords).encode()
        head = _SAVED.pack(
            _MAGIC, self.epoch, self.generation, self.began, len(self.uids), len(self.gone_uids), len(names), self.covered,
            *self.birth, self.uidnext, self.modseq, self.total, self.garbage, self.unseen, self.deleted, self.mark,
        )  # fmt: skip
        columns = [getattr(self, name) for name, _ in (*COLUMNS, *GONE)]
        return b"".join((head, struct.pack("<I", crc32(names, crc32(head))), names, *columns))


def load(saved: bytes, epoch: int) -> Columns | None:
    """The columns of a `view` file, or None when it is damaged or of another epoch and so not to be trusted."""
    if len(saved) < _SAVED.size + 4:
        return None
    columns = Columns()
    (
        magic, columns.epoch, columns.generation, columns.began, rows, gone, named, columns.covered,
        object_id, uidvalidity, base, horizon, columns.uidnext, columns.modseq, columns.total, columns.garbage,
        columns.unseen, columns.deleted, columns.mark,
    ) = _SAVED.unpack_from(saved)  # fmt: skip
    at = _SAVED.size + 4 + named
    names = saved[_SAVED.size + 4 : at]
    sizes = [(name, code, rows) for name, code in COLUMNS] + [(name, code, gone) for name, code in GONE]
    expected = at + sum(array(code).itemsize * count for _, code, count in sizes)
    crc = struct.unpack_from("<I", saved, _SAVED.size)[0]
    if magic != _MAGIC or columns.epoch != epoch or len(saved) != expected or crc32(names, crc32(saved[: _SAVED.size])) != crc:
        return None
    columns.birth = Birth(object_id, uidvalidity, base, horizon)
    columns.keywords = names.decode().split("\n") if names else []
    view = memoryview(saved)
    for name, _, count in sizes:
        column = getattr(columns, name)
        column.frombytes(view[at : at + column.itemsize * count])
        at += column.itemsize * count
    columns.bits = flagging.ever(columns.flags)
    return columns


HEAD_OF_VIEW = _SAVED.size


def covered_by(head: bytes, began: int) -> int:
    """How much of the log begun in that generation a `view` file with this head covers."""
    if len(head) < _SAVED.size:
        return 0
    fields = _SAVED.unpack_from(head)
    return int(fields[7]) if fields[0] == _MAGIC and fields[3] == began else 0


def _find(highs: Numbers, lows: Numbers, message_id: str) -> int:
    high, low = id_halves(message_id)
    octets, needle = lows.tobytes(), low.to_bytes(8, sys.byteorder)
    at = octets.find(needle)
    while at >= 0:
        if at % 8 == 0 and highs[at // 8] == high:
            return at // 8
        at = octets.find(needle, at + 1)
    return -1


def _gained(before: flagging.Piece, bit: int, keep: int, add: int) -> int:
    """How many more of these have a flag once they are flags & keep | add."""
    if not (add | ~keep) & bit:
        return 0
    return (len(before) if add & bit else 0) - before.count(bit)


def _without(column: Numbers, spans: Sequence[tuple[int, int]]) -> Numbers:
    shorter = column[:]
    for begin, end in reversed(spans):
        del shorter[begin:end]
    return shorter


def _mask(count: int, spans: Iterable[tuple[int, int]]) -> bytearray:
    """A one for each row in the spans, zeros else."""
    mask = bytearray(count)
    for begin, end in spans:
        mask[begin:end] = b"\1" * (end - begin)
    return mask


_INVERTED = b"\1\0" + bytes(254)
_FEW_SPANS = 40  # up to here cutting them out one by one is faster than copying row by row
_USUAL = 1300  # octets of an arrival, as far as a guess at garbage needs it
