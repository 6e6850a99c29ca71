"""The grammar of DKIM: tag lists, the fields of a header, the text that is signed, the signature field (RFC 6376, RFC 8463). Pure.

Keys and arithmetic are not here. Everything is linear; what does not fit the grammar is None, nothing raises.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from postroom_mime.canonical import CRLF, relaxed_field

FIELD: Final = b"DKIM-Signature"
MOST_SIGNED: Final = 100  # fields one signature covers; a header that repeats itself for ever does not make one as long
_WIDTH: Final = 76  # octets of a line
_VALUE: Final = 72  # octets of base64 in a line
_BORDER = re.compile(rb"\r\n(?![ \t])")
_IS_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")  # RFC 5322 section 3.6.8, and the blanks of section 4.5.1
_TAG = re.compile(rb"[A-Za-z][A-Za-z0-9_]*")  # RFC 6376 section 3.2
_FWS = re.compile(rb"[ \t\r\n]+")


def fields(head: bytes) -> list[bytes] | None:
    """The fields of a header without the blank line, each with its folds and without its last CRLF; None where a line is no field. Those
    who verify do not agree where such a header ends."""
    found = _BORDER.split(head.removesuffix(CRLF))
    return found if all(map(_IS_FIELD.match, found)) else None


def name_of(field: bytes) -> bytes:
    """In lower case."""
    return field.partition(b":")[0].rstrip(b" \t").lower()


def value_of(field: bytes) -> bytes:
    """Unfolded."""
    return field.partition(b":")[2].replace(CRLF, b"").strip(b" \t")


def tags(value: bytes) -> dict[bytes, bytes] | None:
    """A tag list (RFC 6376 section 3.2), outer white space of names and values gone; None where it is none or a tag stands twice."""
    found: dict[bytes, bytes] = {}
    parts = value.split(b";")
    if not parts[-1].strip():
        parts.pop()
    for part in parts:
        name, equals, text = part.partition(b"=")
        name = name.strip()
        if not equals or not _TAG.fullmatch(name) or name in found:
            return None
        found[name] = text.strip()
    return found


def without_space(value: bytes) -> bytes:
    """A value of base64 or of names, where folding white space means nothing."""
    return _FWS.sub(b"", value)


def covered(names: Iterable[bytes], signed: Collection[bytes], oversigned: Collection[bytes]) -> list[bytes]:
    """What h= lists for a header with these names: every instance of those to be signed, and of oversigned ones one more, so that none can be
    added later (RFC 6376 sections 5.4.2 and 8.15)."""
    many = Counter(names)
    listed = [name for name in signed if name in many or name in oversigned for _ in range(many[name] + (name in oversigned))]
    return listed[:MOST_SIGNED]


def chosen(header: Sequence[bytes], listed: Iterable[bytes]) -> Iterator[bytes]:
    """The fields that h= names, in its order; of several the last comes first, of missing ones nothing (RFC 6376 section 5.4.2)."""
    left: dict[bytes, list[bytes]] = {}
    for field in header:
        left.setdefault(name_of(field), []).append(field)
    for name in listed:
        if waiting := left.get(name):
            yield waiting.pop()


def signed_text(header: Sequence[bytes], listed: Sequence[bytes]) -> bytes:
    """The header's part of what is hashed, relaxed (RFC 6376 section 3.7)."""
    return b"".join(map(relaxed_field, chosen(header, listed)))


@dataclass(frozen=True, slots=True)
class Signature:
    """A DKIM-Signature field (RFC 6376 section 3.5) with relaxed header form and without l=, which lets others add to a body."""

    algorithm: str  # rsa-sha256, ed25519-sha256
    domain: str
    selector: str
    at: int  # unix seconds
    listed: tuple[bytes, ...]
    body: str = "relaxed"
    expires: int = 0  # unix seconds; zero: never

    def begun(self, body_hash: bytes) -> bytes:
        """The field up to its value, folded; `body_hash` is base64."""
        until = f" x={self.expires};" if self.expires else ""
        first = f"v=1; a={self.algorithm}; c=relaxed/{self.body};\r\n\td={self.domain}; s={self.selector};\r\n\tt={self.at};{until}"
        return b"%b: %b\r\n\t%b\r\n\tbh=%b;\r\n\tb=" % (FIELD, first.encode(), _names(self.listed), body_hash)


def hashed(begun: bytes) -> bytes:
    """The field as it is hashed behind the others: without its value and without a line end (RFC 6376 section 3.7)."""
    return relaxed_field(begun).removesuffix(CRLF)


def ended(begun: bytes, value: bytes) -> bytes:
    """The field with its value, in base64, and its line end."""
    return begun + b"\r\n\t".join([value[at : at + _VALUE] for at in range(0, len(value), _VALUE)]) + CRLF


@lru_cache(maxsize=1024)  # the mail of a site has few kinds of headers
def _names(listed: Sequence[bytes]) -> bytes:
    """h=, folded; white space may stand on both sides of a colon."""
    lines, line = [], b"h="
    for name in listed:
        if len(line) + len(name) >= _WIDTH:
            lines.append(line)
            line = b""
        line += name + b":"
    return b"\r\n\t".join([*lines, line[:-1]]) + b";"
