"""What a server says: replies of RFC 5321 section 4.2 and the offers of its EHLO. Octets in, values out.

Linear in the octets, whatever the packets. A peer that breaks the grammar or the limits is a `ReplyError`: with it nothing more can be
agreed, and what was not answered before is tried again later. Text of a peer is untrusted: `explained` leaves only what is fit for a log
line, a notice and a command file.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from postroom.outcome import Reply

LINE = 4096  # octets; RFC 5321 section 4.5.3.1.5 allows 512
LINES = 100  # of one reply
_AT_ONCE = 1000  # lines in one packet, whatever was asked
_EACH = 10  # lines of each reply that is owed
_TEXT = 500  # characters of an explanation that are kept
_ENHANCED = re.compile(r"([245]\.\d{1,3}\.\d{1,3})(?:\s+|\Z)")  # RFC 2034 section 4
_CODE = re.compile(rb"[2-5][0-9]{2}(?:[ -]|\r?\Z)")


class ReplyError(Exception):
    """What came is no reply. `before`: the replies that came in front of it in the same packet; they count."""

    def __init__(self, why: str, before: Sequence[Answer] = ()) -> None:
        self.before = before
        super().__init__(why)


class Answer(NamedTuple):
    """One reply: its code, and its lines without the code."""

    code: int
    lines: tuple[bytes, ...]

    @property
    def is_good(self) -> bool:
        return 200 <= self.code < 300


class ReplyReader:
    """Takes the server's octets apart."""

    __slots__ = ("_held", "_lines")

    def __init__(self) -> None:
        self._held = b""
        self._lines: list[bytes] = []

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left over: neither half a line nor half a reply."""
        return not self._held and not self._lines

    def read(self, data: bytes, owed: int = 0) -> list[Answer]:
        """The replies that are complete now, where so many are owed. ReplyError where they are none; the reader is of no use after that."""
        if data.count(b"\n") > max(_AT_ONCE, _EACH * owed):
            raise ReplyError("more replies than anybody asked for")
        *lines, self._held = (self._held + data).split(b"\n") if self._held else data.split(b"\n")
        found: list[Answer] = []
        for line in lines:
            if not _CODE.match(line) or len(line) > LINE:
                raise ReplyError(f"not a reply: {printable(line[:80])}", found)
            self._lines.append(line[4:-1] if line.endswith(b"\r") else line[4:])
            if line[3:4] != b"-":
                found.append(Answer(int(line[:3]), tuple(self._lines)))  # where codes differ, the last line's counts
                self._lines = []
            elif len(self._lines) >= LINES:
                raise ReplyError(f"a reply of more than {LINES} lines", found)
        if len(self._held) > LINE:
            raise ReplyError(f"a line of more than {LINE} octets", found)
        return found


def printable(octets: bytes) -> str:
    """Text of a peer for people: no control character, nothing that is not UTF-8."""
    text = octets.decode("utf-8", "replace")
    return text if text.isprintable() else "".join(one if one.isprintable() else " " if one.isspace() else "?" for one in text)


def explained(answer: Answer) -> Reply:
    """The reply as an outcome carries it. Where it has no enhanced code, or one of another class (RFC 2034 section 4), the class alone."""
    kind = answer.code // 100
    enhanced, texts = "", []
    for line in answer.lines[:10]:
        text = printable(line).strip()
        if (found := _ENHANCED.match(text)) is not None and found[1][0] == str(kind):
            enhanced, text = enhanced or found[1], text[found.end() :]
        texts.append(text)
    return Reply(answer.code, enhanced or f"{kind}.0.0", " ".join(filter(None, texts))[:_TEXT])


@dataclass(frozen=True, slots=True)
class Offers:
    """What a server can do, by its answer to EHLO."""

    name: str = ""  # as it calls itself
    pipelining: bool = False  # RFC 2920
    chunking: bool = False  # RFC 3030
    eight_bit: bool = False  # RFC 6152
    binary: bool = False  # RFC 3030 section 3; means something with chunking only
    utf8: bool = False  # RFC 6531
    dsn: bool = False  # RFC 3461
    starttls: bool = False  # RFC 3207
    require_tls: bool = False  # RFC 8689
    etrn: bool = False  # RFC 1985
    takes_size: bool = False  # RFC 1870
    size: int = 0  # octets; zero: it does not say
    mechanisms: frozenset[str] = frozenset()  # RFC 4954
    recipients: int = 0  # of one transaction, RFC 9422; zero: it does not say
    messages: int = 0  # of one connection, likewise
    domains: int = 0  # of recipients in one transaction, likewise


def offers(lines: tuple[bytes, ...]) -> Offers:
    """The answer to EHLO (RFC 5321 section 4.1.1.1). What cannot be read is not offered."""
    return _offers(lines) if sum(map(len, lines)) <= LINE else _offers.__wrapped__(lines)  # nobody fills our memory with long ones


@lru_cache(maxsize=512)
def _offers(lines: tuple[bytes, ...]) -> Offers:
    words = {name.upper(): rest for name, rest in (_keyword(line) for line in lines[1:])}
    limits = _limits(words.get("LIMITS", ()))
    return Offers(
        name=_name(lines),
        pipelining="PIPELINING" in words,
        chunking="CHUNKING" in words,
        eight_bit="8BITMIME" in words,
        binary="BINARYMIME" in words and "CHUNKING" in words,
        utf8="SMTPUTF8" in words,
        dsn="DSN" in words,
        starttls="STARTTLS" in words,
        require_tls="REQUIRETLS" in words,
        etrn="ETRN" in words,
        takes_size="SIZE" in words,
        size=_number(words.get("SIZE", ("",))[:1]),
        mechanisms=frozenset(word.upper() for word in words.get("AUTH", ())),
        recipients=limits.get("RCPTMAX", 0),
        messages=limits.get("MAILMAX", 0),
        domains=limits.get("RCPTDOMAINMAX", 0),
    )


def _name(lines: tuple[bytes, ...]) -> str:
    return printable(lines[0].strip().partition(b" ")[0])[:255] if lines else ""


def _keyword(line: bytes) -> tuple[str, tuple[str, ...]]:
    """`AUTH=PLAIN` is how servers before RFC 2554 wrote it."""
    text = line.decode("ascii", "replace")
    words = text.replace("=", " ", 1).split() if text[:5].upper() == "AUTH=" else text.split()
    return (words[0], tuple(words[1:])) if words else ("", ())


def _number(words: Sequence[str]) -> int:
    text = words[0] if words else ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else 0


def _limits(words: Sequence[str]) -> dict[str, int]:
    """RFC 9422 section 3: what is no number is passed over."""
    pairs = (word.partition("=") for word in words)
    return {name.upper(): _number((value,)) for name, _, value in pairs}
