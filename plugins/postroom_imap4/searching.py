"""SEARCH: the rows of a view that a key finds (RFC 9051 section 6.4.4, RFC 5032, 5182, 6203, 7162, 8474, 8514).

What columns can tell is asked first, then cached fields, then files, and each only of the messages that are left. So is what stands beside each other
under OR. No step holds the loop, however many messages and keys there are. A message that is gone is found by what the columns say and by nothing
else. DiskError: a file could not be read.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import accumulate, compress
from operator import not_
from typing import Final, NamedTuple, TypeAlias

from postroom.errors import NoSuchMessage
from postroom.mailstore import SYSTEM_FLAGS, Folder, View
from postroom_imap4 import cached, matching, sorting, threads
from postroom_imap4.ahead import at_once
from postroom_imap4.commands import (
    AllOf,
    AnyOf,
    ById,
    Fuzzy,
    HasFlag,
    HasSaveDate,
    InHeader,
    InSet,
    InText,
    ModSeq,
    Not,
    OnDay,
    SearchKey,
    Size,
    Within,
)
from postroom_imap4.contents import Aid
from postroom_imap4.fetching import email_id
from postroom_imap4.numbers import rows_in, rows_of
from postroom_imap4.pace import FILE, LOOK, OCTET, ROW, TEXT, Pace, slices
from postroom_imap4.remembered import REMEMBERED
from postroom_imap4.sections import SMALL
from postroom_mime.headers import unfold, values

Rows: TypeAlias = Sequence[int]
Read: TypeAlias = list[tuple[int, bytes]]  # rows, and the octets of their messages
Test: TypeAlias = Callable[[Iterable[int]], Iterable[object]]

_ROWS: Final = 10_000  # rows of a column looked at between two counts
_LOOKS: Final = 500  # rows whose cached fields are cut out
_IDS: Final = 100  # rows whose ids are found in them
_FILES: Final = 50  # rows whose files are read
_AT_ONCE: Final = 25  # of them between two counts
_MANY: Final = 20_000  # octets of a table of parts that takes more than a moment to go through
_LIKELY: Final = 0.2  # of the messages read before that had the text as it was asked: then the next ones too are asked for that first
_WINDOW: Final = 1 << 20  # octets searched at once
_LONG: Final = 1 << 16  # octets of a message that take too long to be decoded in the loop
_KEY: Final = 100  # work for a key, however few messages there are
_DAY: Final = 86400
_DECODING: Final = OCTET * 8  # an octet of text that has to be decoded first


@dataclass(frozen=True, slots=True)
class Asked:
    """What a search has to know beside the folder: the time, the UIDs that "$" stands for (RFC 5182), and what helps to read fewer messages."""

    now: float
    saved: Sequence[int] | None = None
    aid: Aid | None = None
    progress: Callable[[int, int], None] | None = None  # told how many of how many messages have been read, as it goes on


async def search(folder: Folder, view: View, key: SearchKey, asked: Asked) -> list[int]:
    """Rows, ascending."""
    return list(await _Search(folder, view, asked).find(key, range(len(view))))


def highest_modseq(view: View, rows: Iterable[int]) -> int:
    """Of the messages that were found; 0 for none (RFC 7162 section 3.1.5)."""
    return max(map(view.modseqs.__getitem__, rows), default=0)


def asks_modseq(key: SearchKey) -> bool:
    """Whether a MODSEQ stands anywhere in it: then the answer has one too."""
    left = [key]
    while left:
        match left.pop():
            case ModSeq():
                return True
            case Not(inner) | Fuzzy(inner):
                left.append(inner)
            case AnyOf(keys) | AllOf(keys):
                left += keys
    return False


def cost(key: SearchKey) -> int:
    """What asking one message costs, about: columns, one text, cached fields, files."""
    match key:
        case Not(inner) | Fuzzy(inner):
            return cost(inner)
        case AnyOf(keys) | AllOf(keys):
            return max(map(cost, keys), default=0) + 1
        case InText():
            return 100
        case InHeader(name, _):
            return 10 if name == b"subject" else 20 if cached.are_kept((name,)) else 90
        case ById():
            return 20
        case InSet():
            return 0
    return 1


class _Search:
    """One search. Every answer is among the rows that were asked, ascending."""

    def __init__(self, folder: Folder, view: View, asked: Asked) -> None:
        self._folder, self._view, self._asked = folder, view, asked
        self._pace = Pace()

    async def find(self, key: SearchKey, among: Rows) -> Rows:
        if not among:
            return among
        await self._pace.did(_KEY)
        match key:
            case AllOf(keys):
                for each in sorted(keys, key=cost) if len(keys) > 1 else keys:
                    among = await self.find(each, among)
                return among
            case AnyOf(keys):
                return await self._any(keys, among)
            case Not(inner):
                return await self._without(among, await self.find(inner, among))
            case Fuzzy(inner):
                return await self.find(inner, among)  # RFC 6203 section 4: how fuzzy is ours to say
            case HasSaveDate():
                return among
            case InHeader() | InText() | ById():
                return await self._in_messages(key, among)
        return await self._in_columns(key, among)

    async def _any(self, keys: Sequence[SearchKey], among: Rows) -> Rows:
        found: list[int] = []
        left = among
        for key in sorted(keys, key=cost):
            hits = await self.find(key, left)
            if hits:
                found = sorted([*found, *hits])
                left = await self._without(left, hits)
        return found

    async def _without(self, among: Rows, found: Rows) -> Rows:
        if not found:
            return among
        if len(found) == len(among):
            return []
        mask = bytearray(b"\1") * len(self._view)
        return await self._masked(among, mask, found, 0)

    async def _within(self, among: Rows, found: Rows) -> Rows:
        if len(among) == len(self._view):
            return found
        return await self._masked(among, bytearray(len(self._view)), found, 1)

    async def _masked(self, among: Rows, mask: bytearray, found: Rows, bit: int) -> Rows:
        """The rows that a mask leaves, in which those that were found have this bit."""
        for some in slices(found, _ROWS):
            for row in some:
                mask[row] = bit
            await self._pace.did(ROW * len(some))
        left: list[int] = []
        for some in slices(among, _ROWS):
            left += compress(some, map(mask.__getitem__, some))
            await self._pace.did(ROW * len(some))
        return left

    # Columns.

    async def _in_columns(self, key: SearchKey, among: Rows) -> Rows:
        view = self._view
        match key:
            case HasFlag(flag, on):
                return await self._flagged(flag, on, among)
            case InSet(numbers, by_uid):
                spans = rows_of(numbers, view, by_uid=by_uid, saved=self._asked.saved, strict=False)  # RFC 7377 section 2
                return await self._within(among, rows_in(spans))
            case Size(larger, octets):
                return await self._where(among, view.octets, octets.__lt__ if larger else octets.__gt__)
            case ModSeq(modseq):
                return await self._where(among, view.modseqs, modseq.__le__)
            case Within(younger, seconds):  # RFC 5032 section 3
                border = self._asked.now - seconds
                return await self._timed("arrived", among, border.__le__ if younger else border.__ge__)
            case OnDay(what, how, day):
                return await self._dated(what, how, day, among)
        raise AssertionError(key)

    async def _flagged(self, flag: str, on: bool, among: Rows) -> Rows:
        bit = self._bit(flag)
        if not bit:
            return [] if on else among
        has = bit.__and__
        return await self._where(among, self._view.flags, has, is_not=not on)

    def _bit(self, flag: str) -> int:
        """Its bit; 0 where the folder has no such keyword."""
        name = flag.casefold()
        for known, bit in SYSTEM_FLAGS.items():
            if known.casefold() == name:
                return bit
        for number, keyword in enumerate(self._folder.keywords()):
            if keyword.casefold() == name:
                return 1 << (5 + number)
        return 0

    async def _where(self, among: Rows, column: Sequence[int], test: Callable[[int], object], *, is_not: bool = False) -> Rows:
        found: list[int] = []
        for some in slices(among, _ROWS):
            told = map(test, column[some[0] : some[-1] + 1] if _is_run(some) else map(column.__getitem__, some))
            found += compress(some, map(not_, told) if is_not else told)
            await self._pace.did(len(some) * ROW)
        return found

    async def _timed(self, what: str, among: Rows, test: Callable[[float], object]) -> Rows:
        found: list[int] = []
        for some in slices(among, _ROWS):
            found += compress(some, map(test, self._numbers(what, some)))
            await self._pace.did(len(some) * ROW)
        return found

    async def _dated(self, what: str, how: str, day: int, among: Rows) -> Rows:
        """Days as written: INTERNALDATE and SAVEDATE are told in UTC, the Date field has a zone of its own (RFC 9051 section 6.4.4)."""
        low, high = {"before": (None, day), "on": (day, day + 1), "since": (day, None)}[how]
        found: list[int] = []
        for some in slices(among, _LOOKS if what == "sent" else _ROWS):
            times = self._numbers(what, some)
            if what == "sent":
                times = [at + zone * 60 for at, zone in zip(times, self._numbers("sent_zone", some))]
            found += [row for row, at in zip(some, times) if (low is None or at >= low * _DAY) and (high is None or at < high * _DAY)]
            await self._pace.did(len(some) * ROW * (4 if what == "sent" else 1))
        return found

    def _numbers(self, what: str, some: Rows) -> Sequence[float]:
        """Of these rows. A message that is gone has no zone."""
        numbers = self._view.numbers
        try:
            if _is_run(some):
                return numbers(what, some[0], some[-1] + 1)
            return [numbers(what, row, row + 1)[0] for row in some]
        except NoSuchMessage:
            return [self._number(what, row) for row in some]

    def _number(self, what: str, row: int) -> float:
        try:
            return self._view.numbers(what, row, row + 1)[0]
        except NoSuchMessage:
            return 0

    # Messages.

    async def _in_messages(self, key: SearchKey, among: Rows) -> Rows:
        match key:
            case InText(text, headers):
                return await self._in_text(matching.needle(text), headers, among) if text else among
            case InHeader(b"subject", text) if text:
                return await self._in_subject(matching.needle(text).text, among)
            case InHeader(name, text):
                return await self._in_header(name, matching.needle(text).text, among)
            case ById(what, wanted):
                return await self._by_id(what, wanted, among)
        raise AssertionError(key)

    async def _by_id(self, what: str, wanted: str, among: Rows) -> Rows:
        found: list[int] = []
        for some in slices(among, _IDS):
            ids = self._view.ids[some[0] : some[-1] + 1] if _is_run(some) else [self._view.ids[row] for row in some]
            if what == "email":
                found += [row for row, one in zip(some, ids) if email_id(one) == wanted]
            else:
                packs = sorting.texts_of(self._view, some, "header")
                found += [row for row, one in zip(some, threads.thread_ids(packs, ids)) if one == wanted]
            await self._pace.did(len(some) * LOOK)
        return found

    async def _in_header(self, name: bytes, text: bytes, among: Rows) -> Rows:
        found: list[int] = []
        for some in slices(among, _LOOKS):
            packs = sorting.texts_of(self._view, some, "header")
            for row, items in zip(some, cached.each_field(packs, name)):
                if items is None:
                    block = await sorting.header_block(self._folder, self._view, row, self._pace)
                    told = values(block, name)
                else:
                    told = [unfold(item.partition(b":")[2].replace(b"\n", b"\0")) for item in items]
                if any(text in matching.folded_field(value) for value in told):
                    found.append(row)
                await self._pace.did(LOOK)
        return found

    async def _in_text(self, what: matching.Needle, headers: bool, among: Rows) -> Rows:
        aid = self._asked.aid
        if aid is None:
            return await self._in_files(what, headers, among)
        looked = await aid.look(self._folder, self._view, what, headers, among, self._pace)
        aid.were_read(self._folder, self._view, looked.unknown)
        return sorted([*looked.found, *await self._in_files(what, headers, looked.left)])

    async def _in_files(self, what: matching.Needle, headers: bool, among: Rows) -> list[int]:
        found: list[int] = []
        done, is_likely = 0, True
        for some in self._portions(among):
            plain, rest = await self._read(some, what)
            if is_likely:
                seen, plain = await self._at_sight(plain, what, headers)
                is_likely = len(seen) >= _LIKELY * (len(seen) + len(plain))
                found += seen
            places = matching.among_plain([data for _, data in plain], what, headers=headers)
            for row, data in [plain[place] for place in places]:
                found += [row] if matching.in_plain(data, self._parts(row), what, headers=headers) else []
            await self._pace.did(len(places) * FILE)
            for row, known in rest:
                found += [row] if await self._in_rest(row, known, what, headers) else []
            done += len(some)
            if self._asked.progress is not None:
                self._asked.progress(done, len(among))
        return sorted(found)

    async def _at_sight(self, plain: Read, what: matching.Needle, headers: bool) -> tuple[list[int], Read]:
        """The rows of messages in which it stands as it was asked, and the others, which may have it all the same."""
        seen: list[int] = []
        others: Read = []
        for row, data in plain:
            if what.text in data and matching.at_sight(data, self._parts(row), what, headers=headers):
                seen.append(row)
            else:
                others.append((row, data))
        await self._pace.did(len(plain) * FILE)
        return seen, others

    def _portions(self, among: Rows) -> Iterator[Rows]:
        """Rows whose files are in memory at once."""
        sizes, first = self._view.octets, 0
        while first < len(among):
            some = among[first : first + _FILES]
            held = list(accumulate(min(sizes[row], SMALL) for row in some))
            after = max(bisect_right(held, _WINDOW), 1)
            yield some[:after]
            first += after

    async def _read(self, some: Rows, what: matching.Needle) -> tuple[Read, list[tuple[int, bytes | None]]]:
        """The messages of these rows: those whose octets are their text, and the others; a large one is among these without its octets."""
        plain: Read = []
        rest: list[tuple[int, bytes | None]] = []
        is_line = what.is_line
        for row, is_plain, data in zip(some, self._numbers("is_plain", some), await self._messages(some)):
            if is_plain and is_line and data is not None:
                plain.append((row, data))
            else:
                rest.append((row, data))
        return plain, rest

    async def _messages(self, rows: Rows) -> list[bytes | None]:
        """Their octets, None of a large one; a message that is gone says nothing."""
        found: list[bytes | None] = []
        for some in slices(rows, _AT_ONCE):
            sizes = [self._view.octets[row] for row in some]
            octets = sum(sizes)
            if octets <= SMALL:
                with suppress(NoSuchMessage):
                    found += await at_once(self._view, some)
                    await self._pace.did(len(some) * FILE + octets * OCTET)
                    continue
            for row, size in zip(some, sizes):
                found.append(None if size > SMALL else await self._message(row))
                await self._pace.did(FILE if size > SMALL else FILE + size * OCTET)
        return found

    async def _message(self, row: int) -> bytes:
        uid = self._view.uids[row]
        try:
            data = self._folder.peek(uid, SMALL)
            return await self._folder.read(uid) if data is None else data
        except NoSuchMessage:
            return b""

    def _parts(self, row: int) -> bytes:
        return sorting.texts_of(self._view, [row], "parts")[0]

    async def _in_rest(self, row: int, data: bytes | None, what: matching.Needle, headers: bool) -> bool:
        pack = self._parts(row)
        if not pack:
            return False
        if data is None or len(data) > _LONG or len(pack) > _MANY:
            return await self._in_large(row, pack, what, headers)
        await self._pace.did(len(data) * _DECODING)
        return matching.in_decoded(data, pack, what, headers=headers)

    async def _in_large(self, row: int, pack: bytes, what: matching.Needle, headers: bool) -> bool:
        """In a thread: it goes through many windows of a file, or through thousands of parts."""
        try:
            return await asyncio.to_thread(matching.in_large, self._folder.path(self._view.uids[row]), pack, what, headers=headers)
        except NoSuchMessage:
            return False

    # Subjects.

    async def _in_subject(self, text: bytes, among: Rows) -> Rows:
        subjects = await self._subjects(among)
        if subjects is not None:
            return await self._within(among, await self._hits(subjects, text))
        found: list[int] = []
        for some in slices(among, _LOOKS):
            found += [row for row, subject in zip(some, sorting.texts_of(self._view, some, "subject")) if text in subject]
            await self._pace.did(len(some) * TEXT)
        return found

    async def _subjects(self, among: Rows) -> Subjects | None:
        """All subjects in one buffer; None where it is not there and most of it would not be looked at."""
        known = REMEMBERED.get(self._folder, "subjects")
        before = Subjects(b"", [])
        if known is not None and known[0].begins(self._view) and isinstance(known[1], Subjects):
            before = known[1]
        count = len(before.ends)
        if count == len(self._view):
            return before
        if len(among) * 8 < len(self._view) - count:
            return None
        told = await sorting.texts(self._view, range(count, len(self._view)), "subject", self._pace)
        after = accumulate(map(len, told), initial=len(before.text))
        next(after)
        subjects = Subjects(before.text + b"".join(told), before.ends + list(after))
        REMEMBERED.keep(self._folder, self._view, "subjects", subjects, len(subjects.text) + 40 * len(subjects.ends))
        return subjects

    async def _hits(self, subjects: Subjects, text: bytes) -> list[int]:
        """The rows in whose subject it stands: what is found across two of them is none."""
        buffer, ends, size = subjects.text, subjects.ends, len(text)
        found: list[int] = []
        at = 0
        while at < len(buffer):
            hit = buffer.find(text, at, at + _WINDOW + size)
            await self._pace.did(ROW if hit >= 0 else _WINDOW / 100)
            if hit < 0:
                at += _WINDOW
                continue
            row = bisect_right(ends, hit)
            if hit + size <= ends[row]:
                found.append(row)
                at = ends[row]
            else:
                at = hit + 1
        return found


class Subjects(NamedTuple):
    """The folded subjects of a folder one behind the other, and where each ends."""

    text: bytes
    ends: list[int]


def _is_run(rows: Rows) -> bool:
    return rows[-1] - rows[0] == len(rows) - 1
