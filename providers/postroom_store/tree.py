"""The tree of a mailbox changed: folders made, deleted, renamed; a mailbox removed. Runs in a thread; durable on return.

Each change has one moment at which it happens: a directory's rename, or a mark that says "deleted". What a crash leaves before it is
the old tree, after it the new one with some files to clear away. Logs below are told before, so that no other worker writes into what is leaving.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from postroom.errors import FolderExists, NoSuchFolder, StoreError
from postroom.message import new_id
from postroom_store import files, layout, mending, walking
from postroom_store.beginning import begin, clear, mailbox_lock, make_directories, sync_up
from postroom_store.compaction import all_ids, keep_in_mind
from postroom_store.folder import LocalFolder
from postroom_store.means import Means
from postroom_store.records import NAMED

_GONE = ".gone."  # a directory that is being cleared away


def is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.exists(f"{path}/{layout.DELETED}")


def create(means: Means, mailbox: str, name: str) -> str:
    """Make a folder and its parents; the directory of the folder."""
    make_directories(means, mailbox)
    path = means.names.folder(mailbox, name)
    if is_folder(path):
        raise FolderExists(f"there is a folder {name} already")
    levels = name.split("/")
    for depth in range(1, len(levels) + 1):
        parent = means.names.folder(mailbox, "/".join(levels[:depth]))
        if depth == len(levels) or not is_folder(parent):
            begin(means, mailbox, parent, make=True, durable=True)
    return path


def delete(folder: LocalFolder) -> None:
    """A folder with its messages, without its children."""
    means, path = folder.means, folder.directory
    with mailbox_lock(means, folder.mailbox_path):
        forget(means, [folder], folder.mailbox_path)
        with folder.log.hold_now():
            mending.say_moved(means, folder.log.fd)
            if walking.subdirectories(path):
                means.disk.write_aside(Path(path, layout.DELETED), b"")
            else:
                put_away(means, path)
        folder.log.shut()
        if is_there(path):
            clear(means, path, keep=layout.DELETED)
        else:
            path = _put_away_empty(means, path.rsplit("/", 1)[0], folder.mailbox_path)
    sweep(means, path.rsplit("/", 1)[0])


def _put_away_empty(means: Means, path: str, mailbox: str) -> str:
    """Directories that only stood for their children go with the last of them; the last that went, or a name below one that stays."""
    sweep(means, path)
    last = f"{path}/"
    while path != mailbox and os.path.exists(f"{path}/{layout.DELETED}") and not walking.subdirectories(path):
        put_away(means, path)
        last = path
        path = path.rsplit("/", 1)[0]
    return last


def rename(means: Means, mailbox: str, old: str, new: str) -> tuple[str, str]:
    """A folder with its children; its directories before and after."""
    source, target = means.names.folder(mailbox, old), means.names.folder(mailbox, new)
    if not is_folder(source):
        raise NoSuchFolder(f"there is no folder {old}")
    if layout.key(new).startswith(layout.key(old) + "/"):
        raise StoreError(f"{old} cannot be moved into itself")
    if layout.key(old) == layout.key(new):
        target = f"{source.rsplit('/', 1)[0]}/{layout.encode(new.rsplit('/', 1)[-1])}"
        if source == target:
            raise FolderExists(f"there is a folder {new} already")
    elif is_there(target):
        raise FolderExists(f"there is a folder {new} already")
    parent = target.rsplit("/", 1)[0]
    if parent != mailbox and not is_folder(parent):
        create(means, mailbox, new.rsplit("/", 1)[0])
    with mailbox_lock(means, mailbox), ExitStack() as locks:
        for path in sorted([source, *walking.below(source)]):
            _announce(means, path, locks)
        means.disk.rename(source, target)
        sync_up(means, target)
        means.disk.sync_folder(source.rsplit("/", 1)[0])
    return source, target


def _announce(means: Means, path: str, locks: ExitStack) -> None:
    """Lock a log and give it another generation: who has it open looks again where it lies."""
    folder = LocalFolder(means, ("", "", ""), path, path)
    if not os.path.exists(f"{path}/{layout.LOG}"):
        return
    means.descriptors.more()
    held = locks.enter_context(folder.log.hold_now())
    held.stage(NAMED, held.modseq, generation=folder.log.generation + 1)
    held.commit()


def remove(means: Means, mailbox: str, folders: Sequence[LocalFolder]) -> None:
    """All of a mailbox. Only the ids stay that a journal could bring back."""
    if not is_there(mailbox):
        return
    with mailbox_lock(means, mailbox):
        forget(means, folders, mailbox)
        for folder in folders:
            with suppress(NoSuchFolder), folder.log.hold_now():
                mending.say_moved(means, folder.log.fd)
            folder.log.shut()
        for component in walking.subdirectories(mailbox):
            put_away(means, f"{mailbox}/{component}")
        clear(means, mailbox, keep=layout.FORGOTTEN)
    sweep(means, mailbox)
    means.disk.sync_folder(mailbox)


def forget(means: Means, folders: Sequence[LocalFolder], mailbox: str) -> None:
    """Under the mailbox's lock: keep the ids of all messages these folders ever had in mind."""
    ids: list[str] = []
    for folder in folders:
        with suppress(NoSuchFolder), folder.log.hold_now():  # a directory that only holds others has no log
            folder.refresh()
            ids += all_ids(folder)
    keep_in_mind(means, mailbox, ids)


def put_away(means: Means, path: str) -> None:
    """The moment at which a directory is gone: it gets a hidden name, durably."""
    parent = path.rsplit("/", 1)[0]
    means.disk.rename(path, f"{parent}/{_GONE}{new_id()}")
    means.disk.sync_folder(parent)


def sweep(means: Means, parent: str) -> None:
    """Clear away what was put away in this directory, now or before a crash."""
    with os.scandir(parent) as entries:
        gone = [entry.path for entry in entries if entry.name.startswith(_GONE)]
    for path in gone:
        _remove_tree(means, path)


def _remove_tree(means: Means, path: str) -> None:
    with os.scandir(path) as entries:
        found = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for inner, is_directory in found:
        if is_directory:
            _remove_tree(means, inner)
        else:
            files.remove(means.disk, inner)
    means.disk.rmdir(path)


def is_there(path: str) -> bool:
    return os.path.isdir(path)
