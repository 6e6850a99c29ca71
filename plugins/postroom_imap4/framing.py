"""Octets to whole commands: lines and the literals within them (RFC 9051 section 4.3, RFC 7888), whatever the packets. Sans-io.

A literal is octets of the client's choosing, so its length is believed and its content never looked at: what follows it is read where the
client believes it to be, also when the literal is too large, the line too long or the command nonsense. Where that is no longer possible
`is_lost` is set, and the connection must end after the answer.

Memory: at most a line, the small literals of one command, and a packet. The message of APPEND and REPLACE goes where `spill` says as it comes
in. A disk that refuses it ends the command with NO, not the connection. Time is linear in what arrives.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol

from postroom.errors import DiskError
from postroom_imap4.commands import Octets, Wrong
from postroom_net.lines import TOO_LONG
from postroom_net.sasl import MAXIMUM

GO_AHEAD: Final = b"go ahead"
_END: Final = 64  # octets looked at of a line that is dropped: enough to see that it ends in a literal
_TAIL: Final = _END + 1  # octets kept of it: a CR may stand behind them
_NEVER: Final = 1 << 63
_START = re.compile(rb" *+([^\x00-\x20\x7f-\xff(){%*\"\\+]{1,128}+) ++(?:[Uu][Ii][Dd] ++)?+([A-Za-z]*+)")
_UPLOADS = frozenset((b"APPEND", b"REPLACE"))


@dataclass(frozen=True, slots=True)
class Limits:
    """What one command may make us hold, in octets unless said."""

    line: int  # all lines of a command together
    literal: int  # a literal in memory
    literals: int  # all literals of a command in memory; case 27
    pieces: int  # how many literals a command may have
    message: int = 0  # a literal of APPEND or REPLACE; 0: no such command is taken
    messages: int = 0  # all of them in one command
    drained: int = 0  # what is read and dropped of a command that was refused before we hang up


BEFORE_LOGIN: Final = Limits(line=MAXIMUM + 256, literal=4096, literals=8192, pieces=8, drained=64 * 1024)
AFTER_LOGIN: Final = Limits(
    line=64 * 1024,
    literal=64 * 1024,
    literals=256 * 1024,
    pieces=2000,
    message=64 * 1024 * 1024,
    messages=1024 * 1024 * 1024,
    drained=256 * 1024 * 1024,
)


class Spill(Protocol):
    """Where a large literal is written as it arrives."""

    def write(self, data: bytes) -> None: ...
    def done(self) -> Octets:
        """All is written; whoever has the answer closes it."""

    def abandon(self) -> None:
        """It will not be finished; nothing of it stays."""


@dataclass(frozen=True, slots=True)
class MemoryOctets:
    """A small literal."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def peek(self) -> bytes | None:
        return self.data

    async def read(self, offset: int = 0, n: int = -1) -> bytes:
        return self.data[offset:] if n < 0 else self.data[offset : offset + n]

    def close(self) -> None:
        pass


@dataclass(frozen=True, slots=True)
class Frame:
    """One command: text and literals in turn, text first and last. A text before a literal ends as it was sent, "{3+}" or "~{3}", and no
    text has its line end. `close` lets the literals go; who took some of them over does not call it."""

    pieces: tuple[bytes | Octets, ...]

    def close(self) -> None:
        for piece in self.pieces:
            if not isinstance(piece, bytes):
                piece.close()


@dataclass(frozen=True, slots=True)
class Continue:
    """The client waits for leave to send a literal: send "+ ", this, CRLF."""

    text: bytes = GO_AHEAD


@dataclass(frozen=True, slots=True)
class _Marker:
    """What a line that ends in a literal says about it."""

    size: int
    waits: bool  # synchronising: the client waits for our leave


class Framer:
    """Cuts what one client sends into commands. `limits` may be changed between commands."""

    __slots__ = ("_buffer", "_draining", "_in_memory", "_left", "_lines", "_looked", "_pieces", "_sink", "_skipping", "_spill", "_uploaded", "_wrong", "is_lost", "limits")  # fmt: skip

    def __init__(self, limits: Limits, spill: Callable[[int], Spill]) -> None:
        self.limits = limits
        self.is_lost = False
        self._spill = spill
        self._buffer = bytearray()
        self._looked = 0  # octets of the buffer that are known to hold no line end
        self._skipping = False  # a line is being dropped up to its end
        self._sink: Spill | bytearray | None = None  # where the literal goes; None within one that is dropped
        self._left: int | None = None  # octets of the literal that are still to come; None between literals
        self._begin()

    def _begin(self) -> None:
        """A new command."""
        self._pieces: list[bytes | Octets] = []
        self._lines = self._in_memory = self._uploaded = self._draining = 0
        self._wrong: Wrong | None = None

    @property
    def held(self) -> int:
        """Octets that wait to be taken: beyond some, stop reading."""
        return len(self._buffer)

    def feed(self, data: bytes) -> None:
        """Take a packet. What belongs to a literal under way goes to its place at once."""
        if self._left and not self._buffer:
            mine = len(data) if len(data) < self._left else self._left
            self._pour(data if mine == len(data) else data[:mine])
            data = data[mine:]
        if data and not self.is_lost:
            self._buffer += data

    def take(self) -> Frame | Continue | Wrong | None:
        """The next command, leave to be given within one, or what is wrong with one; None: more octets are needed, or the end has come
        (`is_lost`)."""
        while not self.is_lost:
            if self._left is not None:
                if self._left and not self._pour_buffer():
                    return None
                self._end_literal()
            line = self._line(self._room())
            if line is None:
                return self._tell() if self.is_lost else None
            if (said := self._text(line)) is not None:
                return said
        return None

    def take_line(self) -> bytes | None:
        """The next line for who reads no command: an answer to AUTHENTICATE, DONE of IDLE. Without its end; lines.TOO_LONG for a longer one
        than a SASL response may be; None where none is complete."""
        line = None if self.is_lost else self._line(MAXIMUM)
        if line is None or self._wrong is None:
            return line
        self._begin()
        return TOO_LONG

    def rest(self) -> bytes:
        """What came and was not taken, which is forgotten here: at the start of TLS an injection, at that of COMPRESS its first octets."""
        rest = bytes(self._buffer)
        self.close()
        return rest

    def close(self) -> None:
        """The connection is over, or begins anew: let go what a half-sent command holds."""
        self._drop_literals()
        self._buffer = bytearray()
        self._looked, self._skipping, self._left = 0, False, None
        self._begin()

    # Lines

    def _room(self) -> int:
        return self.limits.line - self._lines

    def _line(self, room: int) -> bytes | None:
        """The next line without its end. Of one that is longer than `room` only its last octets, and then there is a `_wrong`. None where
        none is complete, or where so much was dropped that we hang up."""
        end = self._buffer.find(b"\n", self._looked)
        if end < 0:
            if len(self._buffer) > room + 1:  # one more for a CR whose LF is still to come
                self._overrun(self._buffer)
                self._skipping = True
                self._drain(max(len(self._buffer) - _TAIL, 0))
                del self._buffer[:-_TAIL]
            self._looked = len(self._buffer)
            return None
        line = bytes(self._buffer[:end]).removesuffix(b"\r")
        del self._buffer[: end + 1]
        self._looked = 0
        if not self._buffer:
            self._buffer = bytearray()  # gives its memory back: a session that idles holds nothing
        if self._skipping or len(line) > room:
            self._overrun(line)
            self._skipping = False
            line = line[-_END:]
        if self._wrong is not None:
            self._drain(end)
        return None if self.is_lost else line

    def _overrun(self, line: bytes | bytearray) -> None:
        if self._wrong is None:
            begun = bytes(line[: min(256, self.limits.line)])  # the same, however much of it came at once
            self._refuse(Wrong(self._tag(begun), f"a command line has at most {self.limits.line} octets"))

    def _text(self, line: bytes) -> Frame | Continue | Wrong | None:
        """A line has ended: what to say, or None where a literal or nothing follows."""
        marker = _marker(line)
        if marker is None:
            return self._end(line)
        if self._wrong is None:
            self._pieces.append(line)
            self._lines += len(line)
            if (wrong := self._objection(marker.size)) is not None:
                self._refuse(wrong)
            else:
                self._open(marker.size)
        if self._wrong is not None:
            return self._stop(marker)
        return Continue() if marker.waits else None

    def _end(self, line: bytes) -> Frame | Wrong | None:
        """The command's last line."""
        if self._wrong is not None:
            return self._tell()
        if not self._pieces and not line:
            return None  # an empty line between commands, as some clients send behind a literal
        frame = Frame((*self._pieces, line))
        self._begin()
        return frame

    def _stop(self, marker: _Marker) -> Wrong | None:
        """A literal of a refused command. A client that waits for our leave does not get it, and the command is over; one that does not
        wait sends it all the same (RFC 7888 section 4)."""
        if not marker.waits:
            self._drain(marker.size)
        if marker.waits or self.is_lost:
            return self._tell()
        self._left, self._sink = marker.size, None
        return None

    def _drain(self, octets: int) -> None:
        """Account for what is read and dropped: who sends more of it than we care to read is hung up on."""
        self._draining += octets
        self.is_lost = self._draining > self.limits.drained

    def _tell(self) -> Wrong:
        wrong = self._wrong
        assert wrong is not None
        self._begin()
        if self.is_lost:
            self._buffer = bytearray()
        return wrong

    def _refuse(self, wrong: Wrong) -> None:
        """The command will not be carried out. What it holds goes now, what is still to come of it is dropped."""
        self._wrong = wrong
        self._drop_literals()

    def _tag(self, line: bytes) -> bytes | None:
        found = _START.match(self._first(line))
        return found[1] if found else None

    def _first(self, line: bytes = b"") -> bytes:
        first = self._pieces[0] if self._pieces else line
        return first if isinstance(first, bytes) else b""

    # Literals

    def _objection(self, size: int) -> Wrong | None:
        """Why a literal of this size cannot be taken, the line before it being the last piece."""
        tag = self._tag(b"")
        if len(self._pieces) // 2 >= self.limits.pieces:
            return Wrong(tag, f"a command has at most {self.limits.pieces} literals")
        if self._is_upload():
            if size > self.limits.message:
                return Wrong(tag, f"a message has at most {self.limits.message} octets", b"TOOBIG", is_no=True)
            if self._uploaded + size > self.limits.messages:
                return Wrong(tag, f"the messages of one command have at most {self.limits.messages} octets", b"TOOBIG", is_no=True)
            return None
        if size > self.limits.literal:
            return Wrong(tag, f"a literal has at most {self.limits.literal} octets here", b"TOOBIG")
        if self._in_memory + size > self.limits.literals:
            return Wrong(tag, f"the literals of one command have at most {self.limits.literals} octets", b"TOOBIG")
        return None

    def _is_upload(self) -> bool:
        if not self.limits.message:
            return False
        found = _START.match(self._first())
        return found is not None and found[2].upper() in _UPLOADS

    def _open(self, size: int) -> None:
        """Make room for a literal, unless the disk refuses."""
        is_small = size <= self.limits.literal and self._in_memory + size <= self.limits.literals
        self._left = size
        self._uploaded += size
        if is_small:
            self._in_memory += size
            self._sink = bytearray()
            return
        try:
            self._sink = self._spill(size)
        except (DiskError, OSError):
            self._left = None
            self._refuse(self._disk_refuses())

    def _pour_buffer(self) -> bool:
        """Give the literal what is here of it; whether it is complete."""
        assert self._left is not None
        mine = bytes(self._buffer[: self._left])
        del self._buffer[: len(mine)]
        self._looked = 0
        self._pour(mine)
        return self._left == 0

    def _pour(self, data: bytes) -> None:
        assert self._left is not None
        self._left -= len(data)
        if isinstance(self._sink, bytearray):
            self._sink += data
        elif self._sink is not None:
            try:
                self._sink.write(data)
            except (DiskError, OSError):
                self._refuse(self._disk_refuses())

    def _end_literal(self) -> None:
        sink, self._sink, self._left = self._sink, None, None
        if isinstance(sink, bytearray):
            self._pieces.append(MemoryOctets(bytes(sink)))
        elif sink is not None:
            try:
                self._pieces.append(sink.done())
            except (DiskError, OSError):
                sink.abandon()
                self._refuse(self._disk_refuses())

    def _disk_refuses(self) -> Wrong:
        return Wrong(self._tag(b""), "the message cannot be stored now, try again later", b"UNAVAILABLE", is_no=True)  # RFC 5530

    def _drop_literals(self) -> None:
        """No piece but the first line is needed any more, for its tag."""
        for piece in self._pieces:
            if not isinstance(piece, bytes):
                piece.close()
        del self._pieces[1:]
        sink, self._sink = self._sink, None
        if sink is not None and not isinstance(sink, bytearray):
            sink.abandon()


def _marker(line: bytes) -> _Marker | None:
    """The literal that a line announces at its end (RFC 9051 section 9, literal; RFC 7888 section 8), None where it does not. A length of more
    digits than any number we take is one that is too large, not none at all: the client will send it."""
    if not line.endswith(b"}"):
        return None
    start = line.rfind(b"{")
    if start < 0 and len(line) < _END:  # of a line that was dropped, the rest of the digits may be missing
        return None
    digits = line[start + 1 : -1]
    waits = not digits.endswith(b"+")
    if not waits:
        digits = digits[:-1]
    if not digits.isdigit():  # "{-1}", "{}": no literal, and the grammar says so
        return None
    return _Marker(int(digits) if len(digits) < 19 else _NEVER, waits)
