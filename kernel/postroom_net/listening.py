"""The listeners of a service: plain ones, and ones whose peers begin with TLS; opened one after the other and closed together."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Final

from postroom_net.sealed import Host, SealedServer, TakeOver

_BACKLOG: Final = 1024


class Listeners:
    """Those of one service. `host` says who is admitted where TLS comes first; the others are admitted by what serves them."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._servers: list[asyncio.Server | SealedServer] = []

    async def open(
        self, sock: socket.socket, make: Callable[[TakeOver | None], asyncio.Protocol], context: ssl.SSLContext | None = None
    ) -> None:
        """Listen on this bound socket; `make` makes what serves a peer. With a `context` TLS comes first, and what is made takes over."""
        if context is None:
            loop = asyncio.get_running_loop()
            self._servers.append(await loop.create_server(lambda: make(None), sock=sock, backlog=_BACKLOG))
            return
        sock.setblocking(False)
        sealed = SealedServer(sock, context, self._host, make)
        sealed.start(_BACKLOG)
        self._servers.append(sealed)

    async def close(self) -> None:
        """Accept nobody more; handshakes under way are given up."""
        servers, self._servers = self._servers, []
        for server in servers:
            server.close()
        for server in servers:
            if isinstance(server, SealedServer):
                await server.wait_closed()
