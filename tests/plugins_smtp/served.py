"""The inbound agent on real sockets of this machine, for tests that need a kernel's TCP or a real handshake."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from types import SimpleNamespace
from typing import Any, TypeVar, cast

import trustme
import uvloop

from postroom.clock import SystemClock
from postroom.site import Site
from postroom_disk.disk import Disk
from postroom_net.login import Login, Row
from postroom_net.tls import TlsContexts
from postroom_ops.metrics import Metrics
from postroom_smtp.inbound import InboundAgent, endpoints_of
from postroom_smtp.settings import SmtpSettings
from tests.plugins_smtp.desk import CHEAP, Asking, Intake, Lines, Resting, Routes, Tables, people

R = TypeVar("R")
LOOPS: dict[str, Callable[[Coroutine[Any, Any, None]], None]] = {"asyncio": asyncio.run, "uvloop": uvloop.run}
AUTHORITY = trustme.CA()


def certificate(folder: Path) -> TlsContexts:
    """A server certificate of a test's own authority for localhost, as files, as a site has them."""
    issued = AUTHORITY.issue_cert("localhost", "127.0.0.1")
    issued.private_key_and_cert_chain_pem.write_to_path(folder / "server.pem")
    return TlsContexts(folder / "server.pem", folder / "server.pem")


def trusting() -> ssl.SSLContext:
    context = ssl.create_default_context()
    AUTHORITY.configure_trust(context)
    return context


class Served:
    """An agent that runs; `ports` by label."""

    def __init__(self, folder: Path, settings: SmtpSettings, tls: TlsContexts | None = None) -> None:
        self.intake, self.log, self.tables, self.asking = Intake(folder), Lines(), Tables(), Asking()
        self.sockets = {endpoint.label: [_bound()] for endpoint, _ in endpoints_of(settings)}
        self.ports = {label: found[0].getsockname()[1] for label, found in self.sockets.items()}
        self.listening = asyncio.Event()
        self.people = people()
        self.login = Login(self._find, SystemClock(), cost=CHEAP, threads=1)
        site = SimpleNamespace(
            name="smtp",
            root=folder,
            router=Routes(),
            login=self.login,
            bus=None,
            spool=Resting(),
            resolver=None,
            providers=SimpleNamespace(smtp=self.tables),
            settings=SimpleNamespace(server="mail.example.test"),
            clock=SystemClock(),
            disk=Disk(),
            intake=self.intake,
            ask=self.asking,
            tls=tls or TlsContexts(),
            log=self.log,
            metrics=Metrics(),
            socket_for=lambda endpoint: self.sockets[endpoint.label],
            ready=lambda agent: self.listening.set(),
        )
        self.agent = InboundAgent(cast(Site, site), settings)

    async def _find(self, name: str) -> Row | None:
        return self.people.get(name.lower())

    async def __aenter__(self) -> Served:
        self._running = asyncio.ensure_future(self.agent.run())
        await asyncio.wait_for(self.listening.wait(), 5)
        return self

    async def __aexit__(self, *error: object) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        for sockets in self.sockets.values():
            for sock in sockets:
                sock.close()
        while self.agent.house.connections:
            await asyncio.sleep(0)
        self.login.close()


def _bound() -> socket.socket:
    sock = socket.socket()
    sock.bind(("127.0.0.1", 0))
    return sock


class Client:
    """A peer that sends octets and reads replies."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def connect(cls, port: int, tls: ssl.SSLContext | None = None) -> Client:
        name = "localhost" if tls else None
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=tls, server_hostname=name))

    async def reply(self) -> bytes:
        """One reply, of however many lines; what is left at the end of the connection."""
        lines = [await self._line()]
        while lines[-1][3:4] == b"-":
            lines.append(await self._line())
        return b"".join(lines)

    async def _line(self) -> bytes:
        return await asyncio.wait_for(self.reader.readline(), 5)

    async def say(self, *lines: str | bytes) -> list[bytes]:
        """Lines, each after the reply to the one before."""
        said = []
        for line in lines:
            self.writer.write((line.encode() if isinstance(line, str) else line) + b"\r\n")
            said.append(await self.reply())
        return said

    async def secure(self) -> None:
        """The client's side of a handshake."""
        await self.writer.start_tls(trusting(), server_hostname="localhost")

    async def close(self) -> None:
        self.writer.close()
        try:
            await self.writer.wait_closed()
        except (OSError, ssl.SSLError):
            pass


def serve(
    loop: str, folder: Path, talk: Callable[[Served], Awaitable[None]], *, tls: bool = False, settings: SmtpSettings | None = None
) -> None:
    """Run an agent in a loop of this kind and let `talk` talk to it."""

    async def main() -> None:
        async with asyncio.timeout(20):
            chosen = settings or SmtpSettings.model_validate({"listen": [{"port": 0}]})
            async with Served(folder, chosen, certificate(folder) if tls else None) as served:
                await talk(served)

    LOOPS[loop](main())
