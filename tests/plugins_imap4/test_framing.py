"""Cases 27 and 28 of the features: literals and lines without end, in sum and one by one, before and after login."""

from __future__ import annotations

import asyncio
import tracemalloc
from dataclasses import replace

import pytest

from postroom.errors import DiskError
from postroom_imap4.commands import Wrong
from postroom_imap4.framing import AFTER_LOGIN, BEFORE_LOGIN, Continue, Frame, Framer, Limits, MemoryOctets
from postroom_net.lines import TOO_LONG
from tests.plugins_imap4.wire import Said, Shelf, said, taken

SMALL = Limits(line=100, literal=20, literals=50, pieces=4, message=1000, messages=1500, drained=400)
GO = Continue()


def command(*pieces: bytes | MemoryOctets) -> Frame:
    return Frame(pieces)


def octets(data: bytes) -> MemoryOctets:
    return MemoryOctets(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a NOOP\r\n", [command(b"a NOOP")]),
        (b"a NOOP\n", [command(b"a NOOP")]),
        (b"a NOOP\r\nb NOOP\r\n", [command(b"a NOOP"), command(b"b NOOP")]),
        (b"\r\n\r\na NOOP\r\n\r\n", [command(b"a NOOP")]),
        (b"  \r\n", [command(b"  ")]),
        (b"a NOO", []),
        (b"a\rb\r\r\n", [command(b"a\rb\r")]),
        (b"a X {3}\r\nabc\r\n", [GO, command(b"a X {3}", octets(b"abc"), b"")]),
        (b"a X {3+}\r\nabc\r\n", [command(b"a X {3+}", octets(b"abc"), b"")]),
        (b"a X ~{3+}\r\na\x00c y\r\n", [command(b"a X ~{3+}", octets(b"a\x00c"), b" y")]),
        (b"a X {0}\r\n\r\n", [GO, command(b"a X {0}", octets(b""), b"")]),
        (b"a X {0+}\r\n {1+}\r\nz\r\n", [command(b"a X {0+}", octets(b""), b" {1+}", octets(b"z"), b"")]),
        (b"a X {007+}\r\n1234567\r\n", [command(b"a X {007+}", octets(b"1234567"), b"")]),
        (b"a X {3+}\r\n\r\n\r\r\n", [command(b"a X {3+}", octets(b"\r\n\r"), b"")]),
        (b"a X {2+}\r\n{9}\r\n", [command(b"a X {2+}", octets(b"{9"), b"}")]),
        (b"a X {3}\r\nab", [GO]),
        # what is no literal is a line (case 27: negative lengths)
        (b"a X {-1}\r\n", [command(b"a X {-1}")]),
        (b"a X {-1+}\r\n", [command(b"a X {-1+}")]),
        (b"a X {}\r\n", [command(b"a X {}")]),
        (b"a X {+}\r\n", [command(b"a X {+}")]),
        (b"a X {1 }\r\n", [command(b"a X {1 }")]),
        (b"a X {1}}\r\n", [command(b"a X {1}}")]),
        (b"a X {0x1}\r\n", [command(b"a X {0x1}")]),
        ("a X {\u0661}\r\n".encode(), [command("a X {\u0661}".encode())]),
        (b"12}\r\n", [command(b"12}")]),
        (b"a X {1} \r\n", [command(b"a X {1} ")]),
    ],
)
def test_commands(data: bytes, expected: list[Said]) -> None:
    assert said(data) == expected
    framer, found = Framer(AFTER_LOGIN, Shelf()), list[Said]()
    for place in range(len(data)):
        framer.feed(data[place : place + 1])
        found += taken(framer)
    assert found == expected


BIG = b"x" * 21
NEXT = b"b NOOP\r\n"
AND_NEXT = [command(b"b NOOP")]


def too_big(text: str, code: bytes = b"TOOBIG", *, is_no: bool = False, tag: bytes | None = b"a") -> Wrong:
    return Wrong(tag, text, code, is_no)


ONE = too_big("a literal has at most 20 octets here")
SUM = too_big("the literals of one command have at most 50 octets")
LINE = too_big("a command line has at most 100 octets", b"")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # the client waits, and does not get leave: the command is over
        (b"a X {21}\r\n", [ONE]),
        (b"a X {99999999999999999999999999999999}\r\n", [ONE]),
        # the client does not wait: all of it is read and dropped
        (b"a X {21+}\r\n" + BIG + b"\r\n", [ONE]),
        (b"a X {21+}\r\n" + BIG + b" {3+}\r\nabc {0+}\r\n\r\n", [ONE]),
        (b"a X {21+}\r\n" + BIG + b" {3}\r\n", [ONE]),  # and then waits: over
        (b"a X {21+}\r\n" + BIG + b" z" * 150 + b"\r\n", [ONE]),
        # the sum (case 27: many literals in one SEARCH)
        (b"a X" + b" {20+}\r\n" + b"y" * 20 + b" {20+}\r\n" + b"y" * 20 + b" {11+}\r\n" + b"y" * 11 + b"\r\n", [SUM]),
        (b"a X {0+}\r\n {0+}\r\n {0+}\r\n {0+}\r\n {0+}\r\n\r\n", [too_big("a command has at most 4 literals", b"")]),
        # the line
        (b"a " + b"x" * 99 + b"\r\n", [LINE]),
        (b"a " + b"x" * 3 * 99 + b"\r\n", [LINE]),
        (b"a " + b"x" * 90 + b" {2+}\r\nyy {2+}\r\nzz\r\n", [LINE]),
        (b"a " + b"x" * 300 + b" {4+}\r\n\r\n\r\n\r\n", [LINE]),  # a literal behind a line too long is one all the same
        (b"a " + b"x" * 300 + b" {4}\r\n", [LINE]),
        (b"x" * 101 + b"\r\n", [replace(LINE, tag=None)]),
        (b"( " + b"x" * 101 + b"\r\n", [replace(LINE, tag=None)]),
        (b"t" * 129 + b" {99+}\r\n" + b"x" * 99 + b"\r\n", [replace(LINE, tag=None)]),
        # messages
        (b"a APPEND x {1001}\r\n", [too_big("a message has at most 1000 octets", is_no=True)]),
        (b"a append x {1001+}\r\n", [too_big("a message has at most 1000 octets", is_no=True)]),
        (b"a uid replace 1 x {1001}\r\n", [too_big("a message has at most 1000 octets", is_no=True)]),
        (
            b"a APPEND x" + (b" {800+}\r\n" + b"y" * 800) + b" {800}\r\n",
            [too_big("the messages of one command have at most 1500 octets", is_no=True)],
        ),
        (b"a APPENDED x {1000}\r\n", [ONE]),
        (b"a X APPEND {1000}\r\n", [ONE]),
    ],
)
def test_what_is_too_large_is_told_once_and_what_follows_is_read_where_it_begins(data: bytes, expected: list[Wrong]) -> None:
    """Case 27: over the limit, a literal is drained or the connection is closed, never read as commands."""
    for step in (len(data) + len(NEXT), 1, 7):
        shelf = Shelf()
        framer, found = Framer(SMALL, shelf), list[Said]()
        for place in range(0, len(data + NEXT), step):
            framer.feed((data + NEXT)[place : place + step])
            found += taken(framer)
        assert [one for one in found if not isinstance(one, Continue)] == (expected if framer.is_lost else expected + AND_NEXT)
        assert framer.is_lost == (b"{1001+}" in data) and not shelf.left


@pytest.mark.parametrize(
    "data",
    [
        b"a X {401+}\r\n",
        b"a X {99999999999999999999999999999999+}\r\n",
        b"a X {" + b"9" * 90 + b"+}\r\n",
        b"a X {" + b"0" * 200 + b"9+}\r\n",  # its beginning is lost: nobody knows how many octets follow
        b"a X {21+}\r\n" + BIG + b" {400+}\r\n",
        b"a X " + b"z" * 1000,
        b"a X {30+}\r\n" + b"y" * 30 + b" {0+}\r\n" * 100,
        b"a X {30+}\r\n" + b"y" * 30 + (b"z" * 90 + b" {0+}\r\n") * 100,
    ],
)
@pytest.mark.parametrize("step", [1, 64, 100_000])
def test_who_sends_more_than_we_care_to_drop_is_hung_up_on(data: bytes, step: int) -> None:
    """RFC 7888 section 4: the server may close. Nothing is read after that, and the mistake is told once."""
    framer, found = Framer(SMALL, Shelf()), list[Said]()
    for place in range(0, len(data), step):
        framer.feed(data[place : place + step])
        found += taken(framer)
    framer.feed(b"\r\n\r\n" + NEXT)
    found += taken(framer)
    (only,) = found
    assert isinstance(only, Wrong) and only.tag == b"a" and framer.is_lost


def test_before_login_no_message_and_little_else_is_taken() -> None:
    """Case 28."""
    assert said(b"a APPEND x {4097}\r\n", BEFORE_LOGIN) == [too_big("a literal has at most 4096 octets here")]
    one = b" {4096+}\r\n" + b"x" * 4096
    assert said(b"a LOGIN" + one * 3 + b"\r\n", BEFORE_LOGIN) == [too_big("the literals of one command have at most 8192 octets")]
    assert said(b"a LOGIN" + b" {1+}\r\nx" * 9 + b"\r\n", BEFORE_LOGIN) == [too_big("a command has at most 8 literals", b"")]
    assert said(b"a AUTHENTICATE PLAIN " + b"A" * 12288 + b"\r\n", BEFORE_LOGIN) == [command(b"a AUTHENTICATE PLAIN " + b"A" * 12288)]


def test_limits_may_grow_between_commands() -> None:
    """What a client sends behind its LOGIN, without waiting for the answer, is read under the limits it has by then."""
    framer = Framer(replace(SMALL, message=0), Shelf())
    framer.feed(b"a LOGIN b c\r\nb APPEND x {30+}\r\n" + b"y" * 30 + b"\r\n")
    assert framer.take() == command(b"a LOGIN b c")
    framer.limits = SMALL
    said = framer.take()
    assert isinstance(said, Frame) and said.pieces[0] == b"b APPEND x {30+}"


# Large messages


def test_a_large_message_goes_where_it_belongs_as_it_comes() -> None:
    shelf = Shelf()
    framer = Framer(SMALL, shelf)
    framer.feed(b"a APPEND x (\\Seen) {100}\r\n")
    assert framer.take() == GO and framer.take() is None
    (sheet,) = shelf.made
    framer.feed(b"y" * 60)
    assert sheet.data == b"y" * 60 and framer.held == 0  # before anybody asks for a command
    framer.feed(b"z" * 40 + b" {5+}\r\nsmall\r\n" + NEXT)
    found = framer.take()
    assert isinstance(found, Frame)
    first, large, second, small, last = found.pieces
    assert (first, second, last) == (b"a APPEND x (\\Seen) {100}", b" {5+}", b"")
    assert not isinstance(large, bytes) and large.peek() is None and small == octets(b"small")
    assert asyncio.run(large.read()) == b"y" * 60 + b"z" * 40
    assert framer.take() == command(b"b NOOP") and shelf.left == [sheet]
    found.close()
    assert not shelf.left


def test_small_messages_beyond_what_memory_may_hold_are_spilled_too() -> None:
    shelf = Shelf()
    (found,) = said(b"a APPEND x" + (b" {20+}\r\n" + b"y" * 20) * 4 + b"\r\n", SMALL, shelf)
    assert isinstance(found, Frame)
    kept = [piece.peek() for piece in found.pieces if not isinstance(piece, bytes)]
    assert kept == [b"y" * 20, b"y" * 20, None, None] and len(shelf.made) == 2


def test_a_connection_that_ends_within_a_message_leaves_nothing() -> None:
    shelf = Shelf()
    framer = Framer(SMALL, shelf)
    framer.feed(b"a APPEND x {100+}\r\n" + b"y" * 100 + b" {200+}\r\n" + b"z" * 150)
    assert framer.take() is None and len(shelf.left) == 2
    framer.close()
    assert not shelf.left and framer.held == 0


@pytest.mark.parametrize("fail_at", range(5))
@pytest.mark.parametrize("error", [OSError(28, "no space"), DiskError("full", full=True)])
@pytest.mark.parametrize("plus", [b"+", b""])
def test_a_disk_that_refuses_ends_the_command_and_not_the_connection(fail_at: int, error: Exception, plus: bytes) -> None:
    """Opening, the first and second write, the end, and the next message: whatever fails, the octets are read to their end."""
    shelf = Shelf(fail_at, error)
    framer = Framer(SMALL, shelf)
    found = list[Said]()
    for packet in (b"a APPEND x {100%b}\r\n" % plus, b"y" * 60, b"y" * 40, b" {90+}\r\n" + b"y" * 90 + b"\r\n", NEXT):
        if not (found and isinstance(found[-1], Wrong)) or packet is NEXT:  # a client that is told NO sends no more of it
            framer.feed(packet)
            found += taken(framer)
    wrongs = [one for one in found if isinstance(one, Wrong)]
    assert wrongs == [Wrong(b"a", "the message cannot be stored now, try again later", b"UNAVAILABLE", is_no=True)]
    assert found[-1] == command(b"b NOOP") and not shelf.left and not framer.is_lost


def test_a_message_of_any_size_takes_no_memory() -> None:
    """And the framer looks at no octet twice: 64 MiB in packets of 64 KiB."""

    class Hole:
        size = 0

        def write(self, data: bytes) -> None:
            self.size += len(data)

        def done(self) -> MemoryOctets:
            return MemoryOctets(b"%d" % self.size)

        def abandon(self) -> None: ...

    framer, packet = Framer(AFTER_LOGIN, lambda size: Hole()), b"x" * 65536
    framer.feed(b"a APPEND x {%d+}\r\n" % (1 << 26))
    assert framer.take() is None
    tracemalloc.start()
    for _ in range(1 << 10):
        framer.feed(packet)
        assert framer.take() is None
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    framer.feed(b"\r\n")
    found = framer.take()
    assert isinstance(found, Frame) and found.pieces[1] == MemoryOctets(b"%d" % (1 << 26))
    assert peak < 16 * 1024


def test_an_idle_framer_holds_nothing() -> None:
    framer = Framer(AFTER_LOGIN, Shelf())
    framer.feed(b"a X " + b"y" * 60000 + b"\r\n")
    assert framer.take() is not None and framer.take() is None
    assert framer.held == 0 and framer._buffer.__alloc__() == 0


# Lines that are no commands


def test_lines_between_commands() -> None:
    framer = Framer(AFTER_LOGIN, Shelf())
    framer.feed(b"a AUTHENTICATE PLAIN\r\nAGEAYg==\r\n\r\n*\r\nb IDLE\r\ndo")
    assert framer.take() == command(b"a AUTHENTICATE PLAIN")
    assert [framer.take_line() for _ in range(3)] == [b"AGEAYg==", b"", b"*"]
    assert framer.take() == command(b"b IDLE")
    assert framer.take_line() is None
    framer.feed(b"ne\r\nc NOOP\r\n")
    assert framer.take_line() == b"done"
    assert framer.take() == command(b"c NOOP")


def test_an_endless_answer_is_told_as_too_long_and_what_follows_is_read() -> None:
    framer = Framer(AFTER_LOGIN, Shelf())
    for _ in range(100):
        framer.feed(b"A" * 1000)
        assert framer.take_line() is None and framer.held < 14000
    framer.feed(b"{5+}\r\n" + NEXT)
    assert framer.take_line() == TOO_LONG
    assert framer.take() == command(b"b NOOP")


def test_what_was_not_taken_is_given_back_and_forgotten() -> None:
    """At STARTTLS it is an injection (case 21), at COMPRESS the first compressed octets."""
    framer = Framer(AFTER_LOGIN, Shelf())
    framer.feed(b"a STARTTLS\r\nb LOGIN x y\r\nc {3}\r\n")
    assert framer.take() == command(b"a STARTTLS")
    assert framer.rest() == b"b LOGIN x y\r\nc {3}\r\n"
    assert framer.rest() == b"" and framer.take() is None
    framer.feed(NEXT)
    assert framer.take() == command(b"b NOOP")
