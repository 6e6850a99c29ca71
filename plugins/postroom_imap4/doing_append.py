"""APPEND with MULTIAPPEND and CATENATE, and REPLACE (RFC 9051 section 6.3.12, RFC 3502, 4469, 8508).

The literals are let go by who gave the command. Of several messages all are stored or none, and one that replaces another comes as the
other goes: both are one change of the store.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from postroom.errors import NoSuchFolder, NoSuchMessage
from postroom.mailstore import Folder, Upload
from postroom.message import SMALL, MemoryMessage, Message, new_id
from postroom_imap4 import urls
from postroom_imap4.answers import quoted
from postroom_imap4.commands import Append, MessageUrl, NewMessage, Octets, Replace, Section
from postroom_imap4.doing_folders import target_of
from postroom_imap4.doing_messages import NOT_PERMITTED, READ_ONLY, bits_of, taken_away
from postroom_imap4.numbers import count, set_text
from postroom_imap4.replies import Ended, bad, no, ok, untagged
from postroom_imap4.rights import NotPermitted
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
        found = await target_of(session, command.name)
        if isinstance(found, Ended):
            return found
        placed = await _stored(session, *found, command.messages)
        session.noted(lambda known: known.brought(command.name, [uid for _, uid in placed]))
        return ok("stored", b"APPENDUID %d %b" % (placed[0][0], set_text([uid for _, uid in placed])))
    except _Unfit as unfit:
        return unfit.ended


async def _stored(session: Session, folder: Folder, may: int, messages: Sequence[NewMessage]) -> list[tuple[int, int]]:
    """UIDVALIDITY and UID of each, with those of the flags that one may set there. Where one cannot be stored, none is."""
    with ExitStack() as held:
        uploads = [await _upload(session, folder, may, new, held) for new in messages]
        placed = await folder.append_all(uploads)
    _count(session, len(placed))
    return [(one.uidvalidity, one.uid) for one in placed]


async def _upload(session: Session, folder: Folder, may: int, new: NewMessage, held: ExitStack) -> Upload:
    """As the store takes it; good until `held` is closed."""
    flags = await bits_of(folder, new.flags, may=may)
    return Upload(await _message(session, new, held), flags, new.arrived)


def _count(session: Session, messages: int) -> None:
    session.appended += messages
    session.world.counts.appended.inc(messages)


def _check_size(session: Session, size: int) -> None:
    if size > session.world.settings.append_limit:
        raise _Unfit(no("the message is too large", b"TOOBIG"))  # RFC 7889 section 4, RFC 4469 section 4.2
    if not size:
        raise _Unfit(no("a message has at least one octet"))  # RFC 3502: the client has taken it back


async def _message(session: Session, new: NewMessage, held: ExitStack) -> Message:
    """The message a client gave, in memory where it is small; good until `held` is closed."""
    only = new.pieces[0]
    if len(new.pieces) == 1 and not isinstance(only, MessageUrl):
        _check_size(session, only.size)
        if isinstance(only, SpilledOctets):
            return only.message()
        if only.size <= SMALL:
            return MemoryMessage(new_id(), await only.read(0, only.size))
    with ExitStack() as sources:
        parts = [await _part(session, piece, sources) for piece in new.pieces]
        size = sum(part.size for part in parts)
        _check_size(session, size)
        if size <= SMALL:
            return MemoryMessage(new_id(), b"".join([octets for part in parts async for octets in part.pieces()]))
        return held.enter_context(closing(await _written(session, parts, size))).message()


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
        folder = session.folder.folder if not place.folder else (await session.reach.open(place.folder, "r"))[1]
        view = folder.view()
        row = bisect_left(view.uids, place.uid)
        if row == len(view) or view.uids[row] != place.uid or place.uidvalidity not in (None, view.status.uidvalidity):
            return None
        source = held.enter_context(opened(folder, place.uid))
        found = content(Section(b"", place.section.encode()), source, view.parts(row))
    except (NoSuchFolder, NoSuchMessage, NotPermitted):
        return None
    return None if found is None else (found, place.window)


async def replace(session: Session, command: Replace) -> Ended:
    """RFC 8508: the new message comes at the moment at which the old one goes."""
    try:
        selected = session.folder
        if not selected.may("te"):  # RFC 8508 section 3: as an APPEND, a STORE of \Deleted and an EXPUNGE
            return READ_ONLY if selected.readonly else NOT_PERMITTED
        if command.message.utf8 and not session.modes.utf8_names:
            return _UTF8_OFF
        spans = selected.rows(command.number, by_uid=command.by_uid)
        if count(spans) != 1:
            return no("there is no such message", b"NONEXISTENT") if not spans else bad("REPLACE takes one message")
        (old,) = selected.uids(spans)
        found = await target_of(session, command.name)
        if isinstance(found, Ended):
            return found
        with ExitStack() as held:
            new = await _upload(session, *found, command.message, held)
            placed = await selected.folder.replace(old, new, found[0], uidvalidity=selected.view.status.uidvalidity)
        _count(session, 1)
        session.noted(lambda known: known.brought(command.name, [placed.uid]))
        await session.wire.send(untagged("stored", b"APPENDUID %d %d" % (placed.uidvalidity, placed.uid)))
        return await taken_away(session, "replaced")
    except NoSuchMessage:
        return no("this message was expunged", b"EXPUNGEISSUED")
    except _Unfit as unfit:
        return unfit.ended
