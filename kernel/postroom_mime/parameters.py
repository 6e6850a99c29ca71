"""Parameters of Content-Type and Content-Disposition (RFC 2045 section 5.1, RFC 2231).

`parse` reads any value, wrong ones as a well-meaning reader would; at most MAX_PARAMETERS come out and the rest is not looked at
(features case 31: parameter floods). Linear; nothing raises.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from postroom_mime.words import decode_charset, decode_words

MAX_PARAMETERS = 100
MAX_OCTETS = 16_384  # of one field's value that are read

Parameters = tuple[tuple[bytes, bytes], ...]  # (name in upper case, value unquoted), in order

_PARAMETER = re.compile(rb'[;\s]*+([^\s=;"]++)\s*+=\s*+(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"?([^;]*+)|([^;]*+))', re.DOTALL)
_JUNK = re.compile(rb"[;\s]*+[^;]*+")
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)
_PIECE = re.compile(rb"(.+?)\*(0|[1-9]\d{0,2})(\*?)", re.DOTALL)  # RFC 2231 section 3: name*0, name*1*
_COMMENT_OR_STRING = re.compile(rb'[()]|"[^"\\]*+(?:\\.[^"\\]*+)*+"?|\\.|[^()"\\]++|\\', re.DOTALL)


def without_comments(value: bytes) -> bytes:
    """RFC 2045 section 5.1 lets comments stand between tokens; they nest."""
    if 0x28 not in value:  # "("
        return value
    depth, kept = 0, []
    for token in _COMMENT_OR_STRING.findall(value):
        if token == b"(":
            depth += 1
        elif token == b")" and depth:
            depth -= 1
        elif not depth:
            kept.append(token)
    return b"".join(kept)


def parse(value: bytes) -> Parameters:
    """What follows the first semicolon of an unfolded value. Pieces of RFC 2231 section 3 are joined, as its section 6 asks of IMAP
    servers; the charset marks of section 4 stay, under a name that ends in a star."""
    position, size = value.find(b";"), len(value)
    found: list[tuple[bytes, bytes]] = []
    while 0 <= position < size and len(found) < MAX_PARAMETERS:
        match = _PARAMETER.match(value, position)
        if match is None:
            junk = _JUNK.match(value, position)
            position = junk.end() if junk and junk.end() > position else size
            continue
        name, quoted, _after, plain = match.groups()
        text = plain.rstrip() if quoted is None else _QUOTED_PAIR.sub(rb"\1", quoted) if b"\\" in quoted else quoted
        found.append((name.upper(), text))
        position = match.end()
    return _joined(found) if any(b"*" in name for name, _ in found) else tuple(found)


def _joined(found: list[tuple[bytes, bytes]]) -> Parameters:
    """Pieces in the order of their numbers, at the place of the first; a gap ends them."""
    pieces: dict[bytes, dict[int, tuple[bytes, bytes]]] = {}
    order: list[tuple[bytes, bytes | None]] = []
    for name, value in found:
        match = _PIECE.fullmatch(name)
        if match is None:
            order.append((name, value))
            continue
        if match[1] not in pieces:
            order.append((match[1], None))
        pieces.setdefault(match[1], {}).setdefault(int(match[2]), (match[3], value))
    return tuple(_whole(name, pieces[name]) if value is None else (name, value) for name, value in order)


def _whole(name: bytes, numbered: dict[int, tuple[bytes, bytes]]) -> tuple[bytes, bytes]:
    run: list[tuple[bytes, bytes]] = []
    while len(run) in numbered:
        run.append(numbered[len(run)])
    if not any(star for star, _ in run):
        return name, b"".join(value for _, value in run)
    plain = (value if star else value.replace(b"%", b"%25") for star, value in run)  # a piece without a star is literal
    return name + b"*", b"".join(plain)


def text(parameters: Parameters, name: bytes) -> str | None:
    """A parameter's value as people read it (RFC 2231 section 4; encoded words, which RFC 2047 forbids here, are met and read)."""
    values = dict(reversed(parameters))
    extended = values.get(name.upper() + b"*")
    if extended is None:
        plain = values.get(name.upper())
        return None if plain is None else decode_words(plain)
    charset, mark, rest = extended.partition(b"'")
    _language, second, encoded = rest.partition(b"'")
    if not mark or not second:
        return decode_charset(unquote_to_bytes(extended))
    return decode_charset(unquote_to_bytes(encoded), charset)
