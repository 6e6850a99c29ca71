from __future__ import annotations

import pytest

from postroom_net.lines import TOO_LONG, DotStuffer, LineBuffer, dot_ended, dot_stuffed


def taken(buffer: LineBuffer) -> list[bytes]:
    return list(iter(buffer.take, None))


@pytest.mark.parametrize(
    ("packets", "lines"),
    [
        ([b"NOOP\r\n"], [b"NOOP"]),
        ([b"NOOP\n"], [b"NOOP"]),
        ([b"NO", b"OP", b"\r", b"\nQUIT\r\n"], [b"NOOP", b"QUIT"]),
        ([b"A\r\nB\r\nC"], [b"A", b"B"]),
        ([b"\r\n\r\n"], [b"", b""]),
        ([b"A\r\r\n"], [b"A\r"]),
        ([b"12345678\r\n"], [b"12345678"]),
        ([b"12345678\r", b"\n"], [b"12345678"]),
        ([b"123456789\r\nA\r\n"], [TOO_LONG, b"A"]),
        ([b"123456789", b"0123456789" * 1000, b"\r\nA\r\n"], [TOO_LONG, b"A"]),
        ([b"1234567890", b"1\r\n"], [TOO_LONG]),
        ([b"1" * 100], [TOO_LONG]),
    ],
)
def test_lines(packets: list[bytes], lines: list[bytes]) -> None:
    buffer = LineBuffer(limit=8)
    for packet in packets:
        buffer.feed(packet)
    assert taken(buffer) == lines


def test_an_endless_line_is_not_kept() -> None:
    buffer = LineBuffer(limit=512)
    for _ in range(1000):
        buffer.feed(b"x" * 10_000)
    assert taken(buffer) == [TOO_LONG] and len(buffer._tail) == 0


@pytest.mark.parametrize(("packet", "had"), [(b"", False), (b"QUIT\r\n", True), (b"Q", True), (b"x" * 100, True)])
def test_clear_tells_whether_anything_was_there(packet: bytes, had: bool) -> None:
    buffer = LineBuffer(limit=8)
    buffer.feed(packet)
    assert buffer.clear() is had
    buffer.feed(b"NOOP\r\n")
    assert taken(buffer) == [b"NOOP"]


TEXTS = [
    (b"", b".\r\n"),
    (b"a\r\n", b"a\r\n.\r\n"),
    (b"a", b"a\r\n.\r\n"),
    (b".\r\n", b"..\r\n.\r\n"),
    (b".a\r\n.b\r\n..c\r\n", b"..a\r\n..b\r\n...c\r\n.\r\n"),
    (b"a\r\n.\r\n+OK\r\n", b"a\r\n..\r\n+OK\r\n.\r\n"),
    (b"a\n.\r\n+OK\r\n", b"a\n..\r\n+OK\r\n.\r\n"),  # a client that splits at LF must not see the end here
    (b"a\r\n.", b"a\r\n..\r\n.\r\n"),
    (b"a\n", b"a\n\r\n.\r\n"),
]


@pytest.mark.parametrize(("text", "sent"), TEXTS)
def test_dots(text: bytes, sent: bytes) -> None:
    assert dot_ended(text) == sent
    assert sent.startswith(dot_stuffed(text))


@pytest.mark.parametrize(("text", "sent"), TEXTS)
def test_dots_in_pieces(text: bytes, sent: bytes) -> None:
    for cut in range(len(text) + 1):
        stuffer = DotStuffer()
        assert stuffer.piece(text[:cut]) + stuffer.piece(text[cut:]) + stuffer.end() == sent
