"""What the text parts of a message say: decoded for SEARCH, and without tags for people.

Any octets give text: broken base64 and quoted-printable are read as far as they go, unknown charsets as words.decode_charset does. Linear,
but for one thing: a caller decides how much it takes at a time, for a part is decoded as a whole.
"""

from __future__ import annotations

import binascii
import html
import re
from collections.abc import Iterator

from postroom_mime.content import Encoding, Media
from postroom_mime.headers import Octets
from postroom_mime.parts import Part, Parts
from postroom_mime.words import decode_base64, decode_charset


def decode_transfer(octets: bytes, encoding: int) -> bytes | None:
    """The content behind a transfer encoding (RFC 2045 section 6); None where the encoding is unknown, UNKNOWN-CTE of RFC 3516."""
    if encoding <= Encoding.BINARY:
        return octets
    if encoding == Encoding.QUOTED_PRINTABLE:
        return binascii.a2b_qp(octets)
    return decode_base64(octets) if encoding == Encoding.BASE64 else None


def part_text(data: Octets, parts: Parts, part: Part) -> str:
    """A text part's text, tags and all; what is in an unknown transfer encoding is read as it stands."""
    octets = data[part.body : part.end]
    content = decode_transfer(octets, part.encoding)
    return decode_charset(octets if content is None else content, parts.charset(part))


def texts(data: Octets, parts: Parts) -> Iterator[str]:
    """The text of every text part as SEARCH BODY looks through it: HTML with its tags, as it stands in the decoded part."""
    for part in parts.texts():
        yield part_text(data, parts, part)


def readable_texts(data: Octets, parts: Parts) -> Iterator[str]:
    """The text of every text part as people read it: HTML without its tags."""
    for part in parts.texts():
        text = part_text(data, parts, part)
        yield strip_tags(text) if part.media == Media.HTML else text


_BREAKS = frozenset(
    ("p", "br", "div", "tr", "li", "td", "th", "h1", "h2", "h3", "h4", "h5", "h6", "table", "ul", "ol", "blockquote", "hr", "title")
)
_HIDDEN = frozenset(("script", "style"))
_NAME = re.compile(r"/?([A-Za-z][A-Za-z0-9]*)|!--|[!?/]")


def strip_tags(source: str) -> str:
    """Text of HTML: tags, comments, scripts and styles gone, references resolved, a blank where a block ends. For reading and finding,
    never for showing: what comes out is text and must be escaped like any other. One look at each piece between two "<"."""
    first, *pieces = source.split("<")
    kept = [first]
    until = ""  # what ends the comment, script or style we are in
    for piece in pieces:
        if until:
            until = _ended(piece, until, kept)
            continue
        name = _NAME.match(piece)
        if name is None:
            kept.append("<" + piece)  # "a < b"
        elif name[0] == "!--":
            until = _ended(piece[3:], "-->", kept)
        else:
            tag = (name[1] or "").lower()
            if tag in _HIDDEN and not piece.startswith("/"):
                until = "/" + tag
                continue
            kept.append(" " if tag in _BREAKS else "")
            kept.append(piece.partition(">")[2])
    return html.unescape("".join(kept))


def _ended(piece: str, until: str, kept: list[str]) -> str:
    """What still has to come after this piece; nothing if it brought the end, and then its rest is text."""
    if until == "-->":
        _, found, rest = piece.partition("-->")
    else:
        is_end = piece[: len(until)].lower() == until
        found, rest = (until, piece.partition(">")[2]) if is_end else ("", "")
    if not found:
        return until
    kept.append(rest)
    return ""
