"""postroom_smtp.data: the same octets for every split, one end and one only."""

from __future__ import annotations

import base64
import itertools
import random
from collections.abc import Iterator

import pytest

from postroom_smtp import data as module
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


def every_text(most: int) -> Iterator[bytes]:
    """All texts of the four kinds of octet that the reader tells apart."""
    for size in range(most + 1):
        yield from (bytes(octets) for octets in itertools.product(b"\r\n.a", repeat=size))


def octet_by_octet(data: bytes) -> tuple[bytes, bool]:
    """The naive reference: RFC 5321 section 4.5.2 and bare line ends mended, one octet after the other; whether the message has ended."""
    taken, at = bytearray(), 0
    while at < len(data):
        begins_line = at == 0 or data[at - 2 : at] == b"\r\n"
        if begins_line and data[at : at + 3] == b".\r\n":
            return bytes(taken), True
        octet = data[at : at + 1]
        if begins_line and octet == b".":
            at += 1
            continue
        if octet == b"\r":
            taken += b"\r" if data[at + 1 : at + 2] == b"\n" else b" "
        else:
            taken += b"\r\n" if octet == b"\n" and data[max(at - 1, 0) : at] != b"\r" else octet
        at += 1
    return bytes(taken), False


def is_bare(block: bytes) -> bool:
    """The naive reference."""
    alone_cr = any(block[at] == 13 and block[at + 1 : at + 2] != b"\n" for at in range(len(block)))
    return alone_cr or any(block[at] == 10 and block[max(at - 1, 0) : at] != b"\r" for at in range(len(block)))


def mended(pieces: list[bytes]) -> tuple[bytes, bool]:
    """What the session keeps of these packets."""
    reader, taken = DotReader(), b""
    for piece in pieces:
        block = reader.read(piece)
        taken += normalize(block) if has_bare_line_ends(block) else block
        if reader.done:
            break
    return taken, reader.done


@pytest.mark.parametrize("large", [0, module._LARGE])
def test_every_short_text_in_every_split_in_two_is_what_an_octet_by_octet_reader_takes(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGE", large)
    for text in every_text(6):
        wanted = octet_by_octet(text + b"\r\n.\r\n")
        assert wanted[1]
        for cut in range(len(text) + 5):
            whole = text + b"\r\n.\r\n"
            assert mended([whole[:cut], whole[cut:]]) == wanted, (text, cut)


@pytest.mark.long
def test_every_short_text_in_every_split_in_four(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGE", 0)
    for text in every_text(4):
        whole = text + b"\r\n.\r\n"
        wanted = octet_by_octet(whole)
        for one, two, three in itertools.combinations_with_replacement(range(len(whole) + 1), 3):
            assert mended([whole[:one], whole[one:two], whole[two:three], whole[three:]]) == wanted, (text, one, two, three)


@pytest.mark.parametrize("large", [0, module._LARGE])
def test_bare_line_ends_of_every_short_block_are_seen(large: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LARGE", large)
    for block in every_text(7):
        assert has_bare_line_ends(block) == is_bare(block), block


@pytest.mark.parametrize("line", [60, 72, 76, 998])
def test_one_wrong_octet_anywhere_in_even_lines_is_seen(line: int) -> None:
    """A large block of base64 is looked over in steps: whatever stands at a step, beside it, or between two is still seen."""
    lines = base64.b64encode(bytes(range(256)) * 80)
    whole = b"".join(lines[at : at + line] + b"\r\n" for at in range(0, len(lines) - line, line))
    assert len(whole) > module._LARGE and not has_bare_line_ends(whole)
    chance = random.Random(line)
    near = [place for at in (0, 7, len(whole) // (line + 2) - 1) for place in range(at * (line + 2) + line - 2, at * (line + 2) + line + 4)]
    for place in [*near, 0, 1, *chance.choices(range(len(whole)), k=30)]:
        for octets in (b"\r", b"\n", b"\r\n", b"\n\r", b"", b"x", b"\0", b"\xff"):
            for end in (place, place + 1, place + 2):
                block = whole[:place] + octets + whole[end:]
                if not block.endswith(b"\r"):
                    assert has_bare_line_ends(block) == is_bare_by_count(block), (place, octets, end)


def is_bare_by_count(block: bytes) -> bool:
    """The reference for large blocks: each CRLF is one CR and one LF, and there are no others."""
    return not block.count(b"\r") == block.count(b"\n") == block.count(b"\r\n")


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
