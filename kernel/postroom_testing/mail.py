"""Messages for tests: an ordinary one, hostile ones, a huge one in a file, one that comes slowly, one that cannot be read.

What is made here is made anew for each test; nothing is kept, and a huge message lies only in the folder it was asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from postroom.address import InternalAddress, smtp
from postroom.envelope import Envelope, Peer, Recipient
from postroom.errors import DiskError
from postroom.message import FileMessage, MemoryMessage, Message, derived_id

TEXT = b"From: ann@example.com\r\nTo: bob@example.test\r\nSubject: hello\r\nDate: Mon, 5 Jan 2026 10:00:00 +0000\r\n\r\nHow are you?\r\n"
_LINE = b"TWFueSBoYW5kcyBtYWtlIGxpZ2h0IHdvcmssIHNvIHRoZXkgc2F5LCBhbmQgc28gaXQgaXMuLi4u\r\n"
_numbers = count(1)


def letter(data: bytes = TEXT, *, name: str = "") -> MemoryMessage:
    """A message in memory. The same `name` gives the same id; without one the id is of this message alone."""
    return MemoryMessage(derived_id("0" * 32, "letter", name or f"#{next(_numbers)}"), data)


def envelope(
    message: Message, *to: str | InternalAddress, sender: str | None = "ann@example.com", source: str = "SMTP", arrived: float = 1.8e9
) -> Envelope:
    """An envelope around this message, to `bob@example.test` unless said; a text in brackets is an internal address, without a mail address."""
    recipients = tuple(Recipient(_address(one)) for one in to or ("bob@example.test",))
    who = smtp(sender) if sender else None
    return Envelope(message.id, message.id, source, who, recipients, arrived, Peer(ip="192.0.2.1", helo="peer.example.com", trusted=True))


def _address(one: str | InternalAddress) -> InternalAddress:
    if isinstance(one, InternalAddress):
        return one
    return InternalAddress.parse(one) if one.startswith("[") else smtp(one)


def in_file(message: MemoryMessage, folder: Path) -> FileMessage:
    """The same message in a file of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{message.id}.MAI"
    path.write_bytes(message.data)
    return FileMessage(message.id, path, message.size)


def huge(folder: Path, size: int = 32 << 20, text: bytes = b"") -> FileMessage:
    """A message of about this many octets in a file: two parts, the second one base64 with `text` as its last line."""
    folder.mkdir(parents=True, exist_ok=True)
    id = derived_id("0" * 32, "huge", str(size), text.decode("latin-1"))
    path = folder / f"{id}.MAI"
    with path.open("wb") as file:
        file.write(
            b"Subject: huge\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=edge\r\n\r\n--edge\r\n\r\nSee below.\r\n"
            b"--edge\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: base64\r\n\r\n"
        )
        block = _LINE * 1024
        for _ in range(size // len(block)):
            file.write(block)
        file.write(text + b"\r\n--edge--\r\n")
    return FileMessage(id, path, path.stat().st_size)


HOSTILE: Mapping[str, bytes] = {
    "nothing": b"",
    "a line end": b"\r\n",
    "no header": b"\r\nonly a body\r\n",
    "a header without an end": b"Subject: no end",
    "no line end": b"Subject: x\r\n\r\nlast",
    "nul octets": b"Subject: a\0b\r\n\r\n\0\0\0\r\n",
    "8-bit octets": bytes(range(128, 256)) + b": x\r\nSubject: \xff\xfe\r\n\r\n" + bytes(range(256)) * 4,
    "bare line ends": b"Subject: a\nX: b\rY: c\n\nbody\r\r\n.\n",
    "a field without a name": b": x\r\n:\r\n \r\nSubject\r\n\r\nbody\r\n",
    "a long line": b"Subject: x\r\n\r\n" + b"a" * 1_000_000 + b"\r\n",
    "a long field": b"Subject: " + b"a b " * 25_000 + b"\r\n\r\nbody\r\n",
    "a folded field": b"Subject: a\r\n" + b" b\r\n" * 20_000 + b"\r\nbody\r\n",
    "many fields": b"X-Many: one\r\n" * 20_000 + b"\r\nbody\r\n",
    "many addresses": b"To: " + b"a@example.com, " * 20_000 + b"\r\n\r\nbody\r\n",
    "nested comments": b"To: " + b"(" * 20_000 + b"\r\n\r\nbody\r\n",
    "broken encoded words": b"Subject: =?utf-8?B?////?= =?x?Q?=ZZ?= =?utf-8?B?" + b"=?" * 10_000 + b"\r\n\r\nbody\r\n",
    "an unknown charset": b"Content-Type: text/plain; charset=x-no-such\r\nContent-Transfer-Encoding: x-none\r\n\r\n\xff\r\n",
    "broken base64": b"Content-Transfer-Encoding: base64\r\nContent-Type: application/pdf; name=\"../../x\"\r\n\r\n=a=b=\r\n!!!!\r\nAAAA",
    "a boundary that never comes": b"Content-Type: multipart/mixed; boundary=never\r\n\r\n--neve\r\n" + b"-" * 100_000,
    "an empty boundary": b"Content-Type: multipart/mixed; boundary=\"\"\r\n\r\n" + b"--\r\n" * 20_000,
    "many parts": b"Content-Type: multipart/mixed; boundary=e\r\n\r\n" + b"--e\r\n\r\n\r\n" * 20_000 + b"--e--\r\n",
    "deep parts": b"".join(b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n) for n in range(2_000)),
    "deep messages": b"Content-Type: message/rfc822\r\n\r\n" * 5_000,
}  # fmt: skip


def hostile() -> Iterator[tuple[str, MemoryMessage]]:
    """Messages that were made to hurt, each with what is wrong with it."""
    for name, data in HOSTILE.items():
        yield name, letter(data, name=f"hostile {name}")


@dataclass(frozen=True, slots=True)
class SlowMessage:
    """A message whose reads wait until `go` is set: whoever reads it can be cancelled there."""

    whole: MemoryMessage
    go: asyncio.Event
    asked: asyncio.Event
    file: Path

    @property
    def id(self) -> str:
        return self.whole.id

    @property
    def size(self) -> int:
        return self.whole.size

    def peek(self) -> bytes | None:
        return None

    async def read(self, offset: int = 0, n: int = -1) -> bytes:
        self.asked.set()
        await self.go.wait()
        return await self.whole.read(offset, n)

    @asynccontextmanager
    async def as_file(self) -> AsyncIterator[Path]:
        self.asked.set()
        await self.go.wait()
        self.file.write_bytes(self.whole.data)
        yield self.file


@dataclass(frozen=True, slots=True)
class UnreadableMessage:
    """A message whose store fails: every read raises DiskError."""

    id: str
    size: int

    def peek(self) -> bytes | None:
        return None

    async def read(self, offset: int = 0, n: int = -1) -> bytes:
        raise DiskError("the message cannot be read: Input/output error")

    @asynccontextmanager
    async def as_file(self) -> AsyncIterator[Path]:
        if self.size >= 0:
            raise DiskError("the message cannot be read: Input/output error")
        yield Path()
