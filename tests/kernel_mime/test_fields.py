"""The cached fields: slices of them are what a look into the header would have said."""

from __future__ import annotations

import pytest

from postroom_mime.envelope import read
from postroom_mime.fields import MAX_FIELDS, MAX_OCTETS, NAMES, header_fields, is_whole, pack, value
from postroom_mime.headers import select_fields

BLOCK = b"Date: d\r\nX: y\r\nTO: one\r\nSubject: a\r\n b\r\nTo: two,\r\n\tthree\r\nReply-To: r\r\nFrom: f\r\nReferences:\r\n <a@b>\r\n <c@d>\r\nMessage-id: <m@n>\r\n\r\n"
PACKED = pack(read(BLOCK))


@pytest.mark.parametrize(
    "names", [[b"FROM", b"SUBJECT", b"DATE"], [b"to"], [b"References", b"Message-ID", b"In-Reply-To"], list(NAMES), []]
)
def test_a_selection_is_that_of_the_header(names: list[bytes]) -> None:
    assert header_fields(PACKED, names) == select_fields(BLOCK, {name.lower() for name in names})


def test_other_names_are_not_cached() -> None:
    assert header_fields(PACKED, [b"FROM", b"X"]) is None
    assert is_whole(PACKED)


def test_the_first_field_of_a_name_has_a_value() -> None:
    assert value(PACKED, b"TO") == b"one"
    assert value(PACKED, b"SUBJECT") == b"a b"
    assert value(PACKED, b"REFERENCES") == b"<a@b> <c@d>"
    assert value(PACKED, b"BCC") is None


@pytest.mark.parametrize(
    "block", [b"To: x\r\n" * (MAX_FIELDS + 1), b"To: " + b"x" * MAX_OCTETS + b"\r\n", b"To: x\r\n" * 2_000, b"To: " + b"x" * (2 << 20)]
)
def test_a_header_beyond_the_limits_is_to_be_read_itself(block: bytes) -> None:
    packed = pack(read(block + b"\r\n"))
    assert len(packed) <= MAX_OCTETS
    assert header_fields(packed, [b"TO"]) is None
    assert not is_whole(packed)
    assert value(packed, b"TO") is None


def test_a_header_without_these_fields() -> None:
    packed = pack(read(b"X: y\r\n\r\n"))
    assert header_fields(packed, NAMES) == b"\r\n"
    assert value(packed, b"FROM") is None
