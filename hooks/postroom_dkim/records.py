"""A key's DNS record: its name, its text, its strings as a zone file has them, and whether what DNS answers is it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from postroom_mime.dkim import tags, without_space

_STRING: Final = 255  # octets of one string of a TXT record (RFC 1035 section 3.3.14)


@dataclass(frozen=True, slots=True)
class Record:
    """What is to be published for one key."""

    name: str  # without the dot at its end
    value: str

    @property
    def strings(self) -> list[str]:
        return [self.value[at : at + _STRING] for at in range(0, len(self.value), _STRING)]

    @property
    def zone_value(self) -> str:
        """As a zone file writes it: several strings stand beside each other and mean their sum (RFC 6376 section 3.6.2.2)."""
        return " ".join(f'"{one}"' for one in self.strings)

    def __str__(self) -> str:
        return f"{self.name}. TXT {self.zone_value}"


def name(selector: str, domain: str) -> str:
    """RFC 6376 section 3.6.2.1."""
    return f"{selector}._domainkey.{domain}"


def is_shown(record: Record, answered: Iterable[bytes]) -> bool:
    """Whether one of these TXT records has the same key. Several at one name are undefined, but who looks finds ours (section 3.6.2.2)."""
    wanted = _key(record.value.encode())
    return wanted is not None and any(_key(one) == wanted for one in answered)


def _key(text: bytes) -> tuple[bytes, bytes] | None:
    found = tags(text)
    if found is None or found.get(b"v", b"DKIM1") != b"DKIM1":
        return None
    return found.get(b"k", b"rsa"), without_space(found.get(b"p", b""))
