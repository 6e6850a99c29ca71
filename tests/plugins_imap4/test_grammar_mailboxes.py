from __future__ import annotations

import pytest

from postroom_imap4.commands import Command, Create, Delete, List, Numbers, Rename, Resync, Select, Status, Subscribe
from tests.plugins_imap4.wire import command, literal, wrong

NONE: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    ("octets", "name"),
    [
        (b"INBOX", "Inbox"),
        (b"inbox", "Inbox"),
        (b'"inbox"', "Inbox"),
        (b"foo", "foo"),
        (b"foo/bar]", "foo/bar]"),
        (b'"a b"', "a b"),
        (b'"a\\"b\\\\c\\x"', 'a"b\\cx'),
        (b'""', ""),
        (literal(b"a b"), "a b"),
        (b"{3}\r\na b", "a b"),
        (literal(b""), ""),
        (b"&AOk-", "é"),
        (b'"\xc3\xa9 &"', "é &"),
        (b"\xc3\xa9", "é"),
        (b"NIL", "NIL"),
        (b"a&-b", "a&b"),
    ],
)
def test_names(octets: bytes, name: str) -> None:
    assert command(b"SELECT " + octets) == Select(name)
    assert command(b"delete " + octets + b" ") == Delete(name)


@pytest.mark.parametrize(
    ("octets", "text", "is_no"),
    [
        (b"", "expected a mailbox name at the end (octet 10)", False),
        (b"(", "expected a mailbox name at octet 10", False),
        (b'"a', "expected a mailbox name, with a quote at its end at octet 10", False),
        (b'"a\x01\x00"', "expected a mailbox name, with a quote at its end at octet 10", False),
        (b"~" + literal(b"a"), "expected a mailbox name, as a literal at octet 10", False),
        (literal(b"a\x00b"), "a mailbox name must not hold a NUL", False),
        (literal(b"a\nb"), "a mailbox name has no control characters", True),
        (b'"\xff"', "a mailbox name must be UTF-8", True),
        (b"a&", 'an "&" in a mailbox name begins modified UTF-7, and "-" must end it', True),
        (b"&AGE-", "a mailbox name must not encode what can stand for itself", True),
        (b"x" * 1001, "a mailbox name has at most 1000 octets", True),
    ],
)
def test_what_is_wrong_with_a_name(octets: bytes, text: str, is_no: bool) -> None:
    assert wrong(b"SELECT " + octets) == (text, b"CANNOT" if is_no else b"", is_no)


def test_a_name_has_no_wildcard_without_quotes() -> None:
    assert wrong(b"DELETE a*") == ("expected the end of the command at octet 11", b"", False)
    assert command(b'DELETE "a*%"') == Delete("a*%")


def numbers(*runs: tuple[int, int]) -> Numbers:
    return Numbers(runs)


COMMANDS: list[tuple[bytes, Command]] = [
    (b"EXAMINE foo", Select("foo", readonly=True)),
    (b"SELECT foo (CONDSTORE)", Select("foo", condstore=True)),
    (b"SELECT foo (QRESYNC (1 2))", Select("foo", resync=Resync(1, 2))),
    (b"examine foo (condstore qresync (4294967295 9223372036854775807 1:3,5))", Select("foo", True, True, Resync(4294967295, (1 << 63) - 1, numbers((1, 3), (5, 5))))),
    (b"SELECT foo (QRESYNC (1 2 (3 4)))", Select("foo", resync=Resync(1, 2, None, (numbers((3, 3)), numbers((4, 4)))))),
    (b"SELECT foo (QRESYNC (1 2 5:6 (1,3 4,9)))", Select("foo", resync=Resync(1, 2, numbers((5, 6)), (numbers((1, 1), (3, 3)), numbers((4, 4), (9, 9)))))),
    (b"CREATE foo", Create("foo")),
    (b"CREATE foo/bar/", Create("foo/bar")),
    (b"CREATE foo (USE (\\Sent \\Drafts))", Create("foo", ("\\Sent", "\\Drafts"))),
    (b"CREATE foo (USE ())", Create("foo")),
    (b"RENAME foo bar/", Rename("foo", "bar")),
    (b'RENAME "a b" ' + literal(b"c"), Rename("a b", "c")),
    (b"SUBSCRIBE foo", Subscribe("foo", True)),
    (b"UNSUBSCRIBE foo", Subscribe("foo", False)),
    (b"STATUS foo (MESSAGES)", Status("foo", ("MESSAGES",))),
    (
        b"status foo (uidnext UIDVALIDITY unseen deleted size highestmodseq appendlimit mailboxid recent deleted-storage uidnext)",
        Status("foo", ("UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "SIZE", "HIGHESTMODSEQ", "APPENDLIMIT", "MAILBOXID", "RECENT", "DELETED-STORAGE")),
    ),
    (b'LIST "" *', List("", ("*",))),
    (b'list "" ""', List("", ("",))),
    (b"LIST a/ %", List("a/", ("%",))),
    (b'LIST "" inbox', List("", ("inbox",))),
    (b'LIST "" "Entw&APw-%*"', List("", ("Entwü%*",))),
    (b'LIST "" ' + literal(b"a b"), List("", ("a b",))),
    (b'LSUB "" "*"', List("", ("*",), is_lsub=True)),
    (b'LIST "" ()', List("", (), is_extended=True)),
    (b'LIST "" (% "a b" *)', List("", ("%", "a b", "*"), is_extended=True)),
    (b'LIST () "" %', List("", ("%",), is_extended=True)),
    (b'LIST (SUBSCRIBED) "" %', List("", ("%",), select=frozenset({"SUBSCRIBED"}), is_extended=True)),
    (
        b'LIST (subscribed recursivematch remote special-use) "" %',
        List("", ("%",), select=frozenset({"SUBSCRIBED", "RECURSIVEMATCH", "REMOTE", "SPECIAL-USE"}), is_extended=True),
    ),
    (b'LIST "" % RETURN ()', List("", ("%",), is_extended=True)),
    (
        b'LIST "" % RETURN (SUBSCRIBED children SPECIAL-USE MYRIGHTS)',
        List("", ("%",), returns=frozenset({"SUBSCRIBED", "CHILDREN", "SPECIAL-USE", "MYRIGHTS"}), is_extended=True),
    ),
    (
        b'LIST "" % RETURN (STATUS (MESSAGES UNSEEN) CHILDREN METADATA ("/Private/Comment" /shared/x))',
        List(
            "", ("%",), False, NONE, frozenset({"CHILDREN"}), ("MESSAGES", "UNSEEN"), ("/private/comment", "/shared/x"), is_extended=True
        ),
    ),
]  # fmt: skip


@pytest.mark.parametrize(("octets", "value"), COMMANDS, ids=lambda value: repr(value)[:50])
def test_commands(octets: bytes, value: Command) -> None:
    assert command(octets) == value


def test_names_are_utf_8_once_that_is_enabled() -> None:
    assert command("SELECT é&".encode(), utf8=True) == Select("é&")
    assert command('LIST "é" "&*"'.encode(), is_rev2=True) == List("é", ("&*",))


ITEMS = "MESSAGES UIDNEXT UIDVALIDITY UNSEEN DELETED SIZE RECENT HIGHESTMODSEQ APPENDLIMIT MAILBOXID DELETED-STORAGE"


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"SELECT foo bar", 'expected "(" and parameters of SELECT at octet 14'),
        (b"SELECT foo ()", "expected parameters of SELECT at the end (octet 16)"),
        (b"SELECT foo (X)", "expected QRESYNC or a parameter of SELECT (CONDSTORE) at octet 15"),
        (b"SELECT foo (QRESYNC)", "expected a blank at octet 22"),
        (b"SELECT foo (QRESYNC (0 1))", "expected a UIDVALIDITY, a number from 1 to 4294967295 at octet 24"),
        (b"SELECT foo (QRESYNC (1))", "expected a blank at octet 25"),
        (b"SELECT foo (QRESYNC (1 2 $))", "expected a sequence set at octet 28"),
        (b"SELECT foo (QRESYNC (1 2 (3)))", "expected a blank at octet 30"),
        (b"SELECT foo (QRESYNC (1 2 (3 4))", 'expected a blank or ")" at the end (octet 34)'),
        (b"SELECT foo (QRESYNC (1 2) QRESYNC (1 2))", "QRESYNC may be given once"),
        (b"CREATE foo (USE \\Sent)", 'expected "(" and special uses at octet 19'),
        (b"CREATE foo (USE (Sent))", "expected an attribute such as \\Sent at octet 20"),
        (b"CREATE foo (X)", "expected USE at octet 15"),
        (b"RENAME foo", "expected a blank at the end (octet 13)"),
        (b"STATUS foo", "expected a blank at the end (octet 13)"),
        (b"STATUS foo MESSAGES", 'expected "(" and status items at octet 14'),
        (b"STATUS foo ()", "expected status items at the end (octet 16)"),
        (b"STATUS foo (X)", f"expected a status item ({ITEMS}) at octet 15"),
        (b'LIST ""', "expected a blank at the end (octet 10)"),
        (b'LIST "" % x', "expected RETURN or the end of the command at octet 13"),
        (b'LIST (RECURSIVEMATCH) "" %', "RECURSIVEMATCH needs another selection option beside it"),
        (b'LIST (REMOTE RECURSIVEMATCH) "" %', "RECURSIVEMATCH needs another selection option beside it"),
        (b'LIST (X) "" %', "expected a selection option (SUBSCRIBED REMOTE RECURSIVEMATCH SPECIAL-USE) at octet 9"),
        (
            b'LIST "" % RETURN (X)',
            "expected STATUS, METADATA or a return option (SUBSCRIBED CHILDREN SPECIAL-USE MYRIGHTS) at octet 21",
        ),
        (b'LIST "" % RETURN (STATUS ())', "expected status items at octet 30"),
        (b'LIST "" % RETURN (STATUS (MESSAGES)', 'expected a blank or ")" at the end (octet 38)'),
    ],
)
def test_what_is_wrong(octets: bytes, text: str) -> None:
    assert wrong(octets) == (text, b"", False)


def test_a_list_without_end_is_refused() -> None:
    """Case 28."""
    patterns = b'LIST "" (' + b"a " * 1001 + b")"
    assert wrong(patterns) == ("at most 1000 may be given: mailbox patterns", b"", False)
