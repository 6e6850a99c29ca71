"""The words of IMAP (RFC 9051 section 9): a reader that goes through one frame, forward only, and takes what the grammar asks for. Pure.

What is not there is a `Mistake` that says what was expected and where. Every expression is possessive or fixed, so no octet is looked at more
often than there are rules asking for it: time is linear. Whatever octets come in, nothing but a `Mistake` is raised.

More is read than the standard allows where nothing else could be meant: several blanks for one, blanks at the end, any case, 8-bit octets in
strings and names (read as UTF-8), any octet behind a backslash within quotes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import date
from enum import Enum
from functools import lru_cache
from typing import Final, TypeVar

from postroom.mailstore import SYSTEM_FLAGS
from postroom_imap4 import names
from postroom_imap4.commands import STAR, Numbers, Octets
from postroom_imap4.framing import Frame
from postroom_mime import dates

DEPTH: Final = 50  # lists within lists; case 28
NUMBER: Final = (1 << 32) - 1  # RFC 9051 section 9, number
NUMBER64: Final = (1 << 63) - 1  # number64, mod-sequence-value
TAG: Final = 128  # octets
KEYWORD: Final = 250  # octets
STRING: Final = 64 * 1024  # octets of a string that is no message
ITEMS: Final = 10_000  # of a list
SHORT: Final = 24  # octets of a sequence set that is remembered
T = TypeVar("T")

_BLANKS = re.compile(rb" ++")
_TAG = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\+]{1,128}+")  # 1*<any ASTRING-CHAR except "+">
_WORD = re.compile(rb"[^\x00-\x20\x7f-\xff(){%*\"\\\]\[<>,:$]++")  # what keywords are made of, some more
_ATOM = re.compile(rb"[^\x00-\x20\x7f(){%*\"\\\]]++")
_ASTRING = re.compile(rb"[^\x00-\x20\x7f(){%*\"\\]++")
_PATTERN = re.compile(rb"[^\x00-\x20\x7f(){\"\\]++")  # list-char
_SECRET = re.compile(rb"[^\x00-\x20\x7f]++")  # LOGIN's arguments: clients leave anything unquoted
_QUOTED = re.compile(rb'"([^"\\\r\n\x00]*+(?:\\[^\r\n\x00][^"\\\r\n\x00]*+)*+)"')
_ESCAPE = re.compile(rb"\\(.)", re.DOTALL)
_DIGITS = re.compile(rb"[0-9]{1,20}+")
_SET = re.compile(rb"[0-9*:,]++")
_SET_STARTS = frozenset((b"$", b"*", *(b"%d" % digit for digit in range(10))))
_DATE = re.compile(rb" ?([0-9]{1,2})-([A-Za-z]{3})-([0-9]{4})")
_FLAG = re.compile(rb"\\?+[^\x00-\x20\x7f-\xff(){%*\"\\\]]++")
_ATTRIBUTE = re.compile(rb"\\[^\x00-\x20\x7f-\xff(){%*\"\\\]]++")
_BASE64 = re.compile(rb"[A-Za-z0-9+/]*+={0,2}+")
_MONTHS = {name: month for month, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_EPOCH = date(1970, 1, 1).toordinal()
_SYSTEM_FLAGS = {name.lower(): name for name in SYSTEM_FLAGS}


class Mistake(Exception):
    """The client's move. `code`, `is_no` and `empties` as in commands.Wrong."""

    def __init__(self, text: str, code: bytes = b"", *, is_no: bool = False) -> None:
        self.code, self.is_no, self.empties = code, is_no, False
        super().__init__(text)


class Kind(Enum):
    """Which literal may stand somewhere."""

    ANY = "literal or literal8"
    TEXT = "literal"
    BINARY = "literal8"


class Reader:
    """Where we are in a frame. `utf8`: mailbox names are UTF-8, else modified UTF-7."""

    __slots__ = ("_at", "_began", "_is_binary", "_next", "_pieces", "_text", "utf8")

    def __init__(self, frame: Frame, *, utf8: bool = False) -> None:
        self.utf8 = utf8
        self._pieces = frame.pieces
        self._next = 0
        self._turn()

    def _turn(self) -> None:
        """To the next text."""
        text = self._pieces[self._next]
        assert isinstance(text, bytes)
        self._next += 1
        self._at = self._began = 0
        self._is_binary = False
        if self._next < len(self._pieces):
            text = text[: text.rindex(b"{")]
            self._is_binary = text.endswith(b"~")
            text = text[:-1] if self._is_binary else text
        self._text = text

    # What comes next

    def expected(self, what: str, *, taken: bool = False) -> Mistake:
        """What was expected here, or where the word that was `taken` begins."""
        at = self._began if taken else self._at
        place = f"octet {at + 1}" + (f" after literal {self._next - 1 >> 1}" if self._next > 1 else "")
        return Mistake(f"expected {what} at the end ({place})" if at == len(self._text) and self.is_end else f"expected {what} at {place}")

    @property
    def is_end(self) -> bool:
        return self._at == len(self._text) and self._next == len(self._pieces)

    @property
    def is_literal(self) -> bool:
        """Whether a literal comes next."""
        return self._at == len(self._text) and self._next < len(self._pieces)

    def sees(self, mark: bytes) -> bool:
        """Whether this comes next; capitals are meant as written."""
        return self._text.startswith(mark, self._at)

    def sees_word(self, *words: bytes, behind: bytes = b"") -> bool:
        """Whether one of these words (capitals) comes next, in any case, or comes next `behind` that."""
        found = _WORD.match(self._text, self._at + len(behind)) if self.sees(behind) else None
        return found is not None and found[0].upper() in words

    def sees_set(self) -> bool:
        """Whether a sequence set comes next."""
        return self._text[self._at : self._at + 1] in _SET_STARTS

    # Marks and words

    def skip(self, mark: bytes) -> bool:
        """Take this mark if it comes next."""
        if not self._text.startswith(mark, self._at):
            return False
        self._at += len(mark)
        return True

    def skip_caseless(self, mark: bytes) -> bool:
        """Take this mark (capitals) if it comes next in any case."""
        after = self._at + len(mark)
        if self._text[self._at : after].upper() != mark:
            return False
        self._at = after
        return True

    def mark(self, mark: bytes) -> None:
        """Take this mark, which must come next."""
        if not self.skip(mark):
            raise self.expected(f'"{mark.decode()}"')

    def blank(self) -> None:
        """Take a blank, or several."""
        if not self.skip_blank():
            raise self.expected("a blank")

    def skip_blank(self) -> bool:
        """Take blanks if any come next."""
        found = _BLANKS.match(self._text, self._at)
        if found:
            self._at = found.end()
        return found is not None

    def end(self) -> None:
        """Nothing but blanks may follow."""
        self.skip_blank()
        if not self.is_end:
            raise self.expected("the end of the command")

    def word(self, what: str) -> bytes:
        """A keyword, in capitals."""
        return self._take(_WORD, what).upper()

    def skip_word(self, word: bytes) -> bool:
        """Take this keyword (capitals) if it comes next."""
        if not self.sees_word(word):
            return False
        self._at += len(word)
        return True

    def one_of(self, words: Mapping[bytes, T], what: str) -> T:
        """A keyword of these, and what it stands for. None of them is told all of them."""
        found = _WORD.match(self._text, self._at)
        if found and (upper := found[0].upper()) in words:
            self._at = found.end()
            return words[upper]
        raise self.expected(f"{what} ({b' '.join(words).decode()})")

    def base64(self) -> bytes:
        """Base64 or "=", as it is written."""
        return self._take(_BASE64, "base64")

    def attribute(self) -> str:
        """A mailbox attribute such as \\Sent."""
        return self._take(_ATTRIBUTE, "an attribute such as \\Sent").decode("ascii")

    def tag(self) -> bytes:
        """A whole tag: with a part of one no client would know what is answered."""
        tag = self._take(_TAG, f"a tag of at most {TAG} octets")
        if self._at < len(self._text) and not self.sees(b" "):
            raise self.expected(f"a tag of at most {TAG} octets", taken=True)
        return tag

    def atom(self, what: str) -> bytes:
        return self._take(_ATOM, what)

    def _take(self, kind: re.Pattern[bytes], what: str) -> bytes:
        found = kind.match(self._text, self._at)
        if found is None:
            raise self.expected(what)
        self._began, self._at = self._at, found.end()
        return found[0]

    # Strings

    def astring(self, what: str) -> bytes:
        return self._atom_or_string(_ASTRING, what)

    def pattern(self) -> str:
        """A mailbox pattern of LIST."""
        octets = self._atom_or_string(_PATTERN, "a mailbox pattern")
        return self._name(names.pattern, octets)

    def secret(self, what: str) -> bytes:
        """A login or password: blanks and controls end it, everything else is taken as it stands."""
        return self._atom_or_string(_SECRET, what)

    def _atom_or_string(self, atoms: re.Pattern[bytes], what: str) -> bytes:
        if self.sees(b'"') or self.is_literal:
            return self.string(what)
        return self._take(atoms, what)

    def string(self, what: str, *, may_be_binary: bool = False) -> bytes:
        """A quoted string or a literal that lies in memory; with `may_be_binary` a literal8 too, which may hold NULs."""
        if self.is_literal:
            holds_nul = self._is_binary
            return self._octets_of(self.literal(what, Kind.ANY if may_be_binary else Kind.TEXT), what, holds_nul)
        found = _QUOTED.match(self._text, self._at)
        if found is None:
            raise self.expected(f"{what}, as a string" if not self.sees(b'"') else f"{what}, with a quote at its end")
        self._at = found.end()
        return _ESCAPE.sub(rb"\1", found[1]) if b"\\" in found[1] else found[1]

    def nstring(self, what: str, *, may_be_binary: bool = False) -> bytes | None:
        return None if self.skip_word(b"NIL") else self.string(what, may_be_binary=may_be_binary)

    def literal(self, what: str, kind: Kind = Kind.ANY) -> Octets:
        """A literal, wherever its octets lie."""
        if not self.is_literal or kind not in (Kind.ANY, Kind.BINARY if self._is_binary else Kind.TEXT):
            raise self.expected(f"{what}, as a {kind.value}")
        literal = self._pieces[self._next]
        assert not isinstance(literal, bytes)
        self._next += 1
        self._turn()
        return literal

    def _octets_of(self, literal: Octets, what: str, holds_nul: bool) -> bytes:
        octets = literal.peek() if literal.size <= STRING else None
        if octets is None:
            raise Mistake(f"{what} has at most {STRING} octets", b"TOOBIG")
        if b"\0" in octets and not holds_nul:
            raise Mistake(f"{what} must not hold a NUL")  # RFC 9051 section 4.3
        return octets

    def text(self, what: str) -> str:
        """An astring as people's text."""
        return self.decoded(self.astring(what), what)

    def decoded(self, octets: bytes, what: str) -> str:
        """These octets as text, if they are UTF-8."""
        try:
            return octets.decode("utf-8")
        except UnicodeDecodeError:
            raise Mistake(f"{what} must be UTF-8") from None

    def mailbox(self) -> str:
        """A folder's name."""
        return self._name(names.read, self.astring("a mailbox name"))

    def _name(self, read: Callable[[bytes, bool], str], octets: bytes) -> str:
        try:
            return read(octets, self.utf8)
        except names.BadName as error:
            raise Mistake(str(error), b"CANNOT", is_no=True) from None  # RFC 5530 section 3

    # Lists

    def listed(self, item: Callable[[], T], what: str, *, least: int = 1, most: int = ITEMS) -> list[T]:
        """Items in parentheses."""
        if not self.skip(b"("):
            raise self.expected(f'"(" and {what}')
        self.skip_blank()
        found: list[T] = []
        while not self.skip(b")"):
            if found and not self._text[self._at - 1 : self._at] == b" ":
                raise self.expected('a blank or ")"')
            found.append(item())
            if len(found) > most:
                raise Mistake(f"at most {most} may be given: {what}")
            self.skip_blank()
        if len(found) < least:
            raise self.expected(what)
        return found

    def one_or_listed(self, item: Callable[[], T], what: str, *, most: int = ITEMS) -> list[T]:
        """One item, or some in parentheses."""
        return self.listed(item, what, most=most) if self.sees(b"(") else [item()]

    # Numbers

    def number(self, what: str, *, least: int = 0, most: int = NUMBER) -> int:
        found = _DIGITS.match(self._text, self._at)
        if found is None or not least <= (number := int(found[0])) <= most:
            raise self.expected(f"{what}, a number from {least} to {most}")
        self._at = found.end()
        return number

    def modseq(self) -> int:
        """RFC 7162 section 7, mod-sequence-valzer; zero is taken everywhere."""
        return self.number("a mod-sequence", most=NUMBER64)

    def numbers(self, *, may_save: bool = True) -> Numbers:
        """A sequence set, or "$" for what was saved (RFC 9051 section 9, sequence-set)."""
        if may_save and self.skip(b"$"):
            return Numbers(saved=True)
        found = _SET.match(self._text, self._at)
        if found is None:
            raise self.expected("a sequence set")
        text = found[0]
        try:
            numbers = _short_set(text) if len(text) <= SHORT else _set(text)
        except ValueError:
            raise self.expected("a sequence set such as 1:3,7,9:*") from None
        self._began, self._at = self._at, found.end()
        return numbers

    # Flags and dates

    def flag(self) -> str:
        """A flag; the system's as RFC 9051 section 2.3.2 writes them."""
        octets = self._take(_FLAG, "a flag")
        if len(octets) > KEYWORD:
            raise Mistake(f"a keyword has at most {KEYWORD} octets", b"LIMIT", is_no=True)  # RFC 5530 section 3
        name = octets.decode("ascii")
        if octets[:1] != b"\\":
            return name
        known = _SYSTEM_FLAGS.get(name.lower())
        if known is None and name.lower() != "\\recent":
            raise Mistake(f"there is no system flag of that name ({' '.join(SYSTEM_FLAGS)})")
        return known or "\\Recent"

    def flags(self) -> tuple[str, ...]:
        """Flags in parentheses. \\Recent is no client's to set (RFC 3501 section 2.3.2), and passed over: some upload with what they saw."""
        return without_recent(self.listed(self.flag, "flags", least=0))

    def bare_flags(self) -> tuple[str, ...]:
        """Flags without parentheses, to the end of the command."""
        found = [self.flag()]
        while self.skip_blank() and not self.is_end:
            found.append(self.flag())
            if len(found) > ITEMS:
                raise Mistake(f"at most {ITEMS} may be given: flags")
        return without_recent(found)

    def day(self) -> int:
        """A date, with or without quotes, in days since 1970."""
        quoted = self.skip(b'"')
        found = _DATE.match(self._text, self._at)
        month = _MONTHS.get(found[2].lower()) if found else None
        if found is None or month is None:
            raise self.expected("a date such as 1-Feb-2026")
        try:
            day = date(int(found[3]), month, int(found[1])).toordinal() - _EPOCH
        except ValueError:
            raise self.expected("a date that exists") from None
        self._at = found.end()
        if quoted and not self.skip(b'"'):
            raise self.expected("a quote behind the date")
        return day

    def date_time(self) -> float:
        """A date-time in quotes, in unix seconds."""
        before = self._at
        moment = dates.parse_internal(self.string("a date and time")) if self.sees(b'"') else None
        if moment is None:
            self._at = before
            raise self.expected('a date and time such as "17-Jul-2026 02:44:25 -0700"')
        return moment.seconds


def without_recent(flags: list[str]) -> tuple[str, ...]:
    return tuple([flag for flag in flags if flag != "\\Recent"])


def _set(text: bytes) -> Numbers:
    return Numbers(tuple([_run(part) for part in text.split(b",")]))


_short_set = lru_cache(maxsize=1024)(_set)


def _run(part: bytes) -> tuple[int, int]:
    first, colon, second = part.partition(b":")
    low = _seq_number(first)
    return (low, _seq_number(second)) if colon else (low, low)


def _seq_number(digits: bytes) -> int:
    """RFC 9051 section 9, seq-number: from 1 to 4294967295, or "*"."""
    if digits == b"*":
        return STAR
    if not digits.isdigit() or len(digits) > 10 or not 0 < (number := int(digits)) <= NUMBER:
        raise ValueError(digits)
    return number
