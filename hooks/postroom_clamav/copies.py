"""Changed messages: a new header before the octets that follow the old one. The original is never touched.

A small message is changed in memory. A large one is copied, block by block, into a file of its own below `run/`, which goes with the last
handle on it; whoever keeps the message has linked it by then. What a killed worker left there is swept at the next start. DiskError when
the disk refuses, and nothing is left behind.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path
from typing import Final

from postroom.clock import Clock
from postroom.message import FileMessage, MemoryMessage, Message, new_id
from postroom_disk.disk import Disk, refused
from postroom_mime.headers import MAX_HEADER, header_end

_FIRST: Final = 16 * 1024  # octets in which the header of a large message is looked for first
_BLOCK: Final = 256 * 1024


class PrivateFile(FileMessage):
    """A file that nobody else knows of. It has no slots, so that its end can be watched."""


class Copies:
    """Makes them, in a folder of this worker's own."""

    def __init__(self, folder: Path, disk: Disk, clock: Clock) -> None:
        self._folder, self._disk, self._clock = folder, disk, clock
        self._mine: set[Path] = set()

    def sweep(self) -> None:
        """Remove what an earlier life of this worker left: the folder is the slot's, and only one worker holds that."""
        try:
            left = set(self._folder.iterdir())
        except FileNotFoundError:
            return
        for path in left - self._mine:
            self._forget(path)

    async def changed(self, message: Message, old: int, head: bytes) -> Message:
        """The message with this header in place of its first `old` octets."""
        data = message.peek()
        if data is not None:
            return MemoryMessage(message.id, head + data[old:])
        path = self._folder / new_id()
        copy = PrivateFile(message.id, path, len(head) + message.size - old)
        self._mine.add(path)
        gone = weakref.finalize(copy, self._forget, path)
        try:
            await self._write(path, message, old, head)
        except BaseException as error:
            gone()
            if isinstance(error, OSError):
                raise refused(error, f"copying message {message.id}") from error
            raise
        return copy

    async def _write(self, path: Path, message: Message, at: int, head: bytes) -> None:
        """Unsynced: the original is in the journal's care until all that became of it is durable."""
        self._disk.make_folders(path.parent)
        fd = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            self._disk.write_all(fd, head)
            while block := await message.read(at, _BLOCK):
                self._disk.write_all(fd, block)
                at += len(block)
                await self._clock.sleep(0)  # a slice of the loop's time, not all of it
        finally:
            self._disk.close(fd)

    def _forget(self, path: Path) -> None:
        self._mine.discard(path)
        try:
            self._disk.unlink(path)
        except OSError:  # swept at the next start
            pass


async def head_of(message: Message) -> bytes:
    """The header with its blank line, or as much of it as anyone here reads."""
    data = message.peek()
    if data is None:
        data = await message.read(0, _FIRST)
        if header_end(data) == len(data):
            data = await message.read(0, MAX_HEADER)
    return data[: min(header_end(data), MAX_HEADER)]
