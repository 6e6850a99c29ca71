"""Who may connect, who may relay, whose mail a domain does not want: rows of SMTP-ACCESS, SMTP-DENY and SMTP-BLACKLIST, and the answer.

Pure; made anew when a table changes, so a question costs a few look-ups however long the tables are. Of the rows that match, the
first decides and is named. Disabled rows (status other than 1) do not count; a mask that is none is reported and does not count.

CONNECT   an ACCESS row lets in, whatever DENY says; else a DENY row keeps out; else everybody may, or, where the settings
          say `admit: listed`, nobody.
RELAY     needs an ACCESS row, and no DENY row.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from postroom.address import InternalAddress, Mask
from postroom.records import AccessRecord, BlacklistRecord

Address = IPv4Address | IPv6Address
_REMEMBERED = 4096


@dataclass(frozen=True, slots=True)
class Decision:
    """What an address may do, and the row that decided about connecting, if any."""

    may_connect: bool
    may_relay: bool
    row: AccessRecord | None = None


def address_of(text: str) -> Address:
    """The address, an IPv4 one also where it came mapped into IPv6 or with a zone; ValueError where it is none."""
    address = ip_address(text.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address


def plain_ip(text: str) -> str:
    """A socket's address as we write it everywhere: an IPv4 address is one, also where it came mapped into IPv6."""
    return str(address_of(text)) if ":" in text else text


class Masks:
    """Rows of one right as prefixes in dictionaries by family and length, so that a match costs one look-up per length in use."""

    __slots__ = ("_prefixes", "_starred", "problems")

    def __init__(self, rows: Sequence[AccessRecord]) -> None:
        self._prefixes: dict[tuple[int, int], dict[int, tuple[int, AccessRecord]]] = {}
        self._starred: list[tuple[int, re.Pattern[str], AccessRecord]] = []
        self.problems: list[str] = []
        for order, row in enumerate(rows):
            try:
                self._add(order, row)
            except ValueError:
                self.problems.append(
                    f"{row.origin or 'access table'}: {row.mask!r} is no address mask; write 203.0.113.* or 203.0.113.0/24"
                )

    def _add(self, order: int, row: AccessRecord) -> None:
        mask = row.mask.strip()
        parts = mask.split(".")
        stars = parts.count("*")
        if mask in ("*", "*.*.*.*"):
            self._add_prefix(order, row, "0.0.0.0/0")
            self._add_prefix(order, row, "::/0")
        elif mask.endswith(":*"):  # 2001:db8:*
            groups = mask[:-2].split(":")
            self._add_prefix(order, row, f"{':'.join(groups)}::/{16 * len(groups)}")
        elif stars and len(parts) <= 4 and parts[-stars:] == ["*"] * stars:  # 203.0.113.* or 203.0.*
            fixed = parts[:-stars]
            self._add_prefix(order, row, ".".join(fixed + ["0"] * (4 - len(fixed))) + f"/{8 * len(fixed)}")
        elif stars and len(parts) == 4:  # 203.*.113.7
            ip_address(mask.replace("*", "0"))
            self._starred.append((order, re.compile(re.escape(mask).replace(r"\*", r"\d{1,3}")), row))
        else:
            self._add_prefix(order, row, mask)

    def _add_prefix(self, order: int, row: AccessRecord, network: str) -> None:
        net = ip_network(network, strict=False)
        shift = net.max_prefixlen - net.prefixlen
        self._prefixes.setdefault((net.version, shift), {}).setdefault(int(net.network_address) >> shift, (order, row))

    def find(self, address: Address) -> AccessRecord | None:
        """The first row that matches."""
        number, version = int(address), address.version
        found = [
            hit
            for (family, shift), prefixes in self._prefixes.items()
            if family == version and (hit := prefixes.get(number >> shift)) is not None
        ]
        found += [(order, row) for order, pattern, row in self._starred if pattern.fullmatch(str(address))]
        return min(found, key=lambda hit: hit[0])[1] if found else None


class Access:
    """The three tables, compiled."""

    def __init__(
        self,
        access: Sequence[AccessRecord] = (),
        deny: Sequence[AccessRecord] = (),
        blacklist: Sequence[BlacklistRecord] = (),
        *,
        listed_only: bool = False,
    ) -> None:
        self._let_in, self._may_relay = _of("CONNECT", access), _of("RELAY", access)
        self._keep_out, self._no_relay = _of("CONNECT", deny), _of("RELAY", deny)
        self._listed_only = listed_only
        self._known: dict[str, Decision] = {}
        self._banned: dict[str, list[tuple[Mask, BlacklistRecord]]] = {}
        for row in blacklist:
            if row.status == 1:
                self._banned.setdefault(row.target.strip().lower(), []).append((Mask("SMTP", row.banned.strip()), row))
        self.has_bans = bool(self._banned)
        self.problems = [p for masks in (self._let_in, self._may_relay, self._keep_out, self._no_relay) for p in masks.problems]

    def decide(self, ip: str) -> Decision:
        """What this address may do."""
        decision = self._known.get(ip)
        if decision is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            decision = self._known[ip] = self._decide(address_of(ip))
        return decision

    def _decide(self, address: Address) -> Decision:
        may_relay = self._may_relay.find(address) is not None and self._no_relay.find(address) is None
        if (row := self._let_in.find(address)) is not None:
            return Decision(True, may_relay, row)
        if (row := self._keep_out.find(address)) is not None:
            return Decision(False, False, row)
        return Decision(not self._listed_only, may_relay and not self._listed_only)

    def banned(self, sender_domain: str, target_domain: str) -> BlacklistRecord | None:
        """The row by which the target domain refuses mail from the sender's domain."""
        rows = self._banned.get(target_domain.lower()) if self._banned else None
        sender = InternalAddress("SMTP", sender_domain)
        return next((row for mask, row in rows if mask.match(sender) is not None), None) if rows else None


def _of(right: str, rows: Sequence[AccessRecord]) -> Masks:
    return Masks([row for row in rows if row.status == 1 and row.right.strip().upper() == right])
