"""APPEND and REPLACE: messages that a client brings along (RFC 9051 section 6.3.12, with RFC 3502, 3516, 4469, 6855, 8508). Pure.

A message's octets are handed on as they lie: nothing here looks at them.
"""

from __future__ import annotations

from typing import Final

from postroom_imap4.commands import Append, MessageUrl, NewMessage, Octets, Replace
from postroom_imap4.grammar_mailboxes import mailbox
from postroom_imap4.tokens import Kind, Mistake, Reader

MESSAGES: Final = 1000  # of one APPEND
PARTS: Final = 1000  # of one CATENATE


def append(reader: Reader) -> Append:
    name = mailbox(reader)
    reader.blank()
    messages = [_message(reader)]
    while reader.skip_blank() and not reader.is_end:  # MULTIAPPEND
        messages.append(_message(reader))
        if len(messages) > MESSAGES:
            raise Mistake(f"at most {MESSAGES} messages may be appended at once", b"LIMIT", is_no=True)
    return Append(name, tuple(messages))


def replace(reader: Reader, by_uid: bool) -> Replace:
    """RFC 8508 section 5: one message's number, or "*"."""
    reader.blank()
    numbers = reader.numbers(may_save=False)
    if len(numbers.runs) != 1 or numbers.runs[0][0] != numbers.runs[0][1]:
        raise reader.expected("the number of one message", taken=True)
    name = mailbox(reader)
    reader.blank()
    return Replace(numbers, name, _message(reader), by_uid)


def _message(reader: Reader) -> NewMessage:
    """RFC 9051 section 9, append-message: flags, a date, then octets."""
    flags: tuple[str, ...] = ()
    arrived = None
    if reader.sees(b"("):
        flags = reader.flags()
        reader.blank()
    if reader.sees(b'"'):
        arrived = reader.date_time()
        reader.blank()
    if reader.skip_word(b"CATENATE"):
        reader.blank()
        return _catenated(reader, flags, arrived)
    if reader.sees_word(b"UTF8"):
        return NewMessage((_utf8(reader),), flags, arrived, utf8=True)
    return NewMessage((reader.literal("a message"),), flags, arrived)


def _utf8(reader: Reader) -> Octets:
    """`UTF8 (literal8)` (RFC 6855 section 4)."""
    reader.skip_word(b"UTF8")
    reader.blank()
    reader.mark(b"(")
    octets = reader.literal("a message", Kind.BINARY)
    reader.mark(b")")
    return octets


def _catenated(reader: Reader, flags: tuple[str, ...], arrived: float | None) -> NewMessage:
    """RFC 4469 section 5. One part in UTF8 makes the message one."""
    utf8: list[bool] = []

    def part() -> Octets | MessageUrl:
        if reader.skip_word(b"URL"):
            reader.blank()
            return MessageUrl(reader.text("a URL"))
        if reader.sees_word(b"UTF8"):
            utf8.append(True)
            return _utf8(reader)
        if not reader.skip_word(b"TEXT"):
            raise reader.expected("URL, TEXT or UTF8")
        reader.blank()
        return reader.literal("a part of the message")

    parts = reader.listed(part, "parts of the message", most=PARTS)
    return NewMessage(tuple(parts), flags, arrived, bool(utf8))
