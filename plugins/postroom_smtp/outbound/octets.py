"""The octets of a message on their way out: from the kernel's handle to what goes behind DATA or BDAT.

Our own Return-Path line, which only final delivery may show, is cut off (RFC 5321 section 4.4). A bare CR or LF, whoever wrote it, is mended
before it is sent, so that no peer can be made to see an end of message where there is none (features case 19). Everything works on
whole blocks: a small message is one, a large one is read 256 KiB at a time and never held whole.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from postroom.message import SMALL, Message
from postroom_smtp.data import has_bare_line_ends, normalize

BLOCK = 256 * 1024  # octets read at a time
_MARK = b"Return-Path:"
_INNER = b"\r\nReturn-Path: <"  # as trace.py writes it, behind fields that a hook put in front


class Octets(Protocol):
    """What is to be sent."""

    @property
    def size(self) -> int:
        """Octets; of a message that is mended on its way, nearly."""

    @property
    def whole(self) -> bytes | None:
        """All of it where it is small."""

    @property
    def head(self) -> bytes:
        """The header, or as much of it as the first block holds."""

    @property
    def body(self) -> str:
        """7BIT, 8BITMIME or BINARYMIME, as far as is known without reading a large one."""

    def blocks(self) -> AsyncIterator[bytes]:
        """All of it, in blocks that split no CRLF. DiskError or OSError where it cannot be read."""


@dataclass(frozen=True, slots=True)
class Small:
    """A message in memory."""

    whole: bytes
    body: str

    @property
    def size(self) -> int:
        return len(self.whole)

    @property
    def head(self) -> bytes:
        return _header(self.whole)

    async def blocks(self) -> AsyncIterator[bytes]:
        yield self.whole


@dataclass(frozen=True, slots=True)
class Large:
    """A message that lies elsewhere."""

    message: Message
    head: bytes
    cut: tuple[int, int]  # from where to where our Return-Path lies in its first block
    body: str
    whole: None = None

    @property
    def size(self) -> int:
        return self.message.size - (self.cut[1] - self.cut[0])

    async def blocks(self) -> AsyncIterator[bytes]:
        """Mended, unless it is binary: there a bare CR or LF is nothing but an octet."""
        at, held, is_binary = 0, b"", self.body == "BINARYMIME"
        while at < self.message.size:
            block = await self.message.read(at, BLOCK)
            if not block:
                raise OSError(f"the message {self.message.id} ended at {at} of {self.message.size} octets")
            first, at = at == 0, at + len(block)
            if first:
                block = block[: self.cut[0]] + block[self.cut[1] :]
            if is_binary:
                yield block
                continue
            block, held = held + block, b""
            if block.endswith(b"\r") and at < self.message.size:
                block, held = block[:-1], b"\r"
            yield mended(block) if at < self.message.size else ended(mended(block))


async def of_message(message: Message, body: str) -> Small | Large:
    """The octets of a message that was accepted as `body`. DiskError where it cannot be read."""
    data = message.peek()
    if data is None and message.size <= SMALL:
        data = await message.read()
    if data is None:
        first = await message.read(0, BLOCK)
        begin, end = return_path(first)
        kind = body if body == "BINARYMIME" else "8BITMIME"  # says no more than that it may be so
        return Large(message, _header(first[:begin] + first[end:]), (begin, end), kind)
    begin, end = return_path(data)
    return small(data[end:] if begin == 0 else data[:begin] + data[end:], body)


def small(data: bytes, body: str) -> Small:
    """A message in memory as it may be sent."""
    if body == "BINARYMIME":
        return Small(data, body)
    return Small(ended(mended(data)), "7BIT" if data.isascii() else "8BITMIME")


def return_path(data: bytes) -> tuple[int, int]:
    """Where our Return-Path lies, from and to; (0, 0) where there is none. A peer's own, further down, is not ours to touch."""
    if data[: len(_MARK)].lower() == _MARK.lower():
        return 0, _field_end(data, 0)
    at = data.find(_INNER, 0, max(data.find(b"\r\n\r\n"), 0))
    return (at + 2, _field_end(data, at + 2)) if at >= 0 else (0, 0)


def _field_end(data: bytes, at: int) -> int:
    """Behind the field that begins here, its folded lines included."""
    while (at := data.find(b"\n", at) + 1) and data[at : at + 1] in (b" ", b"\t"):
        pass
    return at or len(data)


def _header(data: bytes) -> bytes:
    end = data.find(b"\r\n\r\n")
    return data if end < 0 else data[: end + 2]


def mended(block: bytes) -> bytes:
    """The block without a bare CR or LF."""
    return normalize(block) if has_bare_line_ends(block) else block


def ended(block: bytes) -> bytes:
    """The last block, with a line end behind its last line (RFC 5321 section 4.1.1.4)."""
    return block if block.endswith(b"\r\n") or not block else block + b"\r\n"


class Stuffer:
    """Doubles the dot that begins a line (RFC 5321 section 4.5.2), across the borders of blocks that split no CRLF."""

    __slots__ = ("_at_line",)

    def __init__(self) -> None:
        self._at_line = True

    def stuffed(self, block: bytes) -> bytes:
        """The block as it goes behind DATA."""
        if not block:
            return block
        first = b"." if self._at_line and block.startswith(b".") else b""
        self._at_line = block.endswith(b"\n")
        return first + block.replace(b"\r\n.", b"\r\n..") if b"\r\n." in block or first else block


def stuffed(data: bytes) -> bytes:
    """A whole message, with its end."""
    return Stuffer().stuffed(data) + b".\r\n"
