"""The folder log, octet by octet: the truth about a folder. Pure.

A record is HEAD, payload, FIELDS, END: magic, length and type first; then what it says; then UIDNEXT, highest MODSEQ, epoch, generation, octets
and messages of the folder after it; then a CRC of all before, the length again, and a CRC of these last octets alone. So the last
44 octets of a log tell a writer all it needs, and a reader finds every torn tail and every hole. Both CRCs are seeded with the record's place.
Every record but those of a compacted beginning has a MODSEQ of its own; records lie in MODSEQ order. All integers are little-endian.

Messages that come all or none are COMING, and a record TOGETHER right behind them, which names them: without it, none of them came. It may end
other messages of the folder at the same moment. So no reader at any time, and no crash, sees a part of them.
"""

from __future__ import annotations

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

from postroom_store.flagging import spans_of

if TYPE_CHECKING:
    from mmap import mmap

    from postroom_mime.scan import Scan

Buffer = bytes | memoryview | bytearray

HEADER, ARRIVE, FLAGS, EXPUNGE, KEYWORD, NAMED, MOVED, EPOCH, COMING, TOGETHER = range(1, 11)
CAME = frozenset({ARRIVE, COMING})  # records that are laid out as an arrival
VERSION = 1
MAGIC = b"\xf5pr\xff"
MASK32 = 0xFFFFFFFF
MASK64 = 0xFFFFFFFFFFFFFFFF
LAST_UID = MASK32 - 1

HEAD = struct.Struct("<4sIB3x")  # magic, length of the record, type
FIELDS = struct.Struct("<IQIIQI")
END = struct.Struct("<II")  # CRC of head, payload and fields; length of the record
CHECK = struct.Struct("<I")  # CRC of fields and end
TAIL = FIELDS.size + END.size + CHECK.size
OVERHEAD = HEAD.size + TAIL
LIMIT = 64 * 1024 * 1024  # octets of a record; what claims more is damage

BIRTH = struct.Struct("<H8sIQQ")  # version, object id, UIDVALIDITY, base and horizon MODSEQ
ARRIVAL = struct.Struct("<IQQQdddQQ")  # uid, flags, modseq, octets, arrived, saved, sent, id (high and low half)
LENGTHS = struct.Struct("<Bh6I")  # all text 7-bit and unencoded; zone of the Date field, minutes; lengths of the six texts
TRAIL = struct.Struct("<16sII")  # of an arrival by a move, after its texts: token of the move, UID in the source, UID of the last that came
SPAN = struct.Struct("<II")  # of TOGETHER, before the runs of what ends with it: first and last UID of those that came
CHANGE = struct.Struct("<QQ")  # flags after = flags before & keep | add


class Tail(NamedTuple):
    """What the folder is after a record. A generation of zero: the log has moved, open it again by its name."""

    uidnext: int
    modseq: int
    epoch: int
    generation: int
    octets: int
    messages: int


class Birth(NamedTuple):
    """What a folder is from its first day; `base`: every change up to it is in the arrivals; `horizon`: expunges before it are forgotten."""

    object_id: bytes
    uidvalidity: int
    base: int
    horizon: int


class Arrival(NamedTuple):
    """The fixed part of an arrival."""

    uid: int
    flags: int
    modseq: int
    octets: int
    arrived: float
    saved: float
    sent: float
    high: int
    low: int

    @property
    def id(self) -> str:
        return id_text(self.high, self.low)


@dataclass(frozen=True, slots=True)
class Entry:
    """A record found in a log: its place, type and payload, and the folder after it."""

    at: int
    kind: int
    payload: bytes
    tail: Tail
    batch: int = 0  # of what came all or none: the first UID of all of them


def id_halves(message_id: str) -> tuple[int, int]:
    """A message id as two numbers; ValueError when it is not 32 hexadecimal digits."""
    if len(message_id) != 32:
        raise ValueError(f"not a message id: {message_id!r}")
    number = int(message_id, 16)
    return number >> 64, number & MASK64


def id_text(high: int, low: int) -> str:
    return f"{high:016X}{low:016X}"


def id_texts(high: array[int], low: array[int]) -> list[str]:
    """The same of many, with a few calls in all."""
    both = array("Q", bytes(16 * len(high)))
    both[::2], both[1::2] = high, low
    if sys.byteorder == "little":
        both.byteswap()
    text = both.tobytes().hex().upper()
    return [text[at : at + 32] for at in range(0, len(text), 32)]


def encode(kind: int, at: int, tail: Sequence[int], *payload: Buffer) -> bytes:
    """A record to be written at offset `at`; `tail` holds the fields of Tail in order."""
    fields = FIELDS.pack(*tail)
    length = OVERHEAD + sum(map(len, payload))
    body = b"".join((HEAD.pack(MAGIC, length, kind), *payload, fields))
    end = END.pack(crc32(body, at & MASK32), length)
    return b"".join((body, end, CHECK.pack(crc32(fields + end, at & MASK32))))


def read_tail(octets: Buffer, size: int) -> Tail | None:
    """The state of a log of `size` octets that ends with these; None when they are no end of a record."""
    if len(octets) != TAIL:
        return None
    length = END.unpack_from(octets, FIELDS.size)[1]
    seed = (size - length) & MASK32
    if crc32(octets[: TAIL - CHECK.size], seed) != CHECK.unpack_from(octets, TAIL - CHECK.size)[0]:
        return None
    return Tail._make(FIELDS.unpack_from(octets))


def whole(log: Buffer | mmap, at: int, base: int = 0) -> int:
    """The length of the record at this place of `log` (whose first octet lies at `base` of the file), or 0 when it is damaged or not all there."""
    if at + OVERHEAD > len(log):
        return 0
    magic, length, _ = HEAD.unpack_from(log, at)
    end = at + length
    if magic != MAGIC or not OVERHEAD <= length <= LIMIT or end > len(log):
        return 0
    crc, again = END.unpack_from(log, end - END.size - CHECK.size)
    seed = (base + at) & MASK32
    if again != length or crc32(memoryview(log)[at : end - END.size - CHECK.size], seed) != crc:
        return 0
    check: int = CHECK.unpack_from(log, end - CHECK.size)[0]
    return length if crc32(memoryview(log)[end - TAIL : end - CHECK.size], seed) == check else 0


def walk(log: Buffer, base: int = 0) -> Iterator[tuple[int, int, int, int]]:
    """The whole records from the beginning of `log`: place, type, start and end of the payload, all within `log`. Ends at the first damage."""
    at = 0
    while length := whole(log, at, base):
        yield at, HEAD.unpack_from(log, at)[2], at + HEAD.size, at + length - TAIL
        at += length


def salvage(log: bytes) -> tuple[list[Entry], int]:
    """All whole records wherever they lie, and where the unbroken run from the beginning ends. Of messages that come all or none there
    are arrivals where all came, and nothing else; what ended with them is an expunge."""
    found: list[Entry] = []
    coming: list[Entry] = []
    at = intact = 0
    while at >= 0:
        if length := whole(log, at):
            record = entry(log, at, length)
            if record.kind == COMING:
                coming.append(record)
            else:
                found += _came_together(coming, record) if record.kind == TOGETHER else [record]
                coming.clear()
            if intact == at:
                intact += length
            at += length
        else:
            at = log.find(MAGIC, at + 1)
    return found, intact


def _came_together(coming: Iterable[Entry], record: Entry) -> list[Entry]:
    """What a TOGETHER means: nothing where one of those it names was lost."""
    first, last = SPAN.unpack_from(record.payload)
    named = [one for one in coming if ARRIVAL.unpack_from(one.payload)[0] >= first]
    if len(named) != last - first + 1:
        return []
    came = [replace(one, kind=ARRIVE, batch=first) for one in named]
    ended = record.payload[SPAN.size :]
    return [*came, replace(record, kind=EXPUNGE, payload=ended, batch=first)] if ended else came


def entry(log: Buffer, at: int, length: int) -> Entry:
    stop = at + length - TAIL
    tail = Tail._make(FIELDS.unpack_from(log, stop))
    return Entry(at, HEAD.unpack_from(log, at)[2], bytes(log[at + HEAD.size : stop]), tail)


def describe(scan: Scan) -> bytes:
    """What a message's scan leaves in its arrival, the same for every copy."""
    texts = (scan.envelope, scan.bodystructure, scan.parts, scan.fields, scan.subject, scan.base_subject)
    return b"".join((LENGTHS.pack(scan.is_plain_7bit, scan.sent_zone, *map(len, texts)), *texts))


NOTHING = LENGTHS.pack(0, 0, 0, 0, 0, 0, 0, 0)  # of a message that is known by its id only


def runs(rows: Iterable[int], uids: Sequence[int]) -> bytes:
    """UID runs of these rows, which ascend. Rows side by side are one run: between them no message lives."""
    return span_runs(spans_of(rows), uids)


def span_runs(spans: Iterable[tuple[int, int]], uids: Sequence[int]) -> bytes:
    """The same of spans of rows, (first, after) each."""
    bounds = [uids[row] for begin, end in spans for row in (begin, end - 1)]
    return struct.pack(f"<{len(bounds)}I", *bounds)


def read_runs(payload: Buffer) -> list[tuple[int, int]]:
    """First and last UID of each run."""
    bounds = struct.unpack(f"<{len(payload) // 4}I", payload)
    return list(zip(bounds[::2], bounds[1::2]))
