"""What a domain must publish so that its mail arrives and is believed: pure."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

STS_AGE = 604_800  # seconds a policy holds: a week, as RFC 8461 section 3.2 advises at least


@dataclass(frozen=True, slots=True)
class DnsRecord:
    """One line of a zone file."""

    name: str
    kind: str
    value: str
    why: str

    def __str__(self) -> str:
        return f"{self.name:<34} {self.kind:<4} {self.value}"


def to_publish(
    domain: str,
    server: str,
    plugins: Collection[str],
    *,
    submission: Collection[int] = (465, 587),
    dkim: Mapping[str, str] | None = None,
    tlsa: str = "",
) -> list[DnsRecord]:
    """The records for a domain served by this machine. `dkim`: record texts by selector; `tlsa`: of the server's certificate, where known."""
    return [
        DnsRecord(f"{server}.", "A", "<this machine's IPv4 address>", "where the server is; AAAA likewise where it has IPv6"),
        DnsRecord(f"{domain}.", "MX", f"10 {server}.", "mail for the domain comes here (RFC 5321 section 5)"),
        DnsRecord(f"{domain}.", "TXT", '"v=spf1 mx -all"', "nobody but this server sends for the domain (RFC 7208)"),
        *(
            DnsRecord(f"{selector}._domainkey.{domain}.", "TXT", strings(text), "what our signatures are verified with (RFC 6376)")
            for selector, text in (dkim or {}).items()
        ),
        DnsRecord(
            f"_dmarc.{domain}.",
            "TXT",
            f'"v=DMARC1; p=none; rua=mailto:postmaster@{domain}"',
            "reports first; p=reject once they are clean (RFC 7489)",
        ),
        *_tls(domain, server, tlsa),
        *_services(domain, server, plugins, submission),
    ]


def _tls(domain: str, server: str, tlsa: str) -> Iterator[DnsRecord]:
    """That senders must encrypt, and tell when they cannot."""
    yield DnsRecord(
        f"_smtp._tls.{domain}.", "TXT", f'"v=TLSRPTv1; rua=mailto:postmaster@{domain}"', "senders report failures of TLS (RFC 8460)"
    )
    policy = sts_policy(server)
    id = hashlib.sha256(policy.encode()).hexdigest()[:16]
    said = policy.strip().replace("\r\n", ", ")
    yield DnsRecord(
        f"_mta-sts.{domain}.",
        "TXT",
        f'"v=STSv1; id={id}"',
        f"once https://mta-sts.{domain}/.well-known/mta-sts.txt says, a line each: {said} (RFC 8461)",
    )
    if tlsa:
        yield DnsRecord(f"_25._tcp.{server}.", "TLSA", tlsa, "for a zone with DNSSEC only: senders check our certificate by it (RFC 7672)")


def sts_policy(server: str) -> str:
    """The text of an MTA-STS policy to begin with."""
    return f"version: STSv1\r\nmode: testing\r\nmx: {server}\r\nmax_age: {STS_AGE}\r\n"


def _services(domain: str, server: str, plugins: Collection[str], submission: Collection[int]) -> Iterator[DnsRecord]:
    """So that mail programs find us (RFC 6186, RFC 8314 section 5.1)."""
    if "smtp" in plugins and 465 in submission:
        yield DnsRecord(f"_submissions._tcp.{domain}.", "SRV", f"0 1 465 {server}.", "lets mail programs find where to send (RFC 8314)")
    if "smtp" in plugins and 587 in submission:
        yield DnsRecord(f"_submission._tcp.{domain}.", "SRV", f"10 1 587 {server}.", "the same for older ones (RFC 6186)")
    if "imap4" in plugins:
        yield DnsRecord(f"_imaps._tcp.{domain}.", "SRV", f"0 1 993 {server}.", "lets mail programs find IMAP (RFC 6186)")
    if "pop3" in plugins:
        yield DnsRecord(f"_pop3s._tcp.{domain}.", "SRV", f"0 1 995 {server}.", "lets mail programs find POP3 (RFC 6186)")


def strings(text: str) -> str:
    """A TXT value as a zone file has it: strings of at most 255 octets that mean their sum (RFC 1035 section 3.3.14)."""
    return " ".join(f'"{text[at : at + 255]}"' for at in range(0, len(text), 255))


PTR = "And ask whoever gave you the address for a PTR record of it that says {server}: many servers refuse mail without one."
