"""One scan of a message at delivery, giving all that IMAP will ask for, so that nothing is parsed at FETCH, SEARCH, SORT or THREAD.

`scan` never raises, whatever the octets, save OSError where a file cannot be read; its time and memory are linear in them (tree.py says
why). It takes octets in memory, or those of a file: of these it has two windows and one header at a time (onfile.py).
"""

from __future__ import annotations

from typing import NamedTuple

from postroom_mime import dates, envelope, fields, parts, structure, tree
from postroom_mime.envelope import DATE, SUBJECT
from postroom_mime.onfile import FileOctets
from postroom_mime.subjects import base_subject, folded_subject
from postroom_mime.tree import Entity


class Scan(NamedTuple):
    """What a folder's log keeps of a message. A tuple, as `Content` is, because there is one for every message."""

    envelope: bytes  # ENVELOPE as IMAP sends it, parentheses included
    bodystructure: bytes  # BODYSTRUCTURE likewise, with extension data
    parts: bytes  # for parts.Parts.load: where each section lies
    fields: bytes  # for fields.header_fields: the cached header fields as they stood
    subject: bytes  # decoded and case folded, UTF-8
    base_subject: bytes  # RFC 5256 section 2.1, of `subject`
    sent: float | None  # the Date field, unix seconds; None where there is none or it is no date
    sent_zone: int  # minutes east of UTC in which it was written: SENTBEFORE and its kin compare the written day
    is_plain_7bit: bool  # no encoded word, every text part 7-bit as it stands: a search of the raw octets may say "no" (folds apart)
    header: envelope.MessageHeader  # of the message itself, for what is asked of it rarely

    @property
    def message_id(self) -> bytes:
        """Without angle brackets; empty where there is none."""
        return envelope.message_id(self.header)

    @property
    def references(self) -> tuple[bytes, ...]:
        """Oldest first, likewise; at most envelope.MAX_REFERENCES."""
        return envelope.references(self.header)

    @property
    def body(self) -> bytes:
        """BODY as IMAP sends it: the structure without extension data."""
        return structure.without_extensions(self.bodystructure)


def scan(data: bytes | bytearray | memoryview | FileOctets) -> Scan:
    """Scan a message."""
    octets = data if isinstance(data, (bytes, FileOctets)) else bytes(data)
    entities = tree.grow(octets)
    root = entities[0]
    header = root.message
    assert header is not None  # the root is a message
    date, subject = header.values[DATE], folded_subject(header.values[SUBJECT] or b"")
    sent = dates.parse(date) if date else None
    return Scan(
        envelope=envelope.rendered(header),
        bodystructure=structure.rendered(root),
        parts=parts.pack(entities),
        fields=fields.pack(header),
        subject=subject,
        base_subject=base_subject(subject),
        sent=sent.seconds if sent else None,
        sent_zone=sent.zone if sent else 0,
        is_plain_7bit=_is_plain(octets, entities),
        header=header,
    )


def _is_plain(data: bytes | FileOctets, entities: list[Entity]) -> bool:
    """Whether all text says what its octets say. Of parts their Content knows; headers of messages are asked here."""
    for entity in entities:
        if not entity.content.is_plain or (entity.message and data.find(b"=?", entity.header, entity.body) >= 0):
            return False
    return data.isascii()
