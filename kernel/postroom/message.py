"""Bytes that nobody has read yet.

A `Message` is a handle: where the bytes lie (memory, a file, far away) is its own business, and they never change in place.
An edited message is another Message. Its id is 32 upper-case hexadecimal digits and names its file wherever it rests.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from postroom_disk.ids import derived_id as derived_id  # the kernel's names for items and messages
from postroom_disk.ids import new_id as new_id
from postroom_disk.ids import part_id as part_id

SMALL = 256 * 1024  # octets; up to here a message is accepted into the journal, beyond it streams into a file of its own


class Message(Protocol):
    """An RFC 5322 text with CRLF line ends, as it was accepted."""

    @property
    def id(self) -> str:
        """32 upper-case hexadecimal digits."""

    @property
    def size(self) -> int:
        """Octets."""

    def peek(self) -> bytes | None:
        """All of it where it lies in this process's memory, else None; never waits."""

    async def read(self, offset: int = 0, n: int = -1) -> bytes:
        """Up to n octets from offset (all that follows where n is negative); short only at the end. DiskError when the store fails."""

    def as_file(self) -> AbstractAsyncContextManager[Path]:
        """A path on this machine to read from, valid inside the block; never to be written to."""


@dataclass(frozen=True, slots=True)
class MemoryMessage:
    """A small message in memory; the journal has it too if it was accepted."""

    id: str
    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def peek(self) -> bytes | None:
        return self.data

    async def read(self, offset: int = 0, n: int = -1) -> bytes:
        return self.data[offset:] if n < 0 else self.data[offset : offset + n]

    @asynccontextmanager
    async def as_file(self) -> AsyncIterator[Path]:
        with tempfile.NamedTemporaryFile(prefix="postroom-", suffix=".MAI") as file:
            file.write(self.data)
            file.flush()
            yield Path(file.name)


@dataclass(frozen=True, slots=True)
class FileMessage:
    """A message in a file of its own, which whoever made it keeps in place for as long as the handle is in use."""

    id: str
    path: Path
    size: int

    def peek(self) -> bytes | None:
        return None

    async def read(self, offset: int = 0, n: int = -1) -> bytes:
        fd = os.open(self.path, os.O_RDONLY)
        try:
            return os.pread(fd, max(self.size - offset, 0) if n < 0 else n, offset)
        finally:
            os.close(fd)

    @asynccontextmanager
    async def as_file(self) -> AsyncIterator[Path]:
        yield self.path
