"""A message of 8-bit or binary octets as one of 7 bits, for a server that takes no others (RFC 6152 section 3).

Text becomes quoted-printable, all else base64; what is 7-bit already stays as it is, octet for octet. A header that is not ASCII cannot be
put into other words here: `CannotConvert`, and the sender hears of it. A signature over what changed does not verify any more, as with every
server that does this. The conversion is in memory, up to 32 MiB, and what is larger than a small message is converted in a thread.
"""

from __future__ import annotations

import asyncio
import binascii
import re
from collections.abc import AsyncIterator
from dataclasses import dataclass

from postroom.message import SMALL
from postroom_mime.content import Encoding, Media
from postroom_mime.tree import Entity, grow
from postroom_smtp.outbound.octets import Octets, mended, small

LARGEST = 32 * 1024 * 1024  # octets
_ENCODING = re.compile(rb"^content-transfer-encoding[ \t]*:[^\n]*\n(?:[ \t][^\n]*\n)*", re.IGNORECASE | re.MULTILINE)
_VERSION = re.compile(rb"^mime-version[ \t]*:", re.IGNORECASE | re.MULTILINE)
_TYPE = re.compile(rb"^content-type[ \t]*:", re.IGNORECASE | re.MULTILINE)
_FOREIGN = re.compile(rb"[^\x00-\x7f]")
_LONGEST = 998  # octets of a line (RFC 5322 section 2.1.1)


class CannotConvert(Exception):
    """It cannot be made 7-bit; the text says why, for the sender."""


async def seven_bit(octets: Octets) -> Octets:
    """The same message in 7 bits; itself where it is so already. CannotConvert; DiskError or OSError where it cannot be read."""
    if octets.body != "BINARYMIME" and await _is_seven_bit(octets):
        return Narrow(octets)
    if octets.size > LARGEST:
        raise CannotConvert(f"The next server takes no 8-bit messages, and one of {octets.size} octets is not converted")
    data = octets.whole if octets.whole is not None else b"".join([block async for block in octets.blocks()])
    return small(converted(data) if len(data) <= SMALL else await asyncio.to_thread(converted, data), "7BIT")


async def _is_seven_bit(octets: Octets) -> bool:
    if octets.whole is not None:
        return octets.whole.isascii()
    async for block in octets.blocks():
        if not block.isascii():
            return False
        await asyncio.sleep(0)
    return True


@dataclass(frozen=True, slots=True)
class Narrow:
    """A message that was looked through: it is 7-bit as it stands."""

    octets: Octets
    body: str = "7BIT"

    @property
    def size(self) -> int:
        return self.octets.size

    @property
    def whole(self) -> bytes | None:
        return self.octets.whole

    @property
    def head(self) -> bytes:
        return self.octets.head

    def blocks(self) -> AsyncIterator[bytes]:
        return self.octets.blocks()


def converted(data: bytes) -> bytes:
    """The message, every part of it in 7 bits. CannotConvert."""
    root = grow(data)[0]
    text = _rendered(data, root)
    if not _VERSION.search(data, root.header, root.body) and text != data:
        text = b"MIME-Version: 1.0\r\n" + text
    return text


def _rendered(data: bytes, entity: Entity) -> bytes:
    header, body = data[entity.header : entity.body], data[entity.body : entity.end]
    if not header.isascii():
        raise CannotConvert("The next server takes no 8-bit messages, and the message has a header that is not ASCII")
    if entity.children:
        return _relabelled(header, b"7bit", only_wide=True) + _around(data, entity)
    if body.isascii() and not _is_binary(body):
        return header + body
    if entity.content.encoding in (Encoding.QUOTED_PRINTABLE, Encoding.BASE64):
        raise CannotConvert("The next server takes no 8-bit messages, and a part has octets that its own encoding does not allow")
    if entity.content.media in (Media.PLAIN, Media.HTML, Media.TEXT) and not _is_binary(body):
        if not _TYPE.search(header) and entity.depth == 0:
            header = b"Content-Type: text/plain; charset=" + _charset(body) + b"\r\n" + header
        return _relabelled(header, b"quoted-printable") + _quoted(body)
    return _relabelled(header, b"base64") + _base64(body)


def _around(data: bytes, entity: Entity) -> bytes:
    """The children, and what stands between them: delimiters, and prose that no reader shows."""
    pieces, at = [], entity.body
    for child in entity.children:
        pieces += [_FOREIGN.sub(b"?", data[at : child.header]), _rendered(data, child)]
        at = child.end
    pieces.append(_FOREIGN.sub(b"?", data[at : entity.end]))
    return b"".join(pieces)


def _relabelled(header: bytes, encoding: bytes, *, only_wide: bool = False) -> bytes:
    """The header with this Content-Transfer-Encoding. `only_wide`: where it says 8bit or binary now."""
    found = _ENCODING.search(header)
    field = b"Content-Transfer-Encoding: %s\r\n" % encoding
    if only_wide and (found is None or not re.search(rb"8bit|binary", found[0], re.IGNORECASE)):
        return header
    if found is not None:
        return header[: found.start()] + field + header[found.end() :]
    return field + (header if header.endswith((b"\n\r\n", b"\n\n")) or header in (b"\r\n", b"\n") else header + b"\r\n")


def _is_binary(body: bytes) -> bool:
    return b"\x00" in body or mended(body) != body or any(len(line) > _LONGEST for line in body.split(b"\r\n"))


def _charset(body: bytes) -> bytes:
    """Of text that names none."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return b"unknown-8bit"  # RFC 1428
    return b"utf-8"


def _quoted(body: bytes) -> bytes:
    return binascii.b2a_qp(body, istext=True)


def _base64(body: bytes) -> bytes:
    return b"".join(binascii.b2a_base64(body[at : at + 57], newline=False) + b"\r\n" for at in range(0, len(body), 57))
