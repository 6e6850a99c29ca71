"""The header fields kept in a folder's log, so that FETCH HEADER.FIELDS, SEARCH, SORT and THREAD open no file.

Packed: how many, whether some are missing, their slots, their lengths, then the fields as they stood in the message, in its order.
`header_fields` and `value` give None for what is not here; `is_whole` says whether the message had more than are kept.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from struct import Struct

from postroom_mime.envelope import MessageHeader
from postroom_mime.headers import unfold

NAMES = (b"FROM", b"TO", b"CC", b"BCC", b"SUBJECT", b"DATE", b"MESSAGE-ID", b"IN-REPLY-TO", b"REFERENCES")  # by slot
MAX_OCTETS = 65_535
MAX_FIELDS = 200
_PARTIAL = b"\0\1"
_SLOT = {name: slot for slot, name in enumerate(NAMES)}


def pack(header: MessageHeader) -> bytes:
    """Pack a message's fields; those beyond the limits are left out and the pack says so."""
    slots, items = header.slots, header.items
    text = b"\n".join(items) + b"\n" if items else b""
    if len(items) > MAX_FIELDS or len(text) > MAX_OCTETS:
        return _PARTIAL
    lengths = _lengths(len(items)).pack(*[len(item) + 1 for item in items])
    return b"%c%c%b%b%b" % (len(items), not header.is_whole, bytes(slots), lengths, text.replace(b"\0", b"\n"))


@lru_cache(maxsize=256)
def _lengths(count: int) -> Struct:
    return Struct(f"<{count}H")


def header_fields(packed: bytes, names: Iterable[bytes]) -> bytes | None:
    """What BODY[HEADER.FIELDS (names)] sends, blank line included; names in any case. None: read the message's header instead."""
    wanted = _wanted(tuple(names))
    if wanted is None or packed[1]:
        return None
    return b"".join([*_slices(packed, wanted), b"\r\n"])


def is_whole(packed: bytes) -> bool:
    """Whether every such field of the message is here, so that a missing one was missing there too."""
    return not packed[1]


def value(packed: bytes, name: bytes) -> bytes | None:
    """The first field of this name (upper case, one of NAMES), unfolded; None where there is none here."""
    found = _slices(packed, frozenset((_SLOT[name],)))
    return unfold(found[0].partition(b":")[2].replace(b"\n", b"\0")) if found else None


def _slices(packed: bytes, wanted: frozenset[int]) -> list[bytes]:
    count = packed[0]
    slots = packed[2 : 2 + count]
    end = 2 + 3 * count
    found = []
    for slot, length in zip(slots, _lengths(count).unpack_from(packed, 2 + count)):
        start, end = end, end + length
        if slot in wanted:
            found.append(packed[start:end])
    return found


@lru_cache(maxsize=256)
def _wanted(names: tuple[bytes, ...]) -> frozenset[int] | None:
    slots = frozenset(_SLOT.get(name.upper(), -1) for name in names)
    return None if -1 in slots else slots
