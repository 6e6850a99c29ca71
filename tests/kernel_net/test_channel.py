"""postroom_net.channel on real sockets and on both loops: what a protocol says arrives, however it is cut, and both sides' ends are seen."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import cast

import pytest
import trustme
import uvloop

from postroom_net.channel import Channel
from postroom_net.sealed import begin_tls
from postroom_net.tls import TlsContexts

LOOPS = {"asyncio": asyncio.run, "uvloop": uvloop.run}
MUCH = bytes(range(256)) * 4000  # a megabyte


class Service(asyncio.Protocol):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self.heard = b""
        self.eof = 0
        self.lost: list[Exception | None] = []
        self.turns: list[str] = []
        self.changed = asyncio.Event()
        self.answer: Callable[[bytes], bytes] = lambda data: b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.changed.set()

    def data_received(self, data: bytes) -> None:
        self.heard += data
        assert self.transport is not None
        self.transport.write(self.answer(data))
        self.changed.set()

    def eof_received(self) -> bool:
        self.eof += 1
        self.changed.set()
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)
        self.changed.set()

    def pause_writing(self) -> None:
        self.turns.append("wait")
        self.changed.set()

    def resume_writing(self) -> None:
        self.turns.append("go on")
        self.changed.set()

    async def until(self, is_so: Callable[[], object]) -> None:
        async with asyncio.timeout(5):
            while not is_so():
                self.changed.clear()
                await self.changed.wait()


@cache
def authority() -> trustme.CA:
    return trustme.CA()


def contexts(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and a client's."""
    authority().issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(folder / "pem")
    serving = TlsContexts(folder / "pem", folder / "pem").server_context()
    assert serving is not None
    trusting = ssl.create_default_context()
    authority().configure_trust(trusting)
    return serving, trusting


Test = Callable[[Service, Channel, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def run(loop: str, folder: Path, test: Test) -> None:
    """`test` with a service and a client of asyncio's own TLS behind a handshake."""

    async def main() -> None:
        serving, trusting = contexts(folder)
        here, there = socket.socketpair()
        here.setblocking(False)
        service = Service()
        channel = Channel(service, serving)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: channel, here)
        reader, writer = await asyncio.open_connection(sock=there, ssl=trusting, server_hostname="localhost")
        try:
            await channel.ready
            await test(service, channel, reader, writer)
        finally:
            writer.transport.abort()
            channel.abort()
            await service.until(lambda: service.lost)

    LOOPS[loop](main())


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_said_arrives_both_ways(tmp_path: Path, loop: str) -> None:
    async def test(service: Service, channel: Channel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert service.transport is channel and channel.get_protocol() is service
        assert channel.get_extra_info("ssl_object").version() == "TLSv1.3" and channel.get_extra_info("cipher")[2] >= 128
        assert channel.get_extra_info("sslcontext").verify_mode == ssl.CERT_NONE and channel.get_extra_info("none", 5) == 5
        service.answer = bytes.upper
        writer.write(b"hello")
        assert await reader.readexactly(5) == b"HELLO"
        channel.write(b"")
        for size in (1, 16_384, 16_385, len(MUCH)):
            service.answer, service.heard = (lambda data: b""), b""
            writer.write(MUCH[:size])
            await service.until(lambda: len(service.heard) == size)  # noqa: B023
            assert service.heard == MUCH[:size]
            channel.write(MUCH[:size])
            assert await reader.readexactly(size) == MUCH[:size]
        channel.write(memoryview(b"view"))
        channel.write(bytearray(b"array"))
        assert await reader.readexactly(9) == b"viewarray"

    run(loop, tmp_path, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_who_reads_slowly_is_waited_for(tmp_path: Path, loop: str) -> None:
    async def test(service: Service, channel: Channel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel.set_write_buffer_limits(high=1000)
        for _ in range(4):
            channel.write(MUCH)
        await service.until(lambda: service.turns == ["wait"])
        assert channel.get_write_buffer_size() > 1000
        assert await reader.readexactly(4 * len(MUCH)) == MUCH * 4
        await service.until(lambda: service.turns == ["wait", "go on"])

    run(loop, tmp_path, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_who_does_not_read_hears_nothing_until_it_does(tmp_path: Path, loop: str) -> None:
    async def test(service: Service, channel: Channel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel.pause_reading()
        channel.pause_reading()
        assert not channel.is_reading()
        writer.write(MUCH)
        channel.write(b"go")
        assert await reader.readexactly(2) == b"go" and service.heard == b""
        channel.resume_reading()
        assert channel.is_reading()
        await service.until(lambda: len(service.heard) == len(MUCH))
        assert service.heard == MUCH

    run(loop, tmp_path, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_our_end_is_said_behind_what_was_written(tmp_path: Path, loop: str) -> None:
    async def test(service: Service, channel: Channel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        channel.pause_reading()  # as a connection is that has heard enough
        writer.write(b"nobody listens")
        channel.write(MUCH)
        channel.close()
        channel.close()
        channel.write(b"too late")
        assert channel.is_closing() and await reader.read() == MUCH
        assert not service.lost  # until the peer has said that it is done, too
        writer.close()
        await service.until(lambda: service.lost)
        assert service.lost == [None] and service.heard == b"" and not service.eof

    run(loop, tmp_path, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_the_peers_end_is_told_once(tmp_path: Path, loop: str) -> None:
    async def test(service: Service, channel: Channel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"bye")
        writer.close()
        await service.until(lambda: service.lost)
        assert (service.heard, service.eof, service.lost) == (b"bye", 1, [None])

    run(loop, tmp_path, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_peer_that_hangs_up_without_a_word_is_gone(tmp_path: Path, loop: str) -> None:
    async def test(service: Service, channel: Channel, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()
        await service.until(lambda: service.lost)
        assert service.eof <= 1 and len(service.lost) == 1

    run(loop, tmp_path, test)


@pytest.mark.parametrize("loop", LOOPS)
def test_what_is_no_record_ends_the_connection_and_says_why(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        serving, trusting = contexts(tmp_path)
        here, there = socket.socketpair()
        here.setblocking(False)
        service = Service()
        channel = Channel(service, serving)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: channel, here)
        client = await asyncio.to_thread(trusting.wrap_socket, there, server_hostname="localhost")
        await channel.ready
        with socket.socket(fileno=client.detach()) as bare:
            bare.sendall(b"this is no record at all")
            await service.until(lambda: service.lost)
        assert isinstance(service.lost[0], ssl.SSLError) and service.heard == b""

    LOOPS[loop](main())


@pytest.mark.parametrize("loop", LOOPS)
def test_tls_begun_by_command(tmp_path: Path, loop: str) -> None:
    async def main() -> None:
        serving, trusting = contexts(tmp_path)
        here, there = socket.socketpair()
        here.setblocking(False)
        service = Service()
        plain, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: service, here)
        client = asyncio.create_task(asyncio.open_connection(sock=there, ssl=trusting, server_hostname="localhost"))
        transport = await begin_tls(plain, service, serving, 5)
        reader, writer = await client
        assert service.transport is plain and service.heard == b""  # the protocol was told of its connection before
        transport.write(b"sealed")
        assert await reader.readexactly(6) == b"sealed"
        writer.write(b"likewise")
        service.transport = transport
        await service.until(lambda: service.heard == b"likewise")
        transport.close()
        assert await reader.read() == b""
        writer.close()
        await service.until(lambda: service.lost)

    LOOPS[loop](main())


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("said", [b"NOOP\r\n", b""])
def test_tls_begun_by_command_and_not_gone_on_with(tmp_path: Path, loop: str, said: bytes) -> None:
    async def main() -> None:
        serving, _ = contexts(tmp_path)
        here, there = socket.socketpair()
        here.setblocking(False)
        service = Service()
        plain, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: service, here)
        there.sendall(said)
        if not said:
            there.close()
        with pytest.raises(ConnectionAbortedError):
            await begin_tls(plain, service, serving, 5)
        there.close()
        assert plain.is_closing() and not service.lost and not service.heard
        with pytest.raises(ConnectionAbortedError):
            await begin_tls(plain, service, serving, 5)

    LOOPS[loop](main())


@pytest.mark.parametrize("loop", LOOPS)
def test_what_comes_with_the_handshakes_end_waits_for_who_does_not_read_yet(tmp_path: Path, loop: str) -> None:
    class Busy(Service):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            super().connection_made(transport)
            cast(asyncio.Transport, transport).pause_reading()

    async def main() -> None:
        serving, trusting = contexts(tmp_path)
        service = Busy()
        channel = Channel(service, serving)
        here, there = socket.socketpair()
        here.setblocking(False)
        come, go = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = trusting.wrap_bio(come, go, server_hostname="localhost")
        await asyncio.get_running_loop().connect_accepted_socket(lambda: channel, here)
        there.setblocking(False)
        with pytest.raises(ssl.SSLWantReadError):
            client.do_handshake()
        there.sendall(go.read())
        while True:
            come.write(await asyncio.get_running_loop().sock_recv(there, 65536))
            try:
                client.do_handshake()
                break
            except ssl.SSLWantReadError:
                pass
        client.write(b"at once")
        there.sendall(go.read())  # in one packet with the handshake's last message
        await channel.ready
        assert service.heard == b""
        channel.resume_reading()
        await service.until(lambda: service.heard == b"at once")
        channel.abort()
        await service.until(lambda: service.lost)
        there.close()

    LOOPS[loop](main())
