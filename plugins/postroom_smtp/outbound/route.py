"""Which hosts take the mail of a domain, in order. Pure: from DNS answers, rows and settings to a list (RFC 5321 section 5.1).

Mail never goes to a host that is this one, nor to one whose preference is no better than ours: it would come back. What is left empty by
that is a loop, said as such.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from itertools import groupby
from random import Random

from postroom.outcome import Reply
from postroom_smtp.outbound.auth import Credentials
from postroom_smtp.outbound.settings import SmartHost
from postroom_smtp.outbound.tlspolicy import Level, Wanted

MOST = 20  # hosts of a domain that are looked at, the best: each is two questions to its name servers
NO_DOMAIN = Reply(550, "5.1.2", "The domain does not exist")
NO_HOST = Reply(550, "5.4.4", "No host takes mail for the domain")
NO_MAIL = Reply(556, "5.1.10", "The domain takes no mail (null MX)")  # RFC 7505 section 4.2
OURSELVES = Reply(554, "5.4.6", "Mail for the domain leads back to this server")
BAD_LITERAL = Reply(553, "5.1.2", "The address literal is none")


@dataclass(frozen=True, slots=True)
class Host:
    """A server that may take the mail."""

    name: str  # a host name, or an address
    port: int
    preference: int = 0
    secure: bool = False  # DNSSEC says, or the operator, that the domain has this host
    wanted: Wanted | None = None  # what the operator asks of it; None: ask the policy
    login: Credentials | None = None

    @property
    def address(self) -> str:
        """Where the name is an address, that."""
        return _address(self.name)


@lru_cache(maxsize=4096)
def _address(name: str) -> str:
    try:
        return str(ip_address(name))
    except ValueError:
        return ""


@dataclass(frozen=True, slots=True)
class Route:
    """Where a domain's mail goes, or why it goes nowhere. Recipients of one `key` share a transaction."""

    key: str
    hosts: tuple[Host, ...] = ()
    refusal: Reply | None = None
    by: str = "mx"  # mx, address, literal, redirect, smart host


@dataclass(frozen=True, slots=True)
class Records:
    """What DNS says of a domain, as far as routes go."""

    mx: Sequence[tuple[int, str]] = ()  # a host "" is a null MX
    exists: bool = True
    secure: bool = False
    has_address: bool = False  # asked only where there is no MX


def of_domain(domain: str, records: Records, port: int, is_ours: Callable[[str], bool]) -> Route:
    """By MX, or by the domain's own address. `is_ours` tells of a host name; of addresses `pick` does."""
    if not records.exists:
        return Route(domain, refusal=NO_DOMAIN)
    if not records.mx:
        if not records.has_address:
            return Route(domain, refusal=NO_HOST)
        alone = Host(domain, port, 0, records.secure)
        return Route(domain, (alone,), by="address") if not is_ours(domain) else Route(domain, refusal=OURSELVES)
    if all(not name for _, name in records.mx):
        return Route(domain, refusal=NO_MAIL)
    hosts = tuple(Host(name, port, preference, records.secure) for preference, name in sorted(records.mx) if name)
    left = better_than_us(hosts, [host for host in hosts if is_ours(host.name)])[:MOST]
    return Route(domain, left) if left else Route(domain, refusal=OURSELVES)


def better_than_us(hosts: Sequence[Host], ours: Sequence[Host]) -> tuple[Host, ...]:
    """RFC 5321 section 5.1: of those that are tried, all before the first that is us."""
    limit = min((host.preference for host in ours), default=None)
    return tuple(host for host in hosts if limit is None or host.preference < limit)


def of_literal(domain: str, port: int) -> Route:
    """`[192.0.2.1]`, `[IPv6:2001:db8::1]` (RFC 5321 section 4.1.3)."""
    text = domain.strip("[]")
    try:
        address = str(ip_address(text[5:] if text[:5].lower() == "ipv6:" else text))
    except ValueError:
        return Route(domain, refusal=BAD_LITERAL)
    return Route(domain, (Host(address, port),), by="literal")


_ENTRY = re.compile(
    r"\[?(?P<six>[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)\]?|\[(?P<in>[^\[\]]+)\](?::(?P<p1>\d{1,5}))?|(?P<name>[^\s:\[\]]+)(?::(?P<p2>\d{1,5}))?"
)


def redirect_hosts(text: str, port: int) -> tuple[Host, ...] | None:
    """The hosts column of DOMAIN.TAB: `host` or `host:port`, joined by ";"; None where one of them cannot be read. In the order written."""
    hosts = []
    for order, entry in enumerate(word.strip() for word in text.split(";") if word.strip()):
        found = _ENTRY.fullmatch(entry)
        if found is None:
            return None
        said = int(found["p1"] or found["p2"] or port)
        if not 0 < said < 65536:
            return None
        hosts.append(Host((found["six"] or found["in"] or found["name"]).lower().rstrip("."), said, order, secure=True))
    return tuple(hosts)


_LEVELS = {"verify": Level.NAMED, "implicit": Level.NAMED, "required": Level.MUST, "may": Level.MAY, "none": Level.NONE}


def of_smart_host(key: str, smart: SmartHost) -> Route:
    """Through a server the operator named."""
    level, name = _LEVELS[smart.tls], smart.name
    wanted = Wanted(level, (name,) if level is Level.NAMED else (), implicit=smart.tls == "implicit")
    password = smart.password.get_secret_value()
    login = Credentials(smart.user, password, smart.tls == "none") if smart.user else None
    return Route(key, (Host(name, smart.port, 0, True, wanted, login),), by="smart host")


def ordered(hosts: Sequence[Host], chance: Random) -> list[Host]:
    """By preference, those of equal preference in random order (RFC 5321 section 5.1)."""
    if len(hosts) < 2:
        return list(hosts)
    found = []
    for _, equals in groupby(hosts, key=lambda host: host.preference):
        some = list(equals)
        chance.shuffle(some)
        found += some
    return found
