"""DANE for SMTP: the TLSA records a mail host has, and whether the chain it showed fits one (RFC 7672, RFC 7671, RFC 6698).

Only DNS that was validated counts: `find` answers None where DNSSEC does not vouch for the host's addresses or its TLSA records, and then the
host has no DANE. resolver.Temporary means that nobody can tell, and mail to the host must wait (RFC 7672 section 2.2). Records that
cannot be used still ask for TLS, with whatever certificate. `judge` never raises for what a peer sent.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import verification

from postroom_net.resolver import Answer, Resolver

TRUST_ANCHOR, END_ENTITY = 2, 3  # RFC 7218 section 2.1: DANE-TA, DANE-EE
CERTIFICATE, PUBLIC_KEY = 0, 1  # section 2.2
FULL, SHA256, SHA512 = 0, 1, 2  # section 2.3
_LENGTHS: Final = {SHA256: 32, SHA512: 64}
_DIGESTS: Final[Mapping[int, Callable[[bytes], bytes]]] = {
    FULL: lambda data: data,
    SHA256: lambda data: hashlib.sha256(data).digest(),
    SHA512: lambda data: hashlib.sha512(data).digest(),
}
_ALIASES = 8  # names followed from a host to the one that has addresses
_CHAIN = 10  # certificates looked at; no sound chain is longer
_MOST = 50  # records looked at
Extensions = tuple[verification.ExtensionPolicy, verification.ExtensionPolicy]  # of authorities, of hosts


@dataclass(frozen=True, slots=True)
class Tlsa:
    """One record (RFC 6698 section 2.1)."""

    usage: int
    selector: int
    matching: int
    data: bytes

    @classmethod
    def from_wire(cls, wire: bytes) -> Tlsa:
        """ValueError where that is no record."""
        if len(wire) < 3:
            raise ValueError("a TLSA record begins with three octets")
        return cls(wire[0], wire[1], wire[2], wire[3:])

    @property
    def wire(self) -> bytes:
        """As in DNS."""
        return bytes((self.usage, self.selector, self.matching)) + self.data

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"

    @property
    def is_usable(self) -> bool:
        """RFC 7672 section 3.1.3: PKIX-TA and PKIX-EE say nothing to a mail server, which knows no authority that both sides trust."""
        if self.usage not in (TRUST_ANCHOR, END_ENTITY) or self.selector not in (CERTIFICATE, PUBLIC_KEY):
            return False
        if self.matching == FULL:
            return bool(self.data) and (self.usage == END_ENTITY or _association(self) is not None)
        return len(self.data) == _LENGTHS.get(self.matching)

    def fits(self, der: bytes) -> bool:
        """Whether it is of this certificate."""
        try:
            chosen = der if self.selector == CERTIFICATE else public_key(der)
        except (ValueError, UnsupportedAlgorithm):
            return False
        return self.data == _DIGESTS[self.matching](chosen)


@dataclass(frozen=True, slots=True)
class Found:
    """The TLSA records of a host, all of them; `base` is the name they stand at without port and protocol."""

    base: str
    records: tuple[Tlsa, ...]

    @property
    def usable(self) -> tuple[Tlsa, ...]:
        """None of them: TLS must be used, and the certificate is not looked at (RFC 7672 section 2.2)."""
        return strongest(record for record in self.records if record.is_usable)


def strongest(records: Iterable[Tlsa]) -> tuple[Tlsa, ...]:
    """Of the digests of one usage and selector only the strongest counts (RFC 7671 section 9); whole data always does."""
    records = tuple(dict.fromkeys(records))
    best = {(one.usage, one.selector): one.matching for one in sorted(records, key=lambda one: one.matching)}
    return tuple(one for one in records if one.matching in (FULL, best[one.usage, one.selector]))


def judge(records: Collection[Tlsa], chain: Sequence[bytes], names: Sequence[str], now: float) -> str:
    """Why a chain (DER, the host's own certificate first) fits none of the usable records, or empty. `names` are those the certificate
    may be for where a trust anchor decides; `now` in unix seconds."""
    if not chain:
        return "the host showed no certificate"
    # RFC 7672 section 3.1.1: names and dates of a certificate that DNS names itself are of no interest.
    if any(record.usage == END_ENTITY and record.fits(chain[0]) for record in records):
        return ""
    anchors = [record for record in records if record.usage == TRUST_ANCHOR]
    if not anchors:
        return "the certificate fits none of the host's TLSA records"
    return _anchored(anchors, chain[:_CHAIN], names, now)


def _anchored(records: Sequence[Tlsa], chain: Sequence[bytes], names: Sequence[str], now: float) -> str:
    """RFC 7672 section 3.1.2: a chain to a certificate that fits a record, dates, signatures and the name right."""
    found = [der for der in chain[1:] if any(record.fits(der) for record in records)]
    found += [der for record in records if record.matching == FULL and (der := _association(record)) is not None]
    if not found:
        return "no certificate of the chain fits a TLSA record"
    try:
        return judge_by_authorities(store_of(dict.fromkeys(found)), chain, names, now, _extensions())
    except ValueError as error:
        return f"the trust anchor cannot be read: {error}"


def store_of(authorities: Iterable[bytes]) -> verification.Store:
    """Certificates (DER) that chains may lead to. ValueError where one cannot be read, or there is none."""
    return verification.Store([x509.load_der_x509_certificate(der) for der in authorities])


def judge_by_authorities(
    store: verification.Store, chain: Sequence[bytes], names: Sequence[str], now: float, policies: Extensions | None = None
) -> str:
    """Why a chain does not lead into the store, or is for none of these names; empty where all is well. What must be in a certificate is what
    the web asks of it, unless said."""
    try:
        leaf, *others = [x509.load_der_x509_certificate(der) for der in chain[:_CHAIN]]
        built = verification.PolicyBuilder().store(store).time(datetime.fromtimestamp(now, UTC))
        if policies is not None:
            built = built.extension_policies(ca_policy=policies[0], ee_policy=policies[1])
        why = "no name to compare"
        for name in names:
            try:
                built.build_server_verifier(x509.DNSName(name)).verify(leaf, others)
                return ""
            except verification.VerificationError as error:
                why = str(error)
        return f"the chain does not lead to a trust anchor: {why}"
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return f"the certificates cannot be read: {error}"


def _extensions() -> Extensions:
    """What certificates must say of themselves. Authorities of one's own often leave out what the public ones must have."""
    some, free = verification.Criticality.AGNOSTIC, verification.ExtensionPolicy.permit_all()
    authority = free.require_present(x509.BasicConstraints, some, _is_authority).may_be_present(x509.KeyUsage, some, _may_sign)
    host = free.require_present(x509.SubjectAlternativeName, some, None).may_be_present(x509.ExtendedKeyUsage, some, _serves)
    return authority, host


def _is_authority(policy: verification.Policy, certificate: x509.Certificate, said: x509.BasicConstraints) -> None:
    if not said.ca:
        raise ValueError("an issuer is no authority")


def _may_sign(policy: verification.Policy, certificate: x509.Certificate, said: x509.KeyUsage | None) -> None:
    if said is not None and not said.key_cert_sign:
        raise ValueError("an issuer must not sign certificates")


def _serves(policy: verification.Policy, certificate: x509.Certificate, said: x509.ExtendedKeyUsage | None) -> None:
    allowed = (x509.oid.ExtendedKeyUsageOID.SERVER_AUTH, x509.oid.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE)
    if said is not None and not any(one in said for one in allowed):
        raise ValueError("the certificate is not for servers")


def _association(record: Tlsa) -> bytes | None:
    """The trust anchor that a record carries whole; a bare key is none (RFC 7671 section 5.2.3 asks for no more)."""
    if record.usage != TRUST_ANCHOR or record.matching != FULL or record.selector != CERTIFICATE:
        return None
    try:
        x509.load_der_x509_certificate(record.data)
    except (ValueError, UnsupportedAlgorithm):
        return None
    return record.data


def public_key(der: bytes) -> bytes:
    """The SubjectPublicKeyInfo of a certificate, DER. ValueError, UnsupportedAlgorithm."""
    key = x509.load_der_x509_certificate(der).public_key()
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def of_certificate(der: bytes) -> Tlsa:
    """The record to publish for a certificate: 3 1 1 outlives renewals with the same key (RFC 7671 section 5.1)."""
    return Tlsa(END_ENTITY, PUBLIC_KEY, SHA256, hashlib.sha256(public_key(der)).digest())


# ---------------------------------------------------------------- DNS


def is_trusted(servers: Collection[str]) -> bool:
    """Whether what these name servers say of DNSSEC can be believed: all are on this machine, so nobody stands between (RFC 6698 appendix A.3)."""
    return bool(servers) and all(_is_loopback(server) for server in servers)


def servers_of(resolv_conf: str) -> Sequence[str]:
    """The name servers of a resolver file; without any it is the local machine's (resolv.conf(5))."""
    lines = (line.split() for line in resolv_conf.splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"] or ["127.0.0.1"]


def _is_loopback(server: str) -> bool:
    try:
        return ip_address(server.partition("%")[0]).is_loopback
    except ValueError:
        return False


async def find(resolver: Resolver, host: str, port: int) -> Found | None:
    """The TLSA records of a host that DNSSEC says mail may go to. None: there is no DANE for it. Temporary: it cannot be told."""
    for base in await _bases(resolver, host):
        answer = await resolver.query(f"_{port}._tcp.{base}", "TLSA")
        if answer.records and answer.secure:
            return Found(base, tuple(Tlsa.from_wire(record.to_wire() or b"") for record in answer.records[:_MOST]))
    return None


async def _bases(resolver: Resolver, host: str) -> Sequence[str]:
    """RFC 7672 section 2.2.2: where the records may stand. Nobody is asked about a host whose addresses are not signed: name servers
    that know no TLSA are common there, and would stop its mail."""
    told = await asyncio.gather(*(resolver.query(host, kind) for kind in ("AAAA", "A")), return_exceptions=True)
    answers = [one for one in told if isinstance(one, Answer) and one.records]
    names = [host]
    while len(names) < _ALIASES:
        answer = await resolver.query(names[-1], "CNAME")
        if not answer.records or not answer.secure:
            break
        names.append(answer.records[0].to_text().rstrip(".").lower())
    if any(not one.secure for one in answers):
        return [host] if len(names) > 1 else []  # where the alias is signed, and what it leads to is not
    if not answers:
        for failure in told:
            if isinstance(failure, BaseException):
                raise failure
    return list(dict.fromkeys((names[-1], host)))
