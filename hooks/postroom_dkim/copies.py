"""Signed copies of large messages: files below `run/dkim/<worker>/` that go with the last handle on them (`postroom_disk.kept`).

A copy is written once: room for the signature is left in front, the body follows block by block, the signature is put in at the end. Nothing is
synced: the original is in the journal's care, and a Replace is for one attempt. What a killed worker left is swept when the next one starts.
"""

from __future__ import annotations

from pathlib import Path

from postroom.message import FileMessage
from postroom_disk.disk import Disk
from postroom_disk.kept import KeptFiles, Writing


class Copies:
    """Makes them, in a folder of this worker's own."""

    def __init__(self, folder: Path, disk: Disk) -> None:
        self._files = KeptFiles(folder, disk)

    def begin(self, room: int) -> Copy:
        """A new file whose first octets are to be written last. OSError."""
        return Copy(self._files.begin(), room)

    def sweep(self) -> None:
        """Remove what an earlier life of this worker left: the folder is the slot's, and only one worker holds that."""
        self._files.sweep()


class Copy:
    """One that is being written; `close` it in every case: what was not finished by then is gone."""

    def __init__(self, file: Writing, room: int) -> None:
        self._file, self._room = file, room
        self._is_finished = False

    def write(self, data: bytes) -> None:
        """The next octets behind the room in front. OSError."""
        if not self._file.size:
            self._file.write(bytes(self._room))
        self._file.write(data)

    def finish(self, front: bytes, message_id: str) -> FileMessage:
        """The message, with what fills the room. OSError."""
        if len(front) != self._room:
            raise AssertionError(f"{len(front)} octets for a room of {self._room}")
        self._file.overwrite(front)
        self._is_finished = True
        return FileMessage(message_id, self._file.path, self._file.size)

    def close(self) -> None:
        if self._is_finished:
            self._file.close()
        else:
            self._file.drop()
