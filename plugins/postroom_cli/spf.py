"""Whether a domain's SPF record lets an address send (RFC 7208), as far as `postroom check` must know.

Bounded by the RFC's own ten look-ups, so a loop of includes ends. What hangs on a macro depends on the message, and is `unknown` here.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final, Literal

LOOKUPS: Final = 10  # section 4.6.4
Result = Literal["pass", "fail", "softfail", "neutral", "none", "permerror", "unknown"]
Ask = Callable[[str, str], Awaitable[Sequence[str]]]  # name and kind to the texts of records
_RESULTS: Final[dict[str, Result]] = {"+": "pass", "-": "fail", "~": "softfail", "?": "neutral"}
_MECHANISM: Final = re.compile(
    r"(?P<sign>[+?~-]?)(?P<name>all|include|a|mx|ptr|ip4|ip6|exists)(?::(?P<value>[^/\s]+))?(?:/(?P<four>\d{1,3}))?(?://(?P<six>\d{1,3}))?",
    re.IGNORECASE,
)
_NETWORK: Final = re.compile(r"(?P<sign>[+?~-]?)(?P<name>ip4|ip6):(?P<value>[0-9A-Fa-f.:]+(?:/\d{1,3})?)", re.IGNORECASE)
_MODIFIER: Final = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9_.-]*)=(?P<value>\S*)")


class Broken(Exception):
    """The record is wrong: permerror, and why."""


@dataclass(slots=True)
class Evaluation:
    """One question to SPF. `lookups` counts those that the limit is about."""

    ask: Ask
    ip: IPv4Address | IPv6Address
    lookups: int = 0
    why: str = ""  # of a permerror
    seen: list[str] = field(default_factory=list)  # domains whose records were read

    async def result(self, domain: str) -> Result:
        """check_host() (section 4)."""
        try:
            return await self._of(domain)
        except Broken as error:
            self.why = str(error)
            return "permerror"

    async def _of(self, domain: str) -> Result:
        records = [text for text in await self.ask(domain, "TXT") if is_record(text)]
        if not records:
            return "none"
        if len(records) > 1:
            raise Broken(f"{domain} has {len(records)} SPF records")  # section 4.5
        self.seen.append(domain)
        redirect = ""
        for term in records[0].split()[1:]:
            found = _NETWORK.fullmatch(term) or _MECHANISM.fullmatch(term)
            if found is None:
                modifier = _MODIFIER.fullmatch(term)
                if modifier is None:
                    raise Broken(f"{domain} has a term nobody knows: {term[:60]!r}")
                redirect = modifier["value"] if modifier["name"].lower() == "redirect" else redirect
            elif (matched := await self._matches(found, domain)) is None:
                return "unknown"
            elif matched:
                return _RESULTS[found["sign"] or "+"]
        if not redirect:
            return "neutral"
        self._count()
        result: Result = "unknown" if "%" in redirect else await self._of(redirect)
        if result == "none":
            raise Broken(f"{redirect} has no SPF record")  # section 6.1
        return result

    async def _matches(self, term: re.Match[str], domain: str) -> bool | None:
        """None: who can tell."""
        name, value = term["name"].lower(), term["value"] or ""
        if name == "all":
            return True
        if name in ("ip4", "ip6"):
            return self._is_in(value, name, term.string)
        self._count()
        if "%" in value or name in ("exists", "ptr"):
            return None
        if name == "include":
            if not value:
                raise Broken(f"{domain} includes nothing")
            result = await self._of(value)
            if result == "none":
                raise Broken(f"{value}, which {domain} includes, has no SPF record")  # section 5.2
            return None if result == "unknown" else result == "pass"
        groups = term.groupdict()
        return await self._is_host(name, value or domain, groups["four"], groups["six"])

    async def _is_host(self, name: str, domain: str, four: str | None, six: str | None) -> bool:
        """`a` and `mx` (sections 5.3 and 5.4)."""
        hosts = [domain]
        if name == "mx":
            hosts = [text.split()[1].rstrip(".") for text in (await self.ask(domain, "MX"))[:LOOKUPS]]
        length = (four or "32") if self.ip.version == 4 else (six or "128")
        for host in hosts:
            for address in await self.ask(host, "A" if self.ip.version == 4 else "AAAA"):
                if self._is_in(f"{address}/{length}", f"ip{self.ip.version}", f"{name}:{domain}"):
                    return True
        return False

    def _is_in(self, network: str, name: str, term: str) -> bool:
        try:
            found = ip_network(network, strict=False)
        except ValueError:
            raise Broken(f"a term names no network: {term[:60]!r}") from None
        if f"ip{found.version}" != name:
            raise Broken(f"a term names the other kind of network: {term[:60]!r}")
        return self.ip in found

    def _count(self) -> None:
        self.lookups += 1
        if self.lookups > LOOKUPS:
            raise Broken(f"it needs more than {LOOKUPS} look-ups, where receivers stop (RFC 7208 section 4.6.4)")


def is_record(text: str) -> bool:
    """Section 4.5."""
    return text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")


def evaluation(ask: Ask, ip: str) -> Evaluation:
    """For this address."""
    return Evaluation(ask, ip_address(ip))
