"""Strings as IMAP sends them."""

from __future__ import annotations

import pytest

from postroom_mime.strings import MAX_VALUE, nstring, string


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (b"", b'""'),
        (b"plain \t\x01", b'"plain \t\x01"'),
        (b'a "b" \\', b'"a \\"b\\" \\\\"'),
        (b"a\rb", b"{3}\r\na\rb"),
        (b"\xc3\xa9", b"{2}\r\n\xc3\xa9"),
        (b'"\0', b'{2}\r\n"?'),
    ],
)
def test_a_string(value: bytes, sent: bytes) -> None:
    assert string(value) == nstring(value) == sent


def test_a_missing_string_is_nil() -> None:
    assert nstring(None) == b"NIL"


def test_a_string_has_a_limit() -> None:
    assert string(b"x" * 99_999) == b'"' + b"x" * MAX_VALUE + b'"'
