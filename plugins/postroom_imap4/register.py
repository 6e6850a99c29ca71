"""Who shares folders with whom: a hint on disk, so that LIST need not look into every mailbox of a post office.

`SITE/Sharing/<postoffice>/<identifier>/<owner>` is an empty file: some folder of the owner's may have an entry for that identifier. The folder's own
rights (rights.py) decide, never this: a file too many costs a look, a missing one hides folders from LIST, and comes back when they are
opened by name or the owner looks at his rights. So it is written before the rights are. `<owner>/<OWN>` says that a mailbox has any rights at all.

Names are made file names by `component`, which is reversible. Durable on return of `add`; DiskError when the disk refuses. Workers share the
folders and no memory: what is remembered of a directory is good as long as its time of change is, and is not remembered while that is fresh.
"""

from __future__ import annotations

import os
import re
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Final
from urllib.parse import quote, unquote

from postroom.errors import StoreError
from postroom_disk.disk import Disk, refused

FOLDER: Final = "Sharing"
OWN: Final = "="  # no identifier: says that the owner's folders may have rights of their own
_LONGEST: Final = 250  # octets of a file name
_FRESH: Final = 2.0  # seconds for which a directory's time of change may hide another change
_MOST: Final = 4096  # directories remembered
_SAFE: Final = " $@=+,!~"
_DOTS: Final = re.compile(r"^\.")


@lru_cache(maxsize=4096)
def component(name: str) -> str:
    """A name as a file's. StoreError where it is too long for one."""
    found = _DOTS.sub("%2E", quote(name, safe=_SAFE))
    if not found or len(found) > _LONGEST:
        raise StoreError("the name is too long to share with")
    return found


class Register:
    """One site's, for a worker."""

    def __init__(self, root: Path, disk: Disk, now: Callable[[], float]) -> None:
        self._root, self._disk, self._now = root, disk, now
        self._known: OrderedDict[str, tuple[int, frozenset[str]]] = OrderedDict()

    def owners(self, postoffice: str, identifier: str) -> frozenset[str]:
        """Mailboxes, by key, that may share with this identifier. None where the disk cannot be read: it is a hint."""
        try:
            return self._listed(self._directory(postoffice, identifier))
        except (OSError, StoreError):
            return frozenset()

    def has(self, postoffice: str, identifier: str, owner: str) -> bool:
        return owner in self.owners(postoffice, identifier)

    def add(self, postoffice: str, identifier: str, owner: str) -> None:
        """Durable on return; nothing is written where it is there already. Takes a file, once for two people. DiskError."""
        directory = self._directory(postoffice, identifier)
        path = f"{directory}/{component(owner)}"
        if Path(path).exists():
            return
        try:
            self._disk.make_durable_folders(Path(directory), self._root)
            self._disk.close(self._disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self._disk.sync_folder(directory)
        except OSError as error:
            raise refused(error, "noting who shares folders") from error

    def remove(self, postoffice: str, identifier: str, owner: str) -> None:
        """It turned out to say nothing; what the disk refuses stays."""
        with suppress(OSError, StoreError):
            self._disk.unlink(f"{self._directory(postoffice, identifier)}/{component(owner)}")

    def _directory(self, postoffice: str, identifier: str) -> str:
        return f"{self._root}/{FOLDER}/{component(postoffice)}/{component(identifier)}"

    def _listed(self, directory: str) -> frozenset[str]:
        try:
            changed = os.stat(directory).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return frozenset()
        known = self._known.get(directory)
        if known is not None and known[0] == changed:
            self._known.move_to_end(directory)
            return known[1]
        found = frozenset(map(unquote, os.listdir(directory)))
        if self._now() - changed / 1e9 > _FRESH:
            self._known[directory] = changed, found
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
        return found
