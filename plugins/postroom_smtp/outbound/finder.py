"""Routes with the world in hand: rows of DOMAIN.TAB, smart hosts, DNS. What it found it knows until the records say otherwise.

Temporary (postroom_net.resolver) means that nobody could tell, and DiskError that the domain table is out of reach: the mail waits.
"""

from __future__ import annotations

import asyncio
import socket
from collections import OrderedDict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import lru_cache
from itertools import zip_longest
from typing import Final, TypeVar

from postroom.envelope import Envelope
from postroom.outcome import Reply
from postroom.providers import Table
from postroom.records import DomainRecord
from postroom_net.resolver import Resolver, Temporary
from postroom_smtp.outbound.route import (
    OURSELVES,
    Host,
    Records,
    Route,
    better_than_us,
    of_domain,
    of_literal,
    of_smart_host,
    redirect_hosts,
)
from postroom_smtp.outbound.settings import OutboundSettings, SmartHost

V = TypeVar("V")
_MOST = 20_000  # domains and hosts remembered, each
_ADDRESSES = 50  # of a host and family that are looked at
BAD_ROW = Reply(451, "4.3.5", "The row of the domain names hosts that cannot be read; the operator must mend it")


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a host is."""

    ips: tuple[str, ...]
    secure: bool
    expires: float


_EVERYWHERE: Final = ("0.0.0.0", "::")


class Ourselves:
    """How we know this server when we meet it: by its names, and by the addresses and ports where we listen. A listener on all addresses
    ("0.0.0.0", "::") is at every one of this machine's; one on a single address leaves the others to other servers."""

    def __init__(self, names: Collection[str], places: Callable[[], Collection[tuple[str, int]]]) -> None:
        self._names, self._places = frozenset(name.lower() for name in names), places

    def is_name(self, name: str) -> bool:
        return name in self._names

    def is_at(self, ip: str, port: int) -> bool:
        hosts = {host for host, at in self._places() if at == port}
        return ip in hosts or (not hosts.isdisjoint(_EVERYWHERE) and _is_local(ip))


@lru_cache(maxsize=4096)
def _is_local(ip: str) -> bool:
    """Whether an address is one of this machine: then a socket can have it. No packet is sent."""
    family = socket.AF_INET6 if ":" in ip else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((ip, 0))
            return True
    except OSError:
        return False


class Finder:
    """Finds the route of a recipient's domain, and a host's addresses."""

    def __init__(
        self, settings: OutboundSettings, resolver: Resolver, domains: Table[DomainRecord], ourselves: Ourselves, *, trusts: bool = False
    ) -> None:
        """`trusts`: whether what the resolver says of DNSSEC counts."""
        self.settings, self.resolver, self.ourselves, self._trusts = settings, resolver, ourselves, trusts
        self._table, self._version = domains, -1
        self._redirects: dict[str, DomainRecord] = {}
        self._by_sender = {name.lower(): smart for name, smart in settings.smart_hosts.items()}
        self._routes: OrderedDict[str, tuple[Route, float]] = OrderedDict()
        self._addresses: OrderedDict[str, Addresses] = OrderedDict()

    def hop(self, domain: str) -> str:
        """Whose mail may share an envelope, from memory: all that a smart host takes whoever the sender is, else a domain's. The smart host's
        name is what the operator writes under `retry.domains` for its times: it is who must be waited for, not who lies behind it."""
        smart = self.settings.smart_host
        if smart is None or self._by_sender or (self._read_snapshot() and domain in self._redirects):
            return domain
        return smart.name

    async def route(self, envelope: Envelope, domain: str) -> Route:
        """Where mail to this domain goes. Temporary, DiskError."""
        if not self._read_snapshot():
            version = self._table.version
            self._remember(await self._table.find())
            self._version = version
        if (row := self._redirects.get(domain)) is not None and (row.redirect_status == 1 or envelope.peer.user):
            hosts = redirect_hosts(row.redirect_hosts, self.settings.port)
            left = tuple(host for host in hosts or () if not self.ourselves.is_name(host.name))
            return Route(domain, left, None if left else BAD_ROW, by="redirect")
        if (smart := self._smart_host(envelope)) is not None:
            return of_smart_host(f"{smart.host}:{smart.port}", smart)
        if domain.startswith("["):
            return of_literal(domain, self.settings.port)
        return await self._by_dns(domain)

    def _read_snapshot(self) -> bool:
        """Whether the rows are known as they are now."""
        if (version := self._table.version) != self._version:
            rows = self._table.snapshot()
            if rows is None:
                return False
            self._remember(rows)
            self._version = version
        return True

    def _remember(self, rows: Collection[DomainRecord]) -> None:
        self._redirects = {
            row.domain.strip().lower(): row
            for row in rows
            if row.status == 1 and row.redirect_status in (1, 2) and row.redirect_hosts.strip()
        }

    def _smart_host(self, envelope: Envelope) -> SmartHost | None:
        if self._by_sender and envelope.sender is not None:
            known = self._by_sender.get(envelope.sender.detail.lower()) or self._by_sender.get(envelope.sender.domain)
            if known is not None:
                return known
        return self.settings.smart_host

    async def _by_dns(self, domain: str) -> Route:
        known = self._routes.get(domain)
        if known is not None and known[1] > self.resolver.clock.monotonic():
            return known[0]
        answer = await self.resolver.query(domain, "MX")
        pairs = [record.to_text().split() for record in answer.records]
        mx = [(int(preference), host.rstrip(".").lower()) for preference, host in pairs]
        has_address, expires = False, answer.expires
        if answer.exists and not mx:
            where = await self.addresses(domain)
            has_address, expires = bool(where.ips), min(expires, where.expires)
        records = Records(mx, answer.exists, answer.secure and self._trusts, has_address)
        route = of_domain(domain, records, self.settings.port, self.ourselves.is_name)
        if len(route.hosts) > 1 and any(here := await asyncio.gather(*map(self._is_here, route.hosts))):
            ours = [host for host, is_here in zip(route.hosts, here, strict=True) if is_here]
            left = better_than_us(route.hosts, ours)
            route = Route(domain, left, None if left else OURSELVES)
        _keep(self._routes, domain, (route, expires))
        return route

    async def _is_here(self, host: Host) -> bool:
        """Whether a host has an address of ours. One whose addresses nobody can tell now is looked at when it is its turn."""
        try:
            where = await self.addresses(host.name)
        except Temporary:
            return False
        return any(self.ourselves.is_at(ip, host.port) for ip in where.ips)

    async def addresses(self, name: str) -> Addresses:
        """IPv6 and IPv4 in turn, where both may be used: one that leads nowhere must not use up the tries. Temporary where nobody can tell of any; what one family does not tell the other may."""
        known = self._addresses.get(name)
        if known is not None and known.expires > self.resolver.clock.monotonic():
            return known
        kinds = {"both": ("AAAA", "A"), "ipv6": ("AAAA",), "ipv4": ("A",)}[self.settings.families]
        found: list[list[str]] = []
        secure, expires, unknown = True, float("inf"), None
        for kind in kinds:
            try:
                answer = await self.resolver.query(name, kind)
            except Temporary as error:
                unknown = error
                continue
            found.append([record.to_text() for record in answer.records[:_ADDRESSES]])
            secure, expires = secure and (answer.secure or not answer.records), min(expires, answer.expires)
        ips = tuple(ip for pair in zip_longest(*found) for ip in pair if ip is not None)
        if unknown is not None and not ips:
            raise unknown
        where = Addresses(ips, secure and bool(ips), expires)
        if unknown is None:
            _keep(self._addresses, name, where)
        return where

    async def where(self, host: Host) -> Addresses:
        """The addresses of a host of a route."""
        if address := host.address:
            return Addresses((address,), host.secure, float("inf"))
        return await self.addresses(host.name)


def _keep(known: OrderedDict[str, V], key: str, value: V) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > _MOST:
        known.popitem(last=False)
