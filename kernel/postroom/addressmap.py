"""The address map: where an address goes, and which row decided. RCPT, the MTA and `postroom why` all ask this one function.

Overview section 4.1.1: exact matches over the whole map first, then masks in their order, then the default handler. A mask that
matches every domain never beats one that names a domain, and never takes mail for a domain that is ours: an unknown user of
ours is unknown. Everything is answered from memory; `refresh` is called when a provider's table changed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from postroom.address import InternalAddress, Mask
from postroom.errors import AddressError, ConfigError
from postroom.providers import Providers, R, Table
from postroom.records import AddressMapRecord, DomainRecord, Record

DEEPEST: Final = 10  # map rows that lead from one to the next
_MOST_KNOWN: Final = 20_000


@dataclass(frozen=True, slots=True)
class Resolution:
    """Where an address goes. No destination: it cannot be resolved, and `why` says so for people."""

    address: InternalAddress
    to: tuple[InternalAddress, ...]
    by: tuple[Record, ...] = ()  # the rows that decided, in order
    why: str = ""


@dataclass(frozen=True, slots=True)
class _Rule:
    mask: Mask
    to: Mask
    row: AddressMapRecord


@dataclass(frozen=True, slots=True)
class AddressMap:
    """The rows of the map and the domains that are ours, ready to be asked. Pure."""

    exact: Mapping[InternalAddress, tuple[_Rule, ...]] = field(default_factory=dict)
    masks: tuple[_Rule, ...] = ()  # those that name a domain, then those that match all, each in file order
    domains: Mapping[str, DomainRecord] = field(default_factory=dict)
    problems: tuple[ConfigError, ...] = ()
    _known: dict[tuple[str, str], Resolution] = field(default_factory=dict, repr=False, compare=False)  # answers given before

    @classmethod
    def of(cls, rows: Sequence[AddressMapRecord], domains: Sequence[DomainRecord]) -> AddressMap:
        """Compile. A row that cannot be read is a problem and is passed over."""
        exact: dict[InternalAddress, tuple[_Rule, ...]] = {}
        named: list[_Rule] = []
        wide: list[_Rule] = []
        problems = []
        for row in rows:
            try:
                rule = _Rule(Mask.parse(row.source), Mask.parse(row.destination), row)
            except AddressError as error:
                problems.append(ConfigError(str(error), origin=row.origin, remedy="correct the row or delete it"))
                continue
            if rule.mask.is_exact:
                source = InternalAddress(rule.mask.connector, rule.mask.pattern)
                exact[source] = (*exact.get(source, ()), rule)
            else:
                (wide if rule.mask.is_system_wide else named).append(rule)
        ours = {domain.domain.lower(): domain for domain in domains if domain.status == 1}
        return cls(exact, (*named, *wide), ours, tuple(problems))

    def resolve(self, address: InternalAddress) -> Resolution:
        """Where this address goes. RCPT and the MTA ask the same one after the other, so answers are kept."""
        found = self._known.get(address.key)
        if found is None:
            if len(self._known) >= _MOST_KNOWN:
                self._known.clear()
            found = self._known[address.key] = self._resolve(address, 0)
        return found

    def _resolve(self, address: InternalAddress, depth: int) -> Resolution:
        if depth == DEEPEST:
            return Resolution(address, (), why=f"the address map leads in a circle or through more than {DEEPEST} rows")
        if rules := self.exact.get(address):
            return self._follow(address, rules, depth)
        if address.connector != "SMTP":
            return Resolution(address, (address,))
        if depth and address.domain not in self.domains:
            return Resolution(address, (address,), why="not our domain: to the SMTP connector")
        for rule in self.masks:
            if rule.mask.match(address) is None:
                continue
            if rule.mask.is_system_wide and address.domain in self.domains and not self._is_relayed(address):
                continue
            return self._follow(address, (rule,), depth)
        return self._default(address)

    def _follow(self, address: InternalAddress, rules: Sequence[_Rule], depth: int) -> Resolution:
        """The destinations of these rows, and where those lead in turn."""
        to: list[InternalAddress] = []
        by: list[Record] = []
        for rule in rules:
            destination = rule.to.fill(address)
            by.append(rule.row)
            if destination == address or destination.connector != "SMTP":
                to.append(destination)
                continue
            further = self._resolve(destination, depth + 1)
            if not further.to:
                return Resolution(address, (), (*by, *further.by), further.why)
            to += further.to
            by += further.by
        return Resolution(address, tuple(dict.fromkeys(to)), tuple(by))

    def _is_relayed(self, address: InternalAddress) -> bool:
        """Whether the domain is ours to pass on, not to keep (DOMAIN.TAB, redirection status)."""
        domain = self.domains.get(address.domain)
        return domain is not None and domain.redirect_status in (1, 2) and bool(domain.redirect_hosts)

    def _default(self, address: InternalAddress) -> Resolution:
        domain = self.domains.get(address.domain)
        if domain is not None and self._is_relayed(address):
            return Resolution(address, (address,), (domain,), why=f"the domain is redirected to {domain.redirect_hosts}")
        if domain is not None:
            return Resolution(address, (), (domain,), why=f"{address.domain} is ours and has no such address")
        return Resolution(address, (), why=f"{address.domain} is not ours and no row of the address map takes it")

    def is_ours(self, domain: str) -> bool:
        """Whether we answer for this domain."""
        return domain.lower() in self.domains


class Router:
    """The address map of a site, kept current with its providers."""

    def __init__(self, providers: Providers) -> None:
        self._rows, self._domains = providers.address_map.rows, providers.smtp.domains
        self._seen = (-1, -1)
        self._map = AddressMap()

    @property
    def map(self) -> AddressMap:
        """The map as of now; rebuilt when a table's version moved."""
        seen = (self._rows.version, self._domains.version)
        if seen != self._seen:
            self._map = AddressMap.of(_rows_of(self._rows), _rows_of(self._domains))
            self._seen = seen
        return self._map

    def resolve(self, address: InternalAddress) -> Resolution:
        """Where this address goes now."""
        return self.map.resolve(address)

    def is_ours(self, domain: str) -> bool:
        return self.map.is_ours(domain)


def _rows_of(table: Table[R]) -> Sequence[R]:
    rows = table.snapshot()
    if rows is None:
        raise ConfigError("this provider keeps no rows in memory, so the address map cannot stand on it")
    return rows
