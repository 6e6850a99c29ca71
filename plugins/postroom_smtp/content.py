"""Where the octets of a message lie while it comes in: in memory as long as it is small, then in the file it will keep.

A disk that refuses is remembered as `failed` and the octets that follow are dropped, so the peer can finish and be told to
try again. Memory never grows with the message. `discard` leaves nothing behind, after any failure and at any point.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from postroom.errors import DiskError
from postroom.message import SMALL, FileMessage, MemoryMessage, Message
from postroom_disk.disk import Disk, refused

_PIECE = 64 * 1024  # octets that gather before a write; half a dozen packets, and a write of some 20 µs
_BLOCKS = 128  # blocks in memory before they are joined: a peer that sends octet by octet must not cost 50 octets for each


class Content:
    """One message under way. `size` counts what is kept, trace lines included."""

    __slots__ = ("_big", "_blocks", "_disk", "_fd", "_pending", "_where", "failed", "id", "size")

    def __init__(self, message_id: str, trace: bytes, disk: Disk, where: Callable[[str], Path]) -> None:
        self.id = message_id
        self.size = self._pending = len(trace)
        self.failed: DiskError | None = None
        self._blocks = [trace]
        self._disk, self._where = disk, where
        self._big: Path | None = None
        self._fd = -1

    def add(self, block: bytes) -> None:
        """Keep a block."""
        if not block or self.failed is not None:
            return
        self._blocks.append(block)
        self.size += len(block)
        self._pending += len(block)
        if self.size <= SMALL:
            if len(self._blocks) > _BLOCKS:
                self._blocks = [b"".join(self._blocks)]
        elif self._pending >= _PIECE or self._big is None:
            self._write()

    def head(self) -> bytes | None:
        """The message from its first octet on, as far as it is in memory; None once it streams to disk."""
        if self._big is not None:
            return None
        self._blocks = [b"".join(self._blocks)]
        return self._blocks[0]

    def _write(self) -> None:
        try:
            if self._big is None:
                path = self._where(self.id)
                self._fd = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                self._big = path
            data = b"".join(self._blocks)
            for at in range(0, len(data), SMALL):
                self._disk.write_all(self._fd, data[at : at + SMALL])
        except OSError as error:
            self.failed = refused(error, f"message {self.id}")
        except DiskError as error:  # there is no folder for it
            self.failed = error
        self._blocks, self._pending = [], 0

    def finish(self) -> Message:
        """The whole message; DiskError when the disk did not take it. Not synced yet: `Intake.accept` does that."""
        if self._big is None and self.failed is None:
            return MemoryMessage(self.id, b"".join(self._blocks))
        if self.failed is None:
            self._write()
        self._close()
        if self.failed is not None or self._big is None:
            raise self.failed or DiskError(f"message {self.id} was discarded")
        return FileMessage(self.id, self._big, self.size)

    def _close(self) -> None:
        if self._fd >= 0:
            try:
                self._disk.close(self._fd)
            except OSError as error:  # a delayed write error of a network or quota file system
                self.failed = refused(error, f"message {self.id}")
            self._fd = -1

    def discard(self) -> None:
        """Forget it all. Nothing happens where it was never begun or has been discarded."""
        self._close()
        if self._big is not None:
            try:
                self._disk.unlink(self._big)
            except OSError:  # the disk that failed may fail again; the caretaker sweeps what nobody names
                pass
        self._big, self._blocks, self._pending = None, [], 0
        self.failed = self.failed or DiskError(f"message {self.id} was discarded")
