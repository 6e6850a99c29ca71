from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable
from functools import cache

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from postroom_net import dane
from postroom_net.dane import Found, Tlsa
from postroom_net.resolver import Resolver, Temporary
from postroom_net.tls import make_ca, make_certificate
from tests.kernel_net.ticking import Ticking
from tests.nameserver import NameServer

NOW = 1_800_000_000.0
HOST = "mx.example.org"


def _der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


@cache
def chain() -> tuple[bytes, bytes, bytes]:
    """A host's certificate, its authority, and another authority."""
    ca = make_ca("ours", NOW)
    return _der(make_certificate(ca, [HOST], NOW).certificate), _der(ca.certificate), _der(make_ca("theirs", NOW).certificate)


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def sha512(data: bytes) -> bytes:
    return hashlib.sha512(data).digest()


def key(number: int) -> bytes:
    return dane.public_key(chain()[number])


@pytest.mark.parametrize(
    ("record", "usable"),
    [
        (Tlsa(3, 1, 1, bytes(32)), True),
        (Tlsa(3, 0, 2, bytes(64)), True),
        (Tlsa(2, 0, 1, bytes(32)), True),
        (Tlsa(3, 1, 0, b"whole key"), True),
        (Tlsa(3, 1, 1, bytes(31)), False),  # a digest cut short
        (Tlsa(3, 1, 2, bytes(32)), False),
        (Tlsa(3, 1, 0, b""), False),
        (Tlsa(2, 1, 0, b"bare key"), False),
        (Tlsa(2, 0, 0, b"no certificate"), False),
        (Tlsa(0, 0, 1, bytes(32)), False),  # RFC 7672 section 3.1.3
        (Tlsa(1, 0, 1, bytes(32)), False),
        (Tlsa(3, 2, 1, bytes(32)), False),
        (Tlsa(3, 1, 3, bytes(32)), False),
        (Tlsa(255, 255, 255, bytes(32)), False),
    ],
)
def test_which_records_can_be_used(record: Tlsa, usable: bool) -> None:
    assert record.is_usable is usable
    assert Tlsa.from_wire(record.wire) == record


@pytest.mark.parametrize("wire", [b"", b"\3", b"\3\1"])
def test_what_is_no_record(wire: bytes) -> None:
    with pytest.raises(ValueError, match="three octets"):
        Tlsa.from_wire(wire)


CASES: list[tuple[str, Callable[[], Tlsa], str]] = [
    ("3 0 0", lambda: Tlsa(3, 0, 0, chain()[0]), ""),
    ("3 0 1", lambda: Tlsa(3, 0, 1, sha256(chain()[0])), ""),
    ("3 0 2", lambda: Tlsa(3, 0, 2, sha512(chain()[0])), ""),
    ("3 1 0", lambda: Tlsa(3, 1, 0, key(0)), ""),
    ("3 1 1", lambda: Tlsa(3, 1, 1, sha256(key(0))), ""),
    ("3 1 2", lambda: Tlsa(3, 1, 2, sha512(key(0))), ""),
    ("2 0 0", lambda: Tlsa(2, 0, 0, chain()[1]), ""),
    ("2 0 1", lambda: Tlsa(2, 0, 1, sha256(chain()[1])), ""),
    ("2 0 2", lambda: Tlsa(2, 0, 2, sha512(chain()[1])), ""),
    ("2 1 1", lambda: Tlsa(2, 1, 1, sha256(key(1))), ""),
    ("2 1 2", lambda: Tlsa(2, 1, 2, sha512(key(1))), ""),
    ("the authority as the host's own", lambda: Tlsa(3, 0, 1, sha256(chain()[1])), "fits none"),
    ("the host's own as an authority", lambda: Tlsa(2, 0, 1, sha256(chain()[0])), "no certificate of the chain fits"),
    ("another authority", lambda: Tlsa(2, 0, 0, chain()[2]), "does not lead to a trust anchor"),
    ("another key", lambda: Tlsa(3, 1, 1, sha256(key(1))), "fits none"),
]


@pytest.mark.parametrize(("make", "why"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_chain_fits_or_not(make: Callable[[], Tlsa], why: str) -> None:
    said = dane.judge([make()], chain()[:2], [HOST], NOW)
    assert why in said and bool(why) == bool(said)


def test_one_record_that_fits_is_enough() -> None:
    records = [Tlsa(3, 1, 1, bytes(32)), Tlsa(2, 0, 1, bytes(32)), Tlsa(3, 1, 1, sha256(key(0)))]
    assert dane.judge(records, chain()[:2], [], NOW) == ""


def test_names_and_dates_count_below_an_anchor_and_not_for_the_host_itself() -> None:
    """RFC 7672 sections 3.1.1 and 3.1.2."""
    anchor, own, late = Tlsa(2, 0, 1, sha256(chain()[1])), Tlsa(3, 1, 1, sha256(key(0))), NOW + 4000 * 86_400
    for names, now in (((HOST,), late), (("other.example.org",), NOW), ((), NOW)):
        assert dane.judge([anchor], chain()[:2], names, now)
        assert not dane.judge([own], chain()[:2], names, now)
    assert not dane.judge([anchor], chain()[:2], ("other.example.org", HOST), NOW)


def test_an_anchor_in_dns_need_not_be_in_the_chain() -> None:
    assert dane.judge([Tlsa(2, 0, 0, chain()[1])], chain()[:1], [HOST], NOW) == ""
    assert dane.judge([Tlsa(2, 0, 1, sha256(chain()[1]))], chain()[:1], [HOST], NOW)


def test_a_certificate_that_is_no_authority_issues_nothing() -> None:
    """The anchor's holder gave us a host's certificate, and we signed another with it."""
    ca = make_ca("ours", NOW)
    host = make_certificate(ca, ["evil.example"], NOW)
    forged = make_certificate(host, [HOST], NOW)
    shown = [_der(forged.certificate), _der(host.certificate), _der(ca.certificate)]
    assert dane.judge([Tlsa(2, 0, 1, sha256(shown[2]))], shown, [HOST], NOW)
    assert dane.judge([Tlsa(2, 0, 1, sha256(shown[1]))], shown, [HOST], NOW)


@pytest.mark.parametrize("shown", [[], [b""], [b"\x30\x03\x02\x01\x00"], [b"junk", b"junk"]])
def test_rubbish_in_place_of_a_chain_is_refused(shown: list[bytes]) -> None:
    records = [Tlsa(3, 1, 1, bytes(32)), Tlsa(2, 0, 1, sha256(b"junk")), Tlsa(2, 1, 1, bytes(32))]
    assert dane.judge(records, shown, [HOST], NOW)


def test_only_the_strongest_digest_counts() -> None:
    """RFC 7671 section 9."""
    weak, strong, whole, other = Tlsa(3, 1, 1, bytes(32)), Tlsa(3, 1, 2, bytes(64)), Tlsa(3, 1, 0, b"x"), Tlsa(3, 0, 1, bytes(32))
    assert dane.strongest([weak, strong, whole, other, strong]) == (strong, whole, other)
    assert Found("x", (weak, Tlsa(3, 1, 2, bytes(5)))).usable == (weak,)  # what cannot be used weakens nothing


def test_the_record_to_publish_fits_its_certificate() -> None:
    record = dane.of_certificate(chain()[0])
    assert str(record) == f"3 1 1 {sha256(key(0)).hex()}"
    assert record.is_usable and record.fits(chain()[0]) and not record.fits(chain()[1])


@pytest.mark.parametrize(
    ("servers", "trusted"),
    [
        (["127.0.0.1"], True),
        (["::1", "127.0.0.53"], True),
        (["127.0.0.1", "192.0.2.1"], False),
        ([], False),
        (["nonsense"], False),
        (["::1%lo"], True),
    ],
)
def test_whose_word_counts(servers: list[str], trusted: bool) -> None:
    assert dane.is_trusted(servers) is trusted


def test_name_servers_of_a_resolver_file() -> None:
    assert dane.servers_of("# x\nsearch a\nnameserver 192.0.2.1\nnameserver ::1 \nnameserver\n") == ["192.0.2.1", "::1"]
    assert dane.servers_of("") == ["127.0.0.1"]


# ---------------------------------------------------------------- DNS

RECORD = "3 1 1 " + "ab" * 32
ADDRESS = {"A mx.example.org": "192.0.2.1"}
TLSA = {"TLSA _25._tcp.mx.example.org": RECORD}


def find(records: dict[str, str], *, insecure: tuple[str, ...] = (), failing: tuple[str, ...] = ()) -> tuple[Found | None, list[str]]:
    """What is found of HOST, and which TLSA records were asked for."""

    async def main() -> tuple[Found | None, list[str]]:
        async with NameServer(records, secure=True) as server:
            server.insecure, server.failing = set(insecure), set(failing)
            resolver = Resolver(Ticking(), ["127.0.0.1"], server.port)
            try:
                return await dane.find(resolver, HOST, 25), [name for name in server.asked if name.startswith("TLSA")]
            finally:
                await resolver.close()

    return asyncio.run(main())


def test_records_that_dnssec_vouches_for() -> None:
    found, _ = find({**ADDRESS, **TLSA})
    assert found == Found(HOST, (Tlsa(3, 1, 1, bytes.fromhex("ab" * 32)),))


def test_a_host_without_records_has_no_dane() -> None:
    assert find(ADDRESS) == (None, ["TLSA _25._tcp.mx.example.org"])


def test_records_that_are_not_signed_are_none() -> None:
    assert find({**ADDRESS, **TLSA}, insecure=("_25._tcp.mx.example.org",))[0] is None


def test_nobody_is_asked_about_a_host_whose_addresses_are_not_signed() -> None:
    """RFC 7672 section 2.2.2: name servers that know no TLSA would stop its mail."""
    assert find({**ADDRESS, **TLSA}, insecure=(HOST,), failing=("_25._tcp.mx.example.org",)) == (None, [])


def test_a_look_up_that_fails_stops_the_mail() -> None:
    """RFC 7672 section 2.2: otherwise whoever drops the answer turns DANE off."""
    with pytest.raises(Temporary):
        find({**ADDRESS, **TLSA}, failing=("_25._tcp.mx.example.org",))


def test_nobody_can_tell_the_addresses() -> None:
    with pytest.raises(Temporary):
        find(TLSA, failing=(HOST,))


ALIAS = {"CNAME mx.example.org": "real.example.net.", "A real.example.net": "192.0.2.1"}


def test_an_alias_has_its_records_at_the_end_first() -> None:
    at_the_end = {"TLSA _25._tcp.real.example.net": RECORD}
    assert find({**ALIAS, **TLSA, **at_the_end})[0] == Found("real.example.net", (Tlsa(3, 1, 1, bytes.fromhex("ab" * 32)),))
    found, asked = find({**ALIAS, **TLSA})
    assert found is not None and found.base == HOST
    assert asked == ["TLSA _25._tcp.real.example.net", "TLSA _25._tcp.mx.example.org"]


def test_aliases_in_a_circle_end() -> None:
    circle = {"CNAME mx.example.org": "b.example.org.", "CNAME b.example.org": "mx.example.org."}
    try:
        assert find({**circle, **TLSA})[0] is None
    except Temporary:
        pass  # dnspython may call the circle a failure: the mail waits
