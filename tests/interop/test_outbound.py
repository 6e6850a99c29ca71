"""Our outbound agent against Debian's Postfix and its `smtp-sink`: what we send arrives octet for octet, and what they refuse is understood."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
import uvloop

from bench import peers
from bench.server import HOST, Absent, Server, free_ports, listening
from postroom.address import smtp
from postroom.envelope import Recipient
from postroom.message import FileMessage, MemoryMessage
from tests.demo import PATIENCE, await_change
from tests.plugins_smtp.outbound.sealed import AUTHORITY
from tests.plugins_smtp.outbound.world import World, envelope, words

TEXT = "Subject: outbound\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n.\r\n..\r\nGrüße\r\n".encode()


@contextmanager
def postfix_with(more: str) -> Iterator[Server]:
    """A Postfix with one mailbox, u0@bench.test, and these further lines of main.cf."""
    if not shutil.which("postfix"):
        pytest.skip("postfix is not installed")
    try:
        folder = peers.new_folder(Path(tempfile.gettempdir()), "postfix")
        AUTHORITY.issue_cert("mx.bench.test").private_key_and_cert_chain_pem.write_to_path(folder / "own.pem")
        made = peers.postfix(folder, 1, more=more.format(folder=folder))
    except Absent as why:
        pytest.skip(str(why))
    try:
        yield made
    finally:
        made.stop()


SEALED = "smtpd_tls_security_level = may\nsmtpd_tls_cert_file = {folder}/own.pem\nsmtpd_tls_key_file = {folder}/own.pem\nsmtpd_tls_received_header = yes\n"


@pytest.fixture(
    scope="module", params=["", "smtpd_discard_ehlo_keywords = chunking\n", "smtpd_discard_ehlo_keywords = chunking,pipelining,dsn\n"]
)
def postfix(request: pytest.FixtureRequest) -> Iterator[Server]:
    with postfix_with(SEALED + request.param) as server:
        yield server


def client(port: int, folder: Path, **more: Any) -> World:
    ca = folder / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(ca)
    dns = {"MX bench.test": "10 mx.bench.test.", "A mx.bench.test": "127.0.0.1"}
    return World(dns=dns, real=True, port=port, ca=str(ca), **more)


def deliver(world: World, *to: str, message: FileMessage | None = None, **more: Any) -> list[str]:
    async def main() -> list[str]:
        async with asyncio.timeout(PATIENCE):
            sent = envelope([Recipient(smtp(one)) for one in to], **more)
            try:
                return words(await world.attempt(sent, message or MemoryMessage("A" * 32, TEXT)))
            finally:
                await world.end()

    return uvloop.run(main())


def arrived(server: Server, count: int) -> list[bytes]:
    inbox = server.accounts[0].inbox
    await_change(inbox.parents[2], lambda: server.accounts[0].delivered() >= count)
    return [path.read_bytes() for path in sorted(inbox.iterdir(), key=lambda path: path.stat().st_mtime_ns)]


def body(text: bytes) -> bytes:
    """Postfix adds fields that the header lacks."""
    return text.partition(b"\n\n")[2]


def test_a_message_arrives_sealed_and_whole(postfix: Server, tmp_path: Path) -> None:
    before = postfix.accounts[0].delivered()
    world = client(postfix.ports["smtp"], tmp_path, tls="verify")
    assert deliver(world, "u0@bench.test", "nobody@bench.test", body="8BITMIME") == ["delivered", "failed 550 5.1.1"]
    found = arrived(postfix, before + 1)[-1]
    assert body(found) == body(TEXT.replace(b"\r\n", b"\n")) and b"(using TLSv1.3" in found
    (line,) = world.attempts()
    assert line["verified"] == "name" and "5.1.1" in str(line["reply"])


def test_a_large_message_arrives_whole(postfix: Server, tmp_path: Path) -> None:
    before = postfix.accounts[0].delivered()
    path = tmp_path / "letter"
    text = b"Subject: large\r\n\r\n" + b"".join(b".%d\r\n" % n for n in range(300_000))
    path.write_bytes(text)
    assert deliver(client(postfix.ports["smtp"], tmp_path), "u0@bench.test", message=FileMessage("A" * 32, path, len(text))) == [
        "delivered"
    ]
    assert body(arrived(postfix, before + 1)[-1]) == body(text.replace(b"\r\n", b"\n"))


def test_a_line_longer_than_smtp_carries_arrives_as_it_was_written(postfix: Server, tmp_path: Path) -> None:
    """Postfix would have broken it into lines of its own."""
    before = postfix.accounts[0].delivered()
    path, line = tmp_path / "letter", b"word " * 1000 + b"end"
    path.write_bytes(b"Subject: long\r\n\r\n" + line + b"\r\nshort\r\n")
    message = FileMessage("A" * 32, path, path.stat().st_size)
    assert deliver(client(postfix.ports["smtp"], tmp_path), "u0@bench.test", message=message) == ["delivered"]
    found = message_from_bytes(arrived(postfix, before + 1)[-1])
    assert found["Content-Transfer-Encoding"] == "quoted-printable" and found.get_payload(decode=True) == line + b"\nshort\n"


@pytest.mark.parametrize(("dropped", "sender"), [("dsn", b"<>"), ("chunking", b"<ann@a.test>")])
def test_who_wants_no_report_has_no_sender_at_a_server_without_dsn(dropped: str, sender: bytes, tmp_path: Path) -> None:
    """RFC 3461 section 5.2.2."""
    with postfix_with(f"smtpd_discard_ehlo_keywords = {dropped}\n") as server:
        to = [Recipient(smtp("u0@bench.test"), "", frozenset({"NEVER"}))]
        world = client(server.ports["smtp"], tmp_path)

        async def main() -> None:
            assert words(await world.attempt(envelope(to), MemoryMessage("A" * 32, TEXT))) == ["delivered"]
            await world.end()

        uvloop.run(main())
        assert b"Return-Path: " + sender + b"\n" in arrived(server, 1)[-1]


def test_what_is_larger_than_it_takes_is_not_sent(tmp_path: Path) -> None:
    with postfix_with("message_size_limit = 2000\n") as server:
        path = tmp_path / "letter"
        path.write_bytes(b"Subject: x\r\n\r\n" + b"y" * 70 + b"\r\n" * 2000)
        message = FileMessage("A" * 32, path, path.stat().st_size)
        assert deliver(client(server.ports["smtp"], tmp_path), "u0@bench.test", message=message) == ["failed 552 5.3.4"]


@contextmanager
def sink(*options: str) -> Iterator[int]:
    program = shutil.which("smtp-sink")
    if program is None:
        pytest.skip("smtp-sink is not installed; it comes with postfix")
    (port,) = free_ports(1)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen([program, "-u", "nobody", *options, f"{HOST}:{port}", "100"], stdout=log, stderr=log)
        try:
            listening(port, process, Path("/dev/null"))
            yield port
        finally:
            process.kill()
            process.wait()


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ((), ["delivered"]),
        (("-p",), ["delivered"]),
        (("-p", "-8"), ["delivered"]),
        (("-e",), ["delivered"]),
        (("-r", "RCPT"), ["deferred 450 4.3.0"]),
        (("-f", "RCPT"), ["failed 500 5.3.0"]),
        (("-r", "MAIL"), ["deferred 450 4.3.0"]),
        (("-f", "DATA"), ["failed 500 5.3.0"]),
        (("-r", "."), ["deferred 450 4.3.0"]),
        (("-Q", "RCPT"), ["deferred 421 4.0.0"]),
        (("-q", "DATA"), ["deferred 421 4.4.2"]),
        (("-q", "CONNECT"), ["deferred 421 4.4.2"]),
    ],
)
def test_smtp_sink(options: tuple[str, ...], wanted: list[str], tmp_path: Path) -> None:
    with sink(*options) as port:
        assert deliver(client(port, tmp_path), "u0@bench.test") == wanted


def test_many_messages_by_few_connections(tmp_path: Path) -> None:
    async def main(world: World) -> None:
        async with asyncio.timeout(PATIENCE):
            await world.keep()
            sent = envelope([Recipient(smtp("u0@bench.test"))])
            done = await asyncio.gather(*(world.attempt(sent, MemoryMessage("A" * 32, TEXT)) for _ in range(300)))
            assert all(words(one) == ["delivered"] for one in done)
            assert sum(not line["kept"] for line in world.attempts()) <= 20
            await world.end()

    with sink() as port:
        uvloop.run(main(client(port, tmp_path)))
