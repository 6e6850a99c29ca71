"""What the Content-* fields of one entity say (RFC 2045, 2183, 1864, 3282, 2557), read once and rendered for BODYSTRUCTURE.

Any header gives a `Content`: what is missing or wrong falls back as RFC 2045 section 5.2 says. Linear; nothing raises. Headers of parts are
alike in most mail, so short ones are remembered.
"""

from __future__ import annotations

import re
from enum import IntEnum
from functools import lru_cache
from typing import NamedTuple

from postroom_mime import parameters
from postroom_mime.headers import MAX_HEADER, split_fields, unfold
from postroom_mime.parameters import Parameters
from postroom_mime.strings import NIL, nstring, string
from postroom_mime.words import is_like_ascii

MAX_BOUNDARY = 1_000  # octets; RFC 2046 section 5.1.1 allows 70
SHORT = 512  # octets of a part's header up to which its Content is remembered


class Media(IntEnum):
    """What kind of body it is, as the part table keeps it."""

    OTHER = 0
    PLAIN = 1
    HTML = 2
    TEXT = 3
    MULTIPART = 4
    MESSAGE = 5


class Encoding(IntEnum):
    """Content-Transfer-Encoding (RFC 2045 section 6.1)."""

    BIT7 = 0
    BIT8 = 1
    BINARY = 2
    QUOTED_PRINTABLE = 3
    BASE64 = 4
    UNKNOWN = 5


_ENCODINGS = {
    b"7BIT": Encoding.BIT7,
    b"8BIT": Encoding.BIT8,
    b"BINARY": Encoding.BINARY,
    b"QUOTED-PRINTABLE": Encoding.QUOTED_PRINTABLE,
    b"BASE64": Encoding.BASE64,
}
_TEXTS = {b"PLAIN": int(Media.PLAIN), b"HTML": int(Media.HTML)}
_MULTIPART = int(Media.MULTIPART)

TYPE, ID, DESCRIPTION, ENCODING, MD5, DISPOSITION, LANGUAGE, LOCATION = range(8)
SLOTS = {
    b"Content-Type": TYPE,
    b"Content-ID": ID,
    b"Content-Description": DESCRIPTION,
    b"Content-Transfer-Encoding": ENCODING,
    b"Content-MD5": MD5,
    b"Content-Disposition": DISPOSITION,
    b"Content-Language": LANGUAGE,
    b"Content-Location": LOCATION,
}
_SLOTS = SLOTS | {name.lower(): slot for name, slot in SLOTS.items()}

Values = list[bytes | None]  # by slot: the unfolded value of the first field of that name

_TYPE = re.compile(rb"\s*+([^\s/;()<>@,:\\\"\[\]?=\0-\x1f\x7f-\xff]++)\s*+/\s*+([^\s/;()<>@,:\\\"\[\]?=\0-\x1f\x7f-\xff]++)")
# The common form of it: one parameter, one that makes the type complete.
_SIMPLE = re.compile(
    rb"(text(?=/[^;]*+;\s*+charset)|multipart(?=/[^;]*+;\s*+boundary))/([a-z0-9.+-]++);\s*+([a-z]++)="
    rb"(?:\"([^\"\\\s][^\"\\]{0,69})\"|([a-z0-9_.=+-]{1,70}+))$",
    re.IGNORECASE,
)
_TOKEN = re.compile(rb"[^\s;()<>@,:\\\"/\[\]?=]+")


class Content(NamedTuple):
    """One entity's kind, and its share of BODYSTRUCTURE: `opening` before size, lines or children, `closing` the extension data.

    A tuple because a scan makes one for every message, at a quarter of a frozen dataclass's cost."""

    media: int  # Media
    encoding: int  # Encoding
    charset: bytes  # lower case; empty where none is named
    boundary: bytes  # of a multipart, not empty; empty for others
    is_digest: bool  # multipart/digest: its parts are messages unless they say otherwise (RFC 2046 section 5.1.5)
    is_plain: bool  # no encoded word in a part's header; of text: 7bit, 8bit or binary, in a charset that agrees with ASCII
    opening: bytes
    closing: bytes


@lru_cache(maxsize=2048)
def of_short_part(block: bytes, in_digest: bool) -> Content | None:
    """The Content of a part from its header, which ends at the first empty CRLF line; None where it may have ended before."""
    if block.startswith((b"--", b"\r", b"\n")) or b"\n--" in block or b"\n\n" in block:
        return None
    return of_part(block, in_digest)


def of_part(block: bytes, in_digest: bool) -> Content:
    """The Content of a part from its header."""
    values: Values = [None] * len(SLOTS)
    for item in split_fields(block[:MAX_HEADER]):
        name, _, value = item.partition(b":")
        slot = _SLOTS.get(name, -1)
        if slot < 0:
            slot = _SLOTS.get(name.strip().lower(), -1)
        if slot >= 0 and values[slot] is None:  # features case 33: the first field of a name counts, here as everywhere
            values[slot] = unfold(value)
    return of_values(values, in_digest, is_plain=b"=?" not in block)


def of_values(values: Values, in_digest: bool = False, *, is_plain: bool = True) -> Content:
    """The Content of an entity from the values of its Content-* fields; `is_plain` as far as the caller knows."""
    kind, subtype, given = _media_type(values[TYPE], in_digest)
    if kind == b"MULTIPART":
        return _multipart(values, subtype, given, is_plain)
    given_encoding = values[ENCODING]
    encoding_name = _encoding_name(given_encoding[:200]) if given_encoding else b"7BIT"
    encoding = _ENCODINGS.get(encoding_name, Encoding.UNKNOWN)
    media, charset = int(Media.OTHER), b""
    if kind == b"TEXT":
        media, charset = _TEXTS.get(subtype, int(Media.TEXT)), _value(given, b"CHARSET").lower()
        is_plain = is_plain and encoding <= Encoding.BINARY and is_like_ascii(charset)
    elif kind == b"MESSAGE" and subtype == b"RFC822":
        if encoding <= Encoding.BINARY:  # RFC 2046 section 5.2.1 allows no other
            media = int(Media.MESSAGE)
        else:
            kind, subtype = b"APPLICATION", b"OCTET-STREAM"
    about = nstring(values[ID]), nstring(values[DESCRIPTION])
    opening = b"%b %b %b %b %b %b" % (string(kind), string(subtype), _rendered(given), *about, string(encoding_name))
    closing = b" %b %b" % (nstring(values[MD5]), _extension(values))
    return Content(media, int(encoding), charset, b"", False, is_plain, opening, closing)


def opaque(content: Content) -> Content:
    """The same entity where it lies too deep to be taken apart: octets, as sent."""
    name = next((name for name, encoding in _ENCODINGS.items() if encoding == content.encoding), b"7BIT")
    opening = b'"APPLICATION" "OCTET-STREAM" NIL NIL NIL %b' % string(name)
    return content._replace(media=int(Media.OTHER), boundary=b"", is_digest=False, opening=opening, closing=b" NIL NIL NIL NIL")


def _multipart(values: Values, subtype: bytes, given: Parameters, is_plain: bool) -> Content:
    """Its transfer encoding means nothing to anyone (RFC 2045 section 6.4)."""
    opening, closing = b"%b %b" % (string(subtype), _rendered(given)), b" " + _extension(values)
    return Content(_MULTIPART, 0, b"", _boundary(given), subtype == b"DIGEST", is_plain, opening, closing)


def _media_type(value: bytes | None, in_digest: bool) -> tuple[bytes, bytes, Parameters]:
    """Type, subtype, parameters; text/plain where the field is missing, wrong, or a multipart without a boundary (RFC 2045 section 5.2)."""
    if value is None:
        return (b"MESSAGE", b"RFC822", ()) if in_digest else _DEFAULT
    if simple := _SIMPLE.match(value):
        kind, subtype, name, quoted, plain = simple.groups()
        return kind.upper(), subtype.upper(), ((name.upper(), plain if quoted is None else quoted),)
    value = parameters.without_comments(value[: parameters.MAX_OCTETS])
    match = _TYPE.match(value)
    if match is None:
        return _DEFAULT
    kind, subtype = match[1].upper(), match[2].upper()
    given = parameters.parse(value)
    if kind == b"MULTIPART" and not _boundary(given):
        return _DEFAULT
    if kind == b"TEXT" and subtype == b"PLAIN" and not any(name.rstrip(b"*") == b"CHARSET" for name, _ in given):
        given = (*given, (b"CHARSET", b"US-ASCII"))
    return kind, subtype, given


_DEFAULT: tuple[bytes, bytes, Parameters] = (b"TEXT", b"PLAIN", ((b"CHARSET", b"US-ASCII"),))


def _value(given: Parameters, name: bytes) -> bytes:
    for found, value in given:
        if found == name:
            return value
    return b""


def _boundary(given: Parameters) -> bytes:
    boundary = _value(given, b"BOUNDARY").rstrip()
    return boundary if len(boundary) <= MAX_BOUNDARY else b""


@lru_cache(maxsize=64)
def _encoding_name(value: bytes) -> bytes:
    match = _TOKEN.search(parameters.without_comments(value))
    return match[0].upper() if match else b"7BIT"


def _rendered(given: Parameters) -> bytes:
    if not given:
        return NIL
    return b"(%b)" % b" ".join([b"%b %b" % (string(name), string(value)) for name, value in given])


def _extension(values: Values) -> bytes:
    """body-fld-dsp, body-fld-lang, body-fld-loc (RFC 9051 section 9)."""
    if values[DISPOSITION] is None and values[LANGUAGE] is None and values[LOCATION] is None:
        return b"NIL NIL NIL"
    location = values[LOCATION]
    return b"%b %b %b" % (_disposition(values[DISPOSITION]), _language(values[LANGUAGE]), nstring(_joined(location)))


def _joined(location: bytes | None) -> bytes | None:
    """RFC 2557 section 4.4.2: white space in a location is an artefact of folding."""
    return None if location is None else b"".join(location.split())


def _disposition(value: bytes | None) -> bytes:
    """RFC 2183; NIL where it names no type."""
    if value is None:
        return NIL
    value = parameters.without_comments(value[: parameters.MAX_OCTETS])
    match = _TOKEN.match(value.lstrip())
    return b"(%b %b)" % (string(match[0].upper()), _rendered(parameters.parse(value))) if match else NIL


def _language(value: bytes | None) -> bytes:
    """RFC 3282: one tag is a string, several are a list."""
    tags = [tag.strip() for tag in parameters.without_comments(value[:1000]).split(b",") if tag.strip()] if value else []
    if not tags:
        return NIL
    return string(tags[0]) if len(tags) == 1 else b"(%b)" % b" ".join(map(string, tags))


EMPTY = of_part(b"", False)
