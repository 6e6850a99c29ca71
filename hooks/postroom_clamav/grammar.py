"""clamd's protocol as clamd(8) tells it: requests as octets, replies as values.

Commands begin with `z` and end with NUL, and so do the replies. A session (IDSESSION) numbers its replies from 1 in the order of the
commands. Pure and linear; what is no reply is a `ProtocolError`, and a name from outside is printable ASCII when it leaves here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from struct import Struct
from typing import Final

SESSION: Final = b"zIDSESSION\0"
INSTREAM: Final = b"zINSTREAM\0"
PING: Final = b"zPING\0"
VERSION: Final = b"zVERSION\0"
END: Final = b"\0\0\0\0"  # a chunk of no octets ends the stream
LONGEST: Final = 4096  # octets of one reply; a signature's name is some dozens
_NAME: Final = 200  # characters of a signature's name that are kept

_length = Struct("!L").pack
_REPLY = re.compile(rb"(?:([0-9]{1,10}): )?(.*)", re.DOTALL)
_UNSAFE = re.compile(r"[^!-~]+")


class ProtocolError(ValueError):
    """Octets that are no reply of clamd's."""


@dataclass(frozen=True, slots=True)
class Clean:
    """Nothing was found."""


@dataclass(frozen=True, slots=True)
class Found:
    """A signature matched; its name is printable ASCII without blanks."""

    name: str


@dataclass(frozen=True, slots=True)
class TooLarge:
    """The stream was longer than clamd's StreamMaxLength; clamd hangs up behind this."""


@dataclass(frozen=True, slots=True)
class Refused:
    """clamd could not do it, and says why; it ends a session behind this."""

    why: str


@dataclass(frozen=True, slots=True)
class Said:
    """The answer to PING or VERSION."""

    text: str


Reply = Clean | Found | TooLarge | Refused | Said
CLEAN: Final = Clean()
TOO_LARGE: Final = TooLarge()


def instream(data: bytes) -> bytes:
    """The whole request for a message in memory, to be sent in one write. An empty one has no chunk but the last."""
    return b"".join((INSTREAM, _length(len(data)), data, END)) if data else INSTREAM + END


def chunk(data: bytes) -> bytes:
    """One piece of a streamed message; `data` must not be empty, for that ends the stream."""
    return _length(len(data)) + data


def parse(line: bytes) -> tuple[int, Reply]:
    """A reply without its NUL, and the number of the command it answers (0: it has none). ProtocolError when it is no reply."""
    if line.endswith(b": stream: OK") and (number := line[:-12]).isdigit():
        return int(number), CLEAN
    match = _REPLY.fullmatch(line)
    assert match  # everything matches; the number is there or not
    return int(match[1] or 0), _reply(match[2])


def _reply(text: bytes) -> Reply:
    if text == b"stream: OK":
        return CLEAN
    if text.endswith(b" FOUND") and text.startswith(b"stream: ") and (name := printable(text[8:-6])):
        return Found(name)
    if text.endswith(b" ERROR"):
        return TOO_LARGE if text.startswith(b"INSTREAM size limit exceeded") else Refused(_sentence(text[:-6]))
    if text == b"PONG" or text.startswith(b"ClamAV "):
        return Said(_sentence(text))
    raise ProtocolError(f"clamd answered {text[:100]!r}, which is no reply")


def printable(name: bytes) -> str:
    """A signature's name fit for a header field, a reply and a log line."""
    return _UNSAFE.sub("_", name.decode("ascii", "replace")).strip("_")[:_NAME]


def _sentence(text: bytes) -> str:
    return " ".join(word for word in _UNSAFE.sub(" ", text.decode("ascii", "replace")).split())[:_NAME]


class ReplyReader:
    """Cuts what arrives at NULs; `held` says whether the beginning of a reply waits for its end."""

    __slots__ = ("_tail",)

    def __init__(self) -> None:
        self._tail = b""

    @property
    def held(self) -> bool:
        return bool(self._tail)

    def feed(self, data: bytes) -> list[bytes]:
        """The replies that are whole now. ProtocolError when one does not end."""
        *lines, self._tail = (self._tail + data).split(b"\0")
        if len(self._tail) > LONGEST or any(len(line) > LONGEST for line in lines):
            self._tail = b""
            raise ProtocolError(f"clamd sent more than {LONGEST} octets that are no reply")
        return lines
