"""postroom_smtp.data: the same octets for every split, one end and one only."""

from __future__ import annotations

import itertools
import random

import pytest

from postroom_smtp.data import ChunkReader, DotReader, has_bare_line_ends, normalize


def by_lines(data: bytes) -> tuple[bytes, bytes] | None:
    """The reference: RFC 5321 section 4.5.2, line by line."""
    taken, at = b"", 0
    while (end := data.find(b"\r\n", at)) >= 0:
        line, at = data[at : end + 2], end + 2
        if line == b".\r\n":
            return taken, data[at:]
        taken += line.removeprefix(b".")
    return None


def read(pieces: list[bytes]) -> tuple[bytes, bytes] | None:
    reader, taken = DotReader(), b""
    for at, piece in enumerate(pieces):
        taken += reader.read(piece)
        if reader.done:
            return taken, reader.rest + b"".join(pieces[at + 1 :])
    return None


CASES = [
    b".\r\n",
    b"\r\n.\r\n",
    b"a\r\n.\r\nQUIT\r\n",
    b"..\r\n.\r\n",
    b"..a\r\n...\r\n....b\r\n.\r\n.\r\n",
    b"\r\n\r\n..\r\n\r\n.\r\n",
    b".a\r\n.b\r\n.\r\n",
    b"a\r.\r\n\r\n.\r\n",
    b"a\n.\n\r\n.\r\n",
    b"\r\r\n.\r\r\n.\r\n",
    b"no end at all\r\n.",
    b"\r\n.\r",
    b".",
]


@pytest.mark.parametrize("data", CASES)
def test_every_split_in_three_gives_what_the_reference_gives(data: bytes) -> None:
    wanted = by_lines(data)
    for one, two in itertools.combinations_with_replacement(range(len(data) + 1), 2):
        assert read([data[:one], data[one:two], data[two:]]) == wanted


@pytest.mark.parametrize("data", CASES)
def test_octet_by_octet(data: bytes) -> None:
    assert read([bytes([octet]) for octet in data]) == by_lines(data)


def test_many_random_texts_of_few_octets() -> None:
    chance = random.Random(1)
    for _ in range(4000):
        data = bytes(chance.choices(b"\r\n.a", k=chance.randrange(14)))
        cuts = sorted(chance.choices(range(len(data) + 1), k=3))
        pieces = [data[a:b] for a, b in itertools.pairwise([0, *cuts, len(data)])]
        assert read(pieces) == by_lines(data)


def test_no_block_splits_a_crlf_or_keeps_more_than_four_octets_back() -> None:
    chance = random.Random(2)
    for _ in range(2000):
        reader, given, taken, blocks = DotReader(), 0, 0, [b""]
        for _ in range(5):
            piece = bytes(chance.choices(b"\r\na", k=chance.randrange(8)))
            block = reader.read(piece)
            given, taken = given + len(piece), taken + len(block)
            blocks += [block] if block else []
            assert not (blocks[-2:-1] and blocks[-2].endswith(b"\r") and block.startswith(b"\n"))
            assert given - taken <= 4


@pytest.mark.parametrize(
    ("block", "mended"),
    [
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\nb", b"a\r\nb"),
        (b"a\rb", b"a b"),
        (b"\n\n", b"\r\n\r\n"),
        (b"Subject: x\r\r\nTo: y", b"Subject: x \r\nTo: y"),  # no empty line: the header goes on
        (b"\n\r", b"\r\n "),
        (b"\r\n\n", b"\r\n\r\n"),
        (b"", b""),
    ],
)
def test_bare_line_ends_are_mended(block: bytes, mended: bytes) -> None:
    assert normalize(block) == mended
    assert has_bare_line_ends(block) == (block != mended)
    assert not has_bare_line_ends(mended)


def test_a_chunk_is_exactly_as_long_as_it_says() -> None:
    data = b"12345\r\n.\r\nRSET\r\n"
    for cut in range(len(data) + 1):
        reader, taken = ChunkReader(10, last=True), b""
        for piece in (data[:cut], data[cut:]):
            if not reader.done:
                taken += reader.read(piece)
                rest = reader.rest
            else:
                rest += piece
        assert (taken, rest, reader.done) == (b"12345\r\n.\r\n", b"RSET\r\n", True)


def test_a_crlf_may_lie_across_two_chunks() -> None:
    first = ChunkReader(2, last=False)
    assert first.read(b"a\r") == b"a"
    second = ChunkReader(2, last=True, held=first.held)
    assert second.read(b"\nb") == b"\r\nb"
    lonely = ChunkReader(0, last=True, held=first.held)
    assert lonely.read(b"") == b"\r"


def test_a_megabyte_of_any_shape_is_read_in_linear_time() -> None:
    for octets in (b"\r", b"\n", b".", b"\r\n", b"\r\n.a", b"\r\n..", b"a"):
        data = octets * (1_000_000 // len(octets))
        reader = DotReader()
        for at in range(0, len(data), 1460):
            normalize(reader.read(data[at : at + 1460]))
        assert not reader.done
