"""Address lists (RFC 5322 sections 3.4 and 4.4) and how ENVELOPE shows them.

Any value gives addresses, perhaps none; nothing raises. Linear: one pass over at most MAX_OCTETS, of which at most MAX_ADDRESSES come out
(features case 31: 100,000 address headers).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

from postroom_mime.strings import NIL, nstring, string

MAX_OCTETS = 100_000
MAX_ADDRESSES = 1_000
_CACHED = 512  # octets of a value up to which its rendering is remembered

# Possessive throughout: whatever does not fit is left to the tokenizer, at once.
_SIMPLE = re.compile(
    rb"\s*+(?:\"([^\"\\\r\n\0\x80-\xff]*+)\"\s*+|([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]++(?: [A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]++)*+)\s*+)?+"
    rb"<([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]++)@([A-Za-z0-9.-]++)>\s*+(?:,|$)"
)
_BARE = re.compile(rb"\s*+([A-Za-z0-9!#$%&'*+/=?^_`{|}~.-]++)@([A-Za-z0-9.-]++)\s*+(?:,|$)")
_TOKEN = re.compile(rb'(\s++)|"((?:[^"\\]++|\\.)*+)\\?"?|(\()|(\[[^\]\s]*+\]?)|([^\s"()<>@,:;\[\]\\]++)|(.)', re.DOTALL)
_SPACE, _QUOTED, _OPEN, _LITERAL, _ATOM, _SPECIAL = range(1, 7)
_COMMENT_STOP = re.compile(rb"[()\\]")
_QUOTED_PAIR = re.compile(rb"\\(.)", re.DOTALL)


class Address(NamedTuple):
    """As in ENVELOPE (RFC 9051 section 7.5.2): a group begins with a mailbox alone, its name, and ends with nothing at all."""

    name: bytes | None  # the phrase, unquoted; encoded words stay
    route: bytes | None  # the at-domain-list of old
    mailbox: bytes | None  # local part, unquoted
    host: bytes | None  # None marks the borders of a group; a missing domain is empty


GROUP_END = Address(None, None, None, None)


def parse(value: bytes) -> tuple[Address, ...]:
    """The addresses of an unfolded field value, group borders among them."""
    if len(value) > MAX_OCTETS:
        value = value[: max(value.rfind(b",", 0, MAX_OCTETS), 0)]
    found: list[Address] = []
    position = 0
    while position < len(value) and len(found) < MAX_ADDRESSES:
        if match := _SIMPLE.match(value, position):
            quoted, phrase, mailbox, host = match.groups()
            found.append(Address(quoted or phrase or None, None, mailbox, host))
        elif match := _BARE.match(value, position):
            found.append(Address(None, None, match[1], match[2]))
        else:
            return tuple(found) + tuple(_Reader(value, position, MAX_ADDRESSES - len(found)).read())
        position = match.end()
    return tuple(found)


def mailboxes(value: bytes) -> Iterator[Address]:
    """Only the addresses, without group borders."""
    return (address for address in parse(value) if address.host is not None)


def rendered(value: bytes) -> bytes:
    """The list as ENVELOPE shows it, NIL where it is empty."""
    return _rendered_before(value) if len(value) <= _CACHED else _render(value)


def _render(value: bytes) -> bytes:
    addresses = parse(value)
    return b"(%b)" % b"".join(map(_address, addresses)) if addresses else NIL


_rendered_before = lru_cache(maxsize=4096)(_render)


def _address(address: Address) -> bytes:
    name, route, mailbox, host = address
    if mailbox is not None and host is not None and route is None:
        return b"(%b NIL %b %b)" % (nstring(name), string(mailbox), string(host))
    return b"(%b %b %b %b)" % (nstring(name), nstring(route), nstring(mailbox), nstring(host))


class _Reader:
    """One pass over a list that is not simple. Words are collected until a comma, a group border or the end says what they were."""

    def __init__(self, value: bytes, position: int, limit: int) -> None:
        self.value, self.position, self.limit = value, position, limit
        self.found: list[Address] = []
        self.in_group = False
        self.reset()

    def reset(self) -> None:
        self.words: list[bytes] = []  # outside angle brackets, white space as one blank
        self.angle: list[bytes] | None = None  # inside them
        self.in_angle = False
        self.comment: bytes | None = None

    def read(self) -> list[Address]:
        size = len(self.value)
        while self.position < size and len(self.found) < self.limit:
            token = _TOKEN.match(self.value, self.position)
            assert token is not None  # the last branch takes any octet
            self.position = token.end()
            self.take(token.lastindex or _SPECIAL, token)
        if len(self.found) < self.limit:
            self.flush()
            if self.in_group:
                self.found.append(GROUP_END)
        return self.found

    def take(self, kind: int, token: re.Match[bytes]) -> None:
        into = self.angle if self.in_angle and self.angle is not None else self.words
        if kind == _SPACE:
            if into and into[-1] != b" ":
                into.append(b" ")
        elif kind == _QUOTED:
            into.append(_QUOTED_PAIR.sub(rb"\1", token[_QUOTED]) if b"\\" in token[_QUOTED] else token[_QUOTED])
        elif kind == _OPEN:
            self.comment = self.skip_comment()
        elif kind == _SPECIAL:
            self.special(token[_SPECIAL], into)
        else:
            into.append(token[kind])

    def special(self, octet: bytes, into: list[bytes]) -> None:
        if octet == b"<" and not self.in_angle:
            self.angle, self.in_angle = [], True
        elif octet == b">":
            self.in_angle = False
        elif self.in_angle:
            into.append(octet)  # commas and colons of a route
        elif octet == b",":
            self.flush()
        elif octet == b":" and not self.in_group:
            self.found.append(Address(None, None, _text(self.words) or b"", None))
            self.in_group = True
            self.reset()
        elif octet == b";":
            self.flush()
            if self.in_group:
                self.found.append(GROUP_END)
                self.in_group = False
        elif octet != b"\\":
            into.append(octet)

    def skip_comment(self) -> bytes:
        """Over a comment that may hold others (RFC 5322 section 3.2.2); its text, for names of the form "address (name)"."""
        start, depth = self.position, 1
        while depth:
            stop = _COMMENT_STOP.search(self.value, self.position)
            if stop is None:
                self.position = len(self.value)
                return self.value[start:].strip()
            depth += {b"(": 1, b")": -1}.get(stop[0], 0)
            self.position = stop.end() + (stop[0] == b"\\")
        return _QUOTED_PAIR.sub(rb"\1", self.value[start : self.position - 1]).strip()

    def flush(self) -> None:
        """A mailbox has ended (RFC 5322 section 3.4); nothing between two commas is nothing (section 4.4)."""
        if self.angle is not None:
            name = _text(self.words) or self.comment
            self.found.append(_mailbox(self.angle, name or None))
        elif any(word != b" " for word in self.words):
            self.found.append(_mailbox(self.words, self.comment or None))
        self.reset()


def _text(words: list[bytes]) -> bytes:
    return b"".join(words).strip(b" ")


def _mailbox(words: list[bytes], name: bytes | None) -> Address:
    """[route ":"] local-part "@" domain, where blanks mean nothing (RFC 5322 section 4.4)."""
    words = [word for word in words if word != b" "]
    route = None
    if words and words[0] == b"@" and b":" in words:
        colon = words.index(b":")
        route, words = b"".join(words[:colon]), words[colon + 1 :]
    at = len(words) - 1 - words[::-1].index(b"@") if b"@" in words else -1
    if at < 0:
        return Address(name, route, b" ".join(words) if len(words) > 1 and name is None else b"".join(words), b"")
    return Address(name, route, b"".join(words[:at]), b"".join(words[at + 1 :]))
