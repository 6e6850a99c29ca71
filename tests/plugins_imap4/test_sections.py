"""Sections: windows, decoding in pieces against decoding at once, sources that end too early."""

from __future__ import annotations

import base64
import quopri
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.errors import DiskError, NoSuchMessage
from postroom_imap4 import sections
from postroom_imap4.commands import Section
from postroom_imap4.sections import InMemory, answer, decode_base64_pieces, decode_quoted_pieces, on_disk, value, windowed
from postroom_mime.content import Encoding
from postroom_mime.scan import scan
from postroom_mime.text import decode_transfer
from tests.plugins_imap4.shelf import multipart, part


@pytest.mark.parametrize(
    ("window", "size", "expected"),
    [(None, 5, (0, 5)), ((0, 3), 5, (0, 3)), ((3, 9), 5, (3, 5)), ((9, 1), 5, (5, 5)), ((2, 0), 5, (2, 2)), ((2**62, 2**62), 5, (5, 5))],
)
def test_windows(window: tuple[int, int] | None, size: int, expected: tuple[int, int]) -> None:
    assert windowed(window, size) == expected


@pytest.mark.parametrize(("octets", "told"), [(None, b"NIL"), (b"", b'""'), (b"ab", b"{2}\r\nab"), (b"a\0b", b"{3}\r\na?b")])
def test_a_literal_holds_no_nul(octets: bytes | None, told: bytes) -> None:
    """RFC 9051 section 4.3."""
    assert value(octets) == told


def cut(octets: bytes, places: list[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(octets) + 1) for place in places), len(octets)]
    return [octets[first:after] for first, after in zip(edges, edges[1:])]  # noqa: RUF007


@given(st.binary(max_size=300), st.lists(st.integers(0, 500), max_size=6), st.integers(4, 80))
def test_base64_in_pieces_is_base64(content: bytes, places: list[int], width: int) -> None:
    text = base64.b64encode(content)
    lines = b"\r\n".join(text[at : at + width] for at in range(0, len(text), width)) + b"\r\n"
    assert b"".join(decode_base64_pieces(cut(lines, places))) == content == decode_transfer(lines, Encoding.BASE64)


@given(st.binary(max_size=300), st.lists(st.integers(0, 500), max_size=6))
def test_quoted_printable_in_pieces_is_the_same(content: bytes, places: list[int]) -> None:
    text = quopri.encodestring(content)
    assert b"".join(decode_quoted_pieces(cut(text, places))) == decode_transfer(text, Encoding.QUOTED_PRINTABLE)


def test_a_line_without_end_is_decoded_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sections, "PIECE", 10)
    text = b"=41bc" * 100
    assert b"".join(decode_quoted_pieces([text[at : at + 7] for at in range(0, len(text), 7)])) == b"Abc" * 100


@given(st.binary(max_size=200))
def test_any_octets_are_decoded(octets: bytes) -> None:
    """Wrong ones too: nothing raises."""
    assert b"".join(decode_base64_pieces([octets])) is not None and b"".join(decode_quoted_pieces([octets])) is not None


@pytest.mark.parametrize("encoding", ["base64", "quoted-printable"])
@pytest.mark.parametrize("window", [None, (0, 10), (990, 100), (5_000, 1)])
def test_long_parts_are_told_as_short_ones(monkeypatch: pytest.MonkeyPatch, encoding: str, window: tuple[int, int] | None) -> None:
    content = b"some text \0 with = all\r\n" * 100
    coded = base64.encodebytes(content) if encoding == "base64" else quopri.encodestring(content)
    data = multipart(part(coded, "application/x", encoding))
    packed = scan(data).parts
    items = [Section(b"BINARY[1]", b"1", window=window, kind="binary"), Section(b"BINARY.SIZE[1]", b"1", kind="binary.size")]
    short = [b"".join(answer(item, InMemory(data), packed)).replace(b"~", b"") for item in items]
    monkeypatch.setattr(sections, "SMALL", 100)
    monkeypatch.setattr(sections, "PIECE", 64)
    assert [b"".join(answer(item, InMemory(data), packed)).replace(b"~", b"") for item in items] == short


def test_a_file_that_is_gone_or_short_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(NoSuchMessage), on_disk(str(tmp_path / "none")):
        pass
    path = tmp_path / "one"
    path.write_bytes(b"0123456789")
    with on_disk(str(path)) as source:
        assert source.read(2, 5) == b"234" and source.read(8, 99) == b"89" and source.read(50, 60) == b""
        path.write_bytes(b"0123")
        with pytest.raises(DiskError):
            source.read(0, 10)
