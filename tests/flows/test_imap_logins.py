"""Logging in to IMAP over real TLS, begun by command and from the first octet: every mechanism, its right proof and its wrong ones; and guesses at
IMAP, POP3 and submission, which count together."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import socket
import ssl
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from postroom.records import AuthRecord
from postroom_net.passwords import HashCost, hash_password
from postroom_net.throttle import ThrottlePolicy
from postroom_testing.clock import HandClock
from postroom_testing.ground import site_in
from tests.kernel_net import scram_client
from tests.kernel_net.test_oidc import KEYS, claims, token
from tests.plugins_imap4.house import LOGIN, PASSWORD, PO, Client, Served, serving

SETTINGS = (
    "mechanisms: [SCRAM-SHA-256-PLUS, SCRAM-SHA-256, PLAIN, LOGIN, OAUTHBEARER, XOAUTH2], "
    "oauth: {issuer: 'https://id.test', audience: postroom, keys: keys.json, configuration: 'https://id.test/.well-known'}"
)
STORED = hash_password(PASSWORD, HashCost(time=1, memory=8, lanes=1))
WRONG = b"x NO [AUTHENTICATIONFAILED] login failed\r\n"
Proof = Callable[[Client, bool], Coroutine[Any, Any, bytes]]


def tls(client: Client) -> ssl.SSLObject:
    found = client.writer.get_extra_info("ssl_object")
    assert isinstance(found, ssl.SSLObject)
    return found


async def answered(client: Client, command: str, *answers: bytes) -> bytes:
    """A command with initial response, further answers to each challenge; the tagged line."""
    client.send(b"x AUTHENTICATE %b\r\n" % command.encode())
    for answer in answers:
        assert (await client.line()).startswith(b"+ ")
        client.send(answer + b"\r\n")
    return (await client.until(b"x"))[-1]


async def plain(client: Client, right: bool) -> bytes:
    return await answered(client, "PLAIN " + b64encode(f"\0{LOGIN}\0{PASSWORD if right else 'wrong'}".encode()).decode())


async def login(client: Client, right: bool) -> bytes:
    return await answered(client, "LOGIN", b64encode(LOGIN.encode()), b64encode(PASSWORD.encode() if right else b"wrong"))


def scram(name: str, header: bytes = b"n,,", channel: Callable[[ssl.SSLObject], bytes] = lambda tls: b"") -> Proof:
    async def proof(client: Client, right: bool) -> bytes:
        prover = scram_client.Client(LOGIN, PASSWORD if right else "wrong", header=header, channel=channel(tls(client)))
        client.send(b"x AUTHENTICATE %b %b\r\n" % (name.encode(), b64encode(prover.first())))
        client.send(b64encode(prover.final(b64decode((await client.line())[2:]))) + b"\r\n")
        said = await client.line()
        if said.startswith(b"+ "):
            assert b64decode(said[2:]) == prover.expected, "the server proves that it knows the password too"
            client.send(b"\r\n")
            said = await client.line()
        return said

    return proof


def end_point(tls: ssl.SSLObject) -> bytes:
    """RFC 5929 section 4.1."""
    certificate = tls.getpeercert(binary_form=True)
    assert certificate
    return hashlib.sha256(certificate).digest()


def unique(tls: ssl.SSLObject) -> bytes:
    """RFC 5929 section 3."""
    found = tls.get_channel_binding("tls-unique")
    assert found
    return found


def bearer(name: str) -> Proof:
    """RFC 7628, and what came before it. A token for somebody else is as wrong as an expired one."""

    async def proof(client: Client, right: bool) -> bytes:
        now = HandClock().now()
        shown = token(claims(exp=now + 60, email=LOGIN if right else "eve@po.test"))
        text = {"OAUTHBEARER": f"n,a={LOGIN},\x01auth=Bearer {shown}\x01\x01", "XOAUTH2": f"user={LOGIN}\x01auth=Bearer {shown}\x01\x01"}[
            name
        ]
        client.send(f"x AUTHENTICATE {name} {b64encode(text.encode()).decode()}\r\n".encode())
        said = await client.line()
        if said.startswith(b"+ "):
            assert b"https://id.test/.well-known" in b64decode(said[2:]) or name == "XOAUTH2"
            client.send(b"AQ==\r\n")
            said = await client.line()
        return said

    return proof


PROOFS: dict[str, Proof] = {
    "PLAIN": plain,
    "LOGIN": login,
    "SCRAM-SHA-256": scram("SCRAM-SHA-256"),
    "SCRAM-SHA-256-PLUS, tls-server-end-point": scram("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,", end_point),
    "SCRAM-SHA-256-PLUS, tls-unique": scram("SCRAM-SHA-256-PLUS", b"p=tls-unique,,", unique),
    "OAUTHBEARER": bearer("OAUTHBEARER"),
    "XOAUTH2": bearer("XOAUTH2"),
}


def served(folder: Path, test: Callable[[Served], Coroutine[Any, Any, None]], more: str = SETTINGS) -> None:
    async def main() -> None:
        (folder / "keys.json").write_bytes(KEYS)
        async with serving(folder, more, clock=HandClock()) as at:
            await at.site.providers.authentication.logins.put(AuthRecord(LOGIN, 1, STORED, PO, "USER"))
            at.trust.maximum_version = ssl.TLSVersion.TLSv1_2  # tls-unique ends there (RFC 8446 appendix C.5)
            await test(at)

    asyncio.run(main())


async def sealed(at: Served, label: str) -> Client:
    """Over TLS, not logged in."""
    if label == "imaps":
        return await at.connect(label)
    client = await at.connect()
    (capabilities,) = await client.ok("CAPABILITY")
    assert b" LOGINDISABLED" in capabilities
    assert [word for word in capabilities.split() if word.startswith(b"AUTH=")] == [b"AUTH=SCRAM-SHA-256"], "which shows no password"
    await client.ok("STARTTLS")
    await client.writer.start_tls(at.trust, server_hostname="localhost")
    return client


@pytest.mark.parametrize("mechanism", PROOFS)
def test_a_mechanism_lets_in_who_proves_it_and_nobody_else(tmp_path: Path, mechanism: str) -> None:
    async def test(at: Served) -> None:
        for label in ("imap", "imaps"):
            client = await sealed(at, label)
            (capabilities,) = await client.ok("CAPABILITY")
            assert f"AUTH={mechanism.partition(',')[0]}".encode() in capabilities.split() and b"LOGINDISABLED" not in capabilities
            assert await PROOFS[mechanism](client, False) == WRONG
            assert (await client.say("SELECT INBOX"))[-1].startswith(b"T BAD")
            assert (await PROOFS[mechanism](client, True)).startswith(b"x OK [CAPABILITY ")
            await client.ok("SELECT INBOX")
            await client.close()

    served(tmp_path, test)


def test_who_is_in_the_middle_cannot_pass_a_proof_on(tmp_path: Path) -> None:
    """RFC 5802 section 6: a proof bound to another channel, and one of a client that believes the server cannot bind."""

    async def test(at: Served) -> None:
        client = await sealed(at, "imaps")
        for wrong in (
            scram("SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,", lambda tls: hashlib.sha256(b"another certificate").digest()),
            scram("SCRAM-SHA-256-PLUS", b"p=tls-unique,,", lambda tls: unique(tls)[::-1]),
        ):
            assert await wrong(client, True) == WRONG
        prover = scram_client.Client(LOGIN, PASSWORD, header=b"y,,")
        assert not (await answered(client, f"SCRAM-SHA-256 {b64encode(prover.first()).decode()}")).startswith(b"x OK")
        assert (await PROOFS["SCRAM-SHA-256"](client, True)).startswith(b"x OK")
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize(("binding", "offered"), [("auto", False), ("always", True)])
def test_above_tls_1_2_only_who_uses_the_certificate_can_bind(tmp_path: Path, binding: str, offered: bool) -> None:
    async def test(at: Served) -> None:
        at.trust.maximum_version = ssl.TLSVersion.TLSv1_3
        client = await sealed(at, "imaps")
        (capabilities,) = await client.ok("CAPABILITY")
        assert tls(client).version() == "TLSv1.3" and (b"AUTH=SCRAM-SHA-256-PLUS" in capabilities.split()) is offered
        if offered:
            assert (await PROOFS["SCRAM-SHA-256-PLUS, tls-server-end-point"](client, True)).startswith(b"x OK")
        else:
            assert (await answered(client, "SCRAM-SHA-256-PLUS")).startswith(b"x NO [CANNOT]")
        await client.close()

    served(tmp_path, test, f"binding: {binding}")


# Guesses at several services.

YAML = """
server: mail.test
plugins:
  tab: {}
  store: {}
  smtp: {listen: [{port: 0, submission: true, tls: none, label: smtp}], auth: {without_tls: true}}
  pop3: {listen: [{port: 0, tls: none}], plaintext: true}
  imap4: {listen: [{port: 0, tls: none}], plaintext: true}
"""


@dataclass(frozen=True, slots=True)
class Door:
    """How one asks to be let in, and what is said to who is wrong or not heard any more."""

    greeting: bytes
    ask: Callable[[str], bytes]
    replies: int  # before the one that matters
    wrong: bytes
    unheard: bytes


DOORS = {
    "imap": Door(
        b"* OK", lambda password: f"x LOGIN {LOGIN} {password}\r\n".encode(), 0, WRONG, b"x NO [UNAVAILABLE] too many wrong passwords"
    ),
    "pop3": Door(
        b"+OK",
        lambda password: f"USER {LOGIN}\r\nPASS {password}\r\n".encode(),
        1,
        b"-ERR [AUTH] ",
        b"-ERR [SYS/TEMP] too many wrong passwords",
    ),
    "smtp": Door(
        b"220",
        lambda password: b"HELO x.test\r\nEHLO x.test\r\nAUTH PLAIN " + b64encode(f"\0{LOGIN}\0{password}".encode()) + b"\r\n",
        0,
        b"535 5.7.8 ",
        b"454 4.7.0 Too many failed logins",
    ),
}


async def said_at(door: Door, port: int, password: str) -> bytes:
    """On a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        assert (await reader.readline()).startswith(door.greeting)
        writer.write(door.ask(password))
        for _ in range(door.replies):
            await reader.readline()
        while (line := await reader.readline()).startswith((b"250", b"221")):
            pass
        return line
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


@pytest.mark.long
def test_guesses_at_imap_pop3_and_submission_count_together(tmp_path: Path) -> None:
    """No door heard as many guesses as it takes, and then none hears any, the right password included."""

    async def main() -> None:
        clock, waiting = HandClock(), asyncio.Queue[object]()
        sockets = {label: [socket.create_server(("127.0.0.1", 0))] for label in DOORS}
        ports = {label: bound[0].getsockname()[1] for label, bound in sockets.items()}
        async with site_in(tmp_path, YAML, clock=clock, sockets=sockets, ready=waiting.put_nowait) as parts:
            await parts.site.providers.authentication.logins.put(AuthRecord(LOGIN, 1, STORED, PO, "USER"))
            running = [asyncio.create_task(agent.run()) for _, agent in parts.agents]
            for _ in DOORS:
                await waiting.get()
            idle, heard = clock.sleepers, Counter[str]()

            async def guessed(label: str, password: str) -> bytes:
                asking = asyncio.create_task(said_at(DOORS[label], ports[label], password))
                while not asking.done():
                    await (clock.advance(0.5) if clock.sleepers > idle else asyncio.sleep(0))  # the answer is held back, or under way
                return await asking

            for number, label in enumerate(itertools.islice(itertools.cycle(DOORS), 60)):
                said = await guessed(label, f"guess-{number}")
                if not said.startswith(DOORS[label].wrong):
                    break
                heard[label] += 1
            assert max(heard.values()) < ThrottlePolicy().lock_ip <= heard.total()
            for label, door in DOORS.items():
                assert (await said_at(door, ports[label], PASSWORD)).startswith(door.unheard), label  # at once
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    asyncio.run(main())
