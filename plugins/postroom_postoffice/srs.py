"""SRS, the sender rewriting scheme: a forwarded message leaves with a sender of our domain, so that SPF holds, and a bounce finds back. Pure.

`SRS0=HASH=TT=domain=local@ours` stands for `local@domain`; TT are the days since 1970 modulo 1024, in base 32. A sender that another
forwarder has rewritten becomes `SRS1=HASH==...@ours`, which goes back to the first of them only, however long the chain. The hash is an HMAC, compared
without case because local parts do not always keep theirs; what was not made here, or is too old, is restored to nobody, so nobody
can send through us by such a name. A name that would come out too long, or needs quotes, is not rewritten.
"""

from __future__ import annotations

import hmac
import re
from base64 import b32encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

MARK: Final = ("SRS0", "SRS1")
_B32: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_DAY, _DAYS = 86_400, 1024
_DIGITS: Final = 8  # of the hash: 40 bits
_LONGEST: Final = (
    254  # octets of an address: RFC 5321 section 4.5.3.1.3. Local parts come out longer than section 4.5.3.1.1 has them, which
)
# servers take, because every forwarder's do; a sender that is not rewritten fails SPF for certain
_PLAIN = re.compile(r"[^\s\x00-\x20\x7f()<>\[\]:;@\\,\"]+")  # RFC 5321 section 4.1.2: a dot-string, in RFC 6531's reading


def is_marked(local: str) -> bool:
    """Whether a local part has the form of a rewritten sender, ours or another's."""
    return local[:4].upper() in MARK and local[4:5] in set("=+-")


@dataclass(frozen=True, slots=True)
class Srs:
    """Rewrites with the first secret, believes all of them."""

    domain: str
    secrets: Sequence[bytes]
    days: int  # how long a rewritten sender is good

    def rewrite(self, sender: str, now: float) -> str | None:
        """The sender's address to forward with; None where it cannot be rewritten."""
        local, _, domain = sender.rpartition("@")
        if not _PLAIN.fullmatch(local) or not _PLAIN.fullmatch(domain) or "=" in domain:
            return None
        if is_marked(local):
            first, rest = self._first(local, domain)
            made = f"SRS1={self._hash(first, rest)}={first}={rest}"
            if not first:
                return None
        else:
            stamp = _stamp(now)
            made = f"SRS0={self._hash(stamp, domain, local)}={stamp}={domain}={local}"
        address = f"{made}@{self.domain}"
        return address if len(address.encode()) <= _LONGEST else None

    def restore(self, local: str, now: float) -> str | None:
        """Whom this local part of ours stands for; None where it was not made here or is too old."""
        kind, _, rest = local.partition("=")
        found, _, rest = rest.partition("=")
        if kind.upper() == "SRS1":
            first, _, rest = rest.partition("=")
            return f"SRS0{rest}@{first}" if first and rest and self._is_ours(found, first, rest) else None
        stamp, _, rest = rest.partition("=")
        domain, _, name = rest.partition("=")
        if kind.upper() != "SRS0" or not (domain and name and self._is_ours(found, stamp, domain, name)):
            return None
        return f"{name}@{domain}" if self._is_young(stamp, now) else None

    @staticmethod
    def _first(local: str, domain: str) -> tuple[str, str]:
        """Who rewrote it first, and what that one made; nobody where it cannot be read."""
        if local[:4].upper() == "SRS0":
            return domain, local[4:]
        _, _, rest = local[5:].partition("=")
        first, _, rest = rest.partition("=")
        return (first, rest) if rest else ("", "")

    def _is_young(self, stamp: str, now: float) -> bool:
        made = _B32.find(stamp[:1].upper()) * 32 + _B32.find(stamp[1:].upper())
        return (int(now) // _DAY - made) % _DAYS <= self.days

    def _is_ours(self, found: str, *what: str) -> bool:
        return any(hmac.compare_digest(found.upper().encode(), made.encode()) for made in self._hashes(*what))

    def _hash(self, *what: str) -> str:
        return next(self._hashes(*what))

    def _hashes(self, *what: str) -> Iterator[str]:
        octets = "=".join(what).lower().encode("utf-8", "surrogateescape")
        return (b32encode(hmac.digest(secret, octets, "sha256"))[:_DIGITS].decode() for secret in self.secrets)


def _stamp(now: float) -> str:
    days = int(now) // _DAY % _DAYS
    return _B32[days >> 5] + _B32[days & 31]
