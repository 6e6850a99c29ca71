from __future__ import annotations

import pytest

from postroom_imap4.commands import Append, MessageUrl, NewMessage, Numbers, Replace
from postroom_imap4.framing import MemoryOctets
from tests.plugins_imap4.wire import Shelf, command, frame, literal, said, wrong

MAIL = MemoryOctets(b"Subject: x\r\n\r\ny\r\n")
SENT = literal(MAIL.data)
PLAIN = NewMessage((MAIL,))
AT = 1784281465.0  # 17-Jul-2026 02:44:25 -0700


APPENDS = [
    (b"APPEND foo " + SENT, Append("foo", (PLAIN,))),
    (b"append inbox " + SENT.replace(b"+", b""), Append("Inbox", (PLAIN,))),
    (b"APPEND foo " + SENT + b" ", Append("foo", (PLAIN,))),
    (b"APPEND " + literal(b"foo") + b" " + SENT, Append("foo", (PLAIN,))),
    (b"APPEND foo ~" + SENT, Append("foo", (PLAIN,))),
    (b"APPEND foo (\\Seen a \\recent) " + SENT, Append("foo", (NewMessage((MAIL,), ("\\Seen", "a")),))),
    (b"APPEND foo () " + SENT, Append("foo", (PLAIN,))),
    (b'APPEND foo "17-Jul-2026 02:44:25 -0700" ' + SENT, Append("foo", (NewMessage((MAIL,), (), AT),))),
    (b'APPEND foo (a) " 1-Jan-1970 00:00:01 +0000" ' + SENT, Append("foo", (NewMessage((MAIL,), ("a",), 1.0),))),
    (b"APPEND foo " + literal(b""), Append("foo", (NewMessage((MemoryOctets(b""),)),))),
    (b"APPEND foo UTF8 (~" + SENT + b")", Append("foo", (NewMessage((MAIL,), utf8=True),))),
    (b"APPEND foo " + SENT + b" (a) " + SENT + b" " + SENT, Append("foo", (PLAIN, NewMessage((MAIL,), ("a",)), PLAIN))),
    (
        b'APPEND foo (a) CATENATE (URL "/x;UID=1/;SECTION=1" TEXT ' + literal(b"z") + b" url imap://y)",
        Append("foo", (NewMessage((MessageUrl("/x;UID=1/;SECTION=1"), MemoryOctets(b"z"), MessageUrl("imap://y")), ("a",)),)),
    ),
    (
        b"APPEND foo CATENATE (TEXT ~" + literal(b"a\x00") + b" UTF8 (~" + literal(b"z") + b")) " + SENT,
        Append("foo", (NewMessage((MemoryOctets(b"a\x00"), MemoryOctets(b"z")), utf8=True), PLAIN)),
    ),
]


@pytest.mark.parametrize(("octets", "value"), APPENDS, ids=lambda value: repr(value)[:50])
def test_appends(octets: bytes, value: Append) -> None:
    assert command(octets) == value


def test_replaces() -> None:
    assert command(b"REPLACE 4 Drafts (\\Draft) " + SENT) == Replace(Numbers(((4, 4),)), "Drafts", NewMessage((MAIL,), ("\\Draft",)))
    assert command(b"uid replace * Drafts " + SENT) == Replace(Numbers(((0, 0),)), "Drafts", PLAIN, by_uid=True)


DATE = 'expected a date and time such as "17-Jul-2026 02:44:25 -0700" at octet 14'


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"APPEND foo", "expected a blank at the end (octet 13)"),
        (b"APPEND foo ", "expected a message, as a literal or literal8 at the end (octet 14)"),
        (b"APPEND foo hello", "expected a message, as a literal or literal8 at octet 14"),
        (b"APPEND foo (a " + SENT, "expected a flag at octet 17"),
        (b"APPEND foo (\\Nosuch) " + SENT, "there is no system flag of that name (\\Seen \\Answered \\Flagged \\Deleted \\Draft)"),
        (b'APPEND foo "yesterday" ' + SENT, DATE),
        (b'APPEND foo "17-Jul-2026 25:44:25 -0700" ' + SENT, DATE),
        (b'APPEND foo "x', "expected a date and time, with a quote at its end at octet 14"),
        (b"APPEND foo UTF8 (" + SENT + b")", "expected a message, as a literal8 at octet 20"),
        (b"APPEND foo UTF8 ~" + SENT, 'expected "(" at octet 19'),
        (b"APPEND foo " + SENT + b" x", "expected a message, as a literal or literal8 at octet 2 after literal 1"),
        (b"APPEND foo CATENATE ()", "expected parts of the message at the end (octet 25)"),
        (b"APPEND foo CATENATE (PART x)", "expected URL, TEXT or UTF8 at octet 24"),
        (b"APPEND foo CATENATE (TEXT x)", "expected a part of the message, as a literal or literal8 at octet 29"),
        (b"APPEND foo CATENATE (URL \xff)", "a URL must be UTF-8"),
        (b"REPLACE 1:2 foo " + SENT, "expected the number of one message at octet 11"),
        (b"REPLACE 1,2 foo " + SENT, "expected the number of one message at octet 11"),
        (b"REPLACE $ foo " + SENT, "expected a sequence set at octet 11"),
        (b"REPLACE 1 foo " + SENT + b" " + SENT, "expected the end of the command at octet 2 after literal 1"),
    ],
)
def test_what_is_wrong(octets: bytes, text: str) -> None:
    assert wrong(octets) == (text, b"", False)


def test_there_is_an_end_to_messages_and_parts() -> None:
    assert wrong(b"APPEND foo" + b" {0+}\r\n" * 1001) == ("at most 1000 messages may be appended at once", b"LIMIT", True)
    parts = b"APPEND foo CATENATE (" + b"TEXT {0+}\r\n " * 1001 + b")"
    assert wrong(parts) == ("at most 1000 may be given: parts of the message", b"", False)


def test_a_large_message_is_handed_on_unread() -> None:
    shelf = Shelf()
    (found,) = said(b"a APPEND foo " + literal(b"x" * 70_000) + b"\r\n", shelf=shelf)
    assert found == frame(b"a APPEND foo " + literal(b"x" * 70_000))
    assert len(shelf.made) == 1


def test_what_was_spilled_is_no_name() -> None:
    """A literal in place of a name may be as large as a message as far as the framer knows."""
    assert wrong(b"APPEND " + literal(b"x" * 70_000) + b" " + SENT) == ("a mailbox name has at most 65536 octets", b"TOOBIG", False)
