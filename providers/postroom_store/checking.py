"""What is wrong with a mailbox on disk, said and, where asked, set right. Runs in a thread. No UID changes while a folder's log lives."""

from __future__ import annotations

import os

from postroom.errors import NoSuchFolder
from postroom_store import beginning, columns, indexing, layout, mending, tree, walking
from postroom_store.folder import LocalFolder
from postroom_store.means import Means
from postroom_store.records import salvage


def check(means: Means, postoffice: str, name: str, *, repair: bool) -> list[str]:
    """A sentence each. OSError when the disk refuses."""
    path = means.names.mailbox(postoffice, name)
    if not tree.is_there(path):
        return []
    said = _twins(walking.folders(path))
    for shown, directory in walking.folders(path):
        said += check_folder(LocalFolder(means, (postoffice, name, shown), directory, path), repair=repair)
    if repair:
        for directory in [path, *walking.below(path)]:
            tree.sweep(means, directory)
    return said


def check_folder(folder: LocalFolder, *, repair: bool) -> list[str]:
    means, path = folder.means, folder.directory
    said = []
    try:
        folder.log.size()
    except NoSuchFolder:
        said.append(f"{folder.name}: there is no log")
        if not repair:
            return said
        beginning.begin(means, folder.mailbox_path, path, make=False)
    try:
        said += _check_log(folder, repair) + _check_view(folder, repair)
    except NoSuchFolder:
        said.append(f"{folder.name}: the log lost its beginning; the folder gets a new UIDVALIDITY")
        beginning.begin(means, folder.mailbox_path, path, make=False)
    finally:
        folder.log.shut()
    return said + indexing.index(folder, repair=repair)


def _check_log(folder: LocalFolder, repair: bool) -> list[str]:
    """Damage in the middle of a log, which nothing but reading it all finds."""
    with folder.log.hold_now():
        size = folder.log.size()
        found, intact = salvage(mending.read_all(folder.log.fd, size))
        if intact == size:
            return []
        if repair:
            generation = max(record.tail.generation for record in found) + 1
            mending.rewrite(folder.means, folder.directory, folder.log.fd, found, generation)
    folder.forget_state()
    return [f"{folder.name}: the log is damaged at octet {intact}; {len(found)} records are whole"]


def _check_view(folder: LocalFolder, repair: bool) -> list[str]:
    """A view that is not what the log adds up to; it is derived and may be removed at any time."""
    path = f"{folder.directory}/{layout.VIEW}"
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            saved = columns.load(file.read(), folder.means.epoch)
    except FileNotFoundError:
        return []
    with folder.log.hold_now():
        if saved is None or saved.began != folder.log.began:
            return []
        anew = columns.Columns()
        anew.apply(mending.read_all(folder.log.fd, saved.covered))
        saved.work = anew.work
        if saved.save() == anew.save():
            return []
        if repair:
            folder.means.disk.unlink(path)
            folder.forget_state()
    return [f"{folder.name}: the view is not what the log says"]


def _twins(found: list[tuple[str, str]]) -> list[str]:
    seen: dict[str, str] = {}
    said = []
    for name, path in found:
        if other := seen.get(layout.key(name)):
            said.append(f"{name}: {os.path.basename(path)} and {os.path.basename(other)} are two directories of one name")
        seen.setdefault(layout.key(name), path)
    return said
