"""postroom_smtp.outbound.octets: what is sent, in whatever blocks."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.message import SMALL, FileMessage, MemoryMessage
from postroom_smtp.data import DotReader
from postroom_smtp.outbound import octets
from postroom_smtp.outbound.octets import Large, Stuffer, of_message, return_path, stuffed

SOME = st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"x", b"\r\n.\r\n", b"\r\n..", b"\xff"])).map(b"".join)


@given(SOME, st.integers(1, 9))
def test_what_is_stuffed_is_read_back_as_it_was_however_it_is_cut(text: bytes, step: int) -> None:
    """The inbound side's reader undoes our stuffing, and finds one end."""
    clean = octets.ended(octets.mended(text))
    stuffer, out, at = Stuffer(), b"", 0
    while at < len(clean):
        end = at + step
        end += clean[end - 1 : end + 1] == b"\r\n"  # blocks split no CRLF
        out += stuffer.stuffed(clean[at:end])
        at = end
    assert out + b".\r\n" == stuffed(clean)
    reader = DotReader()
    assert reader.read(out + b".\r\n") == clean
    assert reader.done and reader.rest == b""


@given(SOME, st.integers(1, 7))
def test_blocks_of_a_large_message_are_those_of_a_small_one(text: bytes, block: int) -> None:
    """Cut anywhere, the octets sent are the same."""

    class Far:
        id, size = "A" * 32, len(text)

        def peek(self) -> None:
            return None

        async def read(self, offset: int = 0, n: int = -1) -> bytes:
            return text[offset : offset + min(n, block)]

    async def main() -> list[bytes]:
        far = Large(Far(), b"", (0, 0), "8BITMIME")  # type: ignore[arg-type]
        return [one async for one in far.blocks()]

    blocks = asyncio.run(main())
    assert b"".join(blocks) == octets.ended(octets.mended(text))
    assert not any(one.endswith(b"\r") for one in blocks)


@pytest.mark.parametrize(
    ("data", "where"),
    [
        (b"Return-Path: <a@b>\r\nX: y\r\n\r\n", (0, 20)),
        (b"return-path:\r\n <a@b>\r\nX: y\r\n", (0, 22)),
        (b"X: y\r\nReturn-Path: <a@b>\r\nZ: z\r\n\r\n", (6, 26)),
        (b"X: y\r\n\r\nReturn-Path: <a@b>\r\n", (0, 0)),
        (b"Return-Path: <a@b>", (0, 18)),
        (b"X: y\r\n", (0, 0)),
        (b"", (0, 0)),
    ],
)
def test_where_our_return_path_is(data: bytes, where: tuple[int, int]) -> None:
    assert return_path(data) == where


@pytest.mark.parametrize(
    ("data", "said", "body"),
    [
        (b"x\r\n", "8BITMIME", "7BIT"),
        (b"\xff\r\n", "7BIT", "8BITMIME"),
        (b"\xff", "BINARYMIME", "BINARYMIME"),
    ],
)
def test_what_the_octets_are(data: bytes, said: str, body: str) -> None:
    assert asyncio.run(of_message(MemoryMessage("A", data), said)).body == body


def test_a_file_that_is_small_is_read_at_once(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"Return-Path: <>\r\nA: b\r\n\r\nx")
    small = asyncio.run(of_message(FileMessage("A", path, 26), "7BIT"))
    assert small.whole == b"A: b\r\n\r\nx\r\n" and small.head == b"A: b\r\n" and small.size == 11


def test_a_large_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "m"
    text = b"Return-Path: <>\r\nA: b\r\n\r\n" + b"x" * SMALL
    path.write_bytes(text)
    large = asyncio.run(of_message(FileMessage("A", path, len(text)), "7BIT"))
    assert large.whole is None and large.head == b"A: b\r\n" and large.size == len(text) - 17


def test_a_file_that_was_cut_short_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"x" * SMALL)

    async def main() -> None:
        large = await of_message(FileMessage("A", path, 2 * SMALL), "7BIT")
        async for _ in large.blocks():
            pass

    with pytest.raises(OSError, match="ended at"):
        asyncio.run(main())
