"""The message as a program left it: line ends mended, in memory where it is small, in a file of its own where it is not.

That file lies among the messages of the queue and has no command file. It goes with the last handle on it (`postroom_disk.kept`); what a
crash leaves, the spool sweeps as a message that nobody accepted. Until then the kernel links it to wherever it is stored.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from postroom.message import SMALL, FileMessage, MemoryMessage
from postroom_disk.disk import Disk
from postroom_disk.kept import KeptFiles

CHUNK: Final = 256 * 1024


def chunks(fd: int) -> Iterator[bytes]:
    """All of an open file."""
    offset = 0
    while data := os.pread(fd, CHUNK, offset):
        yield data
        offset += len(data)


def mended(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """The same text with CRLF line ends: a CR or LF that stands alone becomes one. RFC 5322 section 2.3; a program may have written LF."""
    ends_in_cr = False
    for piece in pieces:
        data = b"\r" + piece if ends_in_cr else piece
        if ends_in_cr := data.endswith(b"\r"):
            data = data[:-1]
        yield data.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")
    if ends_in_cr:
        yield b"\r\n"


def digest(pieces: Iterable[bytes]) -> bytes:
    """What tells two texts apart."""
    made = hashlib.blake2b(digest_size=32)
    for piece in pieces:
        made.update(piece)
    return made.digest()


def taken(fd: int, message_id: str, folder: Path, disk: Disk, *, binary: bool) -> MemoryMessage | FileMessage:
    """The message in an open file as a message of ours; `binary` octets stay as they are. `folder` is where a large one is kept. OSError."""
    pieces = chunks(fd) if binary else mended(chunks(fd))
    begun: list[bytes] = []
    size = 0
    for piece in pieces:
        begun.append(piece)
        size += len(piece)
        if size > SMALL:
            return _in_file(message_id, KeptFiles(folder, disk), begun, pieces)
    return MemoryMessage(message_id, b"".join(begun))


def _in_file(message_id: str, files: KeptFiles, begun: Iterable[bytes], more: Iterable[bytes]) -> FileMessage:
    with files.begin() as copy:
        for pieces in (begun, more):
            for piece in pieces:
                copy.write(piece)
    return FileMessage(message_id, copy.path, copy.size)
