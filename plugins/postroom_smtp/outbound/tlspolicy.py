"""What TLS a host must offer, and whether what it offered will do. The opportunistic policy of RFC 7435 lives here; DANE (RFC 7672) and
MTA-STS (RFC 8461) are further policies of the same shape, asked in its place.

`wanted` may wait for DNS. Resolver.Temporary means that nobody can tell, and then the host is not to be used now; `Unfit` that this host is
none of the domain's. `verify` judges a chain after a handshake; `noted` hears how each try ended, for reports (RFC 8460).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol


class Level(IntEnum):
    """How much is asked of a host, the most last."""

    NONE = 0  # in the clear, though TLS were offered
    MAY = 1  # TLS where it works, whoever's certificate
    MUST = 2  # TLS, whoever's certificate
    NAMED = 3  # TLS, and a certificate that an authority we trust gave to one of `names`
    PINNED = 4  # TLS, and a chain that `verify` accepts by `tlsa`


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked of one host. Connections are shared by those who ask for the same."""

    level: Level
    names: tuple[str, ...] = ()  # any of these; `*.` stands for one label
    tlsa: tuple[bytes, ...] = ()  # TLSA records as on the wire
    by: str = "settings"  # whose word it is, for logs: settings, opportunistic, dane, sts, requiretls
    implicit: bool = False  # the handshake comes first, as on port 465 (RFC 8314)

    @property
    def tls(self) -> bool | None:
        """As a dialogue takes it."""
        return None if self.level is Level.NONE else self.level >= Level.MUST

    def server_name(self, host: str) -> str:
        """The name that the handshake asks for: the TLSA base domain with DANE (RFC 7672 section 8.1), else the host's (RFC 8461 section
        4.2 with MTA-STS)."""
        return self.names[0] if self.level is Level.PINNED and self.names else host


class Unfit(Exception):
    """The host must not be used for this domain: a policy leaves it out."""


class TlsPolicy(Protocol):
    """Who decides."""

    async def wanted(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
        """What to ask of this host for mail to this domain. `mx_secure`: DNSSEC says that the domain has this host. Temporary, Unfit."""

    async def least(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
        """The same for mail whose sender would have it go rather than be safe (RFC 8689 section 3): what domains publish does not count,
        the operator's word does."""

    def verify(self, wanted: Wanted, chain: Sequence[bytes], host: str) -> str:
        """Why this chain (DER, the host's own certificate first) will not do at level PINNED; empty where it will."""

    def noted(self, domain: str, host: str, ip: str, wanted: Wanted, failure: str, chain: Sequence[bytes] = ()) -> None:
        """How a try ended that got as far as TLS; `failure` is empty where it went well, and then `chain` is what the host showed."""

    async def close(self) -> None:
        """End what is under way."""


class Opportunistic:
    """One level for all hosts."""

    def __init__(self, level: Level = Level.MAY) -> None:
        self._any = Wanted(level, by="opportunistic" if level is Level.MAY else "settings")
        self._level = level

    async def wanted(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
        return Wanted(Level.NAMED, (host,)) if self._level is Level.NAMED else self._any

    async def least(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
        return await Opportunistic.wanted(self, domain, host, port, mx_secure)

    def verify(self, wanted: Wanted, chain: Sequence[bytes], host: str) -> str:
        return "no certificate can be checked against TLSA records by this policy"

    def noted(self, domain: str, host: str, ip: str, wanted: Wanted, failure: str, chain: Sequence[bytes] = ()) -> None:
        pass

    async def close(self) -> None:
        pass


def matches(names: Sequence[str], alternatives: Sequence[str]) -> bool:
    """Whether one of the certificate's DNS names is one of ours (RFC 9525 section 6.3: a star is the whole first label of three or more)."""
    return any(_is_same(wanted.lower().rstrip("."), given.lower().rstrip(".")) for wanted in names for given in alternatives)


def _is_same(wanted: str, given: str) -> bool:
    if wanted.startswith("*."):  # ours: any host one label below
        return given.partition(".")[2] == wanted[2:] and bool(wanted[2:])
    label, _, rest = given.partition(".")
    return wanted == given or (label == "*" and rest.count(".") >= 1 and wanted.partition(".")[2] == rest)


Verify = Callable[[Wanted, Sequence[bytes], str], str]
