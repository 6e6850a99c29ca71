"""The tree of a mailbox changed: folders made, deleted, renamed; a mailbox removed. Runs in a thread; durable on return.

Each change has one moment at which it happens: a directory's rename, or a mark that says "deleted". What a crash leaves before it is
the old tree, after it the new one with some files to clear away. Logs below are told before, so that no other worker writes into what is leaving.
"""

from __future__ import annotations

import os
from contextlib import ExitStack, suppress
from pathlib import Path

from postroom.errors import FolderExists, NoSuchFolder, StoreError
from postroom.message import new_id
from postroom_store import expunged, files, layout, mending, sweeping, walking
from postroom_store.beginning import begin, clear, is_folder, mailbox_lock, make_directories, sync_up
from postroom_store.compaction import all_ids, keep_in_mind
from postroom_store.folder import LocalFolder
from postroom_store.means import Means
from postroom_store.records import NAMED

_GONE = ".gone."  # a directory that is being cleared away


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
    means = folder.means
    path = lies = folder.directory
    with mailbox_lock(means, folder.mailbox_path):
        with folder.log.hold_now():  # nothing comes in from here on that would not be kept in mind
            folder.refresh()
            keep_in_mind(means, folder.mailbox_path, all_ids(folder))
            sweeping.left_behind(folder, folder.keeping())
            mending.say_moved(means, folder.log.fd)
            if walking.subdirectories(path):
                means.disk.write_aside(Path(path, layout.DELETED), b"")
            else:
                lies = put_away(means, path)
        _keep_all(folder, lies)
        folder.log.shut()
        if is_there(path):
            clear(means, path, keep=layout.DELETED)
        else:
            path = _put_away_empty(means, path.rsplit("/", 1)[0], folder.mailbox_path)
    sweep(means, path.rsplit("/", 1)[0])


def _keep_all(folder: LocalFolder, lies: str) -> None:
    """The messages of a folder that is gone can be brought back as expunged ones can; they lie in this directory now."""
    if folder.means.keep_expunged > 0:
        keeping = folder.keeping()
        for row in range(len(folder.columns)):
            keeping.let_go(f"{lies}/{folder.path_of(row).rpartition('/')[2]}", folder.kept_name(row))


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
    held = locks.enter_context(folder.log.hold_now())
    held.stage(NAMED, held.modseq, generation=folder.log.generation + 1)
    held.commit()


def remove(means: Means, postoffice: str, name: str) -> None:
    """All of a mailbox. Only the ids stay that a journal could bring back."""
    mailbox = means.names.mailbox(postoffice, name)
    if not is_there(mailbox):
        return
    with mailbox_lock(means, mailbox):
        folders = [LocalFolder(means, (postoffice, name, shown), path, mailbox) for shown, path in walking.folders(mailbox)]
        for component in walking.subdirectories(mailbox):
            path = f"{mailbox}/{component}"
            _remove_below(means, mailbox, path, [folder for folder in folders if f"{folder.directory}/".startswith(f"{path}/")])
        clear(means, mailbox, keep=layout.FORGOTTEN)
        remove_tree(means, f"{mailbox}/{expunged.FOLDER}")
    sweep(means, mailbox)
    means.disk.sync_folder(mailbox)


def _remove_below(means: Means, mailbox: str, path: str, folders: list[LocalFolder]) -> None:
    """A directory of a mailbox with these folders in it. Nothing comes in between that would not be kept in mind."""
    with ExitStack() as locks:
        known = _hold_all(means, folders, locks)
        keep_in_mind(means, mailbox, [message_id for folder in known for message_id in all_ids(folder)])
        for folder in known:
            mending.say_moved(means, folder.log.fd)
        put_away(means, path)
    for folder in known:
        folder.log.shut()


def _hold_all(means: Means, folders: list[LocalFolder], locks: ExitStack) -> list[LocalFolder]:
    """Lock their logs, in the order of their names; those that have one. A directory that only holds others has none."""
    known = []
    for folder in sorted(folders, key=lambda one: one.directory):
        with suppress(NoSuchFolder):
            locks.enter_context(folder.log.hold_now())
            folder.refresh()
            known.append(folder)
    return known


def put_away(means: Means, path: str) -> str:
    """The moment at which a directory is gone: it gets a hidden name, durably. That name."""
    parent = path.rsplit("/", 1)[0]
    hidden = f"{parent}/{_GONE}{new_id()}"
    means.disk.rename(path, hidden)
    means.disk.sync_folder(parent)
    return hidden


def sweep(means: Means, parent: str) -> None:
    """Clear away what was put away in this directory, now or before a crash."""
    if os.stat(parent).st_nlink == 2:  # no directory in it; a large folder is not read for nothing
        return
    with os.scandir(parent) as entries:
        gone = [entry.path for entry in entries if entry.name.startswith(_GONE)]
    for path in gone:
        remove_tree(means, path)


def remove_tree(means: Means, path: str) -> None:
    """All of it; the caretaker of another worker may be at it too."""
    with suppress(FileNotFoundError):
        _remove_all_in(means, path)
        means.disk.rmdir(path)


def _remove_all_in(means: Means, path: str) -> None:
    with os.scandir(path) as entries:
        found = [(entry.path, entry.is_dir(follow_symlinks=False)) for entry in entries]
    for inner, is_directory in found:
        if is_directory:
            remove_tree(means, inner)
        else:
            files.remove(means.disk, inner)


def is_there(path: str) -> bool:
    return os.path.isdir(path)
