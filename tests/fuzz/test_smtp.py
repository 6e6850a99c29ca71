"""Invariant: whatever octets come, in whatever packets, the inbound agent neither raises nor takes a message its sender did not end."""

from __future__ import annotations

import functools
import itertools
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.address import InternalAddress
from postroom_smtp import access, grammar, proxy, replies
from postroom_smtp import data as data_module
from postroom_smtp.data import ChunkReader, DotReader, has_bare_line_ends, normalize
from tests.plugins_smtp.desk import Talk, run

WORDS = [
    b"EHLO peer.test", b"HELO x", b"MAIL FROM:<a@b.test>", b"MAIL FROM:<> BODY=BINARYMIME", b"RCPT TO:<alice@example.test>",
    b"RCPT TO:<nobody@example.test>", b"DATA", b"BDAT 5", b"BDAT 3 LAST", b"BDAT 0 LAST", b"RSET", b"NOOP", b"QUIT", b"STARTTLS", b".", b"..",
    b"Subject: x", b"", b"\r", b"\n", b"\0", b"\xff", b"text",
]  # fmt: skip
REPLY = re.compile(rb"(?:[2-5]\d\d-[\x20-\x7e]*\r\n)*[2-5]\d\d(?: [\x20-\x7e]*)?\r\n")
LINES = st.lists(st.sampled_from(WORDS), max_size=25).map(b"\r\n".join)
OCTETS = st.one_of(LINES, st.binary(max_size=300), st.lists(st.sampled_from([b"\r", b"\n", b".", b"a"]), max_size=40).map(b"".join))


def cut(data: bytes, at: Sequence[int]) -> list[bytes]:
    """The data in packets."""
    places = [0, *sorted(min(place, len(data)) for place in at), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(places)]


def ask(packets: Sequence[bytes]) -> tuple[bytes, list[bytes], list[str]]:
    """What was said, what was taken, what was logged as an error."""

    async def main() -> tuple[bytes, list[bytes], list[str]]:
        with tempfile.TemporaryDirectory() as folder:
            talk = Talk(Path(folder))
            said = await talk.connect()
            for packet in packets:
                said += await talk.send(packet)
            await talk.end()
            assert talk.files == []
            return said, talk.messages, talk.log.errors

    return run(main())


@settings(max_examples=60, deadline=None)
@given(OCTETS, st.lists(st.integers(0, 400), max_size=4))
def test_any_conversation_in_any_packets_is_the_same_conversation(data: bytes, at: list[int]) -> None:
    whole = ask([data])
    said, messages, errors = ask(cut(data, at))
    assert errors == whole[2] == []
    assert re.sub(rb"[0-9A-F]{32}", b"", said) == re.sub(rb"[0-9A-F]{32}", b"", whole[0]) or b"STARTTLS" in data
    assert messages == whole[1] or b"STARTTLS" in data
    assert re.fullmatch(rb"(?:" + REPLY.pattern + rb")+", said)


@settings(max_examples=60, deadline=None)
@given(OCTETS.filter(lambda data: b"\r\n.\r\n" not in b"\r\n" + data), st.lists(st.integers(0, 400), max_size=4))
def test_nothing_but_crlf_dot_crlf_ends_a_message(data: bytes, at: list[int]) -> None:
    start = b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
    said, messages, errors = ask([start, *cut(data, at)])
    assert said.endswith(replies.START_INPUT) and not messages and not errors
    _, messages, _ = ask([start, *cut(data + b"\r\n.\r\n", at)])
    assert len(messages) == 1 and not has_bare_line_ends(messages[0])


@given(st.lists(st.binary(max_size=20) | st.sampled_from([b"\r\n.\r\n", b"\r\n..", b".", b"\r", b"\n"]), max_size=12))
def test_the_dot_reader_reads_what_a_reader_of_lines_reads(pieces: list[bytes]) -> None:
    data, reader, taken = b"".join(pieces), DotReader(), b""
    for piece in pieces:
        if not reader.done:
            taken += reader.read(piece)
    text, end, _ = (b"\r\n" + data).partition(b"\r\n.\r\n")
    assert reader.done == bool(end)
    if end:
        assert taken == (text + b"\r\n").replace(b"\r\n.", b"\r\n")[2:]


EVEN = st.builds(
    lambda line, count, changes: functools.reduce(
        lambda data, change: data[: change[0]] + change[1] + data[change[2] :], changes, line * count
    ),
    st.sampled_from([b"\r\n", b"a\r\n", b"YWJj\r\n", b"YW=\r\n", b"a.\r\n", b".\r\n", b"ab\n", b"ab\r", b"a\r\r\n"]),
    st.integers(0, 30),
    st.lists(st.tuples(st.integers(0, 90), st.sampled_from([b"", b"\r", b"\n", b"\r\n", b".", b"a"]), st.integers(0, 92)), max_size=3),
)


@given(EVEN | st.lists(st.sampled_from([b"\r", b"\n", b".", b"a"]), max_size=40).map(b"".join), st.sampled_from([0, 10, 16384]))
def test_a_bare_line_end_is_seen_however_even_the_lines_around_it_are(block: bytes, large: int) -> None:
    crs, lfs, whole = (len(re.findall(what, block)) for what in (rb"\r", rb"\n", rb"\r\n"))
    with mock.patch.object(data_module, "_LARGE", large):
        assert has_bare_line_ends(block) == (not crs == lfs == whole)


@given(EVEN, st.lists(st.integers(0, 100), max_size=6))
def test_even_lines_are_read_the_same_in_any_packets_and_mended(text: bytes, at: list[int]) -> None:
    """Against a reader of the whole text at once: the end, the stuffed dots, and every bare CR and LF."""
    whole = text + b"\r\n.\r\nRSET\r\n"
    reader, taken, rest = DotReader(), b"", b""
    with mock.patch.object(data_module, "_LARGE", 0):
        for piece in cut(whole, at):
            if reader.done:
                rest += piece
                continue
            block = reader.read(piece)
            taken += normalize(block) if has_bare_line_ends(block) else block
            rest = reader.rest
    before, _, after = (b"\r\n" + whole).partition(b"\r\n.\r\n")
    plain = re.sub(rb"(?<=\r\n)\.", b"", before + b"\r\n")[2:]
    assert (taken, rest) == (re.sub(rb"(?<!\r)\n", b"\r\n", re.sub(rb"\r(?!\n)", b" ", plain)), after)


@given(st.binary(max_size=60), st.integers(0, 80), st.lists(st.integers(0, 80), max_size=4))
def test_a_chunk_takes_its_octets_and_no_more(data: bytes, size: int, at: list[int]) -> None:
    reader, taken, rest = ChunkReader(size, last=True), b"", b""
    taken += reader.read(b"")
    for piece in cut(data, at):
        if reader.done:
            rest += piece
        else:
            taken += reader.read(piece)
            rest = reader.rest
    assert (taken + reader.held, rest) == (data[:size], data[size:])


@given(st.binary(max_size=80))
def test_what_is_mended_stays_mended_and_loses_nothing_else(block: bytes) -> None:
    mended = normalize(block)
    assert not has_bare_line_ends(mended) and normalize(mended) == mended
    assert re.sub(rb"[\r\n ]", b"", mended) == re.sub(rb"[\r\n ]", b"", block)


ADDRESS = st.one_of(
    st.binary(max_size=80),
    st.lists(
        st.sampled_from([b"<", b">", b"@", b".", b'"', b"\\", b"a", b"b.test", b" ", b":", b",", b"[", b"]", b"IPv6:", b"::1", b"\xc3\xbc"])
    ).map(b"".join),
)


@given(ADDRESS, ADDRESS, st.booleans())
def test_a_path_that_is_taken_can_be_said_again(path: bytes, tail: bytes, utf8: bool) -> None:
    """And it is one mailbox: no control character, no angle bracket outside quotes, both parts there."""
    command = grammar.parse(b"RCPT TO:<" + path + b">" + tail, utf8=utf8)
    if isinstance(command, grammar.Wrong):
        assert REPLY.fullmatch(command.reply) and command.reply[:1] == b"5"
        return
    assert isinstance(command, grammar.Rcpt)
    address = command.recipient.address
    assert isinstance(address, InternalAddress) and address.detail.isprintable()
    if "@" in address.detail:
        again = grammar.parse(f"RCPT TO:<{address.detail}>".encode(), utf8=True)
        assert isinstance(again, grammar.Rcpt) and again.recipient.address.detail == address.detail
        assert address.local and address.domain and (address.local[0] == '"' or not set(address.local) & set('<>@" '))


@given(st.binary(max_size=120))
def test_any_line_is_a_command_or_a_refusal(line: bytes) -> None:
    command = grammar.parse(line)
    assert not isinstance(command, grammar.Wrong) or REPLY.fullmatch(command.reply)


@given(st.text(max_size=40))
def test_xtext_gives_printable_ascii_or_nothing(text: str) -> None:
    plain = grammar.xtext(text)
    assert plain is None or (plain.isascii() and plain.isprintable())


@given(
    st.binary(max_size=60)
    | st.binary(max_size=60).map(lambda tail: b"\r\n\r\n\x00\r\nQUIT\n" + tail)
    | st.binary(max_size=60).map(lambda t: b"PROXY " + t)
)
def test_a_proxy_header_is_read_the_same_whatever_follows(data: bytes) -> None:
    try:
        found = proxy.parse(data)
    except proxy.ProxyError:
        return
    if found is not None:
        assert proxy.parse(data[: found.length]) == proxy.parse(data + b"more") == found
        assert found.length <= len(data) and (not found.ip or str(access.address_of(found.ip)))
