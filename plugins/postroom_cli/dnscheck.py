"""What DNS says of a site's server and domains, and what of it is wrong. Asks name servers and, where MTA-STS is published, its web host.

Only what is published and wrong, or missing and needed, is a problem; what would be good to have is in `missing`. Each question has the
resolver's own limit and all together have `WITHIN`; what nobody answers is said once. Domains that nobody can register are left out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from postroom.settings import Settings
from postroom_cli import dns, spf
from postroom_cli.dns import DnsRecord
from postroom_net import dane, mtasts, tlsrpt
from postroom_net.https import Https
from postroom_net.resolver import Answer, Resolver, Temporary
from postroom_run.assembly import Assembled

WITHIN = 60.0  # seconds for all of it
RESERVED = frozenset({"test", "example", "invalid", "localhost", "local", "internal"})  # RFC 6761, RFC 6762; not in the world's DNS
SHOWN = frozenset({"example.com", "example.net", "example.org"})  # RFC 2606 section 3; nobody's, for manuals and tests
_POLICY_WITHIN = 10.0  # seconds for a policy
_AT_ONCE = 8  # domains looked at at a time
_ANY = "0.0.0.0"  # in place of an address that nobody knows


@dataclass(frozen=True, slots=True)
class Examined:
    """What came out; both without doubles, in the order of the domains."""

    problems: Sequence[str] = ()
    missing: Sequence[DnsRecord] = ()


@dataclass(slots=True)
class Desk:
    """What one examination knows, and how it asks."""

    resolver: Resolver
    https: Https
    server: str
    root: Path
    plugins: Sequence[str]
    submission: Sequence[int]
    certificate: bytes | None  # DER
    unanswered: list[str] = field(default_factory=list)

    async def ask(self, name: str, kind: str) -> Answer | None:
        """None where nobody could tell, which is remembered."""
        try:
            return await self.resolver.query(name, kind)
        except Temporary as error:
            self.unanswered.append(str(error))
            return None

    async def texts(self, name: str, kind: str) -> Sequence[str]:
        """The records as text; of TXT the strings joined."""
        answer = await self.ask(name, kind)
        if answer is None:
            return []
        if kind != "TXT":
            return [record.to_text() for record in answer.records]
        return [b"".join(getattr(record, "strings", ())).decode("latin-1") for record in answer.records]

    async def addresses(self, host: str) -> Sequence[str]:
        four, six = await asyncio.gather(self.texts(host, "A"), self.texts(host, "AAAA"))
        return [*four, *six]


async def examine(parts: Assembled, https: Https | None = None) -> Examined:
    """All domains of a site that is open."""
    settings, resolver = parts.site.settings, parts.site.resolver
    https = https or Https(resolver, timeout=_POLICY_WITHIN)
    root, plugins = parts.site.root, {entry.plugin for entry in settings.plugins.values()}
    desk = Desk(resolver, https, settings.server, root, sorted(plugins), submission_ports(settings), certificate_of(settings, root))
    domains = [domain for domain in parts.site.router.map.domains if is_public(domain)]
    if not domains:
        return Examined()
    try:
        async with asyncio.timeout(WITHIN):
            return await _examine(desk, domains)
    except TimeoutError:
        return Examined([f"DNS was not fully examined within {WITHIN:g} seconds. See `dns:` in the settings, or use --no-dns"])


async def _examine(desk: Desk, domains: Sequence[str]) -> Examined:
    addresses = await desk.addresses(desk.server)
    if len(desk.unanswered) > 1:  # neither kind of address: no name server is there, and the rest would take as long each
        return Examined([_unanswered(desk)])
    problems = await _server(desk, addresses)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(domain: str) -> Examined:
        async with turns:
            return await _domain(desk, domain, addresses)

    found = await asyncio.gather(*(one(domain) for domain in domains))
    problems += [problem for each in found for problem in each.problems]
    if desk.unanswered:
        problems.append(_unanswered(desk))
        return Examined(list(dict.fromkeys(problems)))  # who knows what is missing
    missing = dict.fromkeys(record for each in found for record in each.missing)
    return Examined(list(dict.fromkeys(problems)), list(missing))


def _unanswered(desk: Desk) -> str:
    more = f" (and {len(desk.unanswered) - 1} more)" if len(desk.unanswered) > 1 else ""
    return f"DNS could not be asked: {desk.unanswered[0]}{more}. See `dns:` in the settings, or use --no-dns"


async def _domain(desk: Desk, domain: str, addresses: Sequence[str]) -> Examined:
    problems: list[str] = []
    keys = dkim_records(desk.root / "dkim" / domain)
    problems += mx_problems(domain, desk.server, await desk.texts(domain, "MX"))
    problems += await _spf(desk, domain, addresses)
    for selector, wanted in keys.items():
        problems += dkim_problems(domain, selector, wanted, await desk.texts(f"{selector}._domainkey.{domain}", "TXT"))
    problems += dmarc_problems(domain, await desk.texts(f"_dmarc.{domain}", "TXT"))
    problems += tlsrpt_problems(domain, await desk.texts(f"_smtp._tls.{domain}", "TXT"))
    problems += await _sts(desk, domain)
    tlsa = str(dane.of_certificate(desk.certificate)) if desk.certificate else ""
    wanted_records = dns.to_publish(domain, desk.server, desk.plugins, submission=desk.submission, dkim=keys, tlsa=tlsa)
    return Examined(problems, [record for record in wanted_records if not await _is_there(desk, record)])


async def _is_there(desk: Desk, record: DnsRecord) -> bool:
    """Whether something of the kind is published; whether it is right is another matter."""
    name = record.name.rstrip(".")
    if record.kind == "A":
        return bool(await desk.addresses(name))
    if record.kind == "TLSA":
        answer = await desk.ask(name, "TLSA")
        host = await desk.ask(desk.server, "A")
        return answer is None or bool(answer.records) or host is None or not host.secure  # nobody heeds it in a zone without DNSSEC
    found = await desk.texts(name, record.kind)
    if record.kind != "TXT":
        return bool(found)
    return any(text.lower().startswith(record.value[1:].partition(" ")[0].rstrip(';"').lower()) for text in found)


# ---------------------------------------------------------------- the server


async def _server(desk: Desk, addresses: Sequence[str]) -> list[str]:
    problems: list[str] = []
    if not addresses and not desk.unanswered:
        problems.append(f"{desk.server}, this server's name, has no address in DNS. Publish an A record, or correct `server:`")
    for address in addresses:
        pointer = await desk.texts(ip_address(address).reverse_pointer, "PTR")
        names = [name.rstrip(".").lower() for name in pointer]
        confirmed = [name for name in names if address in await desk.addresses(name)]
        problems += ptr_problems(desk.server, address, names, confirmed)
    answer = await desk.ask(f"_25._tcp.{desk.server}", "TLSA")
    if answer is not None and answer.records:
        problems += tlsa_problems(desk.server, [record.to_wire() or b"" for record in answer.records], answer.secure, desk.certificate)
    return problems


def ptr_problems(server: str, address: str, names: Sequence[str], confirmed: Sequence[str]) -> Iterator[str]:
    """RFC 1912 section 2.1, and what every large receiver asks for."""
    if not names:
        yield f"{address}, an address of {server}, has no PTR record. {dns.PTR.format(server=server)[4:].capitalize()}"
    elif not confirmed:
        yield f"the PTR record of {address} says {names[0]}, which does not lead back to it. Have it say {server}"
    elif server.lower() not in confirmed:
        yield f"the PTR record of {address} says {confirmed[0]}, and this server calls itself {server}. Let both be the same"


def tlsa_problems(server: str, wires: Iterable[bytes], secure: bool, certificate: bytes | None) -> Iterator[str]:
    """Records that fit nothing stop all mail from those who heed them."""
    records = [dane.Tlsa.from_wire(wire) for wire in wires]
    usable = [record for record in records if record.is_usable]
    if not usable:
        yield f"no TLSA record of _25._tcp.{server} can be used by mail servers; they take usages 2 and 3 (RFC 7672 section 3.1)"
        return
    if certificate is None:
        yield f"{server} has TLSA records and no certificate is configured: servers that heed them send nothing. Set `tls:`"
    elif not any(record.usage == dane.TRUST_ANCHOR or record.fits(certificate) for record in usable):
        right = dane.of_certificate(certificate)
        yield f"the TLSA records of _25._tcp.{server} do not fit this server's certificate: mail is held back. Publish {right}"
    if not secure:
        yield f"_25._tcp.{server} has TLSA records, but its zone shows no DNSSEC here, so nobody heeds them. Sign the zone, or ask a validating resolver"


# ---------------------------------------------------------------- a domain


def mx_problems(domain: str, server: str, records: Sequence[str]) -> Iterator[str]:
    hosts = [record.split()[1].rstrip(".").lower() for record in records]
    if not hosts:
        yield f"{domain} has no MX record, so its mail does not come here. Publish: {domain}. MX 10 {server}."
    elif hosts == [""]:
        yield f"{domain} says by a null MX that it takes no mail (RFC 7505). Publish: {domain}. MX 10 {server}."
    elif server.lower() not in hosts:
        yield f"the MX records of {domain} lead to {', '.join(hosts)} and not to {server}. Publish: {domain}. MX 10 {server}."


async def _spf(desk: Desk, domain: str, addresses: Sequence[str]) -> Sequence[str]:
    problems: list[str] = []
    for address in addresses or [_ANY]:
        asked = spf.evaluation(desk.texts, address)
        result = await asked.result(domain)
        if address != _ANY or result in ("none", "permerror"):
            problems += spf_problems(domain, address, result, asked.why)
    return problems


def spf_problems(domain: str, address: str, result: spf.Result, why: str) -> Iterator[str]:
    """`pass` is right; what depends on a message nobody can tell here."""
    if result == "permerror":
        yield f"the SPF record of {domain} is wrong: {why}. Receivers take it as none, or refuse"
    elif result == "none":
        yield f'{domain} has no SPF record. Publish: {domain}. TXT "v=spf1 mx -all"'
    elif result not in ("pass", "unknown"):
        yield f"the SPF record of {domain} says {result} of {address}, this server's address. Add mx, or ip{ip_address(address).version}:{address}"


def dkim_records(folder: Path) -> Mapping[str, str]:
    """What must be published for a domain's keys, by selector: the `.txt` beside each key."""
    if not folder.is_dir():
        return {}
    return {path.stem: path.read_text("utf-8", "replace").strip() for path in sorted(folder.glob("*.txt"))}


def dkim_problems(domain: str, selector: str, wanted: str, found: Sequence[str]) -> Iterator[str]:
    name = f"{selector}._domainkey.{domain}"
    if not found:
        yield f"{name} is not in DNS: signatures with that key cannot be verified. Publish: {name}. TXT {dns.strings(wanted)}"
    elif tags(wanted).get("p") not in [tags(text).get("p") for text in found]:
        yield f"{name} is another key in DNS than the one in use. Publish: {name}. TXT {dns.strings(wanted)}"


def dmarc_problems(domain: str, found: Sequence[str]) -> Iterator[str]:
    """RFC 7489 sections 6.3 and 6.6.3."""
    ours = [text for text in found if text.replace(" ", "").startswith("v=DMARC1")]
    if len(ours) > 1:
        yield f"_dmarc.{domain} has {len(ours)} DMARC records, so receivers take none. Keep one"
    elif ours and tags(ours[0]).get("p") not in ("none", "quarantine", "reject"):
        yield f"the DMARC record of {domain} has no p= that is none, quarantine or reject, so it says nothing"
    elif not ours:
        yield f'{domain} has no DMARC record. Publish: _dmarc.{domain}. TXT "v=DMARC1; p=none; rua=mailto:postmaster@{domain}"'


def tlsrpt_problems(domain: str, found: Sequence[str]) -> Iterator[str]:
    ours = [text.encode("latin-1") for text in found if text.startswith("v=TLSRPTv1")]
    if ours and not tlsrpt.destinations(ours):
        yield f"_smtp._tls.{domain} names nobody whom reports could go to. Publish one record: v=TLSRPTv1; rua=mailto:postmaster@{domain}"


async def _sts(desk: Desk, domain: str) -> Sequence[str]:
    found = [text for text in await desk.texts(f"_mta-sts.{domain}", "TXT") if text.startswith("v=STSv1")]
    if not found:
        return []
    if mtasts.record_id([text.encode("latin-1") for text in found]) is None:
        return [f'_mta-sts.{domain} has no single right record. Publish one: "v=STSv1; id=1" with another id at each change of the policy']
    try:
        policy = await mtasts.fetch(desk.https, domain)
    except mtasts.PolicyError as error:
        return [f"the MTA-STS policy of {domain} cannot be had: {error}. Serve it, or take _mta-sts.{domain} out of DNS"]
    return list(sts_problems(domain, desk.server, policy))


def sts_problems(domain: str, server: str, policy: mtasts.Policy) -> Iterator[str]:
    if policy.mode != "none" and not policy.allows(server):
        yield f"the MTA-STS policy of {domain} does not name {server}: senders that heed it will not send here. Add the line: mx: {server}"


# ---------------------------------------------------------------- small things


def tags(text: str) -> Mapping[str, str]:
    """`a=b; c=d` (RFC 6376 section 3.2), spaces taken out of the values; of what comes twice the last."""
    pairs = (part.partition("=") for part in text.split(";"))
    return {name.strip().lower(): "".join(value.split()) for name, _, value in pairs}


def is_public(domain: str) -> bool:
    """Whether somebody can have the name in the world's DNS."""
    labels = domain.lower().split(".")
    return len(labels) > 1 and labels[-1] not in RESERVED and ".".join(labels[-2:]) not in SHOWN


def certificate_of(settings: Settings, root: Path) -> bytes | None:
    """The server's own certificate, DER; whether it can be used is said elsewhere."""
    if settings.tls.certificate is None:
        return None
    try:
        found = x509.load_pem_x509_certificate((root / settings.tls.certificate).read_bytes())
    except (OSError, ValueError):
        return None
    return found.public_bytes(Encoding.DER)


def submission_ports(settings: Settings) -> Sequence[int]:
    """Where mail is submitted, as the tables of the plugin smtp say."""
    tables = [entry.table for entry in settings.plugins.values() if entry.plugin == "smtp"]
    listen = [one for table in tables for one in (table.get("listen") or ()) if isinstance(one, dict)]
    return [one["port"] for one in listen if one.get("submission") and isinstance(one.get("port"), int)]
