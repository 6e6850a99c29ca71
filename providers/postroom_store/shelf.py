"""The folders this worker knows, one object each, shared by all sessions; the least recently delivered to are let go."""

from __future__ import annotations

from collections import OrderedDict
from weakref import WeakValueDictionary

from postroom.mailstore import INBOX
from postroom_store import layout
from postroom_store.folder import LocalFolder, folder_key
from postroom_store.means import Means

_MOST = 4096  # spellings remembered


class Shelf:
    """Looks a folder up by any spelling of its name. Whether it exists is found when it is opened."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._spoken: OrderedDict[tuple[str, str, str], LocalFolder] = OrderedDict()
        self._folders: WeakValueDictionary[str, LocalFolder] = WeakValueDictionary()
        means.news.trees = self._look

    def folder(self, postoffice: str, mailbox: str, name: str) -> LocalFolder:
        """StoreError where the name cannot lie on a disk."""
        spoken = (postoffice, mailbox, name)
        folder = self._spoken.get(spoken)
        if folder is None:
            folder = self._find(postoffice, mailbox, name)
            self._spoken[spoken] = folder
            if len(self._spoken) > _MOST:
                self._spoken.popitem(last=False)[1].log.rest()
        else:
            self._spoken.move_to_end(spoken)
        return folder

    def _find(self, postoffice: str, mailbox: str, name: str) -> LocalFolder:
        """The one object of that name, where its directory is now: another worker may have made it anew in another case."""
        key = folder_key(postoffice, mailbox, name)
        below = self._means.names.mailbox(postoffice, mailbox)
        path = self._means.names.folder(below, INBOX if layout.key(name) == layout.key(INBOX) else name)
        folder = self._folders.get(key)
        if folder is None:
            folder = self._folders[key] = LocalFolder(self._means, (postoffice, mailbox, _shown(below, path)), path, below)
        elif folder.directory != path:
            folder.relocate(_shown(below, path), path)
        return folder

    def look_again(self, folder: LocalFolder) -> LocalFolder:
        """After the folder's directory was not found."""
        return self._find(folder.postoffice, folder.mailbox, folder.name)

    def forget(self, folder: LocalFolder) -> None:
        """The folder is gone. Who has it in hand and finds another in its place finds that of all others."""
        folder.forget_state()
        for spoken in [spoken for spoken, known in self._spoken.items() if known is folder]:
            del self._spoken[spoken]

    def moved(self, mailbox: str, source: str, target: str) -> None:
        """A directory of a mailbox was renamed by this worker, with all below it."""
        known = list(self._folders.items())
        for key, folder in known:
            if folder.directory == source or folder.directory.startswith(source + "/"):
                path = target + folder.directory[len(source) :]
                self._folders.pop(key, None)
                folder.relocate(_shown(mailbox, path), path)
                self._folders[folder.key] = folder
        self._spoken.clear()
        self._means.usage.forget(mailbox)

    def _look(self, mailbox: str) -> None:
        """Something was moved in the mailbox with this key, by whomever: a log that was removed would keep its room on the disk while we have it open."""
        for key, folder in list(self._folders.items()):
            if key.startswith(mailbox):
                folder.log.rest(only_if_removed=True)

    def left(self, mailbox: str) -> None:
        """A mailbox was removed."""
        for folder in list(self._folders.values()):
            if folder.mailbox_path == mailbox:
                self.forget(folder)
        self._means.usage.forget(mailbox)


def _shown(mailbox: str, path: str) -> str:
    """The name of a folder's directory."""
    return "/".join(map(layout.decode, path[len(mailbox) + 1 :].split("/")))
