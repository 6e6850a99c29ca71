from __future__ import annotations

import pytest

from postroom.mailstore import ANSWERED, SEEN
from postroom_imap4 import answers

TEXTS = [
    (b"abc", b"abc", b'"abc"'),
    (b"", b'""', b'""'),
    (b"NIL", b'"NIL"', b'"NIL"'),
    (b"nil", b'"nil"', b'"nil"'),
    (b"a b", b'"a b"', b'"a b"'),
    (b"a]b", b'"a]b"', b'"a]b"'),
    (b'a"b\\c', b'"a\\"b\\\\c"', b'"a\\"b\\\\c"'),
    (b"a*", b'"a*"', b'"a*"'),
    (b"a\r\nb", b"{4}\r\na\r\nb", b"{4}\r\na\r\nb"),
    (b"\xc3\xa9", b"{2}\r\n\xc3\xa9", b"{2}\r\n\xc3\xa9"),
    (b"a\x00b", b"~{3}\r\na\x00b", b"~{3}\r\na\x00b"),
    (b"x" * 1001, b"x" * 1001, b"{1001}\r\n" + b"x" * 1001),
]


@pytest.mark.parametrize(("octets", "atom", "quoted"), TEXTS, ids=lambda value: repr(value)[:20])
def test_strings(octets: bytes, atom: bytes, quoted: bytes) -> None:
    assert answers.astring(octets) == atom
    assert answers.quoted(octets) == answers.nstring(octets) == quoted


def test_utf_8_within_quotes_only_where_it_was_enabled() -> None:
    assert answers.quoted("é", utf8=True) == answers.astring("é", utf8=True) == '"é"'.encode()
    assert answers.quoted('é"', utf8=True) == '"é\\""'.encode()
    assert answers.quoted(b"\xff", utf8=True) == b"{1}\r\n\xff"
    assert answers.quoted("é\n", utf8=True) == "{3}\r\né\n".encode()
    assert answers.nstring(None) == b"NIL"


def test_a_literal_that_comes_in_pieces() -> None:
    assert answers.literal_start(5) + b"ab" + b"cde" == answers.literal(b"abcde")
    assert answers.literal_start(2, binary=True) == b"~{2}\r\n"


@pytest.mark.parametrize(
    ("name", "utf7", "utf8"),
    [
        ("Inbox", b'"INBOX"', b'"INBOX"'),
        ("a b", b'"a b"', b'"a b"'),
        ("Entwürfe", b'"Entw&APw-rfe"', '"Entwürfe"'.encode()),
        ("a&b", b'"a&-b"', b'"a&b"'),
        ("a\nb", b'"a&AAo-b"', b"{3}\r\na\nb"),
    ],
)
def test_mailboxes(name: str, utf7: bytes, utf8: bytes) -> None:
    assert (answers.mailbox(name, False), answers.mailbox(name, True)) == (utf7, utf8)


KEYWORDS = ["$Forwarded", "Work"]


def test_flags_as_text() -> None:
    assert answers.flag_list(0, KEYWORDS) == b"()"
    assert answers.flag_list(SEEN | ANSWERED, KEYWORDS) == b"(\\Seen \\Answered)"
    assert answers.flag_list(31, []) == b"(\\Seen \\Answered \\Flagged \\Deleted \\Draft)"
    assert answers.flag_list(SEEN | 32 | 64, KEYWORDS) == b"(\\Seen $Forwarded Work)"
    assert answers.flag_list(64, KEYWORDS) == b"(Work)"
    assert answers.flag_list(128, KEYWORDS) == b"()"  # made by another worker, its name is still to be read
    assert answers.flag_list(64, ["$Forwarded", "Play"]) == b"(Play)"  # another folder


def test_flags_from_text() -> None:
    assert answers.flag_bits([], KEYWORDS) == (0, [])
    assert answers.flag_bits(["\\seen", "\\Answered"], KEYWORDS) == (SEEN | ANSWERED, [])
    assert answers.flag_bits(["work", "\\Seen", "New", "new", "Newer"], KEYWORDS) == (64 | SEEN, ["New", "Newer"])


def test_every_flag_comes_back() -> None:
    for flags in range(128):
        names = answers.flag_list(flags, KEYWORDS).decode()[1:-1].split()
        assert answers.flag_bits(names, KEYWORDS) == (flags, [])


def test_dates_and_texts() -> None:
    assert answers.date_time(0) == b'" 1-Jan-1970 00:00:00 +0000"'
    assert answers.date_time(1753000000.7, 120) == b'"20-Jul-2025 10:26:40 +0200"'
    assert answers.line_text("a\r\nb\x7fé") == b"a  b ?"
    assert answers.line_text("") == b"?"
