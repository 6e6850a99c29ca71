"""The PROXY protocol, versions 1 and 2: who the client is, as a load balancer in front of us says it.

Read only from peers that the settings name. What is not exactly a header is refused and the connection ends without a word, as
the specification (haproxy, proxy-protocol.txt) demands: a listener never guesses whether there is one.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"  # section 2.2
_V1_MOST = 107  # section 2.1
_V2_MOST = 4096  # the format allows 65,551; nobody needs so many TLVs to name a client
_ADDRESSES = {0x11: 12, 0x12: 12, 0x21: 36, 0x22: 36, 0x31: 216, 0x32: 216}  # octets by family and protocol
_PORT = rb"(0|[1-9]\d{0,4})"
_V1 = re.compile(rb"PROXY TCP([46]) ([0-9a-fA-F.:]{2,45}) ([0-9a-fA-F.:]{2,45}) " + _PORT + b" " + _PORT)
_V1_UNKNOWN = re.compile(rb"PROXY UNKNOWN(?: [^\r\n]*)?")


class ProxyError(ValueError):
    """Not a PROXY header."""


@dataclass(frozen=True, slots=True)
class Proxied:
    """A header that was read. An empty address: the balancer speaks for itself (LOCAL, UNKNOWN), so the socket's own address holds."""

    ip: str
    port: int
    length: int  # octets of the header; what follows is SMTP


def parse(data: bytes) -> Proxied | None:
    """The header at the front of data, None where more octets are needed, ProxyError where it is none."""
    if data[:12] == _SIGNATURE[: len(data)]:
        return _version_2(data) if len(data) >= 16 else None
    if data[:6] == b"PROXY "[: len(data)]:
        return _version_1(data)
    raise ProxyError("no signature")


def _version_1(data: bytes) -> Proxied | None:
    end = data.find(b"\r\n", 0, _V1_MOST)
    if end < 0:
        if len(data) >= _V1_MOST:
            raise ProxyError("line too long")
        return None
    line = data[:end]
    if _V1_UNKNOWN.fullmatch(line):
        return Proxied("", 0, end + 2)
    found = _V1.fullmatch(line)
    if found is None:
        raise ProxyError("malformed line")
    family, source, destination, port, other_port = (part.decode() for part in found.groups())
    if int(port) > 65535 or int(other_port) > 65535:
        raise ProxyError("no such port")
    _address(destination, family)
    return Proxied(_address(source, family), int(port), end + 2)


def _address(text: str, family: str) -> str:
    try:
        address = ip_address(text)
    except ValueError as error:
        raise ProxyError("malformed address") from error
    if address.version != int(family):
        raise ProxyError("address of the other family")
    return str(address)


def _version_2(data: bytes) -> Proxied | None:
    version_command, family_protocol, length = struct.unpack_from("!BBH", data, 12)
    if version_command not in (0x20, 0x21):
        raise ProxyError("unknown version or command")
    if family_protocol >> 4 > 3 or family_protocol & 15 > 2:
        raise ProxyError("unknown family or protocol")
    if length > _V2_MOST:
        raise ProxyError("header too long")
    if len(data) < 16 + length:
        return None
    if version_command == 0x20:  # LOCAL: a health check of the balancer's own
        return Proxied("", 0, 16 + length)
    return _inside(data[16 : 16 + length], family_protocol, 16 + length)


def _inside(body: bytes, family_protocol: int, length: int) -> Proxied:
    if len(body) < _ADDRESSES.get(family_protocol, 0):
        raise ProxyError("truncated address")
    if family_protocol == 0x11:
        return Proxied(str(IPv4Address(body[:4])), int.from_bytes(body[8:10], "big"), length)
    if family_protocol == 0x21:
        return Proxied(str(IPv6Address(body[:16])), int.from_bytes(body[32:34], "big"), length)
    return Proxied("", 0, length)  # UNSPEC, datagrams and UNIX sockets name no TCP client
