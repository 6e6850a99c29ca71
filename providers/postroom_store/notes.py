"""What the store writes into the worker's journal, so that a power cut cannot take back what a client was told. Pure.

One journal record holds the notes of one call, all or none: an arrival (compact: the texts of its index record are scanned again
from the message), an arrival with the message's octets, the same before the folder's log has it (APPEND) and its withdrawal, a record of the
folder log as it was written, or a move or a replacement that is about to begin. Each says to which folder it belongs, by object id and, should the folder itself be lost, by name and UIDVALIDITY.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from postroom_store.records import ARRIVAL, TRAIL, Arrival

Fixed = tuple[int, int, int, int, float, float, float, int, int]  # an Arrival, named or not
KIND = 32  # of the journal's STORE_KINDS
ARRIVED, BROUGHT, CHANGED, MOVING, CAME, REPLACING, PUT, BEGUN, WITHDRAWN = range(1, 10)

_NOTE = struct.Struct("<BHI")  # kind, length of the folder's name, length of the body
_WHERE = struct.Struct("<8sI")
_CHANGE = struct.Struct("<BQ")
_MOVE = struct.Struct("<16sIH")  # token, floor, length of the source's name


class Where(NamedTuple):
    """A folder, by identity and by name."""

    object_id: bytes
    uidvalidity: int
    postoffice: str
    mailbox: str
    folder: str

    def pack(self) -> bytes:
        names = "\0".join((self.postoffice, self.mailbox, self.folder)).encode()
        return _WHERE.pack(self.object_id, self.uidvalidity) + names


@dataclass(frozen=True, slots=True)
class ArrivalNote:
    """A message came into a folder; `data` where the journal has no other record of its octets."""

    where: Where
    arrival: Arrival
    data: bytes | None = None
    trail: bytes = b""  # of an arrival by a move or in place of a message elsewhere: see TRAIL
    begun: bool = False  # noted before the folder's log had it, if it ever did; when it was sent is not known yet


@dataclass(frozen=True, slots=True)
class WithdrawnNote:
    """What was begun so did not come."""

    where: Where
    arrival: Arrival


@dataclass(frozen=True, slots=True)
class ChangeNote:
    """A record of the folder's log, of any kind but an arrival."""

    where: Where
    kind: int
    modseq: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class MoveNote:
    """Messages are about to be moved to `where`; what arrives there with this token, under `floor` or a higher UID, is to end in `source`.
    With `replaces` it has octets of its own (REPLACE)."""

    where: Where
    token: bytes
    floor: int
    source: Where
    uids: bytes  # of the messages in the source, as runs
    replaces: bool = False


Note = ArrivalNote | WithdrawnNote | ChangeNote | MoveNote


def arrived(where: bytes, arrival: Fixed, trail: bytes = b"") -> bytes:
    kind = CAME if trail else ARRIVED
    return b"".join((_NOTE.pack(kind, len(where), ARRIVAL.size + len(trail)), where, ARRIVAL.pack(*arrival), trail))


def brought(where: bytes, arrival: Arrival, data: bytes, trail: bytes = b"") -> bytes:
    length = ARRIVAL.size + len(trail) + len(data)
    return b"".join((_NOTE.pack(PUT if trail else BROUGHT, len(where), length), where, ARRIVAL.pack(*arrival), trail, data))


def begun(where: bytes, arrival: Arrival, data: bytes) -> bytes:
    return b"".join((_NOTE.pack(BEGUN, len(where), ARRIVAL.size + len(data)), where, ARRIVAL.pack(*arrival), data))


def withdrawn(where: bytes, arrival: Arrival) -> bytes:
    return b"".join((_NOTE.pack(WITHDRAWN, len(where), ARRIVAL.size), where, ARRIVAL.pack(*arrival)))


def changed(where: bytes, kind: int, modseq: int, payload: bytes) -> bytes:
    return b"".join((_NOTE.pack(CHANGED, len(where), _CHANGE.size + len(payload)), where, _CHANGE.pack(kind, modseq), payload))


def moving(target: bytes, token: bytes, floor: int, source: bytes, uids: bytes, *, replaces: bool = False) -> bytes:
    length = _MOVE.size + len(source) + len(uids)
    return b"".join(
        (_NOTE.pack(REPLACING if replaces else MOVING, len(target), length), target, _MOVE.pack(token, floor, len(source)), source, uids)
    )


def read(record: bytes) -> Iterator[Note]:
    """The notes of one journal record, in order."""
    at = 0
    while at < len(record):
        kind, named, length = _NOTE.unpack_from(record, at)
        begin = at + _NOTE.size + named
        where = _where(record[at + _NOTE.size : begin])
        body = record[begin : begin + length]
        at = begin + length
        if kind == CHANGED:
            change, modseq = _CHANGE.unpack_from(body)
            yield ChangeNote(where, change, modseq, body[_CHANGE.size :])
        elif kind in (MOVING, REPLACING):
            token, floor, named = _MOVE.unpack_from(body)
            rest = body[_MOVE.size :]
            yield MoveNote(where, token, floor, _where(rest[:named]), rest[named:], kind == REPLACING)
        else:
            arrival, rest = Arrival._make(ARRIVAL.unpack_from(body)), body[ARRIVAL.size :]
            trail = {CAME: rest, PUT: rest[: TRAIL.size]}.get(kind, b"")
            data = rest[len(trail) :] if kind in _WITH_OCTETS else None
            yield WithdrawnNote(where, arrival) if kind == WITHDRAWN else ArrivalNote(where, arrival, data, trail, kind == BEGUN)


_WITH_OCTETS = frozenset((BROUGHT, PUT, BEGUN))


def _where(packed: bytes) -> Where:
    object_id, uidvalidity = _WHERE.unpack_from(packed)
    postoffice, mailbox, folder = packed[_WHERE.size :].decode().split("\0")
    return Where(object_id, uidvalidity, postoffice, mailbox, folder)
