"""A server of `world` on a real socket, with STARTTLS or a handshake first, for both event loops."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import trustme
import uvloop

from tests.plugins_smtp.outbound.world import Line, Server

LOOPS: dict[str, Callable[[Coroutine[Any, Any, None]], None]] = {"asyncio": asyncio.run, "uvloop": uvloop.run}
AUTHORITY = trustme.CA()


def ca(folder: Path) -> str:
    """The authority's certificate as a file."""
    path = folder / "ca.pem"
    AUTHORITY.cert_pem.write_to_path(path)
    return str(path)


def _context(server: Server) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    AUTHORITY.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    context.sni_callback = lambda secure, name, context: server.asked_for.append(name)
    return context


class Bridge(asyncio.Protocol):
    """Between a socket and a `Line`: to the line it is its client."""

    def __init__(self, server: Server, open_now: set[Bridge]) -> None:
        self.server, self.open_now, self.upgrading = server, open_now, False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if not self.upgrading and not hasattr(self, "line"):  # the line's own call comes with the line
            self.transport = cast(asyncio.Transport, transport)
            self.open_now.add(self)
            self.line = Line(self.server, _Peer(self))
            self.line.begin()

    def data_received(self, data: bytes) -> None:
        self.line.write(data)
        if not self.upgrading and "STARTTLS" in self.server.heard[-1:]:
            self.upgrading = True
            self.transport.pause_reading()
            self.task = asyncio.ensure_future(self._upgrade())

    async def _upgrade(self) -> None:
        await asyncio.sleep(0)  # the 220 goes first
        try:
            upgraded = await asyncio.get_running_loop().start_tls(self.transport, self, _context(self.server), server_side=True)
        except OSError:
            upgraded = None
        if upgraded is None:
            self.transport.abort()
            self.open_now.discard(self)
        else:
            self.transport = upgraded

    def connection_lost(self, exc: Exception | None) -> None:
        self.open_now.discard(self)


class _Peer(asyncio.Protocol):
    """What the line takes for its client."""

    def __init__(self, bridge: Bridge) -> None:
        self.bridge = bridge

    def data_received(self, data: bytes) -> None:
        self.bridge.transport.write(data)

    def connection_lost(self, exc: Exception | None) -> None:
        self.bridge.transport.close()


@asynccontextmanager
async def listening(server: Server, *, implicit: bool = False) -> AsyncIterator[int]:
    """The port. Leaving waits until the last connection has ended."""
    open_now: set[Bridge] = set()
    loop = asyncio.get_running_loop()
    made = await loop.create_server(lambda: Bridge(server, open_now), "127.0.0.1", 0, ssl=_context(server) if implicit else None)
    try:
        yield made.sockets[0].getsockname()[1]
        while open_now:
            await asyncio.sleep(0)
    finally:
        made.close()
        await made.wait_closed()
