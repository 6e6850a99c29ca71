"""How a folder begins: its directory, its identity, the first record of its log.

A UIDVALIDITY is the time in seconds, or one more than the highest the mailbox ever gave out where a clock was set back or two folders
begin in one second. So a folder of an old name never meets numbers that a client may remember.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from postroom.errors import NoSuchFolder
from postroom_store import files, forgotten, layout, walking
from postroom_store.log import FolderLog
from postroom_store.means import Means
from postroom_store.records import Birth


@contextmanager
def mailbox_lock(means: Means, mailbox: str) -> Iterator[None]:
    """The lock under which the tree of a mailbox changes. Held by threads and for short calls, never across an await."""
    fd = means.disk.open(mailbox, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        means.disk.close(fd)


def begin(means: Means, mailbox: str, path: str, *, make: bool, durable: bool = False, birth: Birth | None = None) -> None:
    """Begin the log of the folder in directory `path`, unless it has one. NoSuchFolder when it has no directory and `make` is not said.

    Runs in a thread, for the lock may be taken. Message files that are there without a log are marked to be indexed. OSError when the disk refuses."""
    if not is_folder(path):
        if not make:
            raise missing(path)
        make_directories(means, path)
    with mailbox_lock(means, mailbox):
        _bring_back(means, path, make=make)
        if os.path.exists(f"{path}/{layout.LOG}") and os.path.getsize(f"{path}/{layout.LOG}"):
            return
        if has_messages(path):
            mark_changed(means, path)
        FolderLog(means, path).begin(birth or new_birth(means, mailbox), durable=durable)
    if durable:
        sync_up(means, path)


def missing(path: str) -> NoSuchFolder:
    """For people, clients among them: the folder's own name, and nothing of where it lies."""
    return NoSuchFolder(f"there is no folder {layout.decode(path.rpartition('/')[2])}")


def is_folder(path: str) -> bool:
    """Whether there is such a directory, and it is not one that was deleted and only holds others."""
    return os.path.isdir(path) and not os.path.exists(f"{path}/{layout.DELETED}")


def _bring_back(means: Means, path: str, *, make: bool) -> None:
    """Under the mailbox's lock, so that nobody clears away what another has just begun: a deleted folder that holds others is one again."""
    deleted = f"{path}/{layout.DELETED}"
    if os.path.exists(deleted):
        if not make:
            raise missing(path)
        clear(means, path, keep=layout.DELETED)
        means.disk.unlink(deleted)


def make_directories(means: Means, path: str) -> None:
    """Make a directory and its parents where missing; not yet durable."""
    try:
        means.disk.mkdir(path, 0o700)
        means.names.made(path)
    except FileNotFoundError:
        make_directories(means, path.rsplit("/", 1)[0])
        make_directories(means, path)
    except FileExistsError:
        pass


def clear(means: Means, path: str, *, keep: str) -> None:
    """Remove the files in a directory but the one named `keep`."""
    with os.scandir(path) as entries:
        names = [entry.path for entry in entries if entry.is_file(follow_symlinks=False) and entry.name != keep]
    for name in names:
        files.remove(means.disk, name)


def sync_up(means: Means, path: str) -> None:
    """Make the names from the site's folder down to this directory durable."""
    root = str(means.root)
    while path != root and path.startswith(root):
        path = path.rsplit("/", 1)[0]
        means.disk.sync_folder(path)


def new_birth(means: Means, mailbox: str) -> Birth:
    return Birth(os.urandom(8), max(int(means.clock.now()), highest_uidvalidity(means, mailbox) + 1) & 0xFFFFFFFF, 1, 1)


def highest_uidvalidity(means: Means, mailbox: str) -> int:
    """The highest UIDVALIDITY a mailbox gave out that could still be met."""
    highest = forgotten.load(mailbox).uidvalidity
    for _, path in walking.folders(mailbox):
        highest = max(highest, uidvalidity_of(means, path))
    return highest


def uidvalidity_of(means: Means, path: str) -> int:
    """Of the folder in this directory; 0 where it has none yet."""
    log = FolderLog(means.apart(), path)
    try:
        log.size()
        return log.birth.uidvalidity
    except NoSuchFolder:
        return 0
    finally:
        log.shut()


def path_of(means: Means, mailbox: str, object_id: bytes) -> str | None:
    """Where in a mailbox the folder of this identity lies now; None where it was deleted."""
    for _, path in walking.folders(mailbox):
        log = FolderLog(means.apart(), path)
        with suppress(NoSuchFolder):
            log.size()
            log.shut()
            if log.birth.object_id == object_id:
                return path
    return None


def has_messages(path: str) -> bool:
    with os.scandir(path) as entries:
        return any(entry.name.casefold().endswith(layout.SUFFIX.casefold()) and not entry.name.startswith(".") for entry in entries)


def mark_changed(means: Means, path: str) -> None:
    """Leave the word that this folder is to be indexed."""
    fd = means.disk.open(f"{path}/{layout.CHANGED}", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        means.disk.write_all(fd, b"index")
    finally:
        means.disk.close(fd)
