"""COMPRESS=DEFLATE (RFC 4978): both directions of one connection, and the command that begins them.

What is written ends with a flush, so that nothing waits in here for more to come. What is read is inflated a slice at a time, and only when it
is asked for: a packet that means a thousand times its size is held as it came (case 29). Raw deflate has no checksum: octets changed on their way
are found by the grammar, or by TLS. A connection costs 46 KiB, and 80 KiB once the client uses the largest window there is.
UNAUTHENTICATE ends both streams (RFC 8437 section 4.1): ours behind its answer, the client's behind the command. As plain octets may follow in the
same packet, nothing behind such a line is inflated before it is known whether it was that command.
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
_LAST: Final = b"UNAUTHENTICATE\r\n"
_FLUSHED: Final = b"\0\0\xff\xff"  # the end of a flush, perhaps with an octet before it
_STEP: Final = 256  # octets inflated again at once
_END: Final = 8  # octets that the end of a stream may have behind the last octet it means


class BadStream(Exception):
    """What came is no deflate stream, or is at its end."""


class Deflate:
    """The two streams. `halts`: the last slice ended behind what may be UNAUTHENTICATE."""

    __slots__ = ("_in", "_is_full", "_out", "_waiting", "halts")

    def __init__(self) -> None:
        self._out = zlib.compressobj(_LEVEL, zlib.DEFLATED, _WINDOW, _MEMORY)
        self._in = zlib.decompressobj(_LARGEST_WINDOW)
        self._waiting = b""  # as it came
        self._is_full = False  # the last slice was, so that there may be more without further octets
        self.halts = False

    def squeezed(self, data: bytes) -> bytes:
        """What the client can inflate to all of it, now."""
        return self._out.compress(data) + self._out.flush(zlib.Z_SYNC_FLUSH)

    def last(self, data: bytes) -> bytes:
        """As `squeezed`, and the end of our stream."""
        return self._out.compress(data) + self._out.flush(zlib.Z_FINISH)

    def push(self, data: bytes) -> None:
        """A packet."""
        self._waiting = self._waiting + data if self._waiting else data

    @property
    def has_more(self) -> bool:
        """Whether another slice can be had."""
        return self._is_full or bool(self._waiting)

    def slice(self) -> bytes:
        """At most SLICE octets. BadStream."""
        before, self.halts = self._in.copy(), False
        try:
            data = self._in.decompress(self._waiting, SLICE)
        except zlib.error:  # perhaps because no more is compressed
            return self._up_to_the_last(before)
        if _LAST in data.upper():
            return self._up_to_the_last(before)
        if self._in.eof:
            raise BadStream("compression is ended by UNAUTHENTICATE only")
        self._waiting, self._is_full = self._in.unconsumed_tail, len(data) == SLICE
        return data

    def _up_to_the_last(self, stream: zlib._Decompress) -> bytes:
        """Inflate again what waits, with the stream as it was, and no further than a line that may be UNAUTHENTICATE: zlib itself looks ahead.
        BadStream where it is damaged before such a line."""
        found, at, step = bytearray(), 0, _STEP
        while at < len(self._waiting) and len(found) < SLICE:
            again = stream.copy()
            try:
                more = stream.decompress(self._waiting[at : at + step])
            except zlib.error as error:
                if step == 1:
                    raise BadStream(f"this is not compressed by deflate: {error}") from None
                more = _LAST  # or it is behind it
            if step > 1 and _LAST in (bytes(found[-len(_LAST) :]) + more).upper():
                stream, step = again, 1
                continue
            found, at = found + more, at + step
            if found[-len(_LAST) :].upper() == _LAST:
                break
        self.halts = found[-len(_LAST) :].upper() == _LAST
        self._in, self._waiting, self._is_full = stream, stream.unused_data + self._waiting[at:], False
        return bytes(found)

    def rest(self) -> bytes:
        """What came behind the last slice, the client's stream having ended with it."""
        for place in (0, 1) if not self._in.eof else ():
            if self._waiting.startswith(_FLUSHED, place):
                return self._waiting[place + len(_FLUSHED) :]
        stream = self._in.copy()
        for place in range(min(_END, len(self._waiting)) + 1):
            if stream.eof:
                return self._waiting[place:]
            try:
                if stream.decompress(self._waiting[place : place + 1]):
                    break
            except zlib.error:
                break
        return self._waiting


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
