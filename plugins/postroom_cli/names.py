"""What an operator may type for a domain, an address, a size: pure, and strict before anything is written.

`Wrong` says what is wrong with the word; the command line answers it with exit code 2, for the call was wrong and the site is as it was.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from postroom.address import InternalAddress
from postroom.errors import AddressError

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_MAILBOX = re.compile(
    r"[^\s\x00-\x1f\x7f@\[\]/\\;:,<>()\"*?%]{1,64}"
)  # RFC 5321 section 4.5.3.1.1: 64 octets; the rest would need quoting somewhere
_SIZE = re.compile(r"(\d{1,12})\s*([kmgt]?)(i?b)?", re.IGNORECASE)
_KIB = {"": 1 / 1024, "k": 1, "m": 1024, "g": 1024**2, "t": 1024**3}


class Wrong(ValueError):
    """A word on the command line that cannot be meant."""


def domain_name(text: str) -> str:
    """A domain in lower case and, where it has other letters, in its ASCII form (RFC 5890)."""
    name = text.strip().rstrip(".").lower()
    if not name.isascii():
        name = _to_ascii(name, text)
    labels = name.split(".")
    if len(name) > 253 or len(labels) < 2 or not all(map(_LABEL.fullmatch, labels)):
        raise Wrong(f"{text!r} is no domain name; write it like example.com")
    return name


def _to_ascii(name: str, text: str) -> str:
    import idna

    try:
        return idna.encode(name, uts46=True).decode()
    except idna.IDNAError as error:
        raise Wrong(f"{text!r} is no domain name: {error}") from None


def mailbox_name(text: str) -> str:
    """The name of a mailbox or group, as people wrote it."""
    if not _MAILBOX.fullmatch(text) or text.startswith(".") or text.endswith(".") or len(text.encode()) > 64:
        raise Wrong(f"{text!r} cannot name a mailbox; use letters, digits, dots and dashes, 64 at most")
    return text


@dataclass(frozen=True, slots=True)
class Address:
    """`name@domain`, each half checked."""

    name: str
    domain: str

    @classmethod
    def parse(cls, text: str) -> Address:
        name, at, domain = text.strip().rpartition("@")
        if not at:
            raise Wrong(f"{text!r} is no address; write it like alice@example.com")
        return cls(mailbox_name(name), domain_name(domain))

    def __str__(self) -> str:
        return f"{self.name}@{self.domain}"


def mask(text: str) -> InternalAddress:
    """The left or right side of a map row: a bracket form as it stands, `*@domain` or `name@domain` as SMTP."""
    try:
        if text.lstrip().startswith("["):
            return InternalAddress.parse(text)
    except AddressError as error:
        raise Wrong(str(error)) from None
    name, at, domain = text.strip().rpartition("@")
    if not at or "*" not in name:
        return InternalAddress("SMTP", str(Address.parse(text)))
    if not re.fullmatch(r"[^\s\x00-\x1f\x7f@\[\]]{1,64}", name):
        raise Wrong(f"{text!r} is no mask; write it like *@example.com")
    return InternalAddress("SMTP", f"{name}@{domain if domain == '*' else domain_name(domain)}")


def kibibytes(text: str) -> int:
    """A quota as KiB: `500M`, `2G`, a plain number of octets, or `none` for no limit (-1)."""
    if text.strip().lower() in ("none", "unlimited", "-1"):
        return -1
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise Wrong(f"{text!r} is no size; write it like 500M, 2G or none")
    size = int(match[1]) * _KIB[match[2].lower()]
    if 0 < size < 1 or size >= 2**53:
        raise Wrong(f"{text!r} is no size a mailbox can have; the least is 1K")
    return int(size)


def size(octets: float) -> str:
    """Octets for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if octets < 1024:
            return f"{octets:.0f} {unit}" if unit == "B" or octets >= 100 else f"{octets:.1f} {unit}"
        octets /= 1024
    return f"{octets:.1f} TiB"


def age(seconds: float) -> str:
    """A duration for people, in its largest unit."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
