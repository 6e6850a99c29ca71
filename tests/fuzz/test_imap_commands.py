"""Invariant: whatever a frame holds, the grammar answers with a command or with what is wrong, on one line of ASCII; it never raises, nests
nothing deeper than it says, and takes steps in proportion to the octets."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from postroom_imap4 import grammar
from postroom_imap4.commands import Tagged, Wrong
from postroom_imap4.framing import AFTER_LOGIN, Frame, Framer, Limits
from postroom_imap4.tokens import DEPTH
from tests.plugins_imap4.wire import Shelf

WORDS = (
    b"a NOOP ID NIL LOGIN AUTHENTICATE PLAIN = ENABLE SELECT EXAMINE CONDSTORE QRESYNC CREATE USE \\Sent DELETE RENAME SUBSCRIBE LIST LSUB RETURN STATUS"
    b" METADATA MESSAGES SUBSCRIBED RECURSIVEMATCH APPEND CATENATE URL TEXT UTF8 FETCH STORE COPY MOVE UID SEARCH SORT THREAD EXPUNGE REPLACE ESEARCH IN"
    b" mailboxes subtree selected FLAGS +FLAGS.SILENT \\Seen \\Recent \\* $x BODY[] BODY.PEEK[1.2.MIME]<0.5> BODY[HEADER.FIELDS BINARY.SIZE[1] ENVELOPE ALL"
    b" PREVIEW (LAZY) CHANGEDSINCE VANISHED PARTIAL 1:-5 -1:-5 UNCHANGEDSINCE OR NOT FUZZY SUBJECT HEADER BEFORE 1-Feb-2026 LARGER 5 MODSEQ KEYWORD YOUNGER"
    b" CHARSET UTF-8 ISO-2022-JP X REFERENCES UTF-8 REVERSE DATE MIN SAVE 1:3,* * $ 0 INBOX &AOk- &x foo % NOTIFY SET NONE MessageNew MessageExpunge"
    b" SETACL +lr GETMETADATA DEPTH infinity /private/comment SETMETADATA SETQUOTA STORAGE COMPRESS DEFLATE"
).split()  # fmt: skip
WORDS += [
    b"(",
    b")",
    b"((",
    b"))",
    b"[",
    b"]",
    b'"',
    b'"a b"',
    b'""',
    b'"\\"',
    b'"17-Jul-2026 02:44:25 -0700"',
    b'"1-Feb-2026"',
    b"{3+}\r\nabc",
    b"~{2+}\r\n\x00b",
]
WORDS += [b"{0+}\r\n", b"\xc3\xa9", b"\xff", b"\x00", b"\r", b"<", b">", b"99999999999999999999"]
HEADS = [b"a FETCH 1 ", b"a UID FETCH 1:* ", b"a SEARCH ", b"a STORE 1 ", b"a LIST ", b"a SELECT ", b"a STATUS ", b"a APPEND x ", b"a NOTIFY SET ", b"a GETMETADATA ", b"a "]  # fmt: skip
LINES = st.builds(
    lambda head, words, between: head + between.join(words),
    st.sampled_from([*HEADS, b""]),
    st.lists(st.sampled_from(WORDS) | st.binary(max_size=5), max_size=14),
    st.sampled_from([b" ", b"", b"  "]),
)


def frames(data: bytes, limits: Limits = AFTER_LOGIN) -> Iterator[Frame]:
    framer = Framer(limits, Shelf())
    framer.feed(data + b"\r\n")
    return (one for one in iter(framer.take, None) if isinstance(one, Frame))


@settings(max_examples=1500, deadline=None)
@given(LINES, st.booleans(), st.booleans())
@example(b"a FETCH 1 BODY[HEADER.FIELDS (", False, False)
@example(b"a LOGIN {3+}\r\nabc {3+}\r\nabc", True, True)
def test_every_frame_is_a_command_or_says_what_is_wrong(data: bytes, utf8: bool, is_rev2: bool) -> None:
    for frame in frames(data):
        found = grammar.read(frame, utf8=utf8, is_rev2=is_rev2)
        assert found == grammar.read(frame, utf8=utf8, is_rev2=is_rev2) == grammar._read(frame, utf8 or is_rev2)
        if isinstance(found, Wrong):
            assert found.text and found.text.isascii() and found.text.isprintable()
            assert found.code.isascii() and b"]" not in found.code and b"\r" not in found.code
            assert found.is_no <= bool(found.code)
        else:
            assert isinstance(found, Tagged) and 1 <= len(found.tag) <= 128
            assert depth(found.command) <= DEPTH + 10


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_every_octet(data: bytes) -> None:
    for head in (b"", b"a ", *HEADS):
        for frame in frames(head + data):
            assert isinstance(grammar.read(frame, utf8=False, is_rev2=False), Tagged | Wrong)


def depth(value: object) -> int:
    if isinstance(value, tuple):
        return 1 + max(map(depth, value), default=0)
    if is_dataclass(value):
        return max((depth(getattr(value, one.name)) for one in fields(value)), default=0)
    return 0


# Linear time, counted in calls and not in seconds: the same everywhere


def calls(data: bytes) -> int:
    """How many functions of ours and of the library are called to read these octets."""
    (frame,) = frames(data, Limits(line=1 << 22, literal=1 << 20, literals=1 << 22, pieces=1 << 16, message=1 << 20, messages=1 << 22))
    count = 0

    def tick(*_: object) -> None:
        nonlocal count
        count += 1

    sys.setprofile(tick)
    try:
        grammar.read(frame, utf8=False, is_rev2=False)
    finally:
        sys.setprofile(None)
    return count


SHAPES: dict[str, Callable[[int], bytes]] = {
    "keys": lambda n: b"a SEARCH " + b"SEEN " * n,
    "or to the right": lambda n: b"a SEARCH " + b"OR SEEN " * n + b"SEEN",
    "or to the left": lambda n: b"a SEARCH " + b"OR " * n + b"SEEN " * (n + 1),
    "not": lambda n: b"a SEARCH " + b"NOT " * n + b"SEEN",
    "lists": lambda n: b"a SEARCH " + b"(SEEN) " * n,
    "open lists": lambda n: b"a SEARCH " + b"(" * n,
    "texts": lambda n: b"a SEARCH " + b'SUBJECT "a\\"b" ' * n,
    "literals": lambda n: b"a SEARCH " + b"SUBJECT {2+}\r\nab " * n,
    "a set": lambda n: b"a FETCH " + b"1:2," * n + b"1 FLAGS",
    "a broken set": lambda n: b"a FETCH " + b"1:2," * n + b" FLAGS",
    "items": lambda n: b"a FETCH 1 (" + b"BODY.PEEK[1.2] " * n + b")",
    "header fields": lambda n: b"a FETCH 1 BODY[HEADER.FIELDS (" + b"a " * n + b")]",
    "blanks": lambda n: b"a SEARCH" + b" " * n + b"ALL" + b" " * n,
    "quotes": lambda n: b'a SELECT "' + b'\\"' * n,
    "no quote at the end": lambda n: b'a SELECT "' + b"x" * n,
    "flags": lambda n: b"a STORE 1 FLAGS (" + b"\\Seen " * n + b")",
    "a name": lambda n: b"a SELECT " + b"&-" * n,
    "runs of a name": lambda n: b"a SELECT " + b"&AOk-x" * n,
    "patterns": lambda n: b'a LIST "" (' + b"% " * n + b")",
    "parts": lambda n: b"a APPEND x CATENATE (" + b"TEXT {0+}\r\n " * n + b")",
    "part numbers": lambda n: b"a FETCH 1 BODY[" + b"1." * n + b"1]",
    "a digit": lambda n: b"a SEARCH LARGER " + b"9" * n,
    "groups": lambda n: b"a NOTIFY SET" + b" (personal NONE)" * n,
    "values": lambda n: b"a SETMETADATA x (" + b'/a "b" ' * n + b")",
    "a tag": lambda n: b"a" * n,
    "noise": lambda n: b"a SEARCH " + bytes(random.Random(n).choices(b'() "\\{}[]a1*', k=n)),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_four_times_the_octets_are_four_times_the_steps(shape: str) -> None:
    small, large = calls(SHAPES[shape](1000)), calls(SHAPES[shape](4000))
    assert large <= 5 * small + 50
