"""postroom_smtp.proxy: PROXY headers, with aiosmtpd's parser as the oracle."""

from __future__ import annotations

import asyncio
import random
import struct

import pytest
from aiosmtpd.proxy_protocol import get_proxy

from postroom_smtp.proxy import Proxied, ProxyError, parse
from tests.plugins_smtp.desk import run

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = bytes([192, 0, 2, 1, 192, 0, 2, 2]) + struct.pack("!HH", 40000, 25)
V6 = bytes(15) + b"\x01" + bytes(15) + b"\x02" + struct.pack("!HH", 40000, 25)


def v2(version_command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", version_command, family, len(body)) + body


GOOD = [
    (b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 25\r\n", "192.0.2.1", 40000),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 25\r\n", "2001:db8::1", 40000),
    (b"PROXY UNKNOWN\r\n", "", 0),
    (b"PROXY UNKNOWN what ever 1 2\r\n", "", 0),
    (v2(0x21, 0x11, V4), "192.0.2.1", 40000),
    (v2(0x21, 0x11, V4 + b"\x04\x00\x02ab"), "192.0.2.1", 40000),
    (v2(0x21, 0x21, V6), "::1", 40000),
    (v2(0x20, 0x00, b""), "", 0),
    (v2(0x21, 0x00, b"junk"), "", 0),
    (v2(0x21, 0x31, bytes(216)), "", 0),
]
BAD = [
    b"HELO x\r\n",
    b"proxy TCP4 192.0.2.1 192.0.2.2 40000 25\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 25\n\r\n",
    b"PROXY  TCP4 192.0.2.1 192.0.2.2 40000 25\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 40000\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 25 x\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 040000 25\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 70000 25\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.2 40000 70000\r\n",
    b"PROXY TCP4 192.0.2.256 192.0.2.2 40000 25\r\n",
    b"PROXY TCP4 2001:db8::1 2001:db8::2 40000 25\r\n",
    b"PROXY TCP6 192.0.2.1 192.0.2.2 40000 25\r\n",
    b"PROXY UDP4 192.0.2.1 192.0.2.2 40000 25\r\n",
    b"PROXY TCP4 192.0.2.1 192.0.2.x 40000 25\r\n",
    b"PROXY UNKNOWNX\r\n",
    b"PROXY TCP4 " + b"1" * 200,
    v2(0x11, 0x11, V4),
    v2(0x22, 0x11, V4),
    v2(0x21, 0x41, V4),
    v2(0x21, 0x13, V4),
    v2(0x21, 0x11, V4[:11]),
    v2(0x21, 0x21, V6[:35]),
    SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 5000),
    b"\r\n\r\n\x00\r\nQUITx",
]


@pytest.mark.parametrize(("header", "ip", "port"), GOOD)
def test_a_header_in_any_pieces(header: bytes, ip: str, port: int) -> None:
    for cut in range(len(header)):
        assert parse(header[:cut]) is None
    assert parse(header) == parse(header + b"EHLO x\r\n") == Proxied(ip, port, len(header))


@pytest.mark.parametrize("header", BAD)
def test_what_is_none(header: bytes) -> None:
    """Case 24: malformed PROXY v1 and v2 headers."""
    with pytest.raises(ProxyError):
        parse(header)


class _Octets:
    """A reader of the kind aiosmtpd asks for."""

    def __init__(self, data: bytes) -> None:
        self.reader = asyncio.StreamReader()
        self.reader.feed_data(data)
        self.reader.feed_eof()

    async def read(self, n: int = -1) -> bytes:
        return await self.reader.read(n)

    async def readexactly(self, n: int = 0) -> bytes:
        return await self.reader.readexactly(n)

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        return await self.reader.readuntil(separator)


def theirs(data: bytes) -> str | None:
    """The source address aiosmtpd reads, an empty one where the header names none, None where it is malformed."""

    async def main() -> str | None:
        found = await get_proxy(_Octets(data))
        if not found.valid:
            return None
        return str(found.src_addr) if found.command != 0 and found.protocol == 1 and found.family in (1, 2) else ""

    return run(main())


def ours(data: bytes) -> str | None:
    try:
        found = parse(data)
    except ProxyError:
        return None
    return None if found is None else found.ip


def test_we_read_what_aiosmtpd_reads() -> None:
    """Allowed differences: we refuse a version 2 header over 4,096 octets, and a TCP family with a LOCAL command needs no addresses."""
    for header in [header for header, _, _ in GOOD] + BAD:
        if header[:12] == SIGNATURE and len(header) == 16 and header[14:] == struct.pack("!H", 5000):
            continue
        assert ours(header) == theirs(header), header


def test_we_read_what_aiosmtpd_reads_of_damaged_headers() -> None:
    chance = random.Random(3)
    seen = set()
    for _ in range(400):
        header = bytearray(chance.choice(GOOD)[0])
        header[chance.randrange(len(header))] = chance.choice(b"\x00\x01\x11\x21 \r\n0159.:TCPU")
        if header[:12] == SIGNATURE and (header[14:16] > b"\x10\x00" or header[12] == 0x20):
            continue
        assert ours(bytes(header)) == theirs(bytes(header)), bytes(header)
        seen.add(ours(bytes(header)) is None)
    assert seen == {True, False}
