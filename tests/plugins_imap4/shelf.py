"""A folder of the real store with given mail in it, for tests of what is read out of a folder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from postroom.message import MemoryMessage, derived_id
from postroom_imap4.commands import FetchItem, SearchKey
from postroom_imap4.fetching import Fetching
from postroom_imap4.numbers import Span
from postroom_imap4.searching import Asked, search
from postroom_store.folder import LocalFolder
from tests.providers_store.house import House

NOW = 1_800_000_000.0


def mail(body: str = "Hello.", subject: str = "hello", *fields: str, day: int = 5, zone: str = "+0000") -> bytes:
    """A letter of one part."""
    head = [f"From: Ann <ann@example.com>\r\nTo: bob@example.test\r\nSubject: {subject}\r\nDate: {day} Jan 2026 10:00:00 {zone}"]
    return "\r\n".join([*head, *fields, "", body, ""]).encode()


def multipart(*parts: bytes, subject: str = "parts", kind: str = "mixed", boundary: str = "edge") -> bytes:
    """A multipart of these; each with its header."""
    head = f"From: ann@example.com\r\nSubject: {subject}\r\nContent-Type: multipart/{kind}; boundary={boundary}\r\n\r\n".encode()
    edge = boundary.encode()
    return head + b"".join(b"--%b\r\n%b\r\n" % (edge, part) for part in parts) + b"--%b--\r\n" % edge


def part(body: bytes, kind: str = "text/plain; charset=utf-8", encoding: str = "7bit", *fields: str) -> bytes:
    head = [f"Content-Type: {kind}", f"Content-Transfer-Encoding: {encoding}", *fields, "", ""]
    return "\r\n".join(head).encode() + body


def with_mail(tmp_path: Path, mails: Sequence[bytes], check: Callable[[House, LocalFolder], Awaitable[None]]) -> None:
    """`check` in a house whose Inbox has these, row by row."""

    async def main() -> None:
        house = House(tmp_path)
        try:
            await house.store.open()
            folder = await house.folder()
            for number, data in enumerate(mails):
                await house.deliver(MemoryMessage(derived_id("shelf", str(number)), data))
            await check(house, folder)
        finally:
            house.close()

    asyncio.run(main())


async def fetched(folder: LocalFolder, *items: FetchItem, spans: Sequence[Span] = (), by_uid: bool = False, **how: bool) -> bytes:
    """The whole answer."""
    view = folder.view()
    fetching = Fetching(folder, view, **how)
    return b"".join([piece async for piece in fetching.pieces(spans or [(0, len(view))], items, by_uid=by_uid)])


async def found(folder: LocalFolder, key: SearchKey, saved: Sequence[int] | None = None) -> list[int]:
    return await search(folder, folder.view(), key, Asked(NOW, saved))
