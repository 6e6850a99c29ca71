"""The two canonical forms of a message that DKIM and ARC hash (RFC 6376 section 3.4), for whoever signs and whoever verifies.

Any octets have a canonical form; nothing raises. A body comes in blocks cut anywhere and goes to a sink as it becomes certain: memory does
not grow with the body, the work is linear in it, and blank lines are counted, not kept. Only CRLF ends a line. `Mender` makes a text of
which that is true, block by block, for those who sign what they are about to send.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

Sink = Callable[[bytes], object]

CRLF: Final = b"\r\n"
_BLANKS: Final = b" \t"
_MANY_LINES: Final = CRLF * 4096


def relaxed_field(field: bytes) -> bytes:
    """One field, line end included or not, in relaxed form with its CRLF (RFC 6376 section 3.4.2)."""
    name, _, value = field.partition(b":")
    value = single_blanks(value.replace(CRLF, b""))
    return name.rstrip(_BLANKS).lower() + b":" + value.strip(b" ") + CRLF


def single_blanks(text: bytes) -> bytes:
    """Every run of SP and HTAB as one SP. A run of n is gone after log n passes, each over less than the one before."""
    if b"\t" in text:
        text = text.replace(b"\t", b" ")
    while b"  " in text:
        text = text.replace(b"  ", b" ")
    return text


class SimpleBody:
    """RFC 6376 section 3.4.3: as it is, but for the blank lines at its end. One object a body."""

    name = "simple"
    nothing = CRLF  # what a body without lines is

    __slots__ = ("_held", "_lines", "_sink", "_wrote")

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._held = b""  # the end of what came, until it is known what it is: never more than two octets
        self._lines = 0  # CRLFs behind what was written: they count when something follows
        self._wrote = False

    def update(self, block: bytes) -> None:
        """The next octets of the body."""
        text, self._held = self._known(self._held + block if self._held else block)
        rest = text.rstrip(CRLF)
        ends = text[len(rest) :]
        lines = len(ends) // 2
        if ends.count(CRLF) != lines or len(ends) % 2:  # a CR or LF among them stands alone, and is text
            marked = ends.replace(CRLF, b"  ")
            lines = (len(marked) - len(marked.rstrip(b" "))) // 2
            rest = text[: len(text) - 2 * lines]
        if rest:
            self._write_lines()
            self._sink(rest)
            self._wrote = True
        self._lines += lines

    def finish(self) -> None:
        """The body is whole: a last line without its end gets one, the blank lines are dropped."""
        if self._held:
            self.update(CRLF)
        if self._wrote:
            self._sink(CRLF)
        elif self.nothing:
            self._sink(self.nothing)

    def _known(self, text: bytes) -> tuple[bytes, bytes]:
        """What is certain, and what the next octet may change: half a CRLF."""
        return (text[:-1], b"\r") if text.endswith(b"\r") else (text, b"")

    def _write_lines(self) -> None:
        while self._lines:
            some = min(self._lines, 4096)
            self._sink(_MANY_LINES[: 2 * some])
            self._lines -= some


class RelaxedBody(SimpleBody):
    """RFC 6376 section 3.4.4: blanks at line ends are dropped and other runs of them are one, then as simple; an empty body is nothing."""

    name = "relaxed"
    nothing = b""

    __slots__ = ()

    def _known(self, text: bytes) -> tuple[bytes, bytes]:
        text = single_blanks(text).replace(b" \r\n", CRLF)
        held = b""
        if text.endswith(b"\r"):
            text, held = text[:-1], b"\r"
        if text.endswith(b" "):
            text, held = text[:-1], b" " + held
        return text, held


class Mender:
    """Octets as SMTP may send them: a bare LF becomes CRLF, a bare CR a blank, and the last line has an end (RFC 5321 section 2.3.8)."""

    __slots__ = ("_held", "_last")

    def __init__(self) -> None:
        self._held = b""
        self._last = b""

    def mended(self, block: bytes, *, is_last: bool = False) -> bytes:
        """The next block, mended; a CR at its end is held until the next octet is known."""
        if self._held:
            block, self._held = self._held + block, b""
        if block.endswith(b"\r") and not is_last:
            block, self._held = block[:-1], b"\r"
        if not has_whole_lines(block):
            block = block.replace(CRLF, b"\n").replace(b"\r", b" ").replace(b"\n", CRLF)
        self._last = block[-2:] if len(block) > 1 else (self._last + block)[-2:]
        return block + CRLF if is_last and self._last and self._last != CRLF else block


def has_whole_lines(block: bytes) -> bool:
    """Whether every CR and LF of a block that splits no CRLF belongs to one."""
    lines = block.count(CRLF)
    return block.count(b"\n") == lines and block.count(b"\r") == lines
