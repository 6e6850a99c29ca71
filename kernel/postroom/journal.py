"""What the journal holds for the kernel: acceptances, and what is settled of them.

`postroom_disk.journal` keeps records of any kind; here is what two of them mean, and how replay finds a message by its id.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from typing import Final

from postroom.message import MemoryMessage, Message
from postroom_disk import journal as disk_journal
from postroom_disk.journal import Record as Record
from postroom_disk.journal import Segment as Segment

KERNEL_KINDS: Final = range(1, 32)
STORE_KINDS: Final = range(32, 64)
ACCEPTED: Final = 1  # 16 octets of message id, length of the command file (4), the command file, the octets (none: a file has them)
SETTLED: Final = 2  # 16 octets of item id, then the destinations that have it, joined by ";"; none: all is done

_ACCEPT: Final = struct.Struct("<16sI")

Journal = disk_journal.Journal[Message]
Replay = disk_journal.Replay[Message]


def accept_head(message_id: str, command: bytes) -> bytes:
    """What stands before the command file in an ACCEPTED record."""
    return _ACCEPT.pack(bytes.fromhex(message_id), len(command))


def accepted(payload: bytes) -> tuple[bytes, bytes]:
    """The command file and the octets of an ACCEPTED record."""
    _, length = _ACCEPT.unpack_from(payload)
    return payload[_ACCEPT.size : _ACCEPT.size + length], payload[_ACCEPT.size + length :]


class Finder:
    """Finds a message among replayed records, else where queues keep theirs."""

    def __init__(self, at_rest: Callable[[str], Message | None]) -> None:
        self._at_rest = at_rest
        self._seen: Sequence[Record] = ()
        self._payloads: dict[bytes, bytes] = {}

    def __call__(self, records: Sequence[Record], message_id: str) -> Message | None:
        if records is not self._seen:
            self._seen = records
            self._payloads = {record.payload[:16]: record.payload for record in records if record.kind == ACCEPTED}
        payload = self._payloads.get(bytes.fromhex(message_id))
        data = accepted(payload)[1] if payload else b""
        return MemoryMessage(message_id, data) if data else self._at_rest(message_id)
