"""Texts out of messages' files: of one whether or not that takes a disk, of many at once. The latter blocks as long as the disk takes; who asks for
many asks for some at a time.

NoSuchMessage: one of the files is gone, the others have to be asked for one by one. DiskError: the disk refuses.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final

from postroom.errors import NoSuchMessage
from postroom_disk.disk import refused
from postroom_store import layout

_FOLDER: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_LOUD: Final = os.O_RDONLY | os.O_CLOEXEC
_FILE: Final = _LOUD | getattr(os, "O_NOATIME", 0)  # a first read writes no time into the inode: a quarter of what it costs; the owner may
_NOWAIT: Final = getattr(os, "RWF_NOWAIT", 0)  # of Linux; elsewhere everything counts as at hand
_OCTET: Final = bytearray(1)  # nobody looks into it


def read_part(path: str, offset: int, n: int, *, waits: bool = True) -> bytes | None:
    """Octets of a file; without `waits` None where they are not in memory, as far as the system tells by the first of them. OSError."""
    return _part(path, offset, n, waits)


def _part(path: str, offset: int, n: int, waits: bool, folder: int | None = None) -> bytes | None:
    try:
        fd = os.open(path, _FILE, dir_fd=folder)
    except PermissionError:  # somebody else's file
        fd = os.open(path, _LOUD, dir_fd=folder)
    try:
        return os.pread(fd, n, offset) if waits or _is_at_hand(fd, offset) else None
    finally:
        os.close(fd)


def _is_at_hand(fd: int, offset: int) -> bool:
    try:
        os.preadv(fd, (_OCTET,), offset, _NOWAIT)
    except BlockingIOError:
        return False
    except OSError:  # a file system that does not tell, or an error that whoever reads meets
        pass
    return True


def read_whole(directory: str, ids: Sequence[str], octets: Sequence[int], *, waits: bool = True) -> list[bytes]:
    """The texts of these messages, each at most as long as its index says; without `waits` those before the first that is not in memory. The way to
    the folder is walked once, not once a file: that is half of what a small message costs."""
    try:
        folder = os.open(directory, _FOLDER)
    except FileNotFoundError:
        raise NoSuchMessage(f"{directory} is gone") from None
    except OSError as error:
        raise refused(error, "reading a folder") from error
    try:
        found = []
        for message_id, size in zip(ids, octets):
            text = _part(message_id + layout.SUFFIX, 0, size, waits, folder)
            if text is None:
                break
            found.append(text)
        return found
    except FileNotFoundError as error:
        raise NoSuchMessage(f"a message in {directory} is gone") from error
    except OSError as error:
        raise refused(error, "reading a message") from error
    finally:
        os.close(folder)
