"""What is kept beside a folder under names of its own: special uses, rights of others, annotations. One small file a folder.

The file `.attributes` is JSON, an object of texts; octets that are no UTF-8 are kept as lone surrogates. It is put in place whole, so a crash
leaves the old one or the new one, and it goes where its folder goes. One that cannot be read is a DamagedFile: nothing is written over it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from postroom.errors import NoSuchFolder, StoreError
from postroom_disk.disk import DamagedFile
from postroom_store.beginning import is_folder, mailbox_lock, make_directories
from postroom_store.means import Means

FILE = ".attributes"  # a hidden name: no folder's
MOST = 1 << 20  # octets all attributes of one folder may have together


def read(directory: str) -> dict[str, bytes]:
    """All of them, by name. OSError, DamagedFile."""
    try:
        kept = json.loads(Path(directory, FILE).read_text("ascii"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except ValueError as error:
        raise DamagedFile(f"{directory}/{FILE}", str(error)) from None
    if not isinstance(kept, dict) or not all(isinstance(value, str) for value in kept.values()):
        raise DamagedFile(f"{directory}/{FILE}", "it is not an object of texts")
    return {name: value.encode("utf-8", "surrogateescape") for name, value in kept.items()}


def change(means: Means, mailbox: str, directory: str, changes: Mapping[str, bytes | None]) -> None:
    """Set those, and remove those that are None. In a thread; durable on return. NoSuchFolder; StoreError where they get too large."""
    if directory == mailbox:
        make_directories(means, mailbox)
    with mailbox_lock(means, mailbox):
        if directory != mailbox and not is_folder(directory):
            raise NoSuchFolder("the folder is gone")
        before = read(directory)
        after = {name: value for name, value in {**before, **changes}.items() if value is not None}
        if after == before:
            return
        kept = {name: value.decode("utf-8", "surrogateescape") for name, value in sorted(after.items())}
        octets = json.dumps(kept, indent=1).encode()
        if len(octets) > MOST:
            raise StoreError(f"the attributes of one folder may have {MOST} octets together, these have {len(octets)}")
        means.disk.write_aside(Path(directory, FILE), octets)
