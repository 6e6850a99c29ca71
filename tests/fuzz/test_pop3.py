"""Invariant: whatever octets arrive, however they are cut into packets, a session answers every line with exactly one well-formed reply,
never raises, and removes no message that was not marked before a QUIT in TRANSACTION."""

from __future__ import annotations

import asyncio
import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from postroom_net.lines import TOO_LONG, DotStuffer, LineBuffer, dot_ended
from postroom_pop3 import grammar
from postroom_pop3.maildrop import TopCut
from tests.plugins_pop3.house import Client, serve

WORDS = [b"USER bob@po", b"PASS secret", b"PASS wrong", b"STAT", b"LIST", b"LIST 1", b"UIDL", b"RETR 1", b"RETR 3", b"RETR 99"]
WORDS += [b"TOP 1 0", b"TOP 2 5", b"DELE 1", b"DELE 2", b"RSET", b"NOOP", b"CAPA", b"UTF8", b"AUTH", b"AUTH PLAIN", b"*", b"QUIT"]
WORDS += [b"AUTH PLAIN AGJvYkBwbwBzZWNyZXQ=", b"AUTH LOGIN", b"Ym9iQHBv", b"c2VjcmV0", b"AUTH X", b"APOP bob x", b"RETR", b"TOP 1"]
LINES = st.one_of(st.sampled_from(WORDS), st.binary(max_size=40).map(lambda octets: octets.replace(b"\n", b"")))


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """The same octets in packets."""
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    return [data[a:b] for a, b in pairwise(edges)]


@settings(max_examples=150, deadline=None)
@given(st.booleans(), st.lists(LINES, max_size=25), st.lists(st.integers(0, 2000), max_size=5), st.sampled_from([b"\r\n", b"\n"]))
def test_a_session_answers_everything_and_removes_nothing_unasked(
    logged_in: bool, lines: list[bytes], places: list[int], end: bytes
) -> None:
    lines = WORDS[:2] + lines if logged_in else lines
    data = b"".join(line + end for line in lines)

    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            pop3 = serve(Path(folder), failed_logins=1000, bad_commands=1000)
            client = pop3.connect()
            await client.heard()
            said = b""
            for packet in cut(data, places):
                if not client.wire.closed:
                    said += await client.say(packet)
            well_formed(said, len(lines), client)
            for number in (1, 2, 3):
                assert number in pop3.inbox.texts or (client.wire.closed and b"DELE %d" % number in lines)
            assert not pop3.log.of("pop3.broken"), pop3.log.lines
            await pop3.close()

    asyncio.run(main())


def well_formed(said: bytes, lines: int, client: Client) -> None:
    """One reply a line, each beginning as RFC 1939 section 3 says; multi-line ones end with their dot."""
    assert not said or said.endswith(b"\r\n")
    replies, rest = 0, said
    while rest:
        first, _, rest = rest.partition(b"\r\n")
        assert first.startswith((b"+OK", b"-ERR", b"+ ")), first
        assert len(first) <= 510  # RFC 2449 section 4
        replies += 1
        if multi(first, rest):
            _, dot, rest = rest.partition(b".\r\n") if rest.startswith(b".\r\n") else rest.partition(b"\r\n.\r\n")
            assert dot
    assert replies == lines or (client.wire.closed and replies <= lines)


def multi(first: bytes, rest: bytes) -> bool:
    """Whether more lines follow: what comes next does not look like a reply."""
    return first.startswith(b"+OK") and bool(rest) and not rest.startswith((b"+OK", b"-ERR", b"+ "))


@given(st.binary(max_size=600))
def test_a_line_is_a_command_or_a_mistake(line: bytes) -> None:
    try:
        command = grammar.parse(line)
    except grammar.Mistake as mistake:
        assert str(mistake).isascii() and str(mistake).isprintable()
        return
    assert command.name.isalnum() and command.name == command.name.upper()
    for read in (grammar.number, grammar.number_and_lines, grammar.name, grammar.name_and_digest, grammar.nothing):
        try:
            read(command.argument)
        except grammar.Mistake:
            pass


@given(st.lists(st.binary(max_size=30)), st.lists(st.integers(0, 2000), max_size=8), st.integers(1, 40))
def test_lines_do_not_depend_on_packets(lines: list[bytes], places: list[int], limit: int) -> None:
    data = b"\n".join(lines)
    whole, pieces = LineBuffer(limit), LineBuffer(limit)
    whole.feed(data)
    told = []
    for packet in cut(data, places):
        pieces.feed(packet)
        told += list(iter(pieces.take, None))
        assert len(pieces._tail) <= limit + 1
    assert told == list(iter(whole.take, None))
    assert all(line is TOO_LONG or len(line) <= limit for line in told)


@given(st.lists(st.sampled_from([b".", b"\r\n", b"\n", b"\r", b"a", b".."]), max_size=40).map(b"".join), st.lists(st.integers(0, 200)))
def test_dots_do_not_depend_on_pieces_and_end_once(text: bytes, places: list[int]) -> None:
    stuffer = DotStuffer()
    sent = b"".join(map(stuffer.piece, cut(text, places))) + stuffer.end()
    assert sent == dot_ended(text)
    for line_end in (b"\r\n", b"\n"):  # however the client finds lines, the ending dot is the last thing
        lines = sent.split(line_end)
        assert [n for n, line in enumerate(lines) if line.rstrip(b"\r") == b"."] == [len(lines) - 2]


@given(
    st.lists(st.sampled_from([b"\r\n", b"\r", b"\n", b"a"]), max_size=40).map(b"".join), st.integers(0, 5), st.lists(st.integers(0, 200))
)
def test_a_top_does_not_depend_on_pieces(text: bytes, lines: int, places: list[int]) -> None:
    whole, pieces, got = TopCut(lines), TopCut(lines), b""
    expected = whole.piece(text)
    for piece in cut(text, places):
        if not pieces.done:
            got += pieces.piece(piece)
    assert got == expected and text.startswith(got)
