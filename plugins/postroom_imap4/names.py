"""Mailbox names between the wire and people's text: modified UTF-7 (RFC 3501 section 5.1.3) and UTF-8 (RFC 9051 section 5.1). Pure.

`read` and `written` undo each other, but for the case of INBOX. A name that is neither is a `BadName`: were it taken as it stands, the folder
could not be told back under the name the client knows, or two names would be one. Linear.
"""

from __future__ import annotations

import binascii
import re
from functools import lru_cache
from typing import Final

from postroom.mailstore import INBOX

LONGEST: Final = 1000  # octets of a name on the wire, all levels together
_SHIFTED = re.compile(rb"&([^-&]*+)(-?)")
_ODD = re.compile(r"[^\x20-\x7e]++|&")
_UNFIT = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")  # RFC 9051 section 5.1: no control characters, no line separators
_INBOX = INBOX.lower()


class BadName(ValueError):
    """The client's move; the text says what is wrong with the name."""


@lru_cache(maxsize=1024)
def read(octets: bytes, utf8: bool) -> str:
    """A mailbox name. `utf8`: the client has enabled UTF-8 names. INBOX in any case, as first level too, is the store's Inbox."""
    name = pattern(octets, utf8)
    if _UNFIT.search(name):
        raise BadName("a mailbox name has no control characters")
    first, slash, rest = name.partition("/")
    return INBOX + slash + rest if first.lower() == _INBOX else name


def pattern(octets: bytes, utf8: bool) -> str:
    """A LIST pattern or reference, "%" and "*" as they stand: decoded and no more."""
    if len(octets) > LONGEST:
        raise BadName(f"a mailbox name has at most {LONGEST} octets")
    try:
        if utf8 or not octets.isascii():  # who sends 8-bit octets unasked means UTF-8, and then "&" is an ampersand
            return octets.decode("utf-8")
        return octets.decode("ascii") if b"&" not in octets else _from_utf7(octets)
    except UnicodeDecodeError:
        raise BadName("a mailbox name must be UTF-8") from None


@lru_cache(maxsize=4096)
def written(name: str, utf8: bool) -> bytes:
    """A name's octets as this client reads them, to be quoted as need be."""
    first, slash, rest = name.partition("/")
    if first == INBOX:
        name = "INBOX" + slash + rest
    if utf8:
        return name.encode("utf-8", "replace")
    return _ODD.sub(lambda run: _shifted(run[0]), name).encode("ascii")


def _shifted(run: str) -> str:
    if run == "&":
        return "&-"
    octets = run.encode("utf-16-be", "replace")
    return "&" + binascii.b2a_base64(octets, newline=False).decode().rstrip("=").replace("/", ",") + "-"


def _from_utf7(octets: bytes) -> str:
    pieces: list[str] = []
    end, run_before = 0, False
    for found in _SHIFTED.finditer(octets):
        if not found[2]:
            raise BadName('an "&" in a mailbox name begins modified UTF-7, and "-" must end it')
        is_run = bool(found[1])
        if is_run and run_before and found.start() == end:
            raise BadName("a mailbox name must not leave and enter modified UTF-7 at one place")
        pieces += octets[end : found.start()].decode("ascii"), _run(found[1]) if is_run else "&"
        end, run_before = found.end(), is_run
    pieces.append(octets[end:].decode("ascii"))
    return "".join(pieces)


def _run(digits: bytes) -> str:
    """What a run of modified base64 says. Only the one encoding of each text is taken: two wire names never are one folder."""
    try:
        octets = binascii.a2b_base64(digits.replace(b",", b"/") + b"=" * (-len(digits) % 4), strict_mode=True)
        text = octets.decode("utf-16-be")
    except (binascii.Error, ValueError):
        raise BadName("the modified UTF-7 of a mailbox name is broken") from None
    if b"/" in digits or _shifted(text) != f"&{digits.decode('ascii')}-":
        raise BadName("the modified UTF-7 of a mailbox name is broken")
    if any(" " <= char <= "~" for char in text):
        raise BadName("a mailbox name must not encode what can stand for itself")  # RFC 3501 section 5.1.3
    return text
