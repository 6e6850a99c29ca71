"""What a domain must publish so that its mail arrives and is believed: pure."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One line of a zone file."""

    name: str
    kind: str
    value: str
    why: str

    def __str__(self) -> str:
        return f"{self.name:<34} {self.kind:<4} {self.value}"


def to_publish(domain: str, server: str, plugins: Collection[str]) -> list[DnsRecord]:
    """The records for a domain served by this machine."""
    records = [
        DnsRecord(f"{server}.", "A", "<this machine's IPv4 address>", "where the server is; AAAA likewise where it has IPv6"),
        DnsRecord(f"{domain}.", "MX", f"10 {server}.", "mail for the domain comes here (RFC 5321 section 5)"),
        DnsRecord(f"{domain}.", "TXT", '"v=spf1 mx -all"', "nobody but this server sends for the domain (RFC 7208)"),
        DnsRecord(
            f"_dmarc.{domain}.",
            "TXT",
            f'"v=DMARC1; p=none; rua=mailto:postmaster@{domain}"',
            "reports first; p=reject once they are clean (RFC 7489)",
        ),
    ]
    if "pop3" in plugins:
        records.append(DnsRecord(f"_pop3s._tcp.{domain}.", "SRV", f"0 1 995 {server}.", "lets mail programs find POP3 (RFC 6186)"))
    return records


PTR = "And ask whoever gave you the address for a PTR record of it that says {server}: many servers refuse mail without one."
