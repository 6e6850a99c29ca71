from __future__ import annotations

import pytest

from postroom_imap4 import grammar
from postroom_imap4.commands import (
    Authenticate,
    Capability,
    Check,
    Close,
    Command,
    Compress,
    Enable,
    Expunge,
    Id,
    Idle,
    LogIn,
    Logout,
    Namespace,
    Noop,
    Numbers,
    Select,
    StartTls,
    Tagged,
    Unauthenticate,
    Unselect,
    Wrong,
)
from postroom_imap4.framing import Frame
from tests.plugins_imap4.wire import command, frame, literal, read, wrong

SIMPLE = {
    b"CAPABILITY": Capability(),
    b"NOOP": Noop(),
    b"LOGOUT": Logout(),
    b"STARTTLS": StartTls(),
    b"UNAUTHENTICATE": Unauthenticate(),
    b"NAMESPACE": Namespace(),
    b"IDLE": Idle(),
    b"CHECK": Check(),
    b"CLOSE": Close(),
    b"UNSELECT": Unselect(),
    b"EXPUNGE": Expunge(),
}


@pytest.mark.parametrize("word", SIMPLE, ids=bytes.decode)
def test_commands_without_arguments(word: bytes) -> None:
    for written in (word, word.lower(), word.capitalize(), word + b"  ", b"  " + word):
        assert command(written) == SIMPLE[word]
    text, _, _ = wrong(word + b" x")
    assert text == f"expected the end of the command at octet {len(word) + 4}"


COMMANDS: list[tuple[bytes, Command]] = [
    (b"ID NIL", Id(())),
    (b"ID ()", Id(())),
    (b'ID ("name" "x" "version" NIL)', Id((("name", "x"), ("version", None)))),
    (b"ID (" + literal(b"name") + b" " + literal("ü".encode()) + b")", Id((("name", "ü"),))),
    (b'ID ("name" "\xff")', Id((("name", "\ufffd"),))),
    (b"AUTHENTICATE PLAIN", Authenticate("PLAIN", None)),
    (b"authenticate scram-sha-256-plus", Authenticate("SCRAM-SHA-256-PLUS", None)),
    (b"AUTHENTICATE PLAIN =", Authenticate("PLAIN", b"=")),
    (b"AUTHENTICATE PLAIN AGEAYg==", Authenticate("PLAIN", b"AGEAYg==")),
    (b"AUTHENTICATE PLAIN " + b"A" * 12288, Authenticate("PLAIN", b"A" * 12288)),
    (b"LOGIN bob secret", LogIn("bob", b"secret")),
    (b'LOGIN "bob b" "s\\"\\\\ t"', LogIn("bob b", b's"\\ t')),
    (b"LOGIN " + literal("jörg".encode()) + b" " + literal(b"\xff \r\n"), LogIn("jörg", b"\xff \r\n")),
    (b"LOGIN bob@example.test p%s*s(w{o]r\\d", LogIn("bob@example.test", b"p%s*s(w{o]r\\d")),
    (b"LOGIN bob " + literal(b""), LogIn("bob", b"")),
    (b'login bob ""', LogIn("bob", b"")),
    (b"ENABLE condstore UTF8=ACCEPT", Enable(("CONDSTORE", "UTF8=ACCEPT"))),
    (b"COMPRESS deflate", Compress("DEFLATE")),
    (b"UID EXPUNGE 1:3,$".replace(b",$", b""), Expunge(Numbers(((1, 3),)))),
    (b"UID EXPUNGE $", Expunge(Numbers(saved=True))),
    (b"uid  EXPUNGE  1:*", Expunge(Numbers(((1, 0),)))),
]


@pytest.mark.parametrize(("octets", "value"), COMMANDS, ids=lambda value: repr(value)[:40])
def test_commands(octets: bytes, value: Command) -> None:
    assert command(octets) == value
    assert command(octets + b" ") == value


@pytest.mark.parametrize(
    ("octets", "text"),
    [
        (b"", "expected a command at the end (octet 3)"),
        (b"XYZZY", "expected a command at octet 3"),
        (b"NOOP\x00", "expected the end of the command at octet 7"),
        (b"NOOP {3+}\r\nabc", "expected the end of the command at octet 8"),
        (b"UID", "expected a blank at the end (octet 6)"),
        (b"UID NOOP", "expected a command of UID (FETCH STORE COPY MOVE SEARCH SORT THREAD EXPUNGE REPLACE) at octet 7"),
        (b"UID EXPUNGE", "expected a blank at the end (octet 14)"),
        (b"ID", "expected a blank at the end (octet 5)"),
        (b"ID (name x)", "expected a field's name, as a string at octet 7"),
        (b'ID ("name")', "expected a blank at octet 13"),
        (b'ID ("\xff" NIL)', "a field's name must be UTF-8"),
        (b'ID ("' + b"n" * 31 + b'" NIL)', "a field of ID has at most 30 octets of name and 1024 of value"),
        (b"ID (" + b'"n" NIL ' * 31 + b")", "at most 30 may be given: fields of ID"),
        (b"AUTHENTICATE", "expected a blank at the end (octet 15)"),
        (b"AUTHENTICATE PLAIN $$", "expected the end of the command at octet 22"),
        (b"AUTHENTICATE PLAIN AA== x", "expected the end of the command at octet 27"),
        (b"LOGIN bob", "expected a blank at the end (octet 12)"),
        (b"LOGIN bob ", "expected a password at the end (octet 13)"),
        (b"LOGIN b\xff c", "a login must be UTF-8"),
        (b"LOGIN b c d", "expected the end of the command at octet 13"),
        (b'LOGIN "b c', "expected a login, with a quote at its end at octet 9"),
        (b"LOGIN {2+}\r\na\x00 b", "a login must not hold a NUL"),
        (b"LOGIN ~{2+}\r\nab b", "expected a login, as a literal at octet 9"),
        (b"LOGIN {2+}\r\nabc d", "expected a blank at octet 1 after literal 1"),
        (b"ENABLE", "expected a blank at the end (octet 9)"),
        (b"ENABLE" + b" X" * 101, "at most 100 may be given: capabilities"),
        (b"ENABLE (", "expected a capability at octet 10"),
    ],
)
def test_what_is_wrong_says_what_was_expected_and_where(octets: bytes, text: str) -> None:
    """Octets are counted with the tag "a " before them."""
    assert wrong(octets) == (text, b"", False)


@pytest.mark.parametrize(
    ("octets", "tag", "text"),
    [
        (b"a", b"a", "expected a blank at the end (octet 2)"),
        (b"   ", None, "expected a tag of at most 128 octets at the end (octet 4)"),
        (b"* NOOP", None, "expected a tag of at most 128 octets at octet 1"),
        (b"+ NOOP", None, "expected a tag of at most 128 octets at octet 1"),
        (b"\xff\xfe", None, "expected a tag of at most 128 octets at octet 1"),
        (b'"a" NOOP', None, "expected a tag of at most 128 octets at octet 1"),
        (b"{1+}\r\na NOOP", None, "expected a tag of at most 128 octets at octet 1"),
        (b"t" * 129 + b" NOOP", None, "expected a tag of at most 128 octets at octet 1"),
        (b'a"b NOOP', None, "expected a tag of at most 128 octets at octet 1"),
        (b"a{1+}\r\nb NOOP", b"a", "expected a blank at octet 2"),
        (b"GET / HTTP/1.1", b"GET", "expected a command at octet 5"),
        (b"\x16\x03\x01\x02", None, "expected a tag of at most 128 octets at octet 1"),
    ],
)
def test_tags(octets: bytes, tag: bytes | None, text: str) -> None:
    assert read(octets) == Wrong(tag, text)


def test_any_tag_comes_back() -> None:
    for tag in (b"a", b"A001", b"1", b"a.b-c!#$&'/:;<=>?@[]^_`|~", b"t" * 128):
        assert read(tag + b" NOOP") == Tagged(tag, Noop())
    assert read(b"  a  noop") == Tagged(b"a", Noop())


def test_a_password_is_kept_nowhere() -> None:
    grammar._remembered.cache_clear()
    for octets in (b"LOGIN bob secret", b"login bob secret", b"Authenticate PLAIN AGEAYg==", b"LOGIN bob", b"lOgIn x y"):
        read(b"a " + octets)
    assert grammar._remembered.cache_info().currsize == 0
    assert "secret" not in repr(command(b"LOGIN bob secret"))


def test_what_is_remembered_is_what_is_read() -> None:
    for _ in range(2):
        assert command(b"SELECT &AOk-") == command(b"SELECT  &AOk-") == Select("é")
        assert command(b"SELECT &AOk-", utf8=True) == command(b"SELECT &AOk-", is_rev2=True) == Select("&AOk-")
        assert wrong(b"SELECT &AOk") == wrong(b" SELECT &AOk")
        assert wrong(b"SELECT &AOk")[1:] == (b"CANNOT", True)


def test_a_refused_command_keeps_its_octets_to_be_closed() -> None:
    """The grammar takes no literal over: who reads a frame closes it."""
    closed = []

    class One:
        size = 3

        def peek(self) -> bytes:
            return b"abc"

        async def read(self, offset: int = 0, n: int = -1) -> bytes:
            raise AssertionError("the grammar waits for nothing")

        def close(self) -> None:
            closed.append(self)

    found = Frame((b"a XYZZY {3+}", One(), b""))
    assert isinstance(grammar.read(found, utf8=False, is_rev2=False), Wrong) and not closed
    found.close()
    assert len(closed) == 1


def test_a_frame_of_one_line_is_a_frame() -> None:
    assert frame(b"a NOOP") == Frame((b"a NOOP",))
