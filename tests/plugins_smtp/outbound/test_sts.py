"""The policies that domains publish: which is applied, and what is kept. DNS is on loopback, the web is told what to say."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from postroom.address import smtp
from postroom.envelope import Recipient
from postroom.message import MemoryMessage
from postroom.site import Site
from postroom_net.https import HttpsError, Request, Response
from postroom_net.resolver import Temporary
from postroom_net.tls import Pem, make_ca, make_certificate
from postroom_net.tlsrpt import Applied, Failure
from postroom_smtp.outbound import sts as module
from postroom_smtp.outbound.agent import OutboundAgent
from postroom_smtp.outbound.channel import chain_of
from postroom_smtp.outbound.reports import TlsReportSettings
from postroom_smtp.outbound.settings import OutboundSettings
from postroom_smtp.outbound.sts import FOLDER, TESTING, Published, StsPolicies, ascii_domain, published, result_of
from postroom_smtp.outbound.tlspolicy import Level, Opportunistic, TlsPolicy, Unfit, Wanted
from postroom_testing.clock import HandClock
from postroom_testing.ground import Lines, site_in
from tests.nameserver import NameServer
from tests.plugins_smtp.outbound.sealed import AUTHORITY, listening
from tests.plugins_smtp.outbound.world import MODERN, Server, envelope, words

DOMAIN, HOST = "example.org", "mx.example.org"
HASH = "ab" * 32
SIGNED = {f"A {HOST}": "192.0.2.1", f"TLSA _25._tcp.{HOST}": f"3 1 1 {HASH}"}
STS = {f"TXT _mta-sts.{DOMAIN}": '"v=STSv1; id=1"'}
DAY = 86_400.0


class Web:
    """Stands for Https: answers with a policy, or fails."""

    def __init__(self, mode: str = "enforce", mx: str = HOST, age: float = 7 * DAY) -> None:
        self.text: str | None = f"version: STSv1\nmode: {mode}\nmx: {mx}\nmax_age: {age:.0f}\n"
        self.asked = 0

    async def ask(self, request: Request) -> Response:
        self.asked += 1
        await asyncio.sleep(0)
        if self.text is None:
            raise HttpsError("nobody there")
        return Response(200, {"content-type": "text/plain"}, self.text.encode())


class Heard:
    """Stands for Reports."""

    def __init__(self) -> None:
        self.told: list[tuple[Applied, Failure | None]] = []

    def note(self, applied: Applied, failure: Failure | None = None) -> None:
        self.told.append((applied, failure))


class Scene:
    """A site, its name server and its clock."""

    def __init__(self, site: Site, dns: NameServer, clock: HandClock, web: Web, other: TlsPolicy) -> None:
        self.site, self.dns, self.clock, self.web, self.heard = site, dns, clock, web, Heard()
        self.other = other
        self.restart()

    def restart(self) -> None:
        """A new process: what was in memory is gone."""
        web: Any = self.web
        heard: Any = self.heard
        self.sts = StsPolicies(self.site, web, heard)
        self.policy = Published(self.site, self.other, self.sts, heard)

    async def wanted(self, *, secure: bool = False, domain: str = DOMAIN, host: str = HOST) -> Wanted:
        return await self.policy.wanted(domain, host, 25, secure)

    async def later(self, seconds: float) -> None:
        """Providers look at their files each second, so long times are jumped over: only DNS answers live by the other clock."""
        self.clock.set(self.clock.now() + max(0.0, seconds - 310))
        await self.clock.advance(min(seconds, 310))


def run(
    folder: Path,
    records: dict[str, str],
    test: Callable[[Scene], Awaitable[None]],
    *,
    web: Web | None = None,
    secure: bool = True,
    other: TlsPolicy | None = None,
    log: Lines | None = None,
) -> None:
    async def main() -> None:
        clock = HandClock()
        async with NameServer(records, secure=secure) as dns:
            yaml = f"server: mail.a.example\nplugins: {{tab: {{}}}}\nproviders: {{default: tab}}\ndns: {{servers: [127.0.0.1], port: {dns.port}}}\n"
            async with site_in(folder, yaml, clock=clock, log=log) as parts:
                scene = Scene(parts.site, dns, clock, web or Web(), other or Opportunistic())
                try:
                    await test(scene)
                finally:
                    await scene.policy.close()

    asyncio.run(main())


# ---------------------------------------------------------------- DANE


def test_dane_before_mta_sts(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        wanted = await scene.wanted(secure=True)
        assert (wanted.level, wanted.by, wanted.names) == (Level.PINNED, "dane", (HOST, DOMAIN))
        assert wanted.tlsa == (bytes.fromhex("030101" + HASH),)
        assert scene.web.asked == 0

    run(tmp_path, {**SIGNED, **STS}, test)


def test_without_dnssec_of_the_mx_there_is_no_dane(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        assert (await scene.wanted(secure=False)).by == "sts"
        assert not [name for name in scene.dns.asked if name.startswith("TLSA")]

    run(tmp_path, {**SIGNED, **STS}, test)


def test_a_resolver_elsewhere_is_not_believed(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        far = Published(scene.site, Opportunistic(), dns_is_trusted=False)
        assert (await far.wanted(DOMAIN, HOST, 25, True)).by == "opportunistic"

    run(tmp_path, SIGNED, test)


@pytest.mark.parametrize(
    ("other", "level", "by"),
    [
        (Opportunistic(), Level.MUST, "dane"),
        (Opportunistic(Level.NAMED), Level.NAMED, "settings"),
        (Opportunistic(Level.NONE), Level.MUST, "dane"),
    ],
)
def test_records_that_cannot_be_used_still_ask_for_tls(tmp_path: Path, other: TlsPolicy, level: Level, by: str) -> None:
    async def test(scene: Scene) -> None:
        wanted = await scene.wanted(secure=True)
        assert (wanted.level, wanted.by) == (level, by)

    run(tmp_path, {**SIGNED, f"TLSA _25._tcp.{HOST}": f"1 1 1 {HASH}"}, test, other=other)


def test_records_that_cannot_be_used_put_mta_sts_out_of_force(tmp_path: Path) -> None:
    """RFC 8461 section 2 has DANE come first where it can tell; TLSA records that say nothing took a policy's word away."""

    async def test(scene: Scene) -> None:
        assert await scene.wanted(secure=True) == Wanted(Level.NAMED, (HOST,), by="sts")
        with pytest.raises(Unfit):
            await scene.wanted(secure=True, host="evil.example.org")
        scene.web.text = None
        assert await scene.wanted(secure=True, domain="other.example") == Wanted(Level.MUST, by="dane")

    unusable = {f"TLSA _25._tcp.{HOST}": f"1 1 1 {HASH}", "A evil.example.org": "192.0.2.2"}
    run(tmp_path, {**SIGNED, **STS, **unusable}, test)


def test_what_is_waived_is_what_domains_publish(tmp_path: Path) -> None:
    """RFC 8689 section 3: the operator's word stays."""

    async def least(policy: Published) -> Wanted:
        return await policy.least(DOMAIN, "evil.example.org", 25, True)

    async def test(scene: Scene) -> None:
        assert await least(scene.policy) == Wanted(Level.MAY, by="waived")
        strict = Published(scene.site, Opportunistic(Level.MUST), scene.sts)
        assert (await least(strict)).level is Level.MUST and scene.web.asked == 0

    run(tmp_path, {**SIGNED, **STS}, test)


def test_a_failing_look_up_stops_the_mail(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        scene.dns.failing.add(f"_25._tcp.{HOST}")
        with pytest.raises(Temporary):
            await scene.wanted(secure=True)

    run(tmp_path, SIGNED, test)


def test_a_verdict_is_remembered_for_a_minute(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        first = await scene.wanted(secure=True)
        asked = scene.site.resolver.asked
        assert await scene.wanted(secure=True) is first and scene.site.resolver.asked == asked
        scene.dns.put({f"TLSA _25._tcp.{HOST}": []})
        await scene.later(301)
        assert (await scene.wanted(secure=True)).by == "opportunistic"

    run(tmp_path, SIGNED, test)


def _der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(Encoding.DER)


def shaken(made: Pem, ca: Pem, folder: Path) -> ssl.SSLObject:
    """Our end of a handshake in memory with a host that shows its chain."""
    (folder / "host.pem").write_bytes(made.certificate + ca.certificate + made.key)
    theirs = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    theirs.load_cert_chain(folder / "host.pem")
    ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    ours.check_hostname, ours.verify_mode = False, ssl.CERT_NONE
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    client, server = ours.wrap_bio(back, there, server_hostname=HOST), theirs.wrap_bio(there, back, server_side=True)
    for _ in range(4):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                pass
    return client


def test_the_chain_of_a_real_handshake_is_judged(tmp_path: Path) -> None:
    """Before Python 3.13 the chain is had from a private place; this fails where that is gone."""

    async def test(scene: Scene) -> None:
        now = scene.clock.now()
        ca = make_ca("ours", now)
        made = make_certificate(ca, [HOST], now)
        chain = chain_of(shaken(made, ca, tmp_path))
        assert list(chain) == [_der(made.certificate), _der(ca.certificate)]
        anchor = bytes((2, 0, 1)) + hashlib.sha256(chain[1]).digest()
        assert scene.policy.verify(Wanted(Level.PINNED, (HOST,), (anchor,), by="dane"), chain, HOST) == ""
        refusal = scene.policy.verify(Wanted(Level.PINNED, (HOST,), (bytes.fromhex("030101" + HASH),), by="dane"), chain, HOST)
        assert result_of(refusal) == "validation-failure"
        refusal = scene.policy.verify(Wanted(Level.PINNED, ("else.example",), (anchor,), by="dane"), chain, HOST)
        assert result_of(refusal) == "certificate-host-mismatch"
        await scene.later(400 * DAY)
        refusal = scene.policy.verify(Wanted(Level.PINNED, (HOST,), (anchor,), by="dane"), chain, HOST)
        assert result_of(refusal) == "certificate-expired"

    run(tmp_path, {}, test)


# ---------------------------------------------------------------- MTA-STS


def test_a_policy_in_force(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        assert await scene.wanted() == Wanted(Level.NAMED, (HOST,), by="sts")
        with pytest.raises(Unfit, match="does not name it"):
            await scene.wanted(host="evil.example.org")
        applied, failure = scene.heard.told[-1]
        assert (applied.kind, applied.mx) == ("sts", (HOST,)) and failure is not None and failure.result == "validation-failure"
        assert scene.web.asked == 1

    run(tmp_path, STS, test)


@pytest.mark.parametrize("domain", ["[192.0.2.1]", "localhost", "a..b", "x" * 300, "-a.example", "../../etc.example"])
def test_what_is_no_domain_has_no_policy(tmp_path: Path, domain: str) -> None:
    async def test(scene: Scene) -> None:
        assert (await scene.wanted(domain=domain)).by == "opportunistic"
        assert scene.site.resolver.asked == 0

    run(tmp_path, STS, test)


def test_a_domain_in_its_own_script(tmp_path: Path) -> None:
    assert ascii_domain("Bücher.example") == "xn--bcher-kva.example" and ascii_domain("\u202e.example") is None

    async def test(scene: Scene) -> None:
        assert (await scene.wanted(domain="bücher.example")).by == "sts"

    run(tmp_path, {"TXT _mta-sts.xn--bcher-kva.example": '"v=STSv1; id=1"'}, test)


def test_a_policy_outlives_a_restart_and_whoever_takes_it_away(tmp_path: Path) -> None:
    """RFC 8461 sections 3.3 and 10.2."""

    async def test(scene: Scene) -> None:
        await scene.wanted()
        assert len(list((tmp_path / FOLDER).iterdir())) == 1
        scene.web.text = None
        scene.dns.put({f"TXT _mta-sts.{DOMAIN}": []})
        scene.restart()
        await scene.later(6 * DAY)
        assert (await scene.wanted()).by == "sts"
        scene.dns.failing.add(f"_mta-sts.{DOMAIN}")
        await scene.later(0.9 * DAY)
        assert (await scene.wanted()).by == "sts"
        await scene.later(0.2 * DAY)
        assert (await scene.wanted()).by == "opportunistic"

    run(tmp_path, STS, test)


def test_a_new_id_has_the_policy_fetched(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        await scene.wanted()
        scene.dns.put({f"TXT _mta-sts.{DOMAIN}": '"v=STSv1; id=2"'})
        scene.web.text = "version: STSv1\nmode: none\nmax_age: 86400\n"
        await scene.later(400)
        assert (await scene.wanted()).by == "opportunistic" and scene.web.asked == 2

    run(tmp_path, STS, test)


def test_a_policy_that_cannot_be_fetched(tmp_path: Path) -> None:
    """Mail goes as if there were none, the web is left alone for a while, and the domain hears of it."""

    async def test(scene: Scene) -> None:
        scene.web.text = None
        for _ in range(3):
            assert (await scene.wanted()).by == "opportunistic"
            await scene.later(61)
        assert scene.web.asked == 1
        ((applied, failure),) = scene.heard.told
        assert applied == Applied(DOMAIN, "sts") and failure is not None and failure.result == "sts-policy-fetch-error"
        await scene.later(300)
        scene.web.text = Web().text
        assert (await scene.wanted()).by == "sts"

    run(tmp_path, STS, test)


def test_many_at_once_fetch_once(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        said = await asyncio.gather(*(scene.wanted() for _ in range(50)))
        assert {one.by for one in said} == {"sts"} and scene.web.asked == 1

    run(tmp_path, STS, test)


def test_a_policy_in_use_is_fetched_again_before_its_end(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        await scene.wanted()
        for _ in range(30):  # a month, and DNS shows no change
            await scene.later(DAY)
            assert (await scene.wanted()).by == "sts"
            await asyncio.gather(*scene.sts._flights.values())
        assert scene.web.asked == 31

    run(tmp_path, STS, test)


def test_what_another_worker_fetched_binds_this_one(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        web: Any = Web()
        assert (await scene.wanted(domain="other.example")).by == "opportunistic"
        await StsPolicies(scene.site, web).of(DOMAIN)
        scene.web.text = None
        scene.dns.put({f"TXT _mta-sts.{DOMAIN}": []})
        await scene.later(400)
        assert (await scene.wanted()).by == "sts" and scene.web.asked == 0

    run(tmp_path, STS, test)


@pytest.mark.parametrize(("tls", "kind"), [("may", Published), ("none", Opportunistic)])
def test_what_an_agent_is_given(tmp_path: Path, tls: str, kind: type) -> None:
    async def test(scene: Scene) -> None:
        settings = OutboundSettings.model_validate({"tls": tls})
        policy, reports = published(scene.site, settings, Opportunistic(), TlsReportSettings())
        assert type(policy) is kind and reports.name == "smtp.tlsreports"

    run(tmp_path, {}, test)


def test_a_damaged_file_is_told_and_fetched_anew(tmp_path: Path) -> None:
    log = Lines()

    async def test(scene: Scene) -> None:
        await scene.wanted()
        (path,) = (tmp_path / FOLDER).iterdir()
        path.write_text("{")
        scene.restart()
        assert (await scene.wanted()).by == "sts" and scene.web.asked == 2
        assert "sts.unreadable" in log.events("error")

    run(tmp_path, STS, test, log=log)


def test_policies_that_are_over_are_removed(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        await scene.wanted()
        scene.sts.tidy()
        assert len(list((tmp_path / FOLDER).iterdir())) == 1
        await scene.later(8 * DAY)
        scene.sts.tidy()
        assert not list((tmp_path / FOLDER).iterdir())

    run(tmp_path, STS, test)


# ---------------------------------------------------------------- testing, and what is reported


def test_a_policy_in_testing_asks_for_reports_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(scene: Scene) -> None:
        now = scene.clock.now()
        ca, stranger = make_ca("ours", now), make_ca("theirs", now)
        (tmp_path / "ca.pem").write_bytes(ca.certificate)
        heard: Any = scene.heard
        policy = Published(scene.site, Opportunistic(), scene.sts, heard, ca=str(tmp_path / "ca.pem"))
        wanted = await policy.wanted(DOMAIN, HOST, 25, False)
        assert wanted == Wanted(Level.MAY, by=TESTING)
        for signer, name in ((ca, HOST), (stranger, HOST), (ca, "else.example")):
            made = make_certificate(signer, [name], now)
            policy.noted(DOMAIN, HOST, "192.0.2.1", wanted, "", [_der(made.certificate)])
        policy.noted(DOMAIN, HOST, "192.0.2.1", wanted, "")  # without a chain nobody can tell, so nothing is told
        results = [failure and failure.result for applied, failure in scene.heard.told if applied.kind == "sts" and applied.strings]
        assert results == [None, "certificate-not-trusted", "certificate-host-mismatch"]
        other = await policy.wanted(DOMAIN, "evil.example.org", 25, False)
        assert other.level is Level.MAY
        policy.noted(DOMAIN, "evil.example.org", "192.0.2.1", other, "")
        assert [failure and failure.result for _, failure in scene.heard.told[3:]] == ["validation-failure"]

    module._authorities.cache_clear()
    run(tmp_path, STS, test, web=Web("testing"))
    module._authorities.cache_clear()


@pytest.mark.parametrize(
    ("failure", "result"),
    [
        (
            "SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: certificate has expired (_ssl.c:1006)",
            "certificate-expired",
        ),
        (
            "SSLCertVerificationError: [SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed certificate",
            "certificate-not-trusted",
        ),
        ("the certificate is for a.example, not for b.example", "certificate-host-mismatch"),
        ("the server does not offer STARTTLS", "starttls-not-supported"),
        ("the certificate fits none of the host's TLSA records", "validation-failure"),
        ("ConnectionResetError: [Errno 104] Connection reset by peer", "validation-failure"),
    ],
)
def test_the_word_for_a_failure(failure: str, result: str) -> None:
    assert result_of(failure) == result


def test_what_is_counted(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        noted = scene.policy.noted
        dane = await scene.wanted(secure=True)
        noted(DOMAIN, HOST, "192.0.2.1", dane, "")
        noted(DOMAIN, HOST, "192.0.2.1", dane, "the certificate fits none of the host's TLSA records")
        noted("else.example", HOST, "192.0.2.1", Wanted(Level.MAY, by="opportunistic"), "")
        noted("[192.0.2.1]", HOST, "192.0.2.1", Wanted(Level.MAY, by="opportunistic"), "")
        noted(DOMAIN, HOST, "192.0.2.1", Wanted(Level.NAMED, (HOST,)), "")  # an operator's own rule
        noted(DOMAIN, HOST, "192.0.2.1", Wanted(Level.MAY, by="waived"), "")
        applied = Applied(DOMAIN, "tlsa", (f"3 1 1 {HASH}",), (HOST,))
        words = "the certificate fits none of the host's TLSA records"
        failure = Failure("validation-failure", HOST, "192.0.2.1", reason=words)
        assert scene.heard.told == [(applied, None), (applied, failure), (Applied("else.example"), None)]

    run(tmp_path, SIGNED, test)


# ---------------------------------------------------------------- the whole way


@pytest.mark.parametrize(
    ("record", "said", "counted"),
    [
        (lambda: "2 0 0 " + _der(AUTHORITY.cert_pem.bytes()).hex(), "delivered", None),
        (lambda: f"3 1 1 {HASH}", "deferred 454 4.7.5", "validation-failure"),
        (lambda: f"0 0 1 {HASH}", "delivered", None),
    ],
    ids=["fits", "does not fit", "cannot be used"],
)
def test_mail_goes_only_to_the_host_that_dns_names(tmp_path: Path, record: Callable[[], str], said: str, counted: str | None) -> None:
    """The agent, a name server, STARTTLS on a real socket, and TLSA records."""

    async def main() -> None:
        server = Server((*MODERN, "STARTTLS"), name="localhost")
        async with asyncio.timeout(20), listening(server) as port, NameServer({"A localhost": "127.0.0.1"}, secure=True) as dns:
            dns.put({f"MX {DOMAIN}": "10 localhost.", f"TLSA _{port}._tcp.localhost": record()})
            yaml = f"server: mail.a.example\nplugins: {{tab: {{}}}}\nproviders: {{default: tab}}\ndns: {{servers: [127.0.0.1], port: {dns.port}}}\n"
            async with site_in(tmp_path, yaml) as parts:
                heard: Any = Heard()
                policy = Published(parts.site, Opportunistic(), None, heard)
                agent = OutboundAgent(parts.site, OutboundSettings(port=port), policy=policy)
                sent = envelope([Recipient(smtp(f"bob@{DOMAIN}"))])
                assert words(await agent.deliver(sent, MemoryMessage("A" * 32, b"Subject: x\r\n\r\nx\r\n"))) == [said]
                assert bool(server.taken) == (said == "delivered")
                ((_, failure),) = heard.told
                assert (failure and failure.result) == counted
                await agent.pool.close()

    asyncio.run(main())


def test_the_end_of_the_agent_cancelled_the_attempts_that_waited_for_a_policy(tmp_path: Path) -> None:
    """With what their first host had said; now the host is one that nobody can tell of."""

    class Silent(Web):
        async def ask(self, request: Request) -> Response:
            await asyncio.Event().wait()
            raise AssertionError

    async def test(scene: Scene) -> None:
        asking = asyncio.create_task(scene.wanted())
        while not scene.sts._flights:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        await scene.policy.close()
        with pytest.raises(Temporary):
            await asking

    run(tmp_path, STS, test, web=Silent())
