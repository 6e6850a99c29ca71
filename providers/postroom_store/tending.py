"""The caretaker's round through the mailboxes: a share of the site at each call, so that it never takes long.

Ids that no journal can bring back any more are forgotten for good, logs that are mostly garbage are written anew, views are saved where a
reader would have much to catch up, what a crash left of a deletion or of expunged messages is cleared away, and folders changed by hand are
indexed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from postroom.errors import NoSuchFolder
from postroom_store import columns, compaction, expunged, forgotten, indexing, layout, sweeping, tree, walking
from postroom_store.beginning import mailbox_lock
from postroom_store.folder import LocalFolder
from postroom_store.means import Means

SHARE = 200  # mailboxes looked at in one call
_CATCH_UP = 256 * 1024  # octets of log beyond the view that are worth saving
_SMALL = 64 * 1024  # a log below this size is not looked into


class Round:
    """Remembers how far the round has come, and which logs did not change since the last."""

    def __init__(self) -> None:
        self._left: list[tuple[str, str, str]] = []
        self._seen: dict[str, tuple[int, int]] = {}  # by directory: inode and size of the log

    def go_on(self, means: Means) -> list[LocalFolder]:
        """Look at the next mailboxes, in a thread; the folders that changed under their readers' hands."""
        if not self._left:
            self._left = sorted(_mailboxes(str(means.root)), reverse=True)
        touched: list[LocalFolder] = []
        live = means.journal.live()
        for _ in range(min(SHARE, len(self._left))):
            postoffice, name, path = self._left.pop()
            try:
                _drop_forgotten(means, path, live)
                for hour in expunged.drop_old(means, path):
                    tree.remove_tree(means, hour)
                for directory in [path, *walking.below(path)]:
                    tree.sweep(means, directory)
                for shown, directory in walking.folders(path):
                    folder = LocalFolder(means, (postoffice, name, shown), directory, path)
                    if self._tend(folder):
                        touched.append(folder)
            except FileNotFoundError:  # removed while we looked
                continue
        return touched

    def _tend(self, folder: LocalFolder) -> bool:
        """One folder; whether it was changed."""
        touched = False
        if os.path.exists(f"{folder.directory}/{layout.CHANGED}"):
            with suppress(NoSuchFolder):
                indexing.index(folder, repair=True)
                touched = True
        if self._is_new(folder.directory):
            with suppress(NoSuchFolder), folder.log.hold_now():
                folder.refresh()
                if folder.columns.covered - _saved_up_to(folder) > _CATCH_UP:
                    folder.save_view()
                sweeping.left_behind(folder, folder.keeping())
            if compaction.is_due(folder):
                compaction.compact(folder)
                touched = True
        folder.log.shut()
        return touched

    def _is_new(self, directory: str) -> bool:
        try:
            status = os.stat(f"{directory}/{layout.LOG}")
        except FileNotFoundError:
            return False
        if status.st_size < _SMALL or self._seen.get(directory) == (status.st_ino, status.st_size):
            return False
        self._seen[directory] = (status.st_ino, status.st_size)
        return True


def _saved_up_to(folder: LocalFolder) -> int:
    """How much of the log the view file covers."""
    try:
        with open(f"{folder.directory}/{layout.VIEW}", "rb") as file:  # noqa: PTH123
            return columns.covered_by(file.read(columns.HEAD_OF_VIEW), folder.columns.began)
    except FileNotFoundError:
        return 0


def _drop_forgotten(means: Means, path: str, live: forgotten.Segments) -> None:
    if not os.path.exists(f"{path}/{layout.FORGOTTEN}"):
        return
    with mailbox_lock(means, path):
        said = forgotten.load(path)
        left = said.after(live, means.clock.now())
        if left != said:  # what was forgotten since `live` was asked names segments that began since
            left = said.after(means.journal.live(), means.clock.now())
            forgotten.save(means.disk, path, left)
    if left.is_empty and not os.listdir(path):
        with suppress(OSError):  # somebody was faster
            means.disk.rmdir(path)


def _mailboxes(root: str) -> Iterator[tuple[str, str, str]]:
    """Post office, name and directory of every mailbox."""
    for postoffice in walking.subdirectories(f"{root}/Postoffices"):
        below = f"{root}/Postoffices/{postoffice}/MAILROOT"
        for name in walking.subdirectories(below):
            yield layout.decode(postoffice), layout.decode(name), f"{below}/{name}"
