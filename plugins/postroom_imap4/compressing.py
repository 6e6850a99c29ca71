"""COMPRESS=DEFLATE (RFC 4978): both directions of one connection, and the command that begins them.

What is written ends with a flush, so that nothing waits in here for more to come. What is read is inflated a slice at a time, and only when it
is asked for: a packet that means a thousand times its size is held as it came (case 29). Raw deflate has no checksum: octets changed on their way
are found by the grammar, or by TLS. A connection costs 46 KiB, and 80 KiB once the client uses the largest window there is.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from postroom_imap4.commands import Compress
from postroom_imap4.replies import Ended, bad, no, ok

if TYPE_CHECKING:
    from postroom_imap4.session import Session

SLICE: Final = 64 * 1024  # octets inflated at once
_LEVEL: Final = 1  # of 9: a third of the time of 6, for a tenth more octets
_WINDOW: Final = -12  # raw deflate (RFC 4978 section 4) with 4 KiB to look back, 16 KiB of memory
_MEMORY: Final = 5  # another 16 KiB
_LARGEST_WINDOW: Final = -15  # the client's may be as large as there is


class BadStream(Exception):
    """What came is no deflate stream, or is at its end."""


class Deflate:
    """The two streams."""

    __slots__ = ("_in", "_is_full", "_out", "_waiting")

    def __init__(self) -> None:
        self._out = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW, _MEMORY)
        self._in = zlib.decompressobj(_LARGEST_WINDOW)
        self._waiting = b""  # as it came
        self._is_full = False  # the last slice was, so that there may be more without further octets

    def squeezed(self, data: bytes) -> bytes:
        """What the client can inflate to all of it, now."""
        return self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH)

    def push(self, data: bytes) -> None:
        """A packet."""
        self._waiting = self._waiting + data if self._waiting else data

    @property
    def has_more(self) -> bool:
        """Whether another slice can be had."""
        return self._is_full or bool(self._waiting)

    def slice(self) -> bytes:
        """At most SLICE octets. BadStream."""
        try:
            data = self._in.decompress(self._waiting, SLICE)
        except zlib.error as error:
            raise BadStream(f"this is not compressed by deflate: {error}") from None
        if self._in.eof:
            raise BadStream("compression cannot be ended")
        self._waiting, self._is_full = self._in.unconsumed_tail, len(data) == SLICE
        return data


async def compress(session: Session, command: Compress) -> Ended | None:
    """RFC 4978 section 3: the answer is the last that is sent as it is."""
    if command.mechanism.upper() != "DEFLATE":
        return bad("DEFLATE is what is offered")
    if session.compressed:
        return no("compression is on already", b"COMPRESSIONACTIVE")
    await session.wire.send(ok("from now on").line(session.tag))
    session.compressed = True
    session.wire.compress()
    return None
