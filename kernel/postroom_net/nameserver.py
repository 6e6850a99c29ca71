"""One name server, as dnspython asks it, but for what comes over TCP: an answer of 64 KiB takes dnspython a quarter of a second to read, and
anybody can have us ask for one. So a large answer is read in a thread, where the loop gets its turns.

Imported with dnspython, at the first question (see resolver.py).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import dns.message
import dns.query
from dns.nameserver import Do53Nameserver

if TYPE_CHECKING:
    from dns._asyncbackend import Backend

_SMALL = 4096  # octets of an answer that is read at once: 15 ms at most


class Server(Do53Nameserver):
    """Raises as its base does: whatever dnspython's resolution takes for a server that did not answer."""

    async def async_query(
        self,
        request: dns.message.QueryMessage,
        timeout: float,  # noqa: ASYNC109 (the base's)
        source: str | None,
        source_port: int,
        max_size: bool,
        backend: Backend,
        one_rr_per_rrset: bool = False,
        ignore_trailing: bool = False,
    ) -> dns.message.Message:
        if not max_size:
            return await super().async_query(request, timeout, source, source_port, max_size, backend, one_rr_per_rrset, ignore_trailing)
        async with asyncio.timeout(timeout):
            octets = await self._answered(request.to_wire())
        response = await asyncio.to_thread(dns.message.from_wire, octets) if len(octets) > _SMALL else dns.message.from_wire(octets)
        if not request.is_response(response):
            raise dns.query.BadResponse
        return response

    async def _answered(self, question: bytes) -> bytes:
        """RFC 7766 section 8: two octets of length before each message."""
        reader, writer = await asyncio.open_connection(self.address, self.port)
        try:
            writer.write(len(question).to_bytes(2, "big") + question)
            return await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        finally:
            writer.transport.abort()
