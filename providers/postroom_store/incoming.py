"""A message on its way into folders: scanned once, in memory or in a file, and how its file is made."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from pathlib import Path
from typing import NamedTuple

from postroom.mailstore import Upload
from postroom.message import SMALL, FileMessage, MemoryMessage, Message
from postroom_disk.disk import Disk
from postroom_mime.onfile import FileOctets
from postroom_mime.scan import Scan, scan
from postroom_store import files
from postroom_store.records import Arrival, describe, id_halves

_SHORT, _MANY = 32 * 1024, 2_000  # octets; delimiter lines


class Incoming(NamedTuple):
    """What a folder's log will say of it; `memory` or `path` holds the octets."""

    id: str
    octets: int
    flags: int
    arrived: float
    sent: float
    described: bytes
    memory: bytes | None
    path: str
    own: bool = False  # the journal has its octets nowhere else

    def arrival(self, uid: int, modseq: int, saved: float) -> Arrival:
        return Arrival(uid, self.flags, modseq, self.octets, self.arrived, saved, self.sent, *id_halves(self.id))

    def named(self, message_id: str) -> Incoming:
        return self._replace(id=message_id)

    def upload(self) -> Upload:
        """As what takes the place of another message."""
        message: Message = (
            FileMessage(self.id, Path(self.path), self.octets) if self.memory is None else MemoryMessage(self.id, self.memory)
        )
        return Upload(message, self.flags, self.arrived)

    def data(self) -> bytes:
        if self.memory is not None:
            return self.memory
        with files.mapped(self.path) as octets:
            return octets[:]

    def writer(self, disk: Disk, source: str = "") -> Callable[[str], None]:
        """How to make the message's file: a link to `source`, where it was made already."""
        data, source = self.memory, source or self.path
        if data is not None and not source:
            return lambda path: files.put(disk, path, data)
        return lambda path: files.link(disk, source, path)

    def write(self, disk: Disk, path: str, *, durable: bool) -> None:
        """Make a file with these octets, replacing what is there."""
        if self.memory is not None:
            files.replace(disk, path, self.memory)
        else:
            files.remove(disk, path)
            files.link(disk, self.path, path)
        if durable:
            files.make_durable(disk, path)

    def is_at(self, path: str) -> bool:
        """Whether that file has these octets."""
        return files.holds(path, self.memory) if self.memory is not None else files.same(self.path, path)

    def was_cut(self, path: str) -> bool:
        """Whether that file is what a crash may have left of these octets: their beginning, and zeros where a power cut took the rest."""
        with files.mapped(path) as left, nullcontext(self.memory) if self.memory is not None else files.mapped(self.path) as whole:
            begun = left[:].rstrip(b"\0")
            return len(left) < len(whole) and whole[: len(begun)] == begun


def is_quick(data: bytes) -> bool:
    """Whether the scan of a message in memory is short enough for the loop: 10,000 parts take a tenth of a second."""
    return len(data) <= _SHORT or data.count(b"\n--") < _MANY


def in_memory(message_id: str, data: bytes, flags: int, arrived: float) -> Incoming:
    """Scan a message that lies in memory."""
    return _of(message_id, len(data), scan(data), flags, arrived, data, "")


def in_file(message_id: str, path: str, flags: int, arrived: float) -> Incoming:
    """Scan a message that lies in a file, which stays in place while this is in use."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        octets = FileOctets(fd, os.fstat(fd).st_size)
        return _of(message_id, len(octets), scan(octets), flags, arrived, None, path)
    finally:
        os.close(fd)


def at_hand(message: Message) -> bytes | None:
    """The octets of a message in memory that is small and quick to scan; None for any other."""
    data = message.peek()
    return None if data is None or len(data) > SMALL or not is_quick(data) else data


@asynccontextmanager
async def taken_in(message: Message, flags: int, arrived: float) -> AsyncIterator[Incoming]:
    """Any message, wherever its octets lie; valid inside the block."""
    data = message.peek()
    if data is not None:
        quick = is_quick(data)
        yield in_memory(message.id, data, flags, arrived) if quick else await asyncio.to_thread(in_memory, message.id, data, flags, arrived)
        return
    async with message.as_file() as path:
        yield await asyncio.to_thread(in_file, message.id, str(path), flags, arrived)  # a large one takes longer than a loop may be blocked


def _of(message_id: str, octets: int, found: Scan, flags: int, arrived: float, memory: bytes | None, path: str) -> Incoming:
    sent = arrived if found.sent is None else found.sent
    return Incoming(message_id, octets, flags, arrived, sent, describe(found), memory, path)
