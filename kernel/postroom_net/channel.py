"""TLS between a socket's transport and a service's protocol: to the former it is the protocol, to the latter the transport.

It stands where the loop's own TLS would, because of what an idle session costs: uvloop and asyncio keep buffers for each connection; here all
connections of a thread read into one, and OpenSSL gives its own back. What the peer did wrong ends the connection, and `connection_lost` says why; in
the handshake only `ready` does, and the protocol never hears of the peer. TLS has no half-close: a peer that says it is done is answered likewise.
"""

from __future__ import annotations

import asyncio
import ssl
import threading
from contextlib import suppress
from typing import Any, Final, cast

_RECORD: Final = 16 * 1024  # octets, the most a TLS record holds (RFC 8446 section 5.1); what OpenSSL's buffers grow to, for good
_FAREWELL: Final = 30.0  # seconds in which the peer may say that it is done, too


class _Shared(threading.local):
    """What arrives is read into this and taken out at once, before the loop turns to another connection."""

    def __init__(self) -> None:
        self.view = memoryview(bytearray(_RECORD))


_ARRIVED: Final = _Shared()


class Channel(asyncio.Transport, asyncio.BufferedProtocol):
    """The server's side of one connection. `ready` is done when the handshake is, or fails with an OSError; `is_new`: the protocol is told of
    its connection then. Belongs to the loop in which it is made."""

    __slots__ = ("_closing", "_error", "_farewell", "_in", "_is_new", "_out", "_paused", "_protocol", "_raw", "_tls", "ready")

    _raw: asyncio.Transport

    def __init__(self, protocol: asyncio.Protocol, context: ssl.SSLContext, *, is_new: bool = True) -> None:
        super().__init__()
        self._protocol: asyncio.BaseProtocol = protocol
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._in, self._out, server_side=True)
        self._is_new = is_new
        self._closing = self._paused = False
        self._error: Exception | None = None  # why we ended it
        self._farewell: asyncio.TimerHandle | None = None
        self.ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    # As the protocol of the socket's transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)

    def get_buffer(self, sizehint: int) -> memoryview:
        return _ARRIVED.view

    def buffer_updated(self, nbytes: int) -> None:
        self._in.write(_ARRIVED.view[:nbytes])
        if not self.ready.done():
            self._shake()
        if self._is_begun:
            self._read()

    def eof_received(self) -> bool:
        if self._is_begun and not self._closing:
            self._stream.eof_received()
        return False  # the socket closes when what was written is out

    def connection_lost(self, exc: Exception | None) -> None:
        self._closing = True
        if self._farewell is not None:
            self._farewell.cancel()
        if not self.ready.done():
            self.ready.set_exception(ConnectionAbortedError(f"the peer left within the TLS handshake: {exc or 'closed'}"))
            self.ready.exception()  # perhaps nobody waits for it any more
        elif self._is_begun:
            # Both know us, the error by its frames; nothing of it is to wait for the collector.
            protocol, self._protocol = self._protocol, asyncio.Protocol()
            error, self._error = self._error, None
            protocol.connection_lost(error or exc)

    def pause_writing(self) -> None:
        if self._is_begun:
            self._protocol.pause_writing()

    def resume_writing(self) -> None:
        if self._is_begun:
            self._protocol.resume_writing()

    @property
    def _is_begun(self) -> bool:
        """Whether the protocol knows of this connection."""
        return self.ready.done() and not self.ready.cancelled() and self.ready.exception() is None

    @property
    def _stream(self) -> asyncio.Protocol:
        return cast(asyncio.Protocol, self._protocol)

    def _shake(self) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            return
        except OSError as error:
            self._flush()  # the alert
            self.ready.set_exception(error)
            self._raw.close()
            return
        self._flush()
        self.ready.set_result(None)
        if self._is_new:
            self._protocol.connection_made(self)

    def _read(self) -> None:
        """Hand on what can be read; while we are closing, only look for the peer's last word."""
        if self._paused or self._raw.is_closing():
            return
        pieces, is_over = [], False
        try:
            while piece := self._tls.read(_RECORD):
                pieces.append(piece)
            is_over = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            is_over = True
        except OSError as error:
            self._fail(error)
            return
        self._flush()  # a key update is answered (RFC 8446 section 4.6.3)
        if pieces and not self._closing:
            self._stream.data_received(b"".join(pieces) if len(pieces) > 1 else pieces[0])
        if is_over:
            self._peer_is_done()

    def _peer_is_done(self) -> None:
        if not self._closing:
            self._stream.eof_received()
            self.close()
        self._raw.close()

    def _fail(self, error: Exception) -> None:
        self._flush()
        self._error, self._closing = error, True
        self._raw.abort()

    def _flush(self) -> None:
        if self._out.pending and not self._raw.is_closing():
            self._raw.write(self._out.read())

    # As the transport of the service's protocol

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if self._closing or self._raw.is_closing():
            return
        try:
            if len(data) <= _RECORD:
                self._tls.write(data)
                self._raw.write(self._out.read())
            else:
                self._raw.write(b"".join(self._sealed(memoryview(data))))
        except OSError as error:
            self._fail(error)

    def _sealed(self, data: memoryview) -> list[bytes]:
        """Record by record, so that OpenSSL's buffer does not grow to the size of what is written."""
        sealed = []
        for begin in range(0, len(data), _RECORD):
            self._tls.write(data[begin : begin + _RECORD])
            sealed.append(self._out.read())
        return sealed

    def close(self) -> None:
        """Say that we are done, and hang up when the peer says so, too (RFC 8446 section 6.1), or says nothing for long."""
        if self._closing:
            return
        self._closing = True
        if self._raw.is_closing():
            return
        is_answered = False
        with suppress(OSError):
            self._tls.unwrap()
            is_answered = True
        self._flush()
        if is_answered:
            self._raw.close()
            return
        if self._paused:
            self._paused = False
            self._raw.resume_reading()
        self._farewell = asyncio.get_running_loop().call_later(_FAREWELL, self._raw.abort)

    def abort(self) -> None:
        self._closing = True
        self._raw.abort()

    def give_up(self) -> None:
        """End a connection whose handshake came to nothing; an alert that is on its way goes first."""
        self._closing = True
        self.ready.cancel()
        self.ready = asyncio.get_running_loop().create_future()  # the frames of the error that `ready` told know us
        self.ready.cancel()
        if not self._raw.is_closing():
            self._raw.abort()

    def is_closing(self) -> bool:
        return self._closing or self._raw.is_closing()

    def pause_reading(self) -> None:
        if not self._paused and not self._closing:
            self._paused = True
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        if self._paused:
            self._paused = False
            self._raw.resume_reading()
            asyncio.get_running_loop().call_soon(self._read)  # what came with the last packet of the handshake

    def is_reading(self) -> bool:
        return not self._paused and self._raw.is_reading()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return self._raw.get_write_buffer_size()

    def can_write_eof(self) -> bool:
        return False

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self._protocol = protocol

    def get_protocol(self) -> asyncio.BaseProtocol:
        return self._protocol

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        match name:
            case "ssl_object":
                return self._tls
            case "sslcontext":
                return self._tls.context
            case "cipher":
                return self._tls.cipher()
        return self._raw.get_extra_info(name, default)
