"""Changed messages: a new header before the octets that follow the old one. The original is never touched.

A small message is changed in memory. A large one is copied, block by block, into a file of its own below `run/`, which goes with the last
handle on it (`postroom_disk.kept`); whoever keeps the message has linked it by then. What a killed worker left there is swept at the next
start. DiskError when the disk refuses, and nothing is left behind.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from postroom.clock import Clock
from postroom.message import FileMessage, MemoryMessage, Message
from postroom_disk.disk import Disk, refused
from postroom_disk.kept import KeptFiles, Writing
from postroom_mime.headers import MAX_HEADER, header_end

_FIRST: Final = 16 * 1024  # octets in which the header of a large message is looked for first
_BLOCK: Final = 256 * 1024


class Copies:
    """Makes them, in a folder of this worker's own."""

    def __init__(self, folder: Path, disk: Disk, clock: Clock) -> None:
        self._files, self._clock = KeptFiles(folder, disk), clock

    def sweep(self) -> None:
        """Remove what an earlier life of this worker left: the folder is the slot's, and only one worker holds that."""
        self._files.sweep()

    async def changed(self, message: Message, old: int, head: bytes) -> Message:
        """The message with this header in place of its first `old` octets."""
        data = message.peek()
        if data is not None:
            return MemoryMessage(message.id, head + data[old:])
        try:
            with self._files.begin() as copy:
                await self._write(copy, message, old, head)
        except OSError as error:
            raise refused(error, f"copying message {message.id}") from error
        return FileMessage(message.id, copy.path, copy.size)

    async def _write(self, copy: Writing, message: Message, at: int, head: bytes) -> None:
        """Unsynced: the original is in the journal's care until all that became of it is durable."""
        copy.write(head)
        while block := await message.read(at, _BLOCK):
            copy.write(block)
            at += len(block)
            await self._clock.sleep(0)  # a slice of the loop's time, not all of it


async def head_of(message: Message) -> bytes:
    """The header with its blank line, or as much of it as anyone here reads."""
    data = message.peek()
    if data is None:
        data = await message.read(0, _FIRST)
        if header_end(data) == len(data):
            data = await message.read(0, MAX_HEADER)
    return data[: min(header_end(data), MAX_HEADER)]
