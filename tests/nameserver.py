"""A name server on loopback, UDP and TCP, that says what a test wants it to say. Nothing ever asks the internet.

    async with NameServer({"MX example.test": "10 mail.example.test.", "A mail.example.test": ["192.0.2.1", "192.0.2.2"]}) as dns:
        yaml = f"server: mail.a.test\\ndns: {{servers: [127.0.0.1], port: {dns.port}}}\\n"

Records may be changed while it runs; the server's own cache is asked anew after five seconds of its clock at the earliest. `insecure` names
lack the AD bit where `secure` is set, `failing` names are SERVFAIL, `silent` ones get no answer. `asked` counts questions by "KIND name".
"""

from __future__ import annotations

import asyncio
import struct
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset

HOST = "127.0.0.1"
_SOA = "ns.test. root.test. 1 7200 900 1209600 60"
Records = Mapping[str, str | Iterable[str]]


class NameServer:
    """Serves from entering to leaving. Keys are "KIND name", values one record's text or several; an empty list makes a name with nothing
    of that kind."""

    def __init__(self, records: Records | None = None, *, secure: bool = False, ttl: int = 300) -> None:
        self.records: dict[str, list[str]] = {}
        self.secure, self.ttl = secure, ttl
        self.insecure: set[str] = set()
        self.failing: set[str] = set()
        self.silent: set[str] = set()
        self.asked: Counter[str] = Counter()
        self.port = 0
        self.put(records or {})

    def put(self, records: Records) -> None:
        """Add records, in the place of those of the same kind and name."""
        for key, value in records.items():
            kind, _, name = key.partition(" ")
            self.records[f"{kind.upper()} {name.rstrip('.').lower()}"] = [value] if isinstance(value, str) else list(value)

    async def __aenter__(self) -> NameServer:
        loop = asyncio.get_running_loop()
        self._tcp = await asyncio.start_server(self._serve_tcp, HOST, 0)
        self.port = self._tcp.sockets[0].getsockname()[1]
        self._udp, _ = await loop.create_datagram_endpoint(lambda: _Datagrams(self), local_addr=(HOST, self.port))
        return self

    async def __aexit__(self, *error: object) -> None:
        self._udp.close()
        self._tcp.close()
        await self._tcp.wait_closed()
        await asyncio.sleep(0)

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                (size,) = struct.unpack("!H", await reader.readexactly(2))
                if (answer := self.answer(await reader.readexactly(size))) is not None:
                    wire = answer.to_wire(max_size=65535)
                    writer.write(struct.pack("!H", len(wire)) + wire)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            writer.close()

    def answer(self, packet: bytes) -> dns.message.Message | None:
        """What is said to a query; None: nothing."""
        query = dns.message.from_wire(packet)
        question = query.question[0]
        name, kind = question.name, dns.rdatatype.to_text(question.rdtype)
        text = name.to_text().rstrip(".").lower()
        self.asked[f"{kind} {text}"] += 1
        if text in self.silent:
            return None
        reply = dns.message.make_response(query, recursion_available=True)
        if text in self.failing:
            reply.set_rcode(dns.rcode.SERVFAIL)
            return reply
        if self.secure and text not in self.insecure:
            reply.flags |= dns.flags.AD
        self._fill(reply, name, kind)
        return reply

    def _fill(self, reply: dns.message.Message, name: dns.name.Name, kind: str) -> None:
        for _ in range(8):  # aliases
            text = name.to_text().rstrip(".").lower()
            alias = self.records.get(f"CNAME {text}")
            if not alias or kind == "CNAME":
                break
            made = dns.rrset.from_text(name, self.ttl, "IN", "CNAME", alias[0])
            reply.answer.append(made)
            name = cast(Any, made[0]).target
        if found := self.records.get(f"{kind} {text}"):
            reply.answer.append(dns.rrset.from_text(name, self.ttl, "IN", kind, *found))
            return
        reply.authority.append(dns.rrset.from_text("test.", self.ttl, "IN", "SOA", _SOA))
        if not any(key.partition(" ")[2] == text or key.endswith("." + text) for key in self.records):
            reply.set_rcode(dns.rcode.NXDOMAIN)


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, server: NameServer) -> None:
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, peer: tuple[str | Any, int]) -> None:
        answer = self._server.answer(data)
        if answer is None:
            return
        wire = answer.to_wire(max_size=65535)
        if len(wire) > 1232:  # DNS flag day 2020: the rest by TCP
            short = dns.message.make_response(dns.message.from_wire(data), recursion_available=True)
            short.flags |= dns.flags.TC
            wire = short.to_wire()
        self._transport.sendto(wire, peer)
