"""postroom_net.sealed on real sockets: whoever is admitted is released once, whatever becomes of the handshake."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import pytest
import trustme
import uvloop

from postroom_net.sealed import Host, SealedServer, TakeOver
from postroom_net.tls import TlsContexts

LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}


class Desk:
    """Counts peers; lets in `room` at a time."""

    def __init__(self, room: int = 10) -> None:
        self.room, self.live, self.failures, self.slept = room, 0, list[Exception](), list[float]()
        self.served = 0
        self.changed = asyncio.Event()

    def admit(self, ip: str) -> bool:
        assert ip == "127.0.0.1"
        if self.live >= self.room:
            return False
        self._move(1)
        return True

    def release(self, ip: str) -> None:
        self._move(-1)

    def _move(self, by: int) -> None:
        self.live += by
        self.changed.set()

    def failed(self, ip: str, error: Exception) -> None:
        self.failures.append(error)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def until(self, live: int) -> None:
        while self.live != live:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), 5)


class Echo(asyncio.Protocol):
    def __init__(self, desk: Desk, take_over: TakeOver) -> None:
        self.desk, self.take_over = desk, take_over

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.take_over()
        self.desk.served += 1
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        self.desk.release("127.0.0.1")


async def closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    try:
        await writer.wait_closed()
    except OSError:
        pass


def run(
    loop: str, folder: Path, test: Callable[[Desk, SealedServer, int, Any], Awaitable[None]], room: int = 10, seconds: float = 5
) -> None:
    authority = trustme.CA()
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "pem")
    context = TlsContexts(folder / "pem", folder / "pem").server_context()
    assert context is not None
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def main() -> None:
        desk = Desk(room)
        sock = socket.socket()
        sock.setblocking(False)
        sock.bind(("127.0.0.1", 0))
        host = Host(seconds, desk.admit, desk.release, desk.failed, desk.sleep)
        server = SealedServer(sock, context, host, lambda take_over: Echo(desk, take_over))
        server.start(16)
        try:
            await test(desk, server, sock.getsockname()[1], trusting)
        finally:
            server.close()
            await server.wait_closed()
        await desk.until(0)
        assert sock.fileno() == -1

    LOOPS[loop](main())


@pytest.mark.parametrize("loop", LOOPS)
def test_who_is_sealed_is_served_and_then_released(tmp_path: Path, loop: str) -> None:
    async def test(desk: Desk, server: SealedServer, port: int, trusting: Any) -> None:
        for _ in range(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
            writer.write(b"hello\n")
            assert await reader.readline() == b"hello\n" and desk.live == 1
            await closed(writer)
            await desk.until(0)
        assert desk.served == 5 and not desk.failures

    run(loop, tmp_path, test)


@pytest.mark.filterwarnings("ignore:unclosed transport")  # asyncio's own, after a handshake that was given up
@pytest.mark.parametrize("loop", LOOPS)
def test_who_never_begins_holds_a_place_until_its_time_is_up(tmp_path: Path, loop: str) -> None:
    async def test(desk: Desk, server: SealedServer, port: int, trusting: Any) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await desk.until(1)
        other, also = await asyncio.open_connection("127.0.0.1", port)
        assert await other.read() == b"" and desk.live == 1  # no room for it
        try:
            assert await asyncio.wait_for(reader.read(), 5) == b""
        except ConnectionError:
            pass
        await desk.until(0)
        assert len(desk.failures) == 1 and not desk.served
        await closed(writer)
        await closed(also)

    run(loop, tmp_path, test, room=1, seconds=0.1)


@pytest.mark.filterwarnings("ignore:unclosed transport")
@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("said", [b"EHLO peer.test\r\n", b""])
def test_who_speaks_no_tls_or_leaves_is_released(tmp_path: Path, loop: str, said: bytes) -> None:
    async def test(desk: Desk, server: SealedServer, port: int, trusting: Any) -> None:
        _reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await desk.until(1)
        writer.write(said)
        if not said:
            writer.close()
        await desk.until(0)
        assert not desk.served and len(desk.failures) == 1
        await closed(writer)

    run(loop, tmp_path, test)


@pytest.mark.filterwarnings("ignore:unclosed transport")
@pytest.mark.parametrize("loop", LOOPS)
def test_closing_gives_up_what_is_under_way(tmp_path: Path, loop: str) -> None:
    async def test(desk: Desk, server: SealedServer, port: int, trusting: Any) -> None:
        clients = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        await desk.until(3)
        server.close()
        await server.wait_closed()
        await desk.until(0)
        for reader, writer in clients:
            try:
                assert await asyncio.wait_for(reader.read(), 5) == b""
            except ConnectionError:
                pass
            await closed(writer)
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port)

    run(loop, tmp_path, test)


def test_a_handshake_cancelled_before_its_first_step_is_released(tmp_path: Path) -> None:
    async def test(desk: Desk, server: SealedServer, port: int, trusting: Any) -> None:
        here, there = socket.socketpair()
        server._admit(here, "127.0.0.1")
        assert desk.live == 1
        server.close()
        await server.wait_closed()
        assert desk.live == 0 and here.fileno() == -1
        there.close()

    run("asyncio", tmp_path, test)


def test_a_process_without_descriptors_pauses_and_goes_on(tmp_path: Path) -> None:
    async def test(desk: Desk, server: SealedServer, port: int, trusting: Any) -> None:
        loop = asyncio.get_running_loop()
        accept, left = loop.sock_accept, [OSError(errno.EMFILE, "too many"), OSError(errno.ECONNABORTED, "gone")]

        async def failing(sock: socket.socket) -> Any:
            if left:
                raise left.pop(0)
            return await accept(sock)

        loop.sock_accept = failing  # type: ignore[method-assign]
        for _ in range(2):
            _reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
            await closed(writer)
        await desk.until(0)
        assert desk.slept == [1.0, 0] and desk.served == 2

    run("asyncio", tmp_path, test)
