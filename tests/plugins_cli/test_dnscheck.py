"""`postroom check` and DNS: each rule by a table, and the whole of it against a name server on loopback."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from postroom_cli import dnscheck, provision
from postroom_cli.dnscheck import examine
from postroom_cli.opened import opened
from postroom_net import dane, mtasts
from postroom_net.https import HttpsError, Request, Response
from postroom_net.tls import make_ca, make_certificate
from tests.nameserver import NameServer, Records
from tests.plugins_cli.site import Shell, with_people

SERVER, DOMAIN = "mail.wonder.museum", "wonder.museum"
CERTIFICATE = make_certificate(make_ca("ours", 1_800_000_000), [SERVER], 1_800_000_000)
DER = x509.load_pem_x509_certificate(CERTIFICATE.certificate).public_bytes(Encoding.DER)
TLSA = str(dane.of_certificate(DER))
KEY = "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
GOOD: Mapping[str, str | list[str]] = {
    f"A {SERVER}": "192.0.2.1",
    f"AAAA {SERVER}": "2001:db8::1",
    "PTR 1.2.0.192.in-addr.arpa": f"{SERVER}.",
    "PTR " + "1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa": f"{SERVER}.",
    f"MX {DOMAIN}": f"10 {SERVER}.",
    f"TXT {DOMAIN}": ['"v=spf1 mx -all"', '"something else"'],
    f"TXT s1._domainkey.{DOMAIN}": '"v=DKIM1; k=ed25519; " "p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="',
    f"TXT _dmarc.{DOMAIN}": '"v=DMARC1; p=reject"',
    f"TXT _smtp._tls.{DOMAIN}": f'"v=TLSRPTv1; rua=mailto:tls@{DOMAIN}"',
    f"TXT _mta-sts.{DOMAIN}": '"v=STSv1; id=1"',
    f"TLSA _25._tcp.{SERVER}": TLSA,
}


def told(found: Iterator[str]) -> str:
    return " | ".join(found)


@pytest.mark.parametrize(
    ("names", "confirmed", "part"),
    [
        ([SERVER], [SERVER], ""),
        (["a.example", SERVER], [SERVER], ""),
        ([], [], "has no PTR record"),
        ([SERVER], [], "does not lead back to it"),
        (["host.isp.example"], ["host.isp.example"], "calls itself mail.wonder.museum"),
    ],
)
def test_ptr(names: list[str], confirmed: list[str], part: str) -> None:
    said = told(dnscheck.ptr_problems(SERVER, "192.0.2.1", names, confirmed))
    assert part in said and bool(part) == bool(said)


@pytest.mark.parametrize(
    ("records", "part"),
    [
        ([f"10 {SERVER}."], ""),
        (["5 other.example.", "10 Mail.Wonder.MUSEUM."], ""),
        ([], "has no MX record"),
        (["0 ."], "null MX"),
        (["10 other.example."], "lead to other.example and not to mail.wonder.museum"),
    ],
)
def test_mx(records: list[str], part: str) -> None:
    said = told(dnscheck.mx_problems(DOMAIN, SERVER, records))
    assert part in said and bool(part) == bool(said)


@pytest.mark.parametrize(
    ("found", "part"),
    [
        ([KEY], ""),
        ([KEY.replace(" ", "")], ""),
        (["v=DKIM1; p=other", KEY], ""),
        ([], "is not in DNS"),
        (["v=DKIM1; k=ed25519; p=AAAA"], "is another key"),
        (["v=DKIM1; p="], "is another key"),  # revoked
    ],
)
def test_dkim(found: list[str], part: str) -> None:
    said = told(dnscheck.dkim_problems(DOMAIN, "s1", KEY, found))
    assert part in said and bool(part) == bool(said)


@pytest.mark.parametrize(
    ("found", "part"),
    [
        (["v=DMARC1; p=none"], ""),
        (["v=DMARC1;p=reject;sp=none", "other"], ""),
        ([], "has no DMARC record"),
        (["v=DMARC1; p=none", "v=DMARC1; p=reject"], "has 2 DMARC records"),
        (["v=DMARC1; rua=mailto:a@b.example"], "says nothing"),
        (["v=DMARC1; p=bounce"], "says nothing"),
    ],
)
def test_dmarc(found: list[str], part: str) -> None:
    said = told(dnscheck.dmarc_problems(DOMAIN, found))
    assert part in said and bool(part) == bool(said)


@pytest.mark.parametrize(
    ("found", "part"),
    [([], ""), (["v=TLSRPTv1; rua=mailto:a@b.example"], ""), (["v=TLSRPTv1; rua=x"], "names nobody"), (["v=TLSRPTv1"], "names nobody")],
)
def test_tls_reports(found: list[str], part: str) -> None:
    said = told(dnscheck.tlsrpt_problems(DOMAIN, found))
    assert part in said and bool(part) == bool(said)


@pytest.mark.parametrize(
    ("mode", "mx", "part"),
    [
        ("enforce", "*.wonder.museum", ""),
        ("none", "other.example", ""),
        ("enforce", "other.example", "does not name mail.wonder.museum"),
        ("testing", "other.example", "does not name mail.wonder.museum"),
    ],
)
def test_mta_sts(mode: mtasts.Mode, mx: str, part: str) -> None:
    said = told(dnscheck.sts_problems(DOMAIN, SERVER, mtasts.Policy(mode, 86_400, (mx,))))
    assert part in said and bool(part) == bool(said)


OTHER = dane.Tlsa(3, 1, 1, bytes(32))


@pytest.mark.parametrize(
    ("records", "secure", "certificate", "part"),
    [
        ([dane.of_certificate(DER)], True, DER, ""),
        ([OTHER, dane.of_certificate(DER)], True, DER, ""),  # the next one's, published ahead
        ([dane.Tlsa(2, 1, 1, bytes(32))], True, DER, ""),  # an authority's
        ([OTHER], True, DER, "do not fit this server's certificate"),
        ([OTHER], True, None, "no certificate is configured"),
        ([dane.Tlsa(1, 1, 1, bytes(32))], True, DER, "can be used"),
        ([dane.of_certificate(DER)], False, DER, "shows no DNSSEC here"),
    ],
)
def test_tlsa(records: list[dane.Tlsa], secure: bool, certificate: bytes | None, part: str) -> None:
    said = told(dnscheck.tlsa_problems(SERVER, [record.wire for record in records], secure, certificate))
    assert part in said and bool(part) == bool(said)


@pytest.mark.parametrize(
    ("domain", "public"),
    [
        ("wonder.museum", True),
        ("example.test", False),
        ("a.localhost", False),
        ("intranet", False),
        ("x.LOCAL", False),
        ("a.internal", False),
    ],
)
def test_domains_that_are_in_no_dns(domain: str, public: bool) -> None:
    assert dnscheck.is_public(domain) is public


# ---------------------------------------------------------------- the whole


class Web:
    """Stands for Https."""

    def __init__(self, said: Response | HttpsError) -> None:
        self.said = said

    async def ask(self, request: Request) -> Response:
        if isinstance(self.said, HttpsError):
            raise self.said
        return self.said


POLICY = Response(200, {"content-type": "text/plain"}, f"version: STSv1\nmode: enforce\nmx: {SERVER}\nmax_age: 86400\n".encode())


def examined(root: Path, records: Records, *, failing: str = "", web: Response | HttpsError = POLICY) -> dnscheck.Examined:
    """A site for wonder.museum with a certificate and a key, seen by a name server with these records."""

    async def main() -> dnscheck.Examined:
        async with NameServer(records, secure=True) as server:
            server.failing = {failing} if failing else set()
            write_site(root, server.port)
            async with opened(root) as parts:
                if await parts.site.providers.smtp.domains.get(DOMAIN) is None:
                    await provision.add_domain(parts.site.providers, DOMAIN)
            https: Any = Web(web)
            async with opened(root) as parts:
                return await examine(parts, https)

    return asyncio.run(main())


def write_site(root: Path, port: int) -> None:
    (root / "tls").mkdir(exist_ok=True)
    (root / "tls" / "cert.pem").write_bytes(CERTIFICATE.certificate)
    (root / "tls" / "key.pem").write_bytes(CERTIFICATE.key)
    (root / "dkim" / DOMAIN).mkdir(parents=True, exist_ok=True)
    (root / "dkim" / DOMAIN / "s1.txt").write_text(KEY + "\n")
    (root / "postroom.yaml").write_text(
        f"server: {SERVER}\nplugins: {{tab: {{}}, postoffice: {{}}}}\nproviders: {{default: tab}}\n"
        f"tls: {{certificate: tls/cert.pem, key: tls/key.pem}}\ndns: {{servers: [127.0.0.1], port: {port}, timeout: 1}}\n"
    )


def test_a_site_whose_dns_is_right(tmp_path: Path) -> None:
    assert examined(tmp_path, GOOD) == dnscheck.Examined([], [])


@pytest.mark.parametrize(
    ("key", "value", "part"),
    [
        ("PTR 1.2.0.192.in-addr.arpa", "x.isp.example.", "192.0.2.1 says x.isp.example, which does not lead back"),
        (f"MX {DOMAIN}", "10 else.example.", "lead to else.example"),
        (f"TXT {DOMAIN}", '"v=spf1 ip4:192.0.2.1 -all"', "says fail of 2001:db8::1"),
        (f"TXT {DOMAIN}", ['"v=spf1 mx -all"', '"v=spf1 a -all"'], "has 2 SPF records"),
        (f"TXT s1._domainkey.{DOMAIN}", '"v=DKIM1; p=AAAA"', "is another key"),
        (f"TXT _dmarc.{DOMAIN}", '"v=DMARC1"', "the DMARC record"),
        (f"TXT _mta-sts.{DOMAIN}", '"v=STSv1"', "no single right record"),
        (f"TXT _smtp._tls.{DOMAIN}", '"v=TLSRPTv1; rua=?"', "names nobody"),
        (f"TLSA _25._tcp.{SERVER}", f"3 1 1 {'00' * 32}", f"Publish {TLSA}"),
    ],
    ids=lambda value: "" if str(value).startswith("Publish") else None,  # the certificate is another one in every process
)
def test_each_mistake_is_told(tmp_path: Path, key: str, value: str | list[str], part: str) -> None:
    found = examined(tmp_path, {**GOOD, key: value})
    problem, *others = found.problems
    assert part in problem and not found.missing
    assert not others or (key.startswith("MX") and all("SPF" in other for other in others))  # "mx" in SPF is another host now


def test_a_policy_that_nobody_serves(tmp_path: Path) -> None:
    (problem,) = examined(tmp_path, GOOD, web=HttpsError("nobody there")).problems
    assert "the MTA-STS policy of wonder.museum cannot be had: nobody there" in problem


def test_an_empty_zone_is_told_what_to_publish(tmp_path: Path) -> None:
    found = examined(tmp_path, {"A else.org": "192.0.2.1"})
    assert [problem.partition(",")[0][:34] for problem in found.problems] == [
        "mail.wonder.museum",
        "wonder.museum has no MX record",
        "wonder.museum has no SPF record. P",
        "s1._domainkey.wonder.museum is not",
        "wonder.museum has no DMARC record.",
    ]
    kinds = [f"{record.kind} {record.name}" for record in found.missing]
    assert kinds == [
        "A mail.wonder.museum.",
        "MX wonder.museum.",
        "TXT wonder.museum.",
        "TXT s1._domainkey.wonder.museum.",
        "TXT _dmarc.wonder.museum.",
        "TXT _smtp._tls.wonder.museum.",
        "TXT _mta-sts.wonder.museum.",
    ]


def test_a_name_server_that_fails_is_told_once_and_nothing_is_made_of_it(tmp_path: Path) -> None:
    found = examined(tmp_path, GOOD, failing=f"_dmarc.{DOMAIN}")
    assert not found.missing and any("DNS could not be asked: _dmarc.wonder.museum TXT" in problem for problem in found.problems)


@contextmanager
def served(records: Records) -> Iterator[int]:
    """The name server in a thread of its own, for a command that runs a loop of its own; its port."""
    loop, up, ports = asyncio.new_event_loop(), threading.Event(), list[int]()

    async def main() -> None:
        async with NameServer(records, secure=True) as server:
            ports.append(server.port)
            up.set()
            await stop.wait()

    stop = asyncio.Event()
    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    up.wait(10)
    try:
        yield ports[0]
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(10)
        loop.close()


def test_the_command(shell: Shell) -> None:
    without_sts = {key: value for key, value in GOOD.items() if "_mta-sts" not in key}
    with served(without_sts) as port:
        write_site(shell.root, port)
        shell.done("domain", "add", DOMAIN)
        shell.done("mailbox", "add", f"alice@{DOMAIN}", "--password-stdin", stdin="correct horse battery\n")
        shell.done("address", "add", f"postmaster@{DOMAIN}", f"alice@{DOMAIN}")
        said = shell("check", "--json")
        assert said.code == 0, said.out
        (wish,) = json.loads(said.out)["publish"]
        assert (wish["name"], wish["type"]) == ("_mta-sts.wonder.museum.", "TXT")
        people = shell("check")
        assert people.code == 0 and "Not in DNS yet:\n  _mta-sts.wonder.museum." in people.out
    offline = shell("check", "--no-dns", "--json")
    assert offline.code == 0 and offline.json == {"ok": True, "problems": []}
    gone = shell("check", "--json")
    assert gone.code == 1 and "use --no-dns" in "".join(gone.json["problems"])


def test_a_demo_asks_nobody(shell: Shell) -> None:
    """example.test is in no DNS; a name server that is not there would be told otherwise."""
    with_people(shell)
    text = (shell.root / "postroom.yaml").read_text()
    (shell.root / "postroom.yaml").write_text(text + "dns: {servers: [127.0.0.1], port: 9, timeout: 1}\n")
    assert shell.done("check") == {"ok": True, "problems": []}
