"""FETCH answers, made of what the store keeps ready: rows of columns, slices of the log, slices of files (RFC 9051 sections 6.4.5 and 7.5.2).

Rows are rendered some hundred at a time; a message larger than a piece goes out as it is read. A message that was expunged meanwhile is left
out where its octets are asked for, and `gone` says so (RFC 2180 section 4.1.2). What is raised before the first piece is an answer:
NoSuchFolder where another folder took the place of this one. A DiskError leaves whole answers behind it; TornAnswer does not, and the connection
has to go without a word.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import closing
from functools import lru_cache
from itertools import accumulate
from typing import Final

from postroom.errors import DiskError, NoSuchFolder, NoSuchMessage
from postroom.mailstore import SEEN, Folder, View
from postroom_imap4 import answers, cached, sections, threads
from postroom_imap4.ahead import MANY, Ahead
from postroom_imap4.commands import FetchItem, Macro, Section
from postroom_imap4.numbers import Span
from postroom_imap4.pace import FILE, LOOK, OCTET, ROW, Pace
from postroom_imap4.preview import preview
from postroom_imap4.remembered import Remembered
from postroom_imap4.rows import FORMATS, LABELS, Alike, FlagTexts, Layout, Strands, date_times, is_alike, is_short, kept, literals
from postroom_imap4.sections import PIECE, SMALL, InMemory, Source, UnknownEncoding
from postroom_mime.headers import MAX_HEADER, header_end, select_fields
from postroom_mime.structure import without_extensions

ROWS: Final = 500  # rendered at once
FILES: Final = 64  # read at once
_ITEMS: Final = 8  # that are longer than a few octets, as clients ask for them
_LOG: Final = (
    16 << 20
)  # octets of the messages whose texts are taken from the log at once; an ENVELOPE is never much larger than its message
_GATHER: Final = 64 << 10  # octets of small answers that make a piece
_LONG: Final = 16 << 10  # octets of a BODYSTRUCTURE that takes more than a moment to take apart
_MOST: Final = 24 << 20  # octets of a folder's answers to one question that are kept for the next who asks


class TornAnswer(Exception):
    """The disk failed in the middle of an answer: whatever is said next would be octets of its literal."""


class Fetching:
    """One FETCH command. `modseq`: every answer tells it (RFC 7162 section 3.1); `uidonly`: no sequence number may be told (RFC 9586);
    `utf8`: strings may hold UTF-8 within quotes."""

    def __init__(self, folder: Folder, view: View, *, modseq: bool = False, uidonly: bool = False, utf8: bool = False) -> None:
        self._folder, self._view = folder, view
        self._modseq, self._uidonly, self._utf8 = modseq, uidonly, utf8
        self._keywords = folder.keywords()
        self._flags = FlagTexts(self._keywords)
        self._missing: set[int] = set()  # rows of the slice at hand that are gone
        self._data: dict[int, bytes] = {}  # files of the slice at hand
        self._pace = Pace()
        self._ahead = Ahead(folder, view)
        self.seen: list[int] = []  # UIDs whose \Seen the client set by reading; the session does it
        self.gone = False  # some of what was asked for was expunged: NO [EXPUNGEISSUED] (RFC 5530)
        self.undecodable = False  # NO [UNKNOWN-CTE] (RFC 3516 section 4.3)

    async def pieces(self, spans: Iterable[Span], items: Sequence[FetchItem], *, by_uid: bool) -> AsyncIterator[bytes]:
        """The untagged answers for these rows, in pieces of at most about 256 KiB."""
        with closing(self._ahead):
            async for piece in self._told_of(spans, items, by_uid):
                yield piece

    async def _told_of(self, spans: Iterable[Span], items: Sequence[FetchItem], by_uid: bool) -> AsyncIterator[bytes]:
        items = self._told(items, by_uid)
        marks = any(isinstance(item, Section) and not item.peeks for item in items)
        layout = _layout(self._verb(), items)
        share = max(len(layout.long) / _ITEMS, 1)
        in_files = share > 1 or any([_is_in_file(item) for _, item in layout.long])
        self._check_place()
        gathered: list[bytes] = []
        size = 0
        portions = self._portions(spans, in_files, share)
        for first, after in self._ahead.over(portions) if in_files else portions:
            if in_files and self._view.octets[first] > SMALL / share:
                async for piece in self._large(first, items):
                    gathered.append(piece)
                    size += len(piece)
                    if size >= _GATHER:
                        yield b"".join(gathered)
                        gathered, size = [], 0
            else:
                octets = await self._portion(first, after, layout)
                gathered.append(octets)
                size += len(octets)
            if marks:
                self._mark(first, after)
            if size >= _GATHER:
                for piece in _pieces(gathered, size):
                    yield piece
                gathered, size = [], 0
        if size:
            yield b"".join(gathered)

    # What is asked for.

    def _told(self, items: Sequence[FetchItem], by_uid: bool) -> tuple[FetchItem, ...]:
        """Each item once, with those that go without saying."""
        wanted: list[FetchItem] = list(dict.fromkeys(items))
        if by_uid and not self._uidonly and Macro.UID not in wanted:  # RFC 9051 section 6.4.9
            wanted.insert(0, Macro.UID)
        if self._modseq and Macro.MODSEQ not in wanted:
            wanted.append(Macro.MODSEQ)
        return tuple(wanted)

    def _verb(self) -> bytes:
        return b"UIDFETCH" if self._uidonly else b"FETCH"  # RFC 9586 section 3.3

    def _names(self, first: int, after: int) -> Sequence[int]:
        return self._view.uids[first:after] if self._uidonly else range(first + 1, after + 1)

    def _portions(self, spans: Iterable[Span], in_files: bool, share: float) -> Iterator[Span]:
        """Rows that are answered at once: not too many, and not too many octets; a large message by itself where files are read. Who asks for
        more items than clients do gets fewer of both at once, so that memory does not grow with the items."""
        rows, most, octets = (FILES, SMALL, self._view.octets) if in_files else (ROWS, _LOG, self._view.octets)
        rows, most = max(int(rows / share), 1), int(most / share)
        for first, after in spans:
            while first < after:
                stop = min(first + rows, after)
                if sum(octets[first:stop]) > most:
                    stop = first + max(bisect_right(list(accumulate(octets[first:stop])), most), 1)
                yield first, stop
                first = stop

    def _check_place(self) -> None:
        if self._folder.view().status.uidvalidity != self._view.status.uidvalidity:
            raise NoSuchFolder(f"{self._view.status.name} is another folder now")

    # Many rows.

    async def _portion(self, first: int, after: int, layout: Layout) -> bytes:
        """The answers for these rows. A whole portion of what is short is kept for the next who asks: clients look at all flags again and again.
        What is long is kept when it is asked for once more, where the folder's answers are not too many."""
        if after - first < ROWS or any([_is_in_file(item) for _, item in layout.long]):
            return await self._rendered(first, after, layout)
        view = self._view
        changing = (max(view.modseqs[first:after]), len(self._keywords)) if layout.short else ()
        what = (layout.row, first, view.uids[first], view.uids[after - 1], changing)
        known = RENDERED.get(self._folder, what)
        if known is not None and known[0].uidvalidity != view.status.uidvalidity:
            known = None
        if known is not None and isinstance(known[1], bytes):
            await self._pace.did(ROWS)
            return known[1]
        octets = await self._rendered(first, after, layout)
        if not self._missing and len(octets) * len(view) <= _MOST * ROWS:
            once = known is None and bool(layout.long)
            RENDERED.keep(self._folder, view, what, None if once else octets, _TOKEN if once else len(octets))
        return octets

    async def _rendered(self, first: int, after: int, layout: Layout) -> bytes:
        self._missing.clear()
        self._data.clear()
        short = {place: await self._short(item, first, after) for place, item in layout.short}
        long = {place: await self._long(item, first, after) for place, item in layout.long}
        names = self._names(first, after)
        if self._missing:
            self.gone = True
            keep = [row not in self._missing for row in range(first, after)]
            names = kept(names, keep)
            short = {place: kept(column, keep) for place, column in short.items()}
            long = {place: tuple(kept(strand, keep) for strand in strands) for place, strands in long.items()}
        return layout.render(names, short, long)

    async def _short(self, item: Macro, first: int, after: int) -> Sequence[object]:
        await self._pace.did((after - first) * (ROW if item in _LIGHT else LOOK))
        return self._plain(item, first, after)

    async def _long(self, item: FetchItem, first: int, after: int) -> Strands:
        if isinstance(item, Section):
            return await self._section(item, first, after)
        if item is Macro.PREVIEW or item is Macro.PREVIEW_LAZY:
            packs = self._texts("parts", first, after)
            return ([self._previewed(InMemory(data), pack) for data, pack in zip(await self._files(first, after), packs)],)
        if item is Macro.BODY:
            return (await self._bodies(first, after),)
        await self._pace.did((after - first) * LOOK)
        return (self._texts("envelope" if item is Macro.ENVELOPE else "bodystructure", first, after),)

    def _plain(self, item: Macro, first: int, after: int) -> Sequence[object]:
        """What is told from columns and the log alone."""
        view = self._view
        match item:
            case Macro.UID:
                return view.uids[first:after]
            case Macro.FLAGS:
                flags = view.flags[first:after]
                return Alike(self._flags[flags[0]], len(flags)) if is_alike(flags) else list(map(self._flags.__getitem__, flags))
            case Macro.SIZE:
                return view.octets[first:after]
            case Macro.MODSEQ:
                modseqs = view.modseqs[first:after]
                return Alike(modseqs[0], len(modseqs)) if is_alike(modseqs) else modseqs
            case Macro.INTERNALDATE:
                return date_times(view.numbers("arrived", first, after))
            case Macro.SAVEDATE:
                return date_times(view.numbers("saved", first, after))
            case Macro.EMAILID:
                return [email_id(one).encode() for one in view.ids[first:after]]
            case Macro.THREADID:
                return [one.encode() for one in threads.thread_ids(self._texts("header", first, after), view.ids[first:after])]
        raise AssertionError(item)

    def _texts(self, what: str, first: int, after: int) -> Sequence[bytes]:
        try:
            return self._view.texts(what, first, after)
        except NoSuchMessage:  # some of them; the others are found one by one
            return [self._text(what, row) for row in range(first, after)]

    def _text(self, what: str, row: int) -> bytes:
        try:
            return self._view.texts(what, row, row + 1)[0]
        except NoSuchMessage:
            self._missing.add(row)
            return _NOTHING[what]

    async def _bodies(self, first: int, after: int) -> Sequence[bytes]:
        found = []
        for text in self._texts("bodystructure", first, after):
            if len(text) > _LONG:  # a thread: the loop has its turns in between
                found.append(await asyncio.to_thread(without_extensions, text))
            else:
                found.append(without_extensions(text))
            await self._pace.did(len(text) + LOOK)
        return found

    # Out of files.

    async def _files(self, first: int, after: int) -> list[bytes]:
        """The files of these rows, each read once; what is gone is noted and empty."""
        uids, known, folder = self._view.uids, self._data, self._folder
        if after - first >= MANY and not known:
            try:
                known.update(enumerate(await self._ahead.texts(first, after), first))
                await self._pace.did((after - first) * FILE)
                return list(known.values())
            except NoSuchMessage:  # some of them; the others are found one by one
                pass
        for row in range(first, after):
            if row in known:
                continue
            try:
                data = folder.peek(uids[row], SMALL)
                known[row] = await folder.read(uids[row]) if data is None else data
            except NoSuchMessage:
                self._missing.add(row)
                known[row] = b""
        await self._pace.did((after - first) * FILE)
        return [known[row] for row in range(first, after)]

    async def _section(self, item: Section, first: int, after: int) -> Strands:
        if _is_whole(item):
            return literals(await self._files(first, after))
        if _is_simple(item) and item.fields is not None:
            return await self._fields(item.fields, first, after)
        found = []
        for row, data, pack in zip(range(first, after), await self._files(first, after), self._texts("parts", first, after)):
            found.append(b"" if row in self._missing else b"".join(self._answer(item, InMemory(data), pack)))
            await self._pace.did(LOOK + len(pack) + len(data) * OCTET)
        return (found,)

    async def _fields(self, names: tuple[bytes, ...], first: int, after: int) -> Strands:
        """HEADER.FIELDS of the fields that the store keeps; from the file where that cannot tell."""
        found = cached.header_fields(self._texts("header", first, after), names)
        await self._pace.did((after - first) * LOOK)
        return literals([select_fields(await self._header(row), names) if one is None else one for row, one in enumerate(found, first)])

    async def _header(self, row: int) -> bytes:
        if self._view.octets[row] <= SMALL:
            (data,) = await self._files(row, row + 1)
        else:
            data = await self._beginning(row)
        return data[: header_end(data)]

    async def _beginning(self, row: int) -> bytes:
        await self._pace.did(FILE)
        try:
            return await self._folder.read(self._view.uids[row], 0, MAX_HEADER)
        except NoSuchMessage:
            self._missing.add(row)
            return b""

    def _answer(self, item: Section, source: Source, pack: bytes) -> Iterator[bytes]:
        try:
            yield from sections.answer(item, source, pack)
        except UnknownEncoding:
            self.undecodable = True
            yield b"%b NIL" % item.label

    def _previewed(self, source: Source, pack: bytes) -> bytes:
        return answers.quoted(preview(source, pack), self._utf8) if pack else answers.NIL

    # One large message.

    async def _large(self, row: int, items: Sequence[FetchItem]) -> AsyncIterator[bytes]:
        self._missing.clear()
        self._data.clear()
        try:
            with sections.opened(self._folder, self._view.uids[row]) as source:
                pack = self._text("parts", row)
                told = [b"" if _is_read(item) else await self._alone(item, row) for item in items]
                if self._missing:
                    raise NoSuchMessage("its record is gone")
                yield b"* %d %b (" % (self._names(row, row + 1)[0], self._verb())
                try:
                    for place, item in enumerate(items):
                        yield b" " if place else b""
                        for piece in self._of_large(item, source, pack) if _is_read(item) else [told[place]]:
                            yield piece
                            await self._pace.did(FILE + PIECE * OCTET)
                except DiskError as error:
                    raise TornAnswer(str(error)) from error
                yield b")\r\n"
        except NoSuchMessage:
            self._missing.add(row)
            self.gone = True

    async def _alone(self, item: FetchItem, row: int) -> bytes:
        """One item of one row, as it is sent."""
        if isinstance(item, Macro) and is_short(item):
            return _shown(item) % tuple(await self._short(item, row, row + 1))
        strands = await self._long(item, row, row + 1)
        return _shown(item) + b"".join([strand[0] for strand in strands])

    def _of_large(self, item: FetchItem, source: Source, pack: bytes) -> Iterator[bytes]:
        if isinstance(item, Section):
            yield from self._answer(item, source, pack)
        else:
            yield b"PREVIEW " + self._previewed(source, pack)

    def _mark(self, first: int, after: int) -> None:
        uids, flags = self._view.uids, self._view.flags
        self.seen += [uids[row] for row in range(first, after) if not flags[row] & SEEN and row not in self._missing]


def email_id(message_id: str) -> str:
    """EMAILID (RFC 8474 section 5.1): the same for every copy of a message, for ever."""
    return f"M{message_id.lower()}"


RENDERED: Final = Remembered(64 << 20)  # octets in a worker
_TOKEN: Final = 256  # octets that it takes to remember that something was asked for
_LIGHT: Final = frozenset((Macro.UID, Macro.FLAGS, Macro.SIZE, Macro.MODSEQ))
_NOTHING: Final = {"bodystructure": b'("TEXT" "PLAIN" NIL NIL NIL "7BIT" 0 0)', "envelope": b"NIL", "header": b"\0\0", "parts": b""}


def _is_simple(item: Section) -> bool:
    """Whether it is found without the table of parts: a row's format names it then."""
    return _is_whole(item) or (item.section == b"HEADER" and item.fields is not None and not item.excludes and item.window is None)


@lru_cache(maxsize=64)
def _layout(verb: bytes, items: tuple[FetchItem, ...]) -> Layout:
    return Layout(verb, [(item, _shown(item)) for item in items])


def _shown(item: FetchItem) -> bytes:
    """A short item's format; what stands before a long one's value, where that does not bring it along."""
    if isinstance(item, Section):
        return item.label + b" " if _is_simple(item) else b""
    return FORMATS[item] if is_short(item) else LABELS[item]


def _is_whole(item: Section) -> bool:
    return not item.section and item.kind == "body" and item.window is None and item.fields is None


def _is_in_file(item: FetchItem) -> bool:
    """Whether files are read for it as a rule."""
    if isinstance(item, Section):
        return not (_is_simple(item) and item.fields is not None and cached.are_kept(item.fields))
    return item is Macro.PREVIEW or item is Macro.PREVIEW_LAZY


def _is_read(item: FetchItem) -> bool:
    """Whether it comes out of the file of a message that is told by itself."""
    return isinstance(item, Section) or _is_in_file(item)


def _pieces(gathered: list[bytes], size: int) -> Iterator[bytes]:
    octets = b"".join(gathered)
    if size <= PIECE:
        yield octets
        return
    for at in range(0, size, PIECE):
        yield octets[at : at + PIECE]
