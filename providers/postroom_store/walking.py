"""Which folders there are, and where a name lies whatever its case. Reading only."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator

from postroom.errors import StoreError
from postroom.mailstore import INBOX
from postroom_store import layout

_LONGEST = 3500  # octets of a path, some hundred below what the system takes
_FEW = 50  # subdirectories that are listed anew each time
_MOST = 64  # directories whose listing is kept


class Names:
    """Where names lie on disk. Large directories are listed once and again only after they changed."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._listed: OrderedDict[str, tuple[int, dict[str, str]]] = OrderedDict()  # by directory: its time of change, components by key

    def mailbox(self, postoffice: str, name: str) -> str:
        """The directory of a mailbox, there or not."""
        return self.child(f"{self.child(f'{self._root}/Postoffices', postoffice)}/MAILROOT", name)

    def folder(self, mailbox: str, name: str) -> str:
        """The directory of a folder, there or not. StoreError where the name cannot lie on a disk."""
        path = mailbox
        layout.levels(name)
        for level in name.split("/"):
            path = self.child(path, level)
        if len(path.encode()) > _LONGEST:
            raise StoreError(f"the folder name {name[:40]!r}... is too long for a path")
        return path

    def child(self, parent: str, name: str) -> str:
        """The directory in `parent` that bears this name in any case and composition; where there is none, the one it would get."""
        path = f"{parent}/{layout.encode(name)}"
        if os.path.isdir(path):
            return path
        component = self._components(parent).get(layout.key(name))
        return f"{parent}/{component}" if component else path

    def made(self, path: str) -> None:
        """This process made a directory: where nothing else changed beside it, its parent need not be listed again."""
        parent, component = path.rsplit("/", 1)
        known = self._listed.get(parent)
        if known is None:
            return
        status = os.stat(parent)
        components = known[1]
        components.setdefault(layout.key(layout.decode(component)), component)
        if status.st_nlink == len(components) + 2:
            self._listed[parent] = (status.st_mtime_ns, components)

    def _components(self, parent: str) -> dict[str, str]:
        try:
            changed = os.stat(parent).st_mtime_ns
        except (FileNotFoundError, NotADirectoryError):
            return {}
        known = self._listed.get(parent)
        if known is not None and known[0] == changed:
            return known[1]
        components: dict[str, str] = {}
        for component in subdirectories(parent):
            components.setdefault(layout.key(layout.decode(component)), component)
        if len(components) > _FEW:
            self._listed[parent] = (changed, components)
            if len(self._listed) > _MOST:
                self._listed.popitem(last=False)
        return components


def folders(mailbox: str) -> list[tuple[str, str]]:
    """Names and directories of all folders, Inbox first, then by name, parents before children."""
    found = [(name, path) for name, path in _below(mailbox, "", 0) if not os.path.exists(f"{path}/{layout.DELETED}")]
    return sorted(found, key=lambda pair: _order(pair[0]))


def below(path: str) -> list[str]:
    """The directories of all folders under this one, at any depth."""
    return [inner for _, inner in _below(path, "", 0)]


def _order(name: str) -> tuple[bool, list[str]]:
    levels = layout.key(name).split("/")
    return levels[0] != layout.key(INBOX), levels


def _below(path: str, name: str, depth: int) -> Iterator[tuple[str, str]]:
    if depth >= layout.DEPTH:
        return
    for component in subdirectories(path):
        inner = f"{name}/{layout.decode(component)}" if name else layout.decode(component)
        yield inner, f"{path}/{component}"
        yield from _below(f"{path}/{component}", inner, depth + 1)


def subdirectories(path: str) -> list[str]:
    """Names of the directories in a directory that can be folders, sorted. A directory with two links has none, so a folder with a
    hundred thousand messages is not read for them."""
    try:
        if os.stat(path).st_nlink == 2:
            return []
        with os.scandir(path) as entries:
            return sorted(entry.name for entry in entries if layout.is_folder_name(entry.name) and entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
