"""APPEND with MULTIAPPEND and CATENATE, and REPLACE (RFC 9051 section 6.3.12, RFC 3502, 4469, 8508).

The literals are let go by who gave the command. Of several messages all are stored or none: where one cannot be, those before it are taken back, which a crash
in between would not do, because the store knows no append of many.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from postroom.errors import NoSuchFolder, NoSuchMessage, StoreError
from postroom.mailstore import Folder
from postroom.message import SMALL, MemoryMessage, Message, new_id
from postroom_disk.disk import DiskError
from postroom_imap4 import urls
from postroom_imap4.answers import quoted
from postroom_imap4.commands import Append, MessageUrl, NewMessage, Octets, Replace, Section
from postroom_imap4.doing_folders import target_of
from postroom_imap4.doing_messages import READ_ONLY, bits_of
from postroom_imap4.numbers import count, set_text
from postroom_imap4.replies import Ended, bad, no, ok, untagged
from postroom_imap4.sections import PIECE, Content, content, opened
from postroom_imap4.spilling import SpilledOctets

if TYPE_CHECKING:
    from postroom_imap4.session import Session

_UTF8_OFF: Final = bad("say ENABLE UTF8=ACCEPT first")  # RFC 6855 section 4


class _Unfit(Exception):
    """A message cannot be made of what the client gave; `ended` tells it."""

    def __init__(self, ended: Ended) -> None:
        super().__init__(ended.text)
        self.ended = ended


async def append(session: Session, command: Append) -> Ended:
    try:
        if any(message.utf8 for message in command.messages) and not session.modes.utf8_names:
            return _UTF8_OFF
        folder = await target_of(session, command.name)
        if isinstance(folder, Ended):
            return folder
        placed = await _stored(session, folder, command.messages)
        return ok("stored", b"APPENDUID %d %b" % (placed[0][0], set_text([uid for _, uid in placed])))
    except _Unfit as unfit:
        return unfit.ended


async def _stored(session: Session, folder: Folder, messages: Sequence[NewMessage]) -> list[tuple[int, int]]:
    """UIDVALIDITY and UID of each. Where one cannot be stored, none is."""
    placed: list[tuple[int, int]] = []
    try:
        for new in messages:
            flags = await bits_of(folder, new.flags)
            async with _message(session, new) as message:
                place = await folder.append(message, flags=flags, arrived=new.arrived)
            placed.append((place.uidvalidity, place.uid))
    except BaseException:
        if placed:
            with suppress(StoreError, DiskError):
                await folder.expunge([uid for _, uid in placed], uidvalidity=placed[0][0])
        raise
    session.appended += len(placed)
    session.world.counts.appended.inc(len(placed))
    return placed


def _check_size(session: Session, size: int) -> None:
    if size > session.world.settings.append_limit:
        raise _Unfit(no("the message is too large", b"TOOBIG"))  # RFC 7889 section 4, RFC 4469 section 4.2
    if not size:
        raise _Unfit(no("a message has at least one octet"))  # RFC 3502: the client has taken it back


@asynccontextmanager
async def _message(session: Session, new: NewMessage) -> AsyncIterator[Message]:
    """The message a client gave, in memory where it is small; valid inside the block."""
    only = new.pieces[0]
    if len(new.pieces) == 1 and isinstance(only, SpilledOctets):
        _check_size(session, only.size)
        yield only.message()
        return
    with ExitStack() as held:
        parts = [await _part(session, piece, held) for piece in new.pieces]
        size = sum(part.size for part in parts)
        _check_size(session, size)
        if size <= SMALL:
            yield MemoryMessage(new_id(), b"".join([octets for part in parts async for octets in part.pieces()]))
            return
        whole = held.enter_context(closing(await _written(session, parts, size)))
        yield whole.message()


@dataclass(frozen=True, slots=True)
class _Part:
    """A piece of a message to be."""

    size: int
    pieces: Callable[[], AsyncIterator[bytes]]


async def _written(session: Session, parts: Sequence[_Part], size: int) -> SpilledOctets:
    """A file with all of them. DiskError, and then there is none."""
    file = session.world.spills.begin(size)
    try:
        for part in parts:
            async for octets in part.pieces():
                file.write(octets)
                await asyncio.sleep(0)
        return file.done()
    except BaseException:
        file.abandon()
        raise


async def _part(session: Session, piece: Octets | MessageUrl, held: ExitStack) -> _Part:
    if isinstance(piece, MessageUrl):
        return await _named(session, piece.url, held)

    async def pieces() -> AsyncIterator[bytes]:
        for offset in range(0, piece.size, PIECE):
            yield await piece.read(offset, PIECE)

    return _Part(piece.size, pieces)


async def _named(session: Session, url: str, held: ExitStack) -> _Part:
    """What a URL means, its file open until `held` is closed (RFC 4469 section 3)."""
    found = await _content(session, urls.parse(url), held)
    if found is None or found[0].size < 0:
        raise _Unfit(no("this URL names nothing here", b"BADURL " + quoted(url)))
    whole, window = found
    first, octets = window or (0, whole.size)
    first = min(first, whole.size)
    after = whole.size if octets < 0 else min(first + octets, whole.size)

    async def pieces() -> AsyncIterator[bytes]:
        for one in whole.pieces(first, after):
            yield one

    return _Part(after - first, pieces)


async def _content(session: Session, place: urls.Place | None, held: ExitStack) -> tuple[Content, tuple[int, int] | None] | None:
    """None where there is no such message, or not any more."""
    try:
        if place is None or (not place.folder and session.selected is None):
            return None
        folder = session.folder.folder if not place.folder else await session.box.folder(place.folder)
        view = folder.view()
        row = bisect_left(view.uids, place.uid)
        if row == len(view) or view.uids[row] != place.uid or place.uidvalidity not in (None, view.status.uidvalidity):
            return None
        source = held.enter_context(opened(folder, place.uid))
        found = content(Section(b"", place.section.encode()), source, view.parts(row))
    except (NoSuchFolder, NoSuchMessage):
        return None
    return None if found is None else (found, place.window)


async def replace(session: Session, command: Replace) -> Ended:
    """RFC 8508: the new message is stored before the old one goes, so that a crash leaves two of them at worst, never none."""
    try:
        selected = session.folder
        if selected.readonly:
            return READ_ONLY
        if command.message.utf8 and not session.modes.utf8_names:
            return _UTF8_OFF
        spans = selected.rows(command.number, by_uid=command.by_uid)
        if count(spans) != 1:
            return no("there is no such message", b"NONEXISTENT") if not spans else bad("REPLACE takes one message")
        old = selected.uids(spans)
        folder = await target_of(session, command.name)
        if isinstance(folder, Ended):
            return folder
        placed = await _stored(session, folder, [command.message])
        await session.wire.send(untagged("stored", b"APPENDUID %d %d" % placed[0]))
        await selected.folder.expunge(old, uidvalidity=selected.view.status.uidvalidity)
        return ok("replaced")
    except _Unfit as unfit:
        return unfit.ended
