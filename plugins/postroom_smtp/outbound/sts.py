"""The TLS policies that domains publish: DANE (RFC 7672) before MTA-STS (RFC 8461), and what the operator says where there is neither.

A domain's MTA-STS policy is kept in `smtp/sts/` and survives restarts, as it must (RFC 8461 section 3.3): while it holds nothing that DNS or the
web says takes it away. A disk that refuses costs that only. Where DANE cannot be told the host is not used now (Temporary); where MTA-STS cannot
be fetched and none is kept, mail goes as if there were none, because that is what the RFC says.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import ssl
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

import idna
from cryptography.x509.verification import Store

from postroom.site import Site
from postroom_net import dane, mtasts
from postroom_net.https import Https
from postroom_net.mtasts import Kept, PolicyError
from postroom_net.resolver import Temporary
from postroom_net.tlsrpt import Applied, Failure, Result
from postroom_smtp.outbound.reports import Reports, TlsReportSettings
from postroom_smtp.outbound.settings import OutboundSettings
from postroom_smtp.outbound.tlspolicy import Level, TlsPolicy, Unfit, Wanted

FOLDER = Path("smtp") / "sts"
RESOLV_CONF = Path("/etc/resolv.conf")
TESTING = "sts testing"  # `Wanted.by` of a policy that asks for reports only
UNNAMED = "sts testing, not named"  # the same for a host that the policy leaves out, which was told already
_MOST = 20_000  # verdicts and policies remembered, each
_VERDICT = 60.0  # seconds a verdict on a host is remembered; DNS answers have lives of their own below it
_AGAIN = 300.0  # seconds until a policy that could not be had is fetched again (RFC 8461 section 3.3)

_DOMAIN = re.compile(r"(?=.{1,253}\Z)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?(?:\.[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?)+")
K = TypeVar("K")
V = TypeVar("V")


def published(
    site: Site, settings: OutboundSettings, other: TlsPolicy, said: TlsReportSettings, *, dns_is_trusted: bool | None = None
) -> tuple[TlsPolicy, Reports]:
    """What an outbound agent goes by, and the agent that reports. An operator who wants no TLS gets none."""
    https = Https(site.resolver)
    reports, policies = Reports(site, said, https), StsPolicies(site, https)
    policies.reports, reports.daily = reports, policies.tidy
    if settings.tls == "none":
        return other, reports
    return Published(site, other, policies, reports, dns_is_trusted=dns_is_trusted, ca=settings.ca), reports


class StsPolicies:
    """Policies of MTA-STS by domain, in memory, on disk, and fetched. `port` is 443 but in tests."""

    def __init__(self, site: Site, https: Https, reports: Reports | None = None, port: int = 443) -> None:
        self.reports = reports
        self._site, self._https, self._port = site, https, port
        self._kept: OrderedDict[str, Kept] = OrderedDict()
        self._failed: OrderedDict[str, tuple[str, float]] = OrderedDict()  # id and until when, by domain
        self._flights: dict[str, asyncio.Task[Kept | None]] = {}

    async def of(self, domain: str) -> Kept | None:
        """The policy that binds us now. Temporary where `close` came first."""
        kept, id = await self._remembered(domain), await self._id(domain)
        now = self._site.clock.now()
        if kept is not None and kept.is_fresh(id, now):
            if kept.is_old(now):
                self._fly(domain, id or kept.id)  # nobody waits for it
            return kept
        holding = kept if kept is not None and kept.holds(now) else None
        if id is None:
            return holding
        flight = self._fly(domain, id)
        await asyncio.wait([flight])
        if flight.cancelled():  # by `close`: whoever waits has other things to end than this, such as an outcome that he knows
            raise Temporary("the policy is not fetched any more: this server is going down")
        return flight.result() or holding

    def known(self, domain: str) -> Kept | None:
        """The policy as far as it is in memory."""
        return self._kept.get(domain)

    async def close(self) -> None:
        """End what is under way."""
        flights = list(self._flights.values())
        for flight in flights:
            flight.cancel()
        await asyncio.gather(*flights, return_exceptions=True)

    async def _id(self, domain: str) -> str | None:
        try:
            return mtasts.record_id(await self._site.resolver.txt(f"_mta-sts.{domain}"))
        except Temporary:
            return None

    def _fly(self, domain: str, id: str) -> asyncio.Task[Kept | None]:
        """One fetch for all who want it now."""
        flight = self._flights.get(domain)
        if flight is None:
            flight = self._flights[domain] = asyncio.create_task(self._fetched(domain, id))
            flight.add_done_callback(lambda done: self._flights.pop(domain, None))
        return flight

    async def _fetched(self, domain: str, id: str) -> Kept | None:
        now = self._site.clock.now()
        failed = self._failed.get(domain)
        if failed is not None and failed[0] == id and now < failed[1]:
            return None
        try:
            kept = Kept(domain, id, await mtasts.fetch(self._https, domain, self._port), now)
        except PolicyError as error:
            _keep(self._failed, domain, (id, now + _AGAIN))
            self._site.log.warning("sts.not_fetched", domain=domain, why=str(error))
            if self.reports is not None:
                self.reports.note(Applied(domain, "sts"), Failure(error.kind, host=f"mta-sts.{domain}", reason=str(error)))
            return None
        _keep(self._kept, domain, kept)
        self._failed.pop(domain, None)
        await asyncio.to_thread(self._write, kept)
        return kept

    # ------------------------------------------------------------ on disk

    async def _remembered(self, domain: str) -> Kept | None:
        """What this worker knows, or another wrote meanwhile."""
        kept = self._kept.get(domain)
        if kept is None or not kept.holds(self._site.clock.now()):
            found = await asyncio.to_thread(self._read, domain)
            kept = self._kept.get(domain)
            if found is not None and (kept is None or found.at > kept.at):
                _keep(self._kept, domain, kept := found)
        return kept

    def _path(self, domain: str) -> Path:
        return self._site.root / FOLDER / f"{hashlib.sha256(domain.encode()).hexdigest()[:40]}.json"

    def _read(self, domain: str) -> Kept | None:
        try:
            kept = Kept.from_json(self._path(domain).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._site.log.error("sts.unreadable", domain=domain, file=str(self._path(domain)), error=str(error))
            return None
        return kept if kept.domain == domain else None

    def _write(self, kept: Kept) -> None:
        path = self._path(kept.domain)
        try:
            self._site.disk.make_folders(path.parent)
            self._site.disk.write_aside(path, kept.to_json())
        except OSError as error:
            self._site.log.error("sts.not_kept", domain=kept.domain, error=str(error))

    def tidy(self) -> None:
        """Remove what does not hold any more. Reads every file: not in the loop, once a day."""
        now = self._site.clock.now()
        for path in (self._site.root / FOLDER).glob("*.json"):
            try:
                if not Kept.from_json(path.read_bytes()).holds(now):
                    self._site.disk.unlink(path)
            except (OSError, ValueError):
                continue


class Published:
    """A TlsPolicy: asks DNS and the web what a domain wants, and `other` where it wants nothing. `close` ends what is under way."""

    def __init__(
        self,
        site: Site,
        other: TlsPolicy,
        sts: StsPolicies | None = None,
        reports: Reports | None = None,
        *,
        dns_is_trusted: bool | None = None,
        ca: str = "",
    ) -> None:
        """`dns_is_trusted`: whether the resolver's word on DNSSEC counts; None: where it is on this machine. `ca`: see OutboundSettings."""
        self._site, self._other, self._sts, self._reports, self._ca = site, other, sts, reports, ca
        self._trusts = dns_is_trusted if dns_is_trusted is not None else is_local(site.resolver.servers)
        self._verdicts: OrderedDict[tuple[str, str, int, bool], tuple[Wanted, float]] = OrderedDict()

    async def wanted(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
        """See TlsPolicy."""
        key = (domain, host, port, mx_secure)
        known, now = self._verdicts.get(key), self._site.clock.monotonic()
        if known is not None and known[1] > now:
            return known[0]
        wanted = await self._judged(*key)
        _keep(self._verdicts, key, (wanted, now + _VERDICT))
        return wanted

    async def least(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
        """See TlsPolicy."""
        wanted = await self._other.least(domain, host, port, mx_secure)
        return replace(wanted, by="waived") if wanted.level is Level.MAY else wanted  # nobody is told how it went

    def verify(self, wanted: Wanted, chain: Sequence[bytes], host: str) -> str:
        """See TlsPolicy."""
        if wanted.by != "dane":
            return self._other.verify(wanted, chain, host)
        return dane.judge([dane.Tlsa.from_wire(wire) for wire in wanted.tlsa], chain, wanted.names, self._site.clock.now())

    def noted(self, domain: str, host: str, ip: str, wanted: Wanted, failure: str, chain: Sequence[bytes] = ()) -> None:
        """See TlsPolicy. `chain` is what the host showed: a policy in testing asks whether it would have done."""
        name = ascii_domain(domain)
        if self._reports is None or name is None or wanted.level is Level.NONE or wanted.by in ("settings", "waived", UNNAMED):
            return
        if wanted.by == TESTING and not failure:
            if not chain:
                return  # nobody knows whether the certificate is good, so nobody is told that it is
            store = _authorities(self._ca)
            failure = dane.judge_by_authorities(store, chain, (host,), self._site.clock.now()) if store else "no authorities are known here"
        kept = self._sts.known(name) if self._sts is not None and wanted.by in ("sts", TESTING) else None
        self._reports.note(_applied(name, host, wanted, kept), Failure(result_of(failure), host, ip, reason=failure) if failure else None)

    async def close(self) -> None:
        if self._sts is not None:
            await self._sts.close()

    async def _judged(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
        if self._trusts and mx_secure and (found := await dane.find(self._site.resolver, host, port)) is not None:
            if found.usable:
                names = tuple(dict.fromkeys((found.base, host, ascii_domain(domain) or host)))  # RFC 7672 section 3.2.2
                return Wanted(Level.PINNED, names, tuple(record.wire for record in found.usable), by="dane")
            other = await self._without_dane(domain, host, port, mx_secure)
            return other if other.level >= Level.MUST else Wanted(Level.MUST, by="dane")
        return await self._without_dane(domain, host, port, mx_secure)

    async def _without_dane(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
        name = ascii_domain(domain)
        kept = await self._sts.of(name) if self._sts is not None and name is not None else None
        if kept is None or kept.policy.mode == "none":
            return await self._other.wanted(domain, host, port, mx_secure)
        return await self._by_sts(kept, domain, host, port, mx_secure)

    async def _by_sts(self, kept: Kept, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
        fits = kept.policy.allows(host)
        if not fits and self._reports is not None:
            applied = Applied(kept.domain, "sts", tuple(kept.policy.lines), kept.policy.mx)
            self._reports.note(applied, Failure("validation-failure", host, reason="the policy does not name the host"))
        if kept.policy.mode == "enforce":
            if not fits:
                raise Unfit(f"the MTA-STS policy of {kept.domain} does not name it")
            return Wanted(Level.NAMED, (host,), by="sts")
        await asyncio.to_thread(_authorities, self._ca)  # `noted` will want them; reading takes 90 ms once
        other = await self._other.wanted(domain, host, port, mx_secure)
        return replace(other, by=TESTING if fits else UNNAMED) if other.level is Level.MAY else other


# ---------------------------------------------------------------- words for reports

_RESULTS: Sequence[tuple[str, Result]] = (
    ("expired", "certificate-expired"),
    ("not yet valid", "certificate-expired"),
    ("not valid at validation time", "certificate-expired"),
    ("the certificate is for", "certificate-host-mismatch"),
    ("hostname mismatch", "certificate-host-mismatch"),
    ("subjectaltname", "certificate-host-mismatch"),
    ("tlsa record", "validation-failure"),
    ("trust anchor", "certificate-not-trusted"),
    ("certificate_verify_failed", "certificate-not-trusted"),
    ("candidates exhausted", "certificate-not-trusted"),
    ("starttls", "starttls-not-supported"),
)


def result_of(failure: str) -> Result:
    """The word of RFC 8460 section 4.3 for what a channel, OpenSSL or a policy said."""
    text = failure.lower()
    return next((result for words, result in _RESULTS if words in text), "validation-failure")


def _applied(domain: str, host: str, wanted: Wanted, kept: Kept | None) -> Applied:
    """RFC 8460 speaks of the TLSA base domain; what receivers match reports by, and others send, is the domain of the addresses."""
    if wanted.by == "dane":
        return Applied(domain, "tlsa", tuple(str(dane.Tlsa.from_wire(wire)) for wire in wanted.tlsa), (host,))
    if wanted.by in ("sts", TESTING):
        return Applied(domain, "sts", tuple(kept.policy.lines), kept.policy.mx) if kept is not None else Applied(domain, "sts")
    return Applied(domain)


@lru_cache(maxsize=4096)
def ascii_domain(domain: str) -> str | None:
    """The domain as DNS has it; None for an address literal, and for what can be no domain."""
    try:
        text = domain if domain.isascii() else idna.encode(domain, uts46=True).decode()
    except idna.IDNAError:
        return None
    text = text.lower().rstrip(".")
    return text if _DOMAIN.fullmatch(text) else None


def is_local(servers: Sequence[str]) -> bool:
    """Whether the resolver is on this machine, so that its word on DNSSEC counts."""
    try:
        return dane.is_trusted(servers or dane.servers_of(RESOLV_CONF.read_text("utf-8", "replace")))
    except OSError:
        return False


@lru_cache(maxsize=1)
def _authorities(ca: str) -> Store | None:
    """The authorities that certificates are checked with, as far as they can be read; read once a process."""
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except OSError:  # whoever needs them to send says so
        return None
    found = list(context.get_ca_certs(binary_form=True))
    if not found:
        folder = ssl.get_default_verify_paths().capath
        texts = [path.read_text("ascii", "replace") for path in (Path(folder).glob("*.0") if folder else ())]
        found = [ssl.PEM_cert_to_DER_cert(text) for text in texts if text.startswith("-----BEGIN CERTIFICATE-----")]
    return dane.store_of(found) if found else None


def _keep(known: OrderedDict[K, V], key: K, value: V) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > _MOST:
        known.popitem(last=False)
