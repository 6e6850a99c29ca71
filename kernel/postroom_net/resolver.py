"""Names and what DNS says about them, asked once for all who want to know.

An answer is kept as long as its records live, a "no" as long as its zone says, a failure for half a minute. Whoever asks the same
question while it is under way waits for the same answer. `Temporary` means that nobody could tell: try again, never bounce. dnspython
does the asking and is imported at the first question.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import islice
from typing import TYPE_CHECKING, Protocol, cast

if TYPE_CHECKING:
    import dns.message
    import dns.rdata
    import dns.resolver
    from dns.asyncresolver import Resolver as Asker

_FAILED_FOR = 30.0  # seconds a failure is kept (RFC 9520 section 3.2 asks for at least one, at most 300)
_RECORDS = 500  # of one answer that are kept: nobody who means well has so many
_MEMORY = 64 * 1024 * 1024  # octets of answers that are kept, about; who has us ask chooses what we are told
_LONGEST, _SHORTEST = 86_400.0, 5.0  # seconds any answer is kept; the floor keeps a zero TTL from asking once a recipient


class Clock(Protocol):
    """The time this needs."""

    def monotonic(self) -> float: ...


class ResolverError(Exception):
    """No answer."""


class Temporary(ResolverError):
    """SERVFAIL, a bogus signature, no server in reach: it may be otherwise later."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What DNS says about a name and type. No records with `exists` means that the name has others only (NODATA)."""

    name: str
    kind: str
    records: tuple[dns.rdata.Rdata, ...] = ()
    exists: bool = True  # False: NXDOMAIN
    secure: bool = False  # the AD bit; worth as much as the way to the resolver
    expires: float = field(default=0.0, compare=False)  # monotonic


@dataclass(frozen=True, slots=True)
class Failure:
    """Kept in the place of an answer."""

    why: str
    expires: float


class Resolver:
    """Asks the name servers given, or the machine's own. One per process; `close` ends what is under way."""

    def __init__(self, clock: Clock, servers: Sequence[str] = (), port: int = 53, timeout: float = 5.0, size: int = 20_000) -> None:
        self.clock, self.servers, self.port, self.timeout, self.size = clock, tuple(servers), port, timeout, size
        self.asked = 0  # questions that went out
        self._known: OrderedDict[tuple[str, str], Answer | Failure] = OrderedDict()
        self._held = 0  # octets of them, about
        self._asker: Asker | None = None
        self._flights: dict[tuple[str, str], asyncio.Task[Answer | Failure]] = {}

    async def query(self, name: str, kind: str) -> Answer:
        """Records of this type ("MX", "TXT", ...) after following aliases. Temporary when it cannot be told; does not suspend when known."""
        key = (name.rstrip(".").lower(), kind.upper())
        known = self._known.get(key)
        if known is None or known.expires <= self.clock.monotonic():
            known = await self._fly(key)
        if isinstance(known, Failure):
            raise Temporary(known.why)
        return known

    async def mx(self, domain: str) -> Sequence[tuple[int, str]]:
        """Preferences and hosts, lowest first; a host "" is a null MX (RFC 7505). Empty where there is none: RFC 5321 section 5.1 goes on."""
        records = (await self.query(domain, "MX")).records
        pairs = (record.to_text().split() for record in records)
        return sorted((int(preference), host.rstrip(".").lower()) for preference, host in pairs)

    async def addresses(self, host: str) -> Sequence[str]:
        """IPv6 and IPv4 addresses. Temporary only where neither could be told."""
        answers = await asyncio.gather(self.query(host, "AAAA"), self.query(host, "A"), return_exceptions=True)
        told = [answer for answer in answers if isinstance(answer, Answer)]
        found = [record.to_text() for answer in told for record in answer.records]
        if not found:
            for answer in answers:
                if isinstance(answer, BaseException):
                    raise answer
        return found

    async def txt(self, name: str) -> Sequence[bytes]:
        """Each record's strings as one."""
        records = (await self.query(name, "TXT")).records
        return [b"".join(cast("Sequence[bytes]", getattr(record, "strings", ()))) for record in records]

    async def names(self, ip: str) -> Sequence[str]:
        """The host names of an address (PTR)."""
        records = (await self.query(ip_address(ip).reverse_pointer, "PTR")).records
        return [record.to_text().rstrip(".").lower() for record in records]

    async def close(self) -> None:
        """Cancel what is under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _fly(self, key: tuple[str, str]) -> Answer | Failure:
        """One question for all who ask it now; who stops waiting takes nothing from the others."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._ask(key))
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    def _landed(self, key: tuple[str, str], flight: asyncio.Task[Answer | Failure]) -> None:
        del self._flights[key]
        if flight.cancelled() or flight.exception() is not None:
            return
        if (old := self._known.pop(key, None)) is not None:
            self._held -= _octets(old)
        self._known[key] = told = flight.result()
        self._held += _octets(told)
        while len(self._known) > self.size or self._held > _MEMORY:
            self._held -= _octets(self._known.popitem(last=False)[1])

    def _make_asker(self) -> Asker:
        """In a thread: the import takes a third of a second."""
        from dns import flags
        from dns.asyncresolver import Resolver as Asker

        from postroom_net.nameserver import Server

        asker = Asker(configure=not self.servers)
        if self.servers:
            asker.nameservers = list(self.servers)
            asker.port = self.port
        asker.nameservers = [Server(address, asker.port) if isinstance(address, str) else address for address in asker.nameservers]
        asker.cache = None
        asker.timeout, asker.lifetime = min(self.timeout, 2.0), self.timeout
        asker.use_edns(0, 0, 1232)  # DNS flag day 2020
        asker.flags = flags.RD | flags.AD  # RFC 6840 section 5.7: asks for the AD bit in the answer
        return asker

    async def _ask(self, key: tuple[str, str]) -> Answer | Failure:
        self.asked += 1
        if self._asker is None:
            try:
                self._asker = await asyncio.to_thread(self._make_asker)
            except Exception as error:  # dnspython's own, not imported yet: this machine names no resolver
                return Failure(f"no name server is configured: {error}", self._until(_FAILED_FOR))
        return await self._ask_servers(self._asker, key)

    async def _ask_servers(self, asker: Asker, key: tuple[str, str]) -> Answer | Failure:
        from dns import exception, name, resolver

        try:
            found = await asker.resolve(key[0], key[1], raise_on_no_answer=False, search=False)
            return self._answered(key, found)
        except resolver.NXDOMAIN as absent:
            return Answer(*key, exists=False, expires=self._until(_negative_ttl(_said_no(absent))))
        except (resolver.NoNameservers, resolver.LifetimeTimeout, OSError, EOFError) as error:
            return Failure(f"{key[0]} {key[1]}: {error}", self._until(_FAILED_FOR))
        except (name.LabelTooLong, name.EmptyLabel, name.NameTooLong, UnicodeError, resolver.YXDOMAIN):
            return Answer(*key, exists=False, expires=self._until(_FAILED_FOR))  # no such name can be in DNS
        except exception.DNSException as error:
            return Failure(f"{key[0]} {key[1]}: {error}", self._until(_FAILED_FOR))

    def _answered(self, key: tuple[str, str], found: dns.resolver.Answer) -> Answer:
        from dns import flags

        secure = bool(found.response.flags & flags.AD)
        if found.rrset is None:
            return Answer(*key, secure=secure, expires=self._until(_negative_ttl(found.response)))
        ttl = min(chained.ttl for chained in found.response.answer)
        return Answer(*key, tuple(islice(found.rrset, _RECORDS)), secure=secure, expires=self._until(ttl))

    def _until(self, ttl: float) -> float:
        return self.clock.monotonic() + min(max(ttl, _SHORTEST), _LONGEST)


def _octets(told: Answer | Failure) -> int:
    """What an answer takes of memory, about: half a kilobyte for each record, and a TXT record's strings."""
    if isinstance(told, Failure):
        return 500
    return 500 + sum(500 + sum(map(len, getattr(record, "strings", ()))) for record in told.records)


def _said_no(absent: dns.resolver.NXDOMAIN) -> dns.message.Message | None:
    """The response that told of no such name."""
    return next(iter(absent.kwargs.get("responses", {}).values()), None)


def _negative_ttl(response: dns.message.Message | None) -> float:
    """Seconds a "no" holds: the smaller of the SOA record's own life and its MINIMUM (RFC 2308 section 5)."""
    from dns import rdatatype

    for rrset in response.authority if response is not None else ():
        if rrset.rdtype == rdatatype.SOA:
            return float(min(rrset.ttl, rrset[0].minimum, 10_800))
    return _FAILED_FOR
