"""The packed table of a message's parts: where each begins and ends in the file, so that a FETCH of any section is a slice.

One row an entity, in the order of the message, with its depth; so the tree can be read without pointers. `Parts.load` reads what
`pack` made; a table that is not one is a ValueError, for then the store's log is damaged.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from struct import Struct
from typing import NamedTuple

from postroom_mime.content import Encoding, Media
from postroom_mime.tree import Entity

_ROW = {1: "IIIIBBBB", 2: "QQQIBBBB"}  # by version; 2 for messages of 4 GiB and more
_MAX_CHARSETS = 200
_CHARSET_OCTETS = 60
_CHARSETS = (b"", b"us-ascii", b"utf-8", b"iso-8859-1", b"windows-1252")  # numbers every table knows; others follow in it
_KNOWN = {name: number for number, name in enumerate(_CHARSETS)}


class Part(NamedTuple):
    """One entity. Offsets are octets of the message file."""

    header: int  # where its header begins
    body: int  # where its body begins, after the blank line
    end: int  # where its body ends: before the line end that belongs to the next delimiter (RFC 2046 section 5.1.1)
    lines: int  # line ends in the body; of text and messages only, else 0
    depth: int  # 0 for the message itself
    media: int  # Media
    encoding: int  # Encoding
    charset: int  # a number for Parts.charset

    @property
    def is_text(self) -> bool:
        return Media.PLAIN <= self.media <= Media.TEXT


def pack(entities: Sequence[Entity]) -> bytes:
    """Pack a tree as `tree.grow` gives it."""
    charsets = _KNOWN
    numbers: list[int] = []
    for entity in entities:
        content = entity.content
        number = charsets.get(content.charset, -1)
        if number < 0:
            charsets = dict(charsets) if charsets is _KNOWN else charsets
            number = _new_charset(charsets, content.charset[:_CHARSET_OCTETS])
        numbers += (entity.header, entity.body, entity.end, entity.lines, entity.depth, content.media, content.encoding, number)
    version = 1 if entities[0].end < 1 << 32 else 2
    own = b"\n".join(list(charsets)[len(_CHARSETS) :]) if len(charsets) > len(_CHARSETS) else b""
    return b"%c%b%b%b" % (version, len(own).to_bytes(2, "little"), own, _row(version, len(entities)).pack(*numbers))


def _new_charset(charsets: dict[bytes, int], name: bytes) -> int:
    """The number of a charset met for the first time; 0, as if none were named, where a message has too many."""
    if name not in charsets and len(charsets) < _MAX_CHARSETS:
        charsets[name] = len(charsets)
    return charsets.get(name, 0)


@lru_cache(maxsize=64)
def _row(version: int, count: int = 1) -> Struct:
    return Struct("<" + _ROW[version] * count)


class Parts:
    """A table read: the entities, and every section of RFC 9051 section 6.4.5.1 as (start, end) of the message file."""

    __slots__ = ("_charsets", "rows")

    def __init__(self, rows: list[Part], charsets: tuple[bytes, ...]) -> None:
        self.rows, self._charsets = rows, charsets

    @classmethod
    def load(cls, packed: bytes) -> Parts:
        """Read a packed table. ValueError when it is none."""
        version = packed[0] if packed else 0
        row = _row(version) if version in _ROW else None
        start = 3 + int.from_bytes(packed[1:3], "little")
        if row is None or start >= len(packed) or (len(packed) - start) % row.size:
            raise ValueError("not a table of parts")
        own = packed[3:start]
        rows = [Part._make(each) for each in row.iter_unpack(packed[start:])]
        return cls(rows, (*_CHARSETS, *own.split(b"\n")) if own else _CHARSETS)

    def charset(self, part: Part) -> bytes:
        """The charset's name in lower case; empty where the part names none."""
        return self._charsets[part.charset] if part.charset < len(self._charsets) else b""

    def texts(self) -> Iterator[Part]:
        """All text parts, in order."""
        return (part for part in self.rows if part.is_text)

    def part(self, section: bytes) -> Part | None:
        """The part with this number, "1.2" say; the message itself for an empty one; None where there is none."""
        parsed = _section(section)
        if parsed is None or parsed[1]:
            return None
        index = self._find(parsed[0])
        return None if index is None else self.rows[index]

    def section(self, section: bytes) -> tuple[int, int] | None:
        """Where a section lies: "", "HEADER", "TEXT", "1.2", "1.2.MIME", "1.2.HEADER", "1.2.TEXT". None where the message has none such."""
        parsed = _section(section)
        if parsed is None:
            return None
        numbers, what = parsed
        index = self._find(numbers)
        if index is None:
            return None
        part = self.rows[index]
        if what == b"MIME":
            return (part.header, part.body) if numbers else None
        if what and numbers:  # HEADER and TEXT of a part are those of the message within (RFC 9051 section 6.4.5.1)
            if part.media != Media.MESSAGE:
                return None
            part = self.rows[index + 1]
        if not numbers and not what:
            return (part.header, part.end)
        return (part.header, part.body) if what == b"HEADER" else (part.body, part.end)

    def _find(self, numbers: tuple[int, ...]) -> int | None:
        """The row of a part number. Where a message is no multipart, it is its own part 1."""
        index, is_message = 0, True
        for number in numbers:
            media = self.rows[index].media
            if not is_message and media == Media.MESSAGE:
                index, is_message = index + 1, True
                media = self.rows[index].media
            if media == Media.MULTIPART:
                child = self._child(index, number)
                if child is None:
                    return None
                index = child
            elif not is_message or number != 1:
                return None
            is_message = False
        return index

    def _child(self, parent: int, number: int) -> int | None:
        depth = self.rows[parent].depth + 1
        for index in range(parent + 1, len(self.rows)):
            found = self.rows[index].depth
            if found < depth:
                return None
            if found == depth:
                number -= 1
                if not number:
                    return index
        return None


@lru_cache(maxsize=512)
def _section(section: bytes) -> tuple[tuple[int, ...], bytes] | None:
    """(part numbers, "" or HEADER, TEXT, MIME); None for what is no section of this kind."""
    numbers: list[int] = []
    words = section.upper().split(b".") if section else []
    for place, word in enumerate(words):
        if word.isdigit() and len(word) <= 6 and int(word) > 0:
            numbers.append(int(word))
        elif place == len(words) - 1 and word in (b"HEADER", b"TEXT", b"MIME"):
            return tuple(numbers), word
        else:
            return None
    return tuple(numbers), b""


def is_identity(encoding: int) -> bool:
    """Whether octets in this encoding are the content itself."""
    return encoding <= Encoding.BINARY
