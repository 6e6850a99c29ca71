"""Strings, names, flags and dates as they are sent to a client (RFC 9051 section 9). Pure; nothing here raises.

What goes out obeys the grammar whatever goes in: no CR, LF or NUL within quotes, 8-bit octets there only where the client enabled UTF-8,
everything else as a literal, and what has a NUL as a literal8 (RFC 9051 section 4.3.1), which only clients of BINARY are sent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Final

from postroom.mailstore import SYSTEM_FLAGS
from postroom_imap4 import names
from postroom_mime import dates
from postroom_mime.strings import PLAIN

NIL: Final = b"NIL"
_ATOM = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]]++")  # RFC 9051 section 9, ATOM-CHAR
_HIGH = bytes(range(128, 256))
_LONGEST_QUOTED = 1000  # octets; what is longer goes as a literal
_SHIFT = 5  # keyword n of a folder has flag bit 1 << (5 + n): postroom.mailstore.Folder.keywords
_FLAGS = tuple((bit, name.encode()) for name, bit in SYSTEM_FLAGS.items())
_BITS = {name.lower(): bit for name, bit in SYSTEM_FLAGS.items()}


def astring(value: bytes | str, utf8: bool = False) -> bytes:
    """As an atom where it can be one, else as a string. An atom NIL would read as nothing, so it is quoted."""
    octets = _octets(value)
    return octets if _ATOM.fullmatch(octets) and octets.upper() != NIL else quoted(octets, utf8)


def quoted(value: bytes | str, utf8: bool = False) -> bytes:
    """As a quoted string where it can be one, else as a literal. `utf8`: the client has enabled UTF-8 in quoted strings (RFC 6855 section
    3, RFC 9051 section 4.3)."""
    octets = _octets(value)
    odd = octets.translate(None, PLAIN)
    if utf8 and odd and not odd.isascii() and _is_utf8(octets):
        odd = odd.translate(None, _HIGH)
    if odd.strip(b'"\\') or len(octets) > _LONGEST_QUOTED:
        return literal(octets)
    return b'"%b"' % (octets.replace(b"\\", b"\\\\").replace(b'"', b'\\"') if odd else octets)


def literal(octets: bytes) -> bytes:
    """As a literal; as a literal8 where there is a NUL."""
    return b"%b%b" % (literal_start(len(octets), binary=b"\0" in octets), octets)


def literal_start(size: int, *, binary: bool = False) -> bytes:
    """What stands before the octets of a literal that is sent in pieces."""
    return b"%b{%d}\r\n" % (b"~" if binary else b"", size)


def nstring(value: bytes | str | None, utf8: bool = False) -> bytes:
    """As a string, or NIL where there is none."""
    return NIL if value is None else quoted(value, utf8)


@lru_cache(maxsize=4096)
def mailbox(name: str, utf8: bool) -> bytes:
    """A folder's name as this client reads it; quoted even where an atom would do, so that every name has one form."""
    return quoted(names.written(name, utf8), utf8)


def flag_list(flags: int, keywords: Sequence[str]) -> bytes:
    """Flags in parentheses; `keywords` are the folder's, by number. A bit that has no name yet is left out."""
    return _flag_list(flags, tuple(keywords) if flags >> _SHIFT else ())


@lru_cache(maxsize=4096)
def _flag_list(flags: int, keywords: tuple[str, ...]) -> bytes:
    own = [name for bit, name in _FLAGS if flags & bit]
    own += [name.encode("utf-8", "replace") for number, name in enumerate(keywords) if flags >> (number + _SHIFT) & 1]
    return b"(%b)" % b" ".join(own)


def flag_bits(flags: Iterable[str], keywords: Sequence[str]) -> tuple[int, list[str]]:
    """The bits of these flags, and those among them that are keywords which the folder has not got yet, each once. Flags compare without
    case (RFC 9051 section 2.3.2)."""
    bits, missing = 0, dict[str, str]()
    known: dict[str, int] | None = None
    for flag in flags:
        folded = flag.lower()
        if folded in _BITS:
            bits |= _BITS[folded]
            continue
        if known is None:
            known = {name.lower(): 1 << (number + _SHIFT) for number, name in enumerate(keywords)}
        if folded in known:
            bits |= known[folded]
        else:
            missing.setdefault(folded, flag)
    return bits, list(missing.values())


def date_time(seconds: float, zone: int = 0) -> bytes:
    """INTERNALDATE and SAVEDATE, quotes included; `zone` in minutes east of UTC."""
    return dates.internal(seconds, zone)


def line_text(text: str) -> bytes:
    """Text for people behind a status (RFC 9051 section 9, resp-text): one line, ASCII, never empty."""
    return text.encode("ascii", "replace").translate(_ON_ONE_LINE) or b"?"


_ON_ONE_LINE = bytes(0x20 if octet < 0x20 or octet == 0x7F else octet for octet in range(256))


def _octets(value: bytes | str) -> bytes:
    return value if isinstance(value, bytes) else value.encode("utf-8", "replace")


def _is_utf8(octets: bytes) -> bool:
    try:
        octets.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
