"""The message as a program left it: line ends mended, in memory where it is small, in a file of its own where it is not.

That file lies among the messages of the queue and has no command file. It goes when the last handle on it goes (`Kept`); what a crash
leaves, the spool sweeps as a message that nobody accepted. Until then the kernel links it to wherever it is stored.
"""

from __future__ import annotations

import hashlib
import os
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path, PosixPath
from typing import Final

from postroom.message import SMALL, FileMessage, MemoryMessage, new_id
from postroom_disk.disk import Disk

CHUNK: Final = 256 * 1024


class Kept(PosixPath):
    """The path of a file that lives as long as this object: a handle on a message takes it along, a copy of the handle shares it."""


def kept(path: Path, disk: Disk) -> Kept:
    """Take charge of a file that exists."""
    made = Kept(path)
    weakref.finalize(made, _drop, str(path), disk)
    return made


def _drop(path: str, disk: Disk) -> None:
    try:
        disk.unlink(path)
    except OSError:
        pass  # the spool sweeps it


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
            return _in_file(message_id, folder / f"{new_id()}.MAI", disk, begun, pieces)
    return MemoryMessage(message_id, b"".join(begun))


def _in_file(message_id: str, path: Path, disk: Disk, begun: Iterable[bytes], more: Iterable[bytes]) -> FileMessage:
    disk.make_folders(path.parent)
    fd = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    handle = kept(path, disk)
    try:
        for pieces in (begun, more):
            for piece in pieces:
                disk.write_all(fd, piece)
        size = os.fstat(fd).st_size
    finally:
        disk.close(fd)
    return FileMessage(message_id, handle, size)
