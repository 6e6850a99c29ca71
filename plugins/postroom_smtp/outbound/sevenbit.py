"""A message as a server can take it: in 7 bits where it takes no 8 (RFC 6152 section 3), and never with a line longer than SMTP's 998 octets
(RFC 5321 section 4.5.3.1.6), which some servers cut and others refuse.

A server that offers BINARYMIME has no such limits and gets the octets as they are, said to be binary (RFC 3030 section 3). For all others
`postroom_mime.sevenbit` puts the parts that need it into quoted-printable or base64, and a header line that is too long is folded at a blank,
which reads the same. Whatever cannot be changed without harm is refused with 5.6.3, so the sender hears of it at once: a signed part
(multipart/signed), a header that is not ASCII, a header line without a blank. A DKIM signature over what changed does not verify any more, as
with Postfix; our own signer converts before it signs, so this meets mail of others only. (Exim returns such mail; Postfix breaks long lines,
which changes what they say.) The conversion is in memory, up to 32 MiB, and what is larger than a small message is converted in a thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

from postroom.message import SMALL
from postroom_mime import sevenbit
from postroom_mime.sevenbit import LONGEST, Look, has_long_lines
from postroom_mime.sevenbit import CannotConvert as CannotConvert
from postroom_smtp.outbound.octets import Octets, small

LARGEST = 32 * 1024 * 1024  # octets
EIGHT_BIT = "The next server takes no 8-bit messages"
LONG_LINES = "The message has lines of more than 998 octets, which SMTP does not carry"


async def fitting(octets: Octets, *, wide: bool, binary: bool) -> Octets:
    """The message for a server that takes 8-bit octets (`wide`) or any (`binary`); itself where it fits already. CannotConvert; DiskError or
    OSError where it cannot be read."""
    if octets.body == "BINARYMIME":
        return octets if binary else await _converted(octets, EIGHT_BIT)
    look = await _looked(octets)
    if look.has_long_lines:
        return Labelled(octets, "BINARYMIME") if binary else await _converted(octets, LONG_LINES)
    if wide or octets.body == "7BIT":
        return octets
    return await _converted(octets, EIGHT_BIT) if look.is_wide else Labelled(octets, "7BIT")


async def _looked(octets: Octets) -> Look:
    """What its octets are. A large message is read for this, for nobody can tell in the middle of sending it."""
    look, whole = Look(), octets.whole
    if whole is not None:
        look.is_wide, look.has_long_lines = octets.body != "7BIT", has_long_lines(whole)
        return look
    async for block in octets.blocks():
        look.update(block)
        await asyncio.sleep(0)
    return look


@dataclass(frozen=True, slots=True)
class Labelled:
    """A message that was looked through: what its octets are is known now."""

    octets: Octets
    body: str

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


async def _converted(octets: Octets, why: str) -> Octets:
    if octets.size > LARGEST:
        raise CannotConvert(f"{why}, and one of {octets.size} octets is not converted")
    data = octets.whole if octets.whole is not None else b"".join([block async for block in octets.blocks()])
    try:
        return small(narrowed(data) if len(data) <= SMALL else await asyncio.to_thread(narrowed, data), "7BIT")
    except CannotConvert as error:
        raise CannotConvert(f"{why}, and {error}") from None


def narrowed(data: bytes) -> bytes:
    """The message in 7 bits and lines that SMTP carries. CannotConvert."""
    text = sevenbit.converted(data)
    if not has_long_lines(text):
        return text
    end = text.find(b"\r\n\r\n")
    text = b"\r\n".join([piece for line in text[:end].split(b"\r\n") for piece in _folded(line)]) + text[end:]
    if has_long_lines(text):
        raise CannotConvert("a header has a line that is too long and cannot be folded")
    return text


def _folded(line: bytes) -> list[bytes]:
    """A header line as lines that are short enough, where it has blanks to fold at (RFC 5322 section 2.2.3)."""
    pieces = []
    while len(line) > LONGEST:
        at = max(line.rfind(b" ", 1, LONGEST + 1), line.rfind(b"\t", 1, LONGEST + 1))
        if at < 0 or not line[:at].strip() or not line[at:].strip():  # RFC 5322 section 3.2.2: no line of blanks alone
            break
        pieces.append(line[:at])
        line = line[at:]
    return [*pieces, line]
