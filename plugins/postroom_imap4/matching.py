"""Whether a text stands in a message, as SEARCH TEXT and BODY mean it (RFC 9051 section 6.4.4): without case, in what was decoded. Pure but for reading.

TEXT looks into the header fields of the message, of its parts and of messages within it, names of attachments decoded (RFC 2231), and into all text
parts. BODY looks into the text parts. No expression of a client's reaches a regex engine (features case 34): needles are looked for by `find`, which is linear.
"""

from __future__ import annotations

import codecs
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from postroom_imap4.sections import PIECE, InMemory, Source, decoded_pieces, on_disk
from postroom_mime import parameters
from postroom_mime.headers import MAX_HEADER, fields, split_fields
from postroom_mime.parts import Part, Parts
from postroom_mime.subjects import folded
from postroom_mime.text import part_text
from postroom_mime.words import codec_name, decode_words

WHOLE: Final = 1 << 20  # octets of a text part up to which it is decoded at once
_NAMES: Final = (b"NAME", b"FILENAME")
_FOLDED: Final = 1 << 16  # characters folded by one call: some take 20 ns each, and nothing else runs meanwhile, in whatever thread it is


class Needle(NamedTuple):
    """A text to look for: folded, and the longest piece of it that no fold of a header can break."""

    text: bytes
    core: bytes

    @property
    def is_line(self) -> bool:
        """Whether it can stand in one line: the octets of a header have other line ends than its text."""
        return b"\n" not in self.text and b"\r" not in self.text


def needle(text: str) -> Needle:
    octets = folded(text)
    return Needle(octets, max(octets.split(), key=len, default=b""))


def at_sight(data: bytes, packed: bytes, what: Needle, *, headers: bool) -> bool:
    """Whether it stands in a plain message as it was given, small letters and all: where that is likely, most are done with so, and no copy of them is
    made. False says nothing."""
    at = data.find(what.text)
    if at < 0 or not packed:
        return False
    after = at + len(what.text)
    for part in Parts.load(packed).rows:
        if after <= part.body:
            return headers and at >= part.header
        if at >= part.body and after <= part.end and part.is_text:
            return True
    return False


def among_plain(messages: Sequence[bytes], what: Needle, *, headers: bool) -> list[int]:
    """In which of these messages it may stand, by place. All of them are plain, their octets are their text (mailstore.View.is_plain), so what is not
    in their octets is not in them: most are done with at one look at all. The needle is a line."""
    low = b"\n".join(messages).lower()
    starts = list(accumulate((len(one) + 1 for one in messages), initial=0))
    maybe = set(_rows_with(low, starts, what.core)) if what.core else set(range(len(messages)))
    if headers and _STAR in low:  # a coded name of an attachment may say what no octets say
        maybe.update(place for place, one in enumerate(messages) if _STAR in one)
    return sorted(maybe)


_STAR: Final = 0x2A


def _rows_with(low: bytes, starts: Sequence[int], core: bytes) -> Iterator[int]:
    at = low.find(core)
    while at >= 0:
        place = bisect_right(starts, at) - 1
        yield place
        at = low.find(core, starts[place + 1])


def in_decoded(data: bytes, packed: bytes, what: Needle, *, headers: bool) -> bool:
    """Whether it stands in a message that was read, whatever its octets are."""
    return _in_parts(InMemory(data), packed, what.text, headers)


def in_large(path: str, packed: bytes, what: Needle, *, headers: bool) -> bool:
    """Whether it stands in the message in this file, of which only some windows are in memory; for a thread. NoSuchMessage, DiskError."""
    with on_disk(path) as source:
        return _in_parts(source, packed, what.text, headers)


def in_plain(data: bytes, packed: bytes, what: Needle, *, headers: bool) -> bool:
    """Whether it stands in a plain message: where its octets are text they say what they say."""
    if not packed:
        return False
    low = data.lower()
    for part in Parts.load(packed).rows:
        if part.is_text and low.find(what.text, part.body, part.end) >= 0:
            return True
        if headers and _in_plain_header(low[part.header : part.body], what):
            return True
    return False


def _in_plain_header(block: bytes, what: Needle) -> bool:
    if what.text in block:
        return True
    if what.core != what.text and what.core in block and what.text in unfolded(block):
        return True
    return _has_coded_names(block) and what.text in coded_names(block)


def _in_parts(source: Source, packed: bytes, text: bytes, headers: bool) -> bool:
    parts = Parts.load(packed)
    for part in parts.rows:
        if headers and text in header_text(source.read(part.header, min(part.body, part.header + MAX_HEADER))):
            return True
        if part.is_text and _in_text(source, parts, part, text):
            return True
    return False


def _in_text(source: Source, parts: Parts, part: Part, text: bytes) -> bool:
    if part.end - part.body <= WHOLE:
        return text in body_text(source, parts, part)
    before = b""
    for piece in long_text(source, parts, part):
        if text in before + piece:
            return True
        before = (before + piece)[1 - len(text) :] if len(text) > 1 else b""
    return False


# The text of a message, folded.


def body_text(source: Source, parts: Parts, part: Part) -> bytes:
    """A text part."""
    octets = source.read(part.body, part.end)
    return _folded(part_text(octets, parts, part._replace(body=0, end=len(octets))))


def _folded(text: str) -> bytes:
    """Folding knows each character alone, so pieces of a text give the same."""
    if len(text) <= _FOLDED or text.isascii():
        return folded(text)
    return b"".join([folded(text[at : at + _FOLDED]) for at in range(0, len(text), _FOLDED)])


def header_text(block: bytes) -> bytes:
    """A header: its fields, unfolded and decoded, a line each, and names of attachments that were coded."""
    if block.isascii() and b"=?" not in block:
        text = unfolded(block).lower().replace(b"\r\n", b"\n")
    else:
        items = [item.replace(b"\r\0", b"").replace(b"\0", b"").rstrip(b"\r") for item in split_fields(block)]
        text = folded("\n".join(map(decode_words, items)))
    return text + coded_names(block) if _has_coded_names(block) else text


def unfolded(block: bytes) -> bytes:
    """A header block without its folds; their white space stays (RFC 5322 section 2.2.3)."""
    if b"\n " not in block and b"\n\t" not in block:
        return block
    return block.replace(b"\r\n ", b" ").replace(b"\r\n\t", b"\t").replace(b"\n ", b" ").replace(b"\n\t", b"\t")


def _has_coded_names(octets: bytes) -> bool:
    """Whether a parameter may be written as RFC 2231 has it: coded, or in pieces."""
    return _STAR in octets and (b"*=" in octets or b"*0=" in octets)


def coded_names(block: bytes) -> bytes:
    """The names of attachments in a header, decoded, a line each."""
    found = []
    for name, value in fields(block):
        if name.lower() in (b"content-type", b"content-disposition"):
            given = parameters.parse(value)
            found += [shown for each in _NAMES if (shown := parameters.text(given, each))]
    return folded("\n" + "\n".join(found))


def folded_field(value: bytes) -> bytes:
    """An unfolded field's value."""
    return value.lower() if value.isascii() and b"=?" not in value else folded(decode_words(value))


def long_text(source: Source, parts: Parts, part: Part) -> Iterator[bytes]:
    """A text part that is too long to be decoded at once, in pieces; the same text that `part_text` gives."""

    def octets() -> Iterable[bytes]:
        return decoded_pieces((source.read(at, min(at + PIECE, part.end)) for at in range(part.body, part.end, PIECE)), part.encoding)

    charset = parts.charset(part)
    codec = codec_name(charset) if charset else None
    if codec is None or codec == "ascii":
        codec = "utf-8" if _is_utf8(octets) else "cp1252"
    decoder = codecs.getincrementaldecoder(codec)("replace")
    for piece in octets():
        yield _folded(_decoded(decoder, piece, is_last=False))
    yield folded(_decoded(decoder, b"", is_last=True))


def _is_utf8(octets: Callable[[], Iterable[bytes]]) -> bool:
    decoder = codecs.getincrementaldecoder("utf-8")()
    try:
        for piece in octets():
            decoder.decode(piece)
        decoder.decode(b"", True)
    except UnicodeDecodeError:
        return False
    return True


def _decoded(decoder: codecs.IncrementalDecoder, piece: bytes, *, is_last: bool) -> str:
    try:
        return decoder.decode(piece, is_last)
    except (UnicodeError, ValueError, OverflowError):  # some stateful codecs raise even so (postroom_mime.words)
        decoder.reset()
        return piece.decode("latin-1")
