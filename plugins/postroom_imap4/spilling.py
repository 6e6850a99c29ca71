"""Large literals on their way in: each in a file of its own below the site's `run` folder, so that memory never grows with a message.

The files are no message yet: nothing was promised for them, none is synced, and what a crash leaves goes at the next start. DiskError where the
disk refuses; then nothing of the literal stays.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from postroom.message import FileMessage, new_id
from postroom_disk.disk import Disk, refused


class Spills:
    """The folder of one worker; nobody else writes there."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self.folder, self.disk = folder, disk

    def open(self) -> None:
        """Remove what an earlier process left. A disk that refuses is met again by who wants to write."""
        with suppress(OSError):
            for path in self.folder.iterdir():
                self.disk.unlink(path)

    def begin(self, size: int) -> SpillFile:
        """A file for a literal of that many octets."""
        path = self.folder / f"{new_id()}.part"
        try:
            return SpillFile(self._create(path), path, size, self.disk)
        except OSError as error:
            raise refused(error, f"storing {size} octets of a client") from error

    def _create(self, path: Path) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        try:
            return self.disk.open(path, flags, 0o600)
        except FileNotFoundError:
            self.disk.make_folders(self.folder)
            return self.disk.open(path, flags, 0o600)


class SpillFile:
    """One literal as it arrives."""

    def __init__(self, fd: int, path: Path, size: int, disk: Disk) -> None:
        self._fd: int | None = fd
        self._path, self._size, self._disk = path, size, disk

    def write(self, data: bytes) -> None:
        assert self._fd is not None, "nothing is written behind the end"
        try:
            self._disk.write_all(self._fd, data)
        except OSError as error:
            self.abandon()
            raise refused(error, "storing what a client sends") from error

    def done(self) -> SpilledOctets:
        self._shut()
        return SpilledOctets(self._path, self._size, self._disk)

    def abandon(self) -> None:
        self._shut()
        with suppress(OSError):
            self._disk.unlink(self._path)

    def _shut(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            self._disk.close(fd)


class SpilledOctets:
    """A literal that lies in its file until it is closed."""

    def __init__(self, path: Path, size: int, disk: Disk) -> None:
        self.path, self.size, self._disk = path, size, disk
        self._is_open = True

    def peek(self) -> bytes | None:
        return None

    async def read(self, offset: int = 0, n: int = -1) -> bytes:
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                return os.pread(fd, self.size - offset if n < 0 else n, offset)
            finally:
                os.close(fd)
        except OSError as error:
            raise refused(error, "reading what a client sent") from error

    def close(self) -> None:
        if self._is_open:
            self._is_open = False
            with suppress(OSError):
                self._disk.unlink(self.path)

    def message(self) -> FileMessage:
        """As a message, valid until it is closed."""
        return FileMessage(new_id(), self.path, self.size)
