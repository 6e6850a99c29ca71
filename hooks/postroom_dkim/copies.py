"""Signed copies of large messages: files below `run/dkim/<worker>/` that go with the last handle on them.

A copy is written once: room for the signature is left in front, the body follows block by block, the signature is put in at the end. Nothing is
synced: the original is in the journal's care, and a Replace is for one attempt. What a killed worker left is swept when the next one starts.
"""

from __future__ import annotations

import os
import weakref
from pathlib import Path, PosixPath

from postroom.message import FileMessage, new_id
from postroom_disk.disk import Disk


class Kept(PosixPath):
    """The path of a file that lives as long as this object; whoever copies a handle shares it."""


class Copies:
    """Makes them, in a folder of this worker's own."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._folder, self._disk = folder, disk
        self._mine: set[str] = set()

    def begin(self, room: int) -> Copy:
        """A new file whose first octets are to be written last. OSError."""
        self._disk.make_folders(self._folder)
        path = Kept(self._folder / f"{new_id()}.MAI")
        fd = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._mine.add(path.name)
        weakref.finalize(path, self._forget, path.name)
        return Copy(path, fd, room, self._disk)

    def sweep(self) -> None:
        """Remove what an earlier life of this worker left: the folder is the slot's, and only one worker holds that."""
        try:
            left = [path.name for path in self._folder.iterdir() if path.name not in self._mine]
        except FileNotFoundError:
            return
        for name in left:
            self._forget(name)

    def _forget(self, name: str) -> None:
        self._mine.discard(name)
        try:
            self._disk.unlink(self._folder / name)
        except OSError:  # swept at the next start
            pass


class Copy:
    """One that is being written; `close` it in every case."""

    def __init__(self, path: Kept, fd: int, room: int, disk: Disk) -> None:
        self._path, self._fd, self._room, self._disk = path, fd, room, disk
        self._size = 0

    def write(self, data: bytes) -> None:
        """The next octets behind the room in front. OSError."""
        if not self._size:
            self._disk.write_all(self._fd, bytes(self._room))
            self._size = self._room
        self._disk.write_all(self._fd, data)
        self._size += len(data)

    def finish(self, front: bytes, message_id: str) -> FileMessage:
        """The message, with what fills the room. OSError."""
        if len(front) != self._room:
            raise AssertionError(f"{len(front)} octets for a room of {self._room}")
        done = 0
        while done < len(front):
            done += self._disk.pwrite(self._fd, front[done:], done)
        return FileMessage(message_id, self._path, self._size)

    def close(self) -> None:
        self._disk.close(self._fd)
