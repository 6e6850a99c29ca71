"""Requests and replies as octets."""

from __future__ import annotations

import pytest

from postroom_clamav import grammar
from postroom_clamav.grammar import CLEAN, TOO_LARGE, Found, ProtocolError, Refused, ReplyReader, Said, parse


@pytest.mark.parametrize(
    ("line", "number", "reply"),
    [
        (b"1: stream: OK", 1, CLEAN),
        (b"4294967295: stream: OK", 4294967295, CLEAN),
        (b"stream: OK", 0, CLEAN),
        (b"2: stream: Eicar-Test-Signature.UNOFFICIAL FOUND", 2, Found("Eicar-Test-Signature.UNOFFICIAL")),
        (b"2: stream: Win.Test(44d88612fea8a8f36de82e1278abb02f:68) FOUND", 2, Found("Win.Test(44d88612fea8a8f36de82e1278abb02f:68)")),
        (b"3: stream: a name with blanks FOUND", 3, Found("a_name_with_blanks")),
        (b"3: stream: evil\r\nX-Spam: no FOUND", 3, Found("evil_X-Spam:_no")),
        (b"3: stream: OK FOUND", 3, Found("OK")),
        (b"1: INSTREAM size limit exceeded. ERROR", 1, TOO_LARGE),
        (b"INSTREAM size limit exceeded. ERROR", 0, TOO_LARGE),
        (b"1: stream: Can't allocate memory ERROR", 1, Refused("stream: Can't allocate memory")),
        (b"1: Command invalid inside IDSESSION. ERROR", 1, Refused("Command invalid inside IDSESSION.")),
        (b"COMMAND READ TIMED OUT ERROR", 0, Refused("COMMAND READ TIMED OUT")),
        (b"PONG", 0, Said("PONG")),
        (b"3: PONG", 3, Said("PONG")),
        (b"1: ClamAV 1.4.6/27000/Mon Nov 2 10:00:00 2026", 1, Said("ClamAV 1.4.6/27000/Mon Nov 2 10:00:00 2026")),
    ],
)
def test_replies(line: bytes, number: int, reply: grammar.Reply) -> None:
    assert parse(line) == (number, reply)


@pytest.mark.parametrize(
    "line", [b"", b"1: ", b"OK", b"1: OK", b"1: stream: ", b"1: stream:  FOUND", b"1: stream: ok", b"other: OK", b"stream: \xff FOUND"[:-6]]
)
def test_what_is_no_reply(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse(line)


def test_a_name_is_kept_short() -> None:
    _, reply = parse(b"1: stream: " + b"x" * 3000 + b" FOUND")
    assert reply == Found("x" * 200)


def test_a_message_in_memory_is_one_request() -> None:
    assert grammar.instream(b"abc") == b"zINSTREAM\0\0\0\0\3abc\0\0\0\0"


def test_an_empty_message_is_no_chunk_and_the_end() -> None:
    """A chunk of no octets would end the stream, and the end behind it would be read as the next command."""
    assert grammar.instream(b"") == b"zINSTREAM\0\0\0\0\0"


def test_replies_are_cut_at_nuls_wherever_packets_end() -> None:
    reader = ReplyReader()
    assert reader.feed(b"1: str") == []
    assert reader.held
    assert reader.feed(b"eam: OK\0002: stream: OK\0") == [b"1: stream: OK", b"2: stream: OK"]
    assert not reader.held


@pytest.mark.parametrize("packets", [[b"x" * 5000], [b"x" * 3000, b"x" * 3000], [b"x" * 5000 + b"\0"]])
def test_a_reply_that_does_not_end_is_refused(packets: list[bytes]) -> None:
    reader = ReplyReader()
    with pytest.raises(ProtocolError, match="4096"):
        for packet in packets:
            reader.feed(packet)
