"""The private pair: command file and message as the old programs know them, a copy that a program may edit, move or delete.

`lay` writes it, `found` says what the program made of it, `remove` takes away whatever is left, also of a pair that was half laid. The
octets are always a real copy, because stored files are shared by hard link. What a program may have put in the place of a
file (a link, a pipe, somebody else's file) is not followed: ProgramFailed. OSError is the disk's. docs/decisions/0005.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from postroom import commandfile
from postroom.envelope import Envelope
from postroom.message import SMALL, FileMessage, MemoryMessage
from postroom.site import Ground
from postroom.spool import PRIVATE
from postroom_command import marks, readback
from postroom_command.contract import Files, Found, ProgramFailed
from postroom_command.launcher import Account

_MOST_COMMAND: Final = 4 << 20  # octets of a command file that are looked at


class Pair:
    """One private pair of one call."""

    def __init__(self, ground: Ground, connector: str, direction: str, account: Account | None) -> None:
        self._site, self._disk, self._log, self._account = ground.root.absolute(), ground.disk, ground.log, account
        self._queue = (connector, direction)
        self._open: list[int] = []  # lock of the mark, folder of the message, lock of the command file
        self._place: marks.Place | None = None
        self._text = b""
        self._digest = b""
        self._stamp: tuple[int, ...] = ()

    @property
    def place(self) -> marks.Place:
        assert self._place is not None, "laid first"
        return self._place

    def lay(self, envelope: Envelope, octets: Iterable[bytes]) -> None:
        """Write both files, the message first. OSError."""
        connector, direction = self._queue
        item, mark = marks.make(self._site, self._disk, f"{connector}/{direction}", envelope.id)
        self._open.append(mark)
        root = self._site if self._account is None else marks.room(self._site, item)
        self._place = place = marks.place(root, connector, direction, item)
        for folder in (place.message.parent, place.held[1].parent):
            self._make(folder)
        self._write(place.message, octets, envelope)
        self._open.append(self._disk.open(place.message.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        own = {PRIVATE: place.id}  # its own id: a copy under another name is no private pair
        private = replace(envelope, id=place.id, message=place.id, extra={**envelope.extra, **own})
        self._text = commandfile.encode(private, status="Delivering" if direction == "Inbound" else "Unsent")
        self._open.append(self._write_locked(place.command, self._text))
        self._stamp = _stamp(os.stat(place.message))

    def _make(self, folder: Path) -> None:
        """A folder with its parents; in a room all of them are the program's."""
        self._disk.make_folders(folder)
        if self._account is not None:
            for one in (folder, *folder.parents):
                os.chown(one, self._account.uid, self._account.gid)
                if one == self.place.root:
                    return

    def _write(self, path: Path, octets: Iterable[bytes], envelope: Envelope) -> None:
        fd = self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            self._digest = readback.digest(self._written(fd, octets))
            self._give(fd)
        finally:
            self._disk.close(fd)
        long_ago = max(int(envelope.arrived) - 1, 1)  # so that a change shows in the time of the file, however soon it comes
        self._disk.utime(path, (long_ago, long_ago))

    def _written(self, fd: int, octets: Iterable[bytes]) -> Iterator[bytes]:
        for piece in octets:
            self._disk.write_all(fd, piece)
            yield piece

    def _write_locked(self, path: Path, text: bytes) -> int:
        """A command file, locked before it has its name: whoever scans the queue meets it whole and taken."""
        fd = self._disk.open(marks.aside(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._disk.write_all(fd, text)
            self._give(fd)
            self._disk.replace(marks.aside(path), path)
        except BaseException:
            self._disk.close(fd)
            raise
        return fd

    def _give(self, fd: int) -> None:
        if self._account is not None:
            os.fchown(fd, self._account.uid, self._account.gid)

    def files(self) -> Files:
        """The pair as the program is told of it: whole paths, or paths from the room in which it starts."""
        place = self.place
        base = place.root if self._account is None else Path()
        own = place if self._account is None else marks.place(base, *self._queue, place.id)
        return Files(f"{place.id}.MAI", str(own.command), str(own.message), str(base), str(base / "Quarantine"))

    def is_small(self) -> bool:
        """Whether what lies here now is quickly read and removed: not a room, which may hold anything, and no large message."""
        if self._account is not None or len(self._open) < 2:
            return self._account is None
        try:
            status = os.stat(self.place.message.name, dir_fd=self._open[1], follow_symlinks=False)
        except FileNotFoundError:
            return True
        return status.st_size <= SMALL and stat.S_ISREG(status.st_mode)

    def found(self) -> Found:
        """What is left. ProgramFailed where something else lies in the place of a file."""
        held = any(os.path.lexists(path) for path in self.place.held)
        with self._message() as fd:
            has_message, is_changed = fd >= 0, fd >= 0 and self._is_changed(fd)
        return Found(has_message, os.path.lexists(self.place.command), is_changed, held)

    def _is_changed(self, fd: int) -> bool:
        """Whether the message has other octets; one whose line ends only were changed is the same."""
        status = os.fstat(fd)
        if status.st_size > SMALL and _stamp(status) == self._stamp:
            return False
        return self._digest not in (readback.digest(readback.chunks(fd)), readback.digest(readback.mended(readback.chunks(fd))))

    def taken(self, message_id: str, *, binary: bool) -> MemoryMessage | FileMessage:
        """The message as the program left it. ProgramFailed when nothing is in it."""
        with self._message() as fd:
            if fd < 0 or not os.fstat(fd).st_size:
                raise ProgramFailed("left an empty message")
            folder = marks.place(self._site, *self._queue, self.place.id).message.parent
            return readback.taken(fd, message_id, folder, self._disk, binary=binary)

    @contextmanager
    def _message(self) -> Iterator[int]:
        """The message as it lies there now, opened; -1 where it does not."""
        try:
            fd = os.open(self.place.message.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=self._open[1])
        except FileNotFoundError:
            yield -1
            return
        except OSError as error:
            raise ProgramFailed(f"left a message that cannot be read: {error.strerror}") from None
        try:
            status = os.fstat(fd)
            owner = os.geteuid() if self._account is None else self._account.uid
            if not stat.S_ISREG(status.st_mode) or status.st_uid != owner:
                raise ProgramFailed("left something in the place of the message that is no file of its own")
            yield fd
        finally:
            os.close(fd)

    def is_edited(self) -> bool:
        """Whether the command file says something else now."""
        try:
            fd = os.open(self.place.command, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            return stat.S_ISREG(os.fstat(fd).st_mode) and os.pread(fd, _MOST_COMMAND, 0) != self._text
        finally:
            os.close(fd)

    def remove(self, *, copies: bool = True) -> None:
        """Take it away; with `copies` also what the program put into quarantine, else that stays as an item of its own.

        What the disk refuses is logged, and swept by the next process: the mark stays."""
        place = self._place
        try:
            if place is not None:
                if not copies:
                    self._release(place.held[0])
                marks.remove(place, self._disk, held=copies)
                if self._account is not None:
                    marks.clear(place.root, self._disk)
                marks.gone(marks.marks(self._site) / place.id, self._disk)
        except OSError as error:
            self._log.warning("command.left_over", pair=place.id if place else "", error=str(error))
        finally:
            self._place = None
            while self._open:
                self._disk.close(self._open.pop())

    def _release(self, path: Path) -> None:
        """A copy of the command file that a program left in quarantine is nobody's private pair."""
        if self._account is not None or path.is_symlink() or not path.is_file() or path.stat().st_size > _MOST_COMMAND:
            return
        text = path.read_bytes()
        if text.startswith(b"Recipients="):
            kept = b"".join(line for line in text.splitlines(keepends=True) if not line.startswith(PRIVATE.encode() + b"="))
            self._disk.close(self._write_locked(path, kept))


def _stamp(status: os.stat_result) -> tuple[int, ...]:
    """What changes with every write."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
