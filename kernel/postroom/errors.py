"""Every error the kernel raises on purpose, by whose move it is.

The peer was wrong: a connector answers it, no exception travels. The world was wrong: `SpoolError` and its kin, the caller
keeps what it holds and tries again. The operator was wrong: `ConfigError`, which says where and what to do. We were wrong:
any other exception, which nobody catches below an agent's loop.
"""

from __future__ import annotations

from dataclasses import dataclass

from postroom_disk.disk import DiskError as DiskError
from postroom_disk.disk import SpoolError as SpoolError


class PostroomError(Exception):
    """The root of what postroom raises on purpose."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a record or a setting was read: a file with its line, or a table with its key."""

    where: str
    line: int = 0

    def __str__(self) -> str:
        return f"{self.where}:{self.line}" if self.line else self.where


class ConfigError(PostroomError):
    """The operator's move: names file, line, key and remedy as far as they are known."""

    def __init__(self, what: str, *, origin: Origin | None = None, key: str = "", remedy: str = "") -> None:
        self.what, self.origin, self.key, self.remedy = what, origin, key, remedy
        where = f"{origin}: " if origin else ""
        about = f"{key}: " if key else ""
        super().__init__(f"{where}{about}{what}{'. ' + remedy if remedy else ''}")


class AddressError(PostroomError, ValueError):
    """A text is no internal address or mask; the message quotes it."""


class CommandFileError(PostroomError, ValueError):
    """A command file cannot be read as an envelope; its pair is set aside in Bad Mail."""


class StoreError(PostroomError):
    """The mailbox repository refused a request; its subclasses say why."""


class NoSuchMailbox(StoreError):
    """The mailbox is not known to the post office provider, or is disabled."""


class NoSuchFolder(StoreError):
    """The mailbox has no folder of that name."""


class FolderExists(StoreError):
    """A folder of that name is there already."""


class NoSuchMessage(StoreError):
    """The UID names no message of the folder, or one that was expunged meanwhile."""


class OverQuota(StoreError):
    """The mailbox is full; nothing was stored."""


class RecordError(PostroomError, ValueError):
    """A provider was asked to keep a record that it cannot hold; the message says which field and why."""
