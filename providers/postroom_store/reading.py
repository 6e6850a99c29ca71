"""Whole texts of many messages, out of their files. Blocks as long as the disk takes; who asks for many asks for some at a time.

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
_FILE: Final = os.O_RDONLY | os.O_CLOEXEC


def read_whole(directory: str, ids: Sequence[str], octets: Sequence[int]) -> list[bytes]:
    """The texts of these messages, each at most as long as its index says. The way to the folder is walked once, not once a file: that is
    half of what a small message costs."""
    try:
        folder = os.open(directory, _FOLDER)
    except FileNotFoundError:
        raise NoSuchMessage(f"{directory} is gone") from None
    except OSError as error:
        raise refused(error, "reading a folder") from error
    try:
        return [_read(folder, message_id + layout.SUFFIX, size) for message_id, size in zip(ids, octets)]
    except FileNotFoundError as error:
        raise NoSuchMessage(f"a message in {directory} is gone") from error
    except OSError as error:
        raise refused(error, "reading a message") from error
    finally:
        os.close(folder)


def _read(folder: int, name: str, size: int) -> bytes:
    fd = os.open(name, _FILE, dir_fd=folder)
    try:
        return os.pread(fd, size, 0)
    finally:
        os.close(fd)
