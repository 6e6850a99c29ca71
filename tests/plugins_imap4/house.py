"""What these tests share: a site with the real store, its service on real sockets, and a client that says lines and hears answers."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from postroom.clock import Clock, SystemClock
from postroom.mailstore import INBOX, Folder, Mailbox, Target
from postroom.message import MemoryMessage, new_id
from postroom.records import AuthRecord, MailboxRecord, PostofficeRecord
from postroom.site import Site
from postroom_imap4.service import Imap4Service
from postroom_net.tls import make_ca, make_certificate
from postroom_testing.ground import Lines, site_in

PO, LOGIN, PASSWORD = "po.test", "bob@po.test", "secret"
PATIENCE = 20.0  # seconds for whatever is waited for


def letter(subject: str = "hello", body: str = "one\r\ntwo\r\n") -> bytes:
    return (
        f"From: Ann <ann@example.com>\r\nTo: bob@po.test\r\nSubject: {subject}\r\nDate: Mon, 7 Feb 2022 21:52:25 -0800\r\n"
        f"Message-ID: <{new_id()}@example.com>\r\n\r\n{body}"
    ).encode()


class Client:
    """Says lines, hears answers."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self._tags = 0

    async def line(self) -> bytes:
        """The next line with the literals in it."""
        async with asyncio.timeout(PATIENCE):
            line = await self.reader.readline()
            while line.endswith(b"}\r\n"):
                size = int(line[line.rindex(b"{") + 1 : -3])
                line += await self.reader.readexactly(size) + await self.reader.readline()
        return line

    def send(self, octets: bytes) -> None:
        self.writer.write(octets)

    async def until(self, tag: bytes) -> list[bytes]:
        """All lines up to the one with this tag, it included."""
        lines: list[bytes] = []
        while True:
            line = await self.line()
            assert line, f"the server hung up after {lines}"
            lines.append(line)
            if line.startswith(tag + b" "):
                return lines

    async def say(self, command: str | bytes) -> list[bytes]:
        """One command; all that is answered, the tagged response last."""
        self._tags += 1
        tag = b"t%d" % self._tags
        self.send(b"%b %b\r\n" % (tag, command.encode() if isinstance(command, str) else command))
        return [line.replace(tag, b"T", 1) if line.startswith(tag) else line for line in await self.until(tag)]

    async def ok(self, command: str | bytes) -> list[bytes]:
        """The untagged answers to a command that must succeed."""
        lines = await self.say(command)
        assert lines[-1].startswith(b"T OK"), f"{command!r} was answered {lines[-1]!r}"
        return lines[:-1]

    async def log_in(self) -> Client:
        await self.ok(f"LOGIN {LOGIN} {PASSWORD}")
        return self

    async def close(self) -> None:
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()


@dataclass
class Served:
    """A site that serves IMAP."""

    site: Site
    service: Imap4Service
    ports: dict[str, int]
    trust: ssl.SSLContext
    log: Lines
    running: asyncio.Task[None]

    async def connect(self, label: str = "imap") -> Client:
        context = self.trust if label == "imaps" else None
        host = "localhost" if context else None
        reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[label], ssl=context, server_hostname=host, limit=1 << 22)
        client = Client(reader, writer)
        assert (await client.line()).startswith(b"* OK [CAPABILITY IMAP4rev1 IMAP4rev2 ")
        return client

    async def client(self, folder: str = "", *, label: str = "imap") -> Client:
        """Somebody who has logged in, and selected a folder where one is named."""
        client = await (await self.connect(label)).log_in()
        if folder:
            await client.ok(f"SELECT {folder}")
        return client

    async def box(self) -> Mailbox:
        return await self.site.store.mailbox(PO, "bob")

    async def folder(self, name: str = INBOX) -> Folder:
        return await (await self.box()).folder(name)

    async def deliver(self, count: int = 1, subject: str = "hello", body: str = "one\r\ntwo\r\n") -> None:
        for number in range(count):
            message = MemoryMessage(new_id(), letter(f"{subject} {number}", body))
            (placed,) = await self.site.store.deliver(message, [Target(PO, "bob")], arrived=1.6e9)
            assert not isinstance(placed, Exception), placed


async def furnish(site: Site, limit: int = -1) -> None:
    """bob@po.test."""
    await site.providers.postoffice.postoffices.put(PostofficeRecord(PO, 1, PO))
    await site.providers.postoffice.mailboxes.put(MailboxRecord(PO, "bob", 1, limit))
    await site.providers.authentication.logins.put(AuthRecord(LOGIN, 1, PASSWORD, PO, "USER"))


def certificates(folder: Path) -> ssl.SSLContext:
    now = Path("/proc/self").stat().st_mtime
    ca = make_ca("test", now, 2)
    pem = make_certificate(ca, ["mail.test", "localhost", "127.0.0.1"], now, 1)
    (folder / "c.pem").write_bytes(pem.certificate)
    (folder / "k.pem").write_bytes(pem.key)
    return ssl.create_default_context(cadata=ca.certificate.decode())


@asynccontextmanager
async def serving(
    folder: Path, more: str = "plaintext: loopback", *, clock: Clock | None = None, limit: int = -1, worker: int = 0
) -> AsyncIterator[Served]:
    """A site in this folder, with imap and imaps on free ports; or another worker of it."""
    trust = certificates(folder)
    yaml = (
        "server: mail.test\ntls: {certificate: c.pem, key: k.pem}\nplugins:\n  tab: {}\n  store: {}\n"
        f"  imap4: {{listen: [{{port: 0, host: 127.0.0.1}}, {{port: 0, host: 127.0.0.1, tls: implicit}}], {more}}}\n"
    )
    sockets = {label: [socket.create_server(("127.0.0.1", 0))] for label in ("imap", "imaps")}
    ports = {label: bound[0].getsockname()[1] for label, bound in sockets.items()}
    log, is_ready = Lines(), asyncio.Event()
    async with site_in(
        folder, yaml, clock=clock or SystemClock(), log=log, sockets=sockets, ready=lambda agent: is_ready.set(), worker=worker
    ) as parts:
        await furnish(parts.site, limit)
        service = next(agent for _, agent in parts.agents if isinstance(agent, Imap4Service))
        running = asyncio.create_task(service.run())
        async with asyncio.timeout(PATIENCE):
            await is_ready.wait()
        try:
            yield Served(parts.site, service, ports, trust, log, running)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            async with asyncio.timeout(PATIENCE):
                while service.house.open:
                    service.house.empty.clear()
                    await service.house.empty.wait()
            assert not [facts for level, event, facts in log.told if level == "error"], log.told
