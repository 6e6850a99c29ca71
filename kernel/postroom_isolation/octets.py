"""A message's octets as a descriptor, and back.

What lies in memory crosses as a sealed memory file, what lies in a file as that file opened for reading. A `Replace` comes back the same way and
is copied at once, so nobody can change it afterwards: a small one into memory, a larger one into a file below the site's `run/replaced`. That
file goes with the last handle of the message (`postroom_disk.kept`; queues and mailboxes have links of their own by then), and what a killed
worker left goes at the next one's first use. OSError when the disk refuses.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import stat
import threading
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from postroom.dispatch import Nonsense
from postroom.message import SMALL, FileMessage, MemoryMessage, Message
from postroom_disk.disk import Disk
from postroom_disk.kept import KeptFiles, clear

GROWTH: Final = 64 << 20  # octets by which a replacement may exceed the message it stands for
_PIECE: Final = 1 << 20
_SEALS: Final = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL


def sealed(data: bytes) -> int:
    """A descriptor of these octets that nobody can change."""
    fd = os.memfd_create("postroom-message", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        done = os.write(fd, data)
        while done < len(data):
            done += os.write(fd, data[done:])
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


async def lend(message: Message) -> int:
    """A descriptor to read the message from; the caller's to close."""
    if (data := message.peek()) is not None:
        return sealed(data)
    async with message.as_file() as path:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


class Handed:
    """A large message as a child has it: a descriptor, closed when the last user lets go. Implements `postroom.message.Message`."""

    def __init__(self, message_id: str, size: int, descriptor: int) -> None:
        self.id, self.size = message_id, size
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def peek(self) -> bytes | None:
        return None

    async def read(self, offset: int = 0, n: int = -1) -> bytes:
        return os.pread(self._descriptor, max(self.size - offset, 0) if n < 0 else n, offset)

    @asynccontextmanager
    async def as_file(self) -> AsyncIterator[Path]:
        yield Path(f"/proc/{os.getpid()}/fd/{self._descriptor}")  # by our number: another program's `self` is another


def taken(message_id: str, size: int, descriptor: int) -> Message:
    """In the child: what was lent. A small message is in memory, as it is for an inline hook."""
    if size > SMALL:
        return Handed(message_id, size, descriptor)
    try:
        return MemoryMessage(message_id, os.pread(descriptor, size, 0))
    finally:
        os.close(descriptor)


class Replacements:
    """Where the messages lie that isolated hooks put in place of others."""

    def __init__(self, root: Path, disk: Disk) -> None:
        self._disk, self._parent = disk, root / "run" / "replaced"
        self._files: KeptFiles | None = None  # known from the first use on
        self._placing = threading.Lock()

    async def take(self, message_id: str, size: int, descriptor: int, most: int) -> Message:
        """A copy of what the descriptor holds, which is closed. Nonsense where it is not what was said; OSError when the disk refuses."""
        held = _Held(descriptor)
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode) or found.st_size < size:
            raise Nonsense(f"its Replace is no file of {size} octets")
        if size > most:
            raise Nonsense(f"its Replace has {size} octets, more than the {most} it may have")
        if size > SMALL:
            return await asyncio.to_thread(self._copy, message_id, size, held)
        return MemoryMessage(message_id, held.read(size, 0))

    def _copy(self, message_id: str, size: int, held: _Held) -> FileMessage:
        with self._place().begin() as copy:
            for at in range(0, size, _PIECE):
                copy.write(held.read(min(_PIECE, size - at), at))
        return FileMessage(message_id, copy.path, copy.size)

    def _place(self) -> KeptFiles:
        """This process's own folder; those of processes that are gone go."""
        with self._placing:
            if self._files is None:
                mine = KeptFiles(self._parent / str(os.getpid()), self._disk)
                mine.sweep()  # of another process that had this number
                for left in self._parent.iterdir() if self._parent.is_dir() else ():
                    if left != mine.folder and not Path(f"/proc/{left.name}").exists():
                        clear(left, self._disk)
                self._files = mine
            return self._files


class _Held:
    """A descriptor that is closed when nobody has it any more, also where a thread that was to read it never ran."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        weakref.finalize(self, os.close, descriptor)

    def read(self, n: int, at: int) -> bytes:
        """So many octets; Nonsense where there are fewer by now."""
        data = os.pread(self._descriptor, n, at)
        if len(data) < n:
            raise Nonsense("its Replace became shorter while it was read")
        return data
