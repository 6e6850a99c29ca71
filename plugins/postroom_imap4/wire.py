"""What a session asks of the connection under it."""

from __future__ import annotations

from typing import Protocol

from postroom_net.sasl import Binding


class Wire(Protocol):
    """The connection as a session sees it."""

    async def send(self, data: bytes) -> None:
        """Write, by and by; waits while the peer does not read. ConnectionError when it is gone."""

    def flush(self) -> None:
        """Write at once what `send` still holds."""

    async def line(self) -> bytes:
        """The client's next line where it answers no command, without its end; lines.TOO_LONG for one too long."""

    async def start_tls(self) -> Binding | None:
        """Forget what was received, begin TLS; what names the channel. ConnectionError where the handshake fails."""

    def compress(self) -> None:
        """From the next octet on both sides compress (RFC 4978); what was received already is the client's first."""

    def plain(self) -> None:
        """The client has logged out: what was sent is the last that is compressed, and what it said the last of its (RFC 8437 section 4.1)."""

    def woken(self) -> None:
        """The folder that an idling client watches has changed."""
