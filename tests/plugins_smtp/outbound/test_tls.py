"""TLS on the way out, on real sockets and both loops: what is asked of a host, how it is checked, and what becomes of a host that does not
have it."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from postroom_net.resolver import Temporary
from postroom_smtp.outbound.tlspolicy import Level, Opportunistic, Unfit, Wanted, matches
from tests.plugins_smtp.outbound.sealed import LOOPS, ca, listening
from tests.plugins_smtp.outbound.world import MODERN, Server, World, reply_of, run, words

TO = "bob@example.test"
SEALING = (*MODERN, "STARTTLS")


def serve(loop: str, test: Callable[[Server, int], Awaitable[None]], *, tls: bool = True, implicit: bool = False) -> None:
    async def main() -> None:
        server = Server(SEALING if tls and not implicit else MODERN, name="localhost")
        async with asyncio.timeout(20), listening(server, implicit=implicit) as port:
            await test(server, port)

    LOOPS[loop](main())


def client(port: int, host: str = "localhost", **more: Any) -> World:
    dns = {"MX example.test": f"10 {host}.", f"A {host}": "127.0.0.1"}
    return World(dns=dns, real=True, port=port, **more)


loops = pytest.mark.parametrize("loop", LOOPS)


@loops
@pytest.mark.parametrize(
    ("settings", "host", "has_tls", "wanted", "facts"),
    [
        ({}, "localhost", True, "delivered", ("TLSv1.3", "no")),
        ({}, "localhost", False, "delivered", ("", "")),
        ({"tls": "none"}, "localhost", True, "delivered", ("", "")),
        ({"tls": "required"}, "other.test", True, "delivered", ("TLSv1.3", "no")),
        ({"tls": "required"}, "localhost", False, "deferred 454 4.7.4", None),
        ({"tls": "verify"}, "localhost", True, "delivered", ("TLSv1.3", "name")),
        ({"tls": "verify"}, "other.test", True, "deferred 454 4.7.5", None),
        ({"tls": "verify"}, "localhost", False, "deferred 454 4.7.4", None),
    ],
)
def test_levels(loop: str, settings: dict[str, Any], host: str, has_tls: bool, wanted: str, facts: Any, tmp_path: Path) -> None:
    async def test(server: Server, port: int) -> None:
        world = client(port, host, ca=ca(tmp_path), **settings)
        try:
            assert words(await world.deliver(TO)) == [wanted]
            if facts is not None:
                (line,) = world.attempts()
                assert str(line["tls"]).startswith(facts[0]) and bool(line["tls"]) == bool(facts[0]) and line["verified"] == facts[1]
                assert ("STARTTLS" in server.heard) == bool(facts[0]) and server.heard.count("EHLO mail.a.test") == 1 + bool(facts[0])
        finally:
            await world.end()

    serve(loop, test, tls=has_tls)


@loops
def test_an_authority_nobody_knows(loop: str, tmp_path: Path) -> None:
    async def test(server: Server, port: int) -> None:
        world = client(port, tls="verify")
        (outcome,) = await world.deliver(TO)
        assert reply_of(outcome).startswith("454 4.7.5 TLS with localhost [127.0.0.1] failed: SSLCertVerificationError")
        await world.end()

    serve(loop, test)


@loops
def test_authorities_that_cannot_be_read_were_an_exception_and_left_a_connection(loop: str, tmp_path: Path) -> None:
    async def test(server: Server, port: int) -> None:
        smart = {"host": "localhost", "port": port, "tls": "implicit"}
        for settings in ({"tls": "verify"}, {"smart_host": smart}):
            world = client(port, ca=str(tmp_path / "gone.pem"), **settings)
            (outcome,) = await world.deliver(TO)
            assert reply_of(outcome).startswith("451 4.3.5 The authorities that certificates are checked with cannot be read")
            await world.end()

    serve(loop, test)


@loops
def test_authorities_are_not_read_in_the_loop(loop: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The system's take 100 ms."""
    where: list[bool] = []
    read = ssl.SSLContext.load_verify_locations

    def noted(self: ssl.SSLContext, *files: Any) -> None:
        where.append(threading.current_thread() is threading.main_thread())
        read(self, *files)

    async def test(server: Server, port: int) -> None:
        monkeypatch.setattr(ssl.SSLContext, "load_verify_locations", noted)
        world = client(port, ca=ca(tmp_path), tls="verify")
        for _ in range(2):
            assert words(await world.deliver(TO)) == ["delivered"]
        assert where == [False]
        await world.end()

    serve(loop, test)


@loops
def test_a_sealed_connection_is_used_again(loop: str, tmp_path: Path) -> None:
    async def test(server: Server, port: int) -> None:
        world = client(port)
        await world.keep()
        for _ in range(3):
            assert words(await world.deliver(TO, text=b"Subject: x\r\n\r\n" + b"yyyyyyy\r\n" * 28_000)) == ["delivered"]
        assert server.heard.count("STARTTLS") == 1 and len(server.taken) == 3
        await world.end()

    serve(loop, test)


@loops
@pytest.mark.parametrize(("name", "wanted"), [("localhost", "delivered"), ("127.0.0.1", "delivered")])
def test_a_smart_host_whose_handshake_comes_first(loop: str, name: str, wanted: str, tmp_path: Path) -> None:
    async def test(server: Server, port: int) -> None:
        smart = {"host": name, "port": port, "tls": "implicit"}
        world = World(dns={"A localhost": "127.0.0.1"}, real=True, smart_host=smart, ca=ca(tmp_path))
        assert words(await world.deliver(TO)) == [wanted]
        assert world.attempts()[0]["verified"] == "name"
        await world.end()

    serve(loop, test, implicit=True)


@loops
def test_a_certificate_for_another_name_gets_no_login(loop: str, tmp_path: Path) -> None:
    async def test(server: Server, port: int) -> None:
        smart = {"host": "other.test", "port": port, "tls": "implicit", "user": "u", "password": "p"}
        world = World(dns={"A other.test": "127.0.0.1"}, real=True, smart_host=smart, ca=ca(tmp_path))
        (outcome,) = await world.deliver(TO)
        assert "4.7.5" in reply_of(outcome) and "not for other.test" in reply_of(outcome)
        await world.end()

    serve(loop, test, implicit=True)


def test_a_host_without_starttls_is_told_of() -> None:
    policy = Pinning()
    world = World(policy=policy)
    assert words(run(world, world.deliver)) == ["deferred 454 4.7.4"]
    assert policy.told == [("b.test", "mx.b.test", "STARTTLS: TLS is required, and the server does not offer it")]


class Pinning(Opportunistic):
    """A policy that wants one certificate and remembers what it was told."""

    def __init__(self, good: bool = True) -> None:
        super().__init__()
        self.good, self.chains = good, [b""]
        self.told: list[tuple[str, str, str]] = []

    async def wanted(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
        return Wanted(Level.PINNED, tlsa=(b"\x03\x01\x01",), by="dane")

    def verify(self, wanted: Wanted, chain: Sequence[bytes], host: str) -> str:
        self.chains = list(chain)
        return "" if self.good else "no TLSA record fits"

    def noted(self, domain: str, host: str, ip: str, wanted: Wanted, failure: str, chain: Sequence[bytes] = ()) -> None:
        assert bool(chain) == (not failure)
        self.told.append((domain, host, failure))


@loops
@pytest.mark.parametrize("good", [True, False])
def test_a_policy_judges_the_chain(loop: str, good: bool, tmp_path: Path) -> None:
    async def test(server: Server, port: int) -> None:
        policy = Pinning(good)
        world = client(port, policy=policy)
        (outcome,) = await world.deliver(TO)
        assert words([outcome]) == ["delivered" if good else "deferred 454 4.7.5"]
        assert policy.chains and policy.chains[0][:1] == b"\x30"  # DER
        assert policy.told == [("example.test", "localhost", "" if good else "no TLSA record fits")]
        if good:
            assert world.attempts()[0]["verified"] == "tlsa" and world.attempts()[0]["asked"] == "pinned by dane"
        await world.end()

    serve(loop, test)


@loops
@pytest.mark.parametrize(
    ("wanted", "name"),
    [
        (Wanted(Level.PINNED, ("base.example.test", "localhost"), (b"\x03\x01\x01",), by="dane"), "base.example.test"),
        (Wanted(Level.NAMED, ("localhost",), by="sts"), "localhost"),
        (Wanted(Level.MUST, by="dane"), "localhost"),
        (Wanted(Level.MAY, by="opportunistic"), "localhost"),
    ],
)
def test_the_name_a_handshake_asks_for(loop: str, wanted: Wanted, name: str, tmp_path: Path) -> None:
    """With DANE the TLSA base domain (RFC 7672 section 8.1), else the MX host's name (RFC 8461 section 4.2)."""

    class Fixed(Pinning):
        async def wanted(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
            return wanted

    async def test(server: Server, port: int) -> None:
        world = client(port, policy=Fixed(), ca=ca(tmp_path))
        assert words(await world.deliver(TO)) == ["delivered"]
        assert server.asked_for == [name]
        await world.end()

    serve(loop, test)


@loops
def test_a_handshake_that_fails_is_done_without_where_tls_is_a_may(loop: str, tmp_path: Path) -> None:
    """The server says 220 to STARTTLS and then speaks no TLS. The next message does not try again for an hour."""
    said: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 old.test\r\n")
        try:
            while line := await reader.readline():
                said.append(line[:4].upper())
                if line.startswith(b"STARTTLS"):
                    writer.write(b"220 Go\r\n")
                    await reader.read(1)
                    writer.write(b"this is no TLS\r\n")
                    return
                writer.write(
                    {b"EHLO": b"250-old.test\r\n250 STARTTLS\r\n", b"DATA": b"354 Go\r\n"}.get(line[:4].upper(), b"250 Ok\r\n")
                    if not line.startswith(b"Subject")
                    else b""
                )
                if line.startswith(b"DATA"):
                    await reader.readuntil(b"\r\n.\r\n")
                    writer.write(b"250 Taken\r\n")
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def main() -> None:
        async with asyncio.timeout(20), await asyncio.start_server(talk, "127.0.0.1", 0) as server:
            world = client(server.sockets[0].getsockname()[1])
            for _ in range(2):
                assert words(await world.deliver(TO)) == ["delivered"]
            assert said.count(b"STAR") == 1
            strict = client(server.sockets[0].getsockname()[1], tls="required")
            assert words(await strict.deliver(TO)) == ["deferred 454 4.7.5"]
            await world.end()
            await strict.end()

    LOOPS[loop](main())


@pytest.mark.parametrize("late", ["220 Go\r\n250-mx.b.test\r\n250 AUTH PLAIN", "220 Go\r\n25"])
def test_octets_between_starttls_and_the_handshake_end_it(late: str) -> None:
    """Command injection (CVE-2021-38371 and kin), from the server's side."""
    world = World(Server((*MODERN, "STARTTLS"), {"STARTTLS": late.encode()}))
    (outcome,) = run(world, world.deliver)
    assert words([outcome]) == ["deferred 451 4.7.5"] and "between STARTTLS" in reply_of(outcome)


@pytest.mark.parametrize(("tls", "wanted"), [("may", "delivered"), ("required", "deferred 454 4.7.0")])
def test_starttls_refused(tls: str, wanted: str) -> None:
    world = World(Server((*MODERN, "STARTTLS"), {"STARTTLS": "454 4.7.0 No certificate today"}), tls=tls)
    assert words(run(world, world.deliver)) == [wanted]


def test_a_policy_may_leave_a_host_out_or_not_be_able_to_tell() -> None:
    class Odd(Opportunistic):
        async def wanted(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
            if host == "one.b.test":
                raise Unfit("it is not in the policy of b.test")
            if host == "two.b.test":
                raise Temporary("TLSA: SERVFAIL")
            return await super().wanted(domain, host, port, mx_secure)

    dns: dict[str, Any] = {"MX b.test": ["1 one.b.test.", "2 two.b.test.", "3 mx.b.test."]}
    dns |= {f"A {name}": "192.0.2.1" for name in ("one.b.test", "two.b.test", "mx.b.test")}
    world = World(dns=dns, policy=Odd())
    assert words(run(world, world.deliver)) == ["delivered"]
    alone = World(dns={k: v for k, v in dns.items() if k != "MX b.test"} | {"MX b.test": ["1 one.b.test."]}, policy=Odd())
    (outcome,) = run(alone, alone.deliver)
    assert reply_of(outcome) == "451 4.7.5 one.b.test must not be used: it is not in the policy of b.test"


@pytest.mark.parametrize(("by", "wanted"), [("dane", "delivered"), ("settings", "deferred 454 4.7.4")])
def test_a_sender_may_waive_the_policy_but_not_the_operator_s_rule(by: str, wanted: str) -> None:
    """RFC 8689 section 3."""

    class Strict(Opportunistic):
        async def wanted(self, domain: str, host: str, port: int, mx_secure: bool) -> Wanted:
            return Wanted(Level.MUST, by=by)

    policy = Strict(Level.MUST if by == "settings" else Level.MAY)
    world = World(policy=policy)
    assert words(run(world, lambda: world.deliver(text=b"Subject: x\r\nTLS-Required:  no \r\n\r\n"))) == [wanted]
    plain = World(policy=policy)
    assert words(run(plain, plain.deliver)) == ["deferred 454 4.7.4"]


@pytest.mark.parametrize(
    ("wanted", "given", "same"),
    [
        (["mx.b.test"], ["mx.b.test"], True),
        (["MX.b.test."], ["mx.B.test"], True),
        (["mx.b.test"], ["*.b.test"], True),
        (["mx.b.test"], ["*.test"], False),
        (["b.test"], ["*.test"], False),
        (["x.mx.b.test"], ["*.b.test"], False),
        (["mx.b.test"], ["m*.b.test"], False),
        (["*.b.test"], ["mx.b.test"], True),
        (["*.b.test"], ["b.test"], False),
        (["*.b.test"], ["x.mx.b.test"], False),
        (["*."], ["mx"], False),
        (["one.test", "two.test"], ["x.test", "two.test"], True),
        (["127.0.0.1"], ["127.0.0.1"], True),
        (["a.test"], [], False),
        ([], ["a.test"], False),
    ],
)
def test_names(wanted: list[str], given: list[str], same: bool) -> None:
    assert matches(wanted, given) is same
