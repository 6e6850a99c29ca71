"""The header of a message: its ENVELOPE (RFC 9051 section 7.5.2) and the fields that SEARCH, SORT and THREAD want.

Of Date, Subject, From, Sender, Reply-To, Message-ID and In-Reply-To the first field counts, wherever it is asked for (features case 33);
To, Cc and Bcc are joined (RFC 5322 section 4.5.3). Linear; nothing raises.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from postroom_mime import addresses, content
from postroom_mime.headers import MAX_HEADER, split_fields, unfold
from postroom_mime.strings import NIL, nstring

MAX_REFERENCES = 100
MAX_ROWS = 1_000  # fields of the names below that are looked at in one header

FROM, TO, CC, BCC, SUBJECT, DATE, MESSAGE_ID, IN_REPLY_TO, REFERENCES, SENDER, REPLY_TO = range(11)
CACHED = 9  # slots below this one go into the cache of fields, see postroom_mime.fields
_CONTENT = 16  # slots from here on are those of postroom_mime.content
_NAMES = {
    b"From": FROM,
    b"To": TO,
    b"Cc": CC,
    b"Bcc": BCC,
    b"Subject": SUBJECT,
    b"Date": DATE,
    b"Message-ID": MESSAGE_ID,
    b"In-Reply-To": IN_REPLY_TO,
    b"References": REFERENCES,
    b"Sender": SENDER,
    b"Reply-To": REPLY_TO,
} | {name: _CONTENT + slot for name, slot in content.SLOTS.items()}
_OTHER = 99
_SLOTS = _NAMES | {name.lower(): slot for name, slot in _NAMES.items()} | {b"Message-Id": MESSAGE_ID, b"CC": CC, b"BCC": BCC}
_SLOTS |= dict.fromkeys((b"Received", b"Return-Path", b"Delivered-To", b"DKIM-Signature", b"MIME-Version", b"X-Mailer", b"", b"\r"), _OTHER)
_IDS = re.compile(rb"<([^<>\s]{1,998}+)>")  # RFC 5322 section 2.1.1: no line is longer


class MessageHeader(NamedTuple):
    """The fields of one header by slot, unfolded, and those to be cached as they stood."""

    values: list[bytes | None]  # by slot, up to REPLY_TO
    content: content.Values
    slots: list[int]  # of the fields to be cached, in the message's order
    items: list[bytes]  # the same fields, marked
    is_whole: bool  # whether these are all of them


def read(block: bytes) -> MessageHeader:
    """Read the header of a message."""
    values: list[bytes | None] = [None] * 11
    of_content: content.Values = [None] * len(content.SLOTS)
    slots: list[int] = []
    items: list[bytes] = []
    is_whole = len(block) <= MAX_HEADER
    for item in split_fields(block if is_whole else block[:MAX_HEADER]):
        name, _, value = item.partition(b":")
        slot = _SLOTS.get(name)
        if slot is None:
            slot = _SLOTS.get(name.strip().lower(), _OTHER)
        if slot == _OTHER:
            continue
        if slot >= _CONTENT:
            if of_content[slot - _CONTENT] is None:
                of_content[slot - _CONTENT] = unfold(value)
            continue
        if slot < CACHED:
            if len(slots) == MAX_ROWS:
                is_whole = False
                continue
            slots.append(slot)
            items.append(item)
        before = values[slot]
        if before is None:
            values[slot] = unfold(value) if 0 in value else value.strip()
        elif TO <= slot <= BCC and len(before) < addresses.MAX_OCTETS:
            values[slot] = before + b", " + unfold(value)
    return MessageHeader(values, of_content, slots, items, is_whole)


def rendered(header: MessageHeader) -> bytes:
    """The ENVELOPE, parentheses included."""
    author, to, cc, bcc, subject, date, message_id, in_reply_to, _, sender, reply_to = header.values
    writer = addresses.rendered(author) if author else NIL
    return b"(%b %b %b %b %b %b %b %b %b %b)" % (
        nstring(date),
        nstring(subject),
        writer,
        _addresses(sender, writer) if sender else writer,
        _addresses(reply_to, writer) if reply_to else writer,
        addresses.rendered(to) if to else NIL,
        addresses.rendered(cc) if cc else NIL,
        addresses.rendered(bcc) if bcc else NIL,
        nstring(in_reply_to),
        nstring(message_id),
    )


def _addresses(value: bytes, otherwise: bytes) -> bytes:
    """Sender and Reply-To default to From where no address is in them."""
    shown = addresses.rendered(value)
    return otherwise if shown == NIL else shown


def message_id(header: MessageHeader) -> bytes:
    """The Message-ID without its angle brackets; empty where there is none."""
    value = header.values[MESSAGE_ID]
    match = _IDS.search(value) if value else None
    return match[1] if match else b""


def references(header: MessageHeader) -> tuple[bytes, ...]:
    """What THREAD follows, oldest first, without angle brackets: References, else the first id of In-Reply-To (RFC 5256 section 3).

    Of very many the first and the latest are kept."""
    value = header.values[REFERENCES]
    if value and (found := _IDS.findall(value)):
        if len(found) > MAX_REFERENCES:
            found = [found[0], *found[1 - MAX_REFERENCES :]]
        return tuple(found)
    value = header.values[IN_REPLY_TO]
    match = _IDS.search(value) if value else None
    return (match[1],) if match else ()
