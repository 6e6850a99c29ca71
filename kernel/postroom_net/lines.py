"""Lines of a text protocol: packets in, lines out; and the dots of a multi-line reply or a DATA text. Pure.

What a peer may make us hold is bounded by `limit`; a longer line is told once, as `TOO_LONG`, and the rest of it is dropped unseen.
Time is linear in what arrives, however it is cut into packets.
"""

from __future__ import annotations

from collections import deque
from typing import Final

TOO_LONG: Final = b"\n"  # stands for a line beyond the limit; no line holds a line feed


class LineBuffer:
    """Cuts what arrives into lines. `limit` counts a line's octets without its end, and may be changed between lines."""

    __slots__ = ("_lines", "_skipping", "_tail", "limit")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._lines: deque[bytes] = deque()
        self._tail = b""
        self._skipping = False

    def feed(self, data: bytes) -> None:
        """Take a packet."""
        *ended, tail = data.split(b"\n")
        if ended:
            ended[0] = self._tail + ended[0]
            self._tail = b""
            if self._skipping:
                del ended[0]
                self._skipping = False
            self._lines.extend(ended)
        if not self._skipping:
            self._tail += tail
            if len(self._tail) > self.limit + 1:  # one more for a CR whose LF is still to come
                self._lines.append(TOO_LONG)
                self._tail, self._skipping = b"", True

    def take(self) -> bytes | None:
        """The next line without its CRLF or LF, `TOO_LONG`, or None when no line is complete."""
        if not self._lines:
            return None
        line = self._lines.popleft()
        if line is TOO_LONG:
            return TOO_LONG
        if line.endswith(b"\r"):
            line = line[:-1]
        return line if len(line) <= self.limit else TOO_LONG

    def clear(self) -> bool:
        """Forget everything, as at the start of TLS; whether anything was there (RFC 2595 section 2.1: an injection)."""
        had = bool(self._lines or self._tail or self._skipping)
        self._lines.clear()
        self._tail, self._skipping = b"", False
        return had

    def __len__(self) -> int:
        """Complete lines waiting."""
        return len(self._lines)


def dot_stuffed(text: bytes) -> bytes:
    """A whole text with every line that begins with a dot given a second one (RFC 5321 section 4.5.2, RFC 1939 section 3).

    A bare LF counts as a line's end too: clients that split at LF would otherwise take LF "." CRLF for the end of the reply, and what
    follows in the message for our next reply.
    """
    text = text.replace(b"\n.", b"\n..")
    return b"." + text if text.startswith(b".") else text


def dot_ended(text: bytes) -> bytes:
    """As `dot_stuffed`, with the final CRLF where it was missing, and the ending dot."""
    end = b".\r\n" if not text or text.endswith(b"\r\n") else b"\r\n.\r\n"
    return dot_stuffed(text) + end


class DotStuffer:
    """The same for a text that comes in pieces."""

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = b"\r\n"

    def piece(self, text: bytes) -> bytes:
        """The next piece, ready to send."""
        if not text:
            return text
        stuffed = text.replace(b"\n.", b"\n..")
        if text.startswith(b".") and self._last.endswith(b"\n"):
            stuffed = b"." + stuffed
        self._last = (self._last + text[-2:])[-2:]
        return stuffed

    def end(self) -> bytes:
        """What ends the text: the final CRLF where it was missing, and the ending dot."""
        return b".\r\n" if self._last == b"\r\n" else b"\r\n.\r\n"
