"""A listener whose peers begin with TLS (RFC 8314), and counts from their first packet.

asyncio's own server makes a connection known when its handshake has ended, so whoever never begins one would count nowhere and could hold
every descriptor. Here a peer is admitted when it is accepted; a handshake that fails, times out or is given up gives its place back, once, and
one that ends well passes its place on to the protocol that takes over.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from postroom_net.channel import Channel

_PAUSE: Final = 1.0  # seconds without accepting where the process has no descriptor or memory left
_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
TakeOver = Callable[[], None]


@dataclass(frozen=True, slots=True)
class Host:
    """What a service decides. Addresses are as the socket tells them."""

    seconds: float  # a handshake may take
    admit: Callable[[str], bool]  # counts one more from this address, or says no
    release: Callable[[str], None]  # one that was admitted is gone
    failed: Callable[[str, Exception], None]  # told of handshakes that came to nothing
    sleep: Callable[[float], Awaitable[None]]


async def begin_tls(transport: asyncio.Transport, protocol: asyncio.Protocol, context: ssl.SSLContext, seconds: float) -> asyncio.Transport:
    """TLS on a connection that began in the clear; the transport from then on. ConnectionAbortedError where the handshake fails, or the peer
    left within it: the protocol is told of neither, nor of a cancelled one, so whoever asks must take the connection for lost."""
    if transport.is_closing():
        raise ConnectionAbortedError("the client left before the TLS handshake")
    channel = Channel(protocol, context, is_new=False)
    transport.pause_reading()
    transport.set_protocol(channel)
    channel.connection_made(transport)
    transport.resume_reading()
    try:
        await _shaken(channel, seconds)
    except OSError as error:
        raise ConnectionAbortedError(f"TLS handshake: {error}") from error
    return channel


async def _shaken(channel: Channel, seconds: float) -> None:
    """Until the handshake is done; a connection without one does not stay."""
    try:
        async with asyncio.timeout(seconds):
            await channel.ready
    except BaseException:
        channel.give_up()
        raise


class SealedServer:
    """One listening socket. `make` makes what serves a peer; it calls the `TakeOver` it is given in `connection_made`, and from then on the
    place is its own to give back."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, host: Host, make: Callable[[TakeOver], asyncio.Protocol]) -> None:
        self._sock, self._context, self._host, self._make = sock, context, host, make
        self._handshakes: set[asyncio.Task[None]] = set()
        self._accepting: asyncio.Task[None] | None = None

    def start(self, backlog: int) -> None:
        """Listen; the socket must not block."""
        self._sock.listen(backlog)
        self._accepting = asyncio.get_running_loop().create_task(self._accept())
        self._accepting.add_done_callback(lambda task: self._sock.close())

    def close(self) -> None:
        """Accept nobody more and give up the handshakes under way. The socket is closed in this process."""
        for task in (self._accepting, *self._handshakes):
            if task is not None:
                task.cancel()

    async def wait_closed(self) -> None:
        """Behind `close`: nothing is left."""
        tasks = [task for task in (self._accepting, *self._handshakes) if task is not None]
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, address = await loop.sock_accept(self._sock)
            except OSError as error:  # the peer is gone again, or there is no room for it
                await self._host.sleep(_PAUSE if error.errno in _EXHAUSTED else 0)
                continue
            self._admit(sock, str(address[0]))
            await asyncio.sleep(0)  # a flood of peers leaves the others their turns

    def _admit(self, sock: socket.socket, ip: str) -> None:
        if not self._host.admit(ip):
            return sock.close()  # there is no channel yet in which to say why
        place = _Place(sock, ip)
        task = asyncio.get_running_loop().create_task(self._shake(place))
        self._handshakes.add(task)
        task.add_done_callback(lambda task: self._ended(task, place))  # also of one that is cancelled before it begins
        return None

    async def _shake(self, place: _Place) -> None:
        place.is_begun = True
        try:
            channel = Channel(self._make(place.take_over), self._context)
            await asyncio.get_running_loop().connect_accepted_socket(lambda: channel, place.sock)
            await _shaken(channel, self._host.seconds)
        except OSError as error:  # ssl.SSLError and TimeoutError are such
            if not place.is_taken:
                self._host.failed(place.ip, error)

    def _ended(self, task: asyncio.Task[None], place: _Place) -> None:
        self._handshakes.discard(task)
        if not place.is_begun:
            place.sock.close()
        if not place.is_taken:
            self._host.release(place.ip)


@dataclass(slots=True)
class _Place:
    """What an admitted peer holds, and whose it is."""

    sock: socket.socket
    ip: str
    is_begun: bool = False  # the socket is the transport's
    is_taken: bool = False  # the place is the protocol's

    def take_over(self) -> None:
        self.is_taken = True
