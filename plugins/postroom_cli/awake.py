"""A stopped site, awake for a command that changes what only a server may: as a worker has it before it listens.

The server's lock, a journal slot, and a replay of what dead workers left come first, so nothing is taken for lost that a journal still
has, and nobody else serves meanwhile. `Served` where somebody does.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from postroom.errors import PostroomError
from postroom.journal import Journal
from postroom.settings import load
from postroom_cli.opened import opened
from postroom_disk.disk import Disk
from postroom_run.assembly import Assembled


class Served(PostroomError):
    """A server has the site."""


@asynccontextmanager
async def awake(root: Path) -> AsyncIterator[Assembled]:
    """The site, replayed, with journal and store open, and nobody listening. ConfigError, DiskError, Served."""
    with alone(root):
        journal = Journal(root / "Journal", Disk(), load(root).spool.segment)
        journal.open()
        async with opened(root, journal) as parts, _replayed(parts):
            yield parts


@asynccontextmanager
async def _replayed(parts: Assembled) -> AsyncIterator[None]:
    journal, store = parts.site.journal, parts.site.store
    if parts.has_store:
        journal.settle = store.settle
    journal.recover()
    await journal.start()
    try:
        if parts.has_store:
            await store.open()
        try:
            yield
        finally:
            if parts.has_store:
                await store.close()
    finally:
        await journal.close()


@contextmanager
def alone(root: Path) -> Iterator[None]:
    """Hold the lock that a server holds while it serves."""
    disk = Disk()
    disk.make_folders(root / "run")
    fd = disk.open(root / "run" / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Served(f"{root} is being served; stop it first with: postroom stop --site {root}") from None
        yield
    finally:
        disk.close(fd)
