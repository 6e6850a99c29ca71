"""Header blocks: where they end, what is in them, what is picked from them."""

from __future__ import annotations

import pytest

from postroom_mime.headers import count_received, fields, first_header_end, select_fields, values

BLOCK = b"Received: a\r\n\tb\r\nreceived : c\r\nTo: x\r\nno field\r\nSubject: s\r\n t\r\nX-Received: d\r\nTO:\r\n\r\n"


@pytest.mark.parametrize(
    ("data", "end"),
    [
        (b"", 0), (b"\r\n", 2), (b"\nx", 1), (b"A: b\r\n\r\nx", 8), (b"A: b\n\nx", 6), (b"A: b\r\n\nx", 7), (b"A: b", 4), (b"A: b\r\n", 6),
        (b"A: b\n\r\nx\r\n\r\n", 7), (b"x" * 99_999 + b"\r\n\r\nbody\n\n", 100_003), (b"x" * 4095 + b"\n\nb", 4097), (b"x" * 4094 + b"\r\n\r\nb", 4098),
    ],
)  # fmt: skip
def test_a_header_ends(data: bytes, end: int) -> None:
    assert first_header_end(data) == end


def test_fields_are_unfolded() -> None:
    assert list(fields(BLOCK)) == [
        (b"Received", b"a\tb"), (b"received", b"c"), (b"To", b"x"), (b"Subject", b"s t"), (b"X-Received", b"d"), (b"TO", b""),
    ]  # fmt: skip
    assert values(BLOCK, b"to") == [b"x", b""]


def test_fields_are_selected_as_they_stand() -> None:
    assert select_fields(BLOCK, {b"subject", b"received"}) == b"Received: a\r\n\tb\r\nreceived : c\r\nSubject: s\r\n t\r\n\r\n"
    assert select_fields(BLOCK, {b"received", b"to", b"subject"}, exclude=True) == b"no field\r\nX-Received: d\r\n\r\n"
    assert select_fields(BLOCK, set()) == b"\r\n"
    assert select_fields(b"To: cut", {b"to"}) == b"To: cut\r\n\r\n"
    assert select_fields(b"To: n\0l\r\n\r\n", {b"to"}) == b"To: n?l\r\n\r\n"


def test_hops_are_counted_in_the_first_header_only() -> None:
    assert count_received(BLOCK + b"Received: body\r\n") == 1  # no hop writes the obsolete blank before the colon
    assert count_received(b"RECEIVED: x\r\n" * 60 + b"\r\n") == 60
    assert count_received(b"") == 0
