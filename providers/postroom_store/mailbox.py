"""One user's tree of folders. What changes the tree runs in a thread (tree.py) and is durable when it returns."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from postroom.errors import DiskError, FolderExists, NoSuchFolder, NoSuchMessage, StoreError
from postroom.mailstore import EXPUNGED, INBOX, Folder, Quota
from postroom_disk.disk import refused
from postroom_store import attributes, expunged, files, layout, tree, walking
from postroom_store.beginning import mailbox_lock, make_directories, path_of
from postroom_store.expunged import Kept
from postroom_store.folder import LocalFolder, folder_key
from postroom_store.means import Means
from postroom_store.shelf import Shelf

T = TypeVar("T")


class LocalMailbox:
    """See postroom.mailstore.Mailbox."""

    def __init__(self, means: Means, shelf: Shelf, postoffice: str, name: str) -> None:
        self._means, self._shelf = means, shelf
        self.postoffice, self.name = postoffice, name
        self.path = means.names.mailbox(postoffice, name)
        self.key = folder_key(postoffice, name, "")

    async def folders(self) -> Sequence[str]:
        names = [name for name, _ in walking.folders(self.path)]
        return names if names and _is_inbox(names[0]) else [INBOX, *names]

    async def folder(self, name: str, *, object_id: str = "") -> Folder:
        return await self._found(name, object_id) if object_id else await self.open(name)

    async def _found(self, name: str, object_id: str) -> Folder:
        """The folder of this identity, wherever it lies."""
        with suppress(NoSuchFolder):
            folder = await self.open(name)
            if folder.columns.birth.object_id.hex() == object_id:
                return folder
        path = await self._in_thread("looking for a folder", lambda means: path_of(means, self.path, bytes.fromhex(object_id)))
        if path is None:
            raise NoSuchFolder(f"there is no folder {name}")
        return await self.open("/".join(map(layout.decode, path[len(self.path) + 1 :].split("/"))))

    def follow(self, changed: Callable[[str], None]) -> Callable[[], None]:
        return self._means.news.watch(self.key, changed)

    async def open(self, name: str, *, make: bool = False) -> LocalFolder:
        """The folder, ready: its log whole, and what was changed by hand taken in."""
        make = make or _is_inbox(name)
        folder = self._shelf.folder(self.postoffice, self.name, name)
        try:
            if not folder.log.is_known():
                try:
                    (await folder.hold(make=make, durable=True)).release()
                except NoSuchFolder:
                    folder = self._shelf.look_again(folder)
                    (await folder.hold(make=make, durable=True)).release()
            if folder.is_changed():
                await folder.index()
            await folder.catch_up()
        except OSError as error:
            raise refused(error, f"opening the folder {name}") from error
        except NoSuchFolder:
            self._shelf.forget(folder)
            raise NoSuchFolder(f"there is no folder {name}") from None
        return folder

    async def create(self, name: str) -> Folder:
        await self._in_thread(f"making the folder {name}", lambda means: tree.create(means, self.path, _proper(name)))
        self._means.usage.forget(self.path)
        self._means.news.tell(self.key)
        return await self.open(name)

    async def delete(self, name: str) -> None:
        if _is_inbox(name):
            raise StoreError("Inbox cannot be deleted")
        folder = await self.open(name)
        await self._means.errands.done(self.path)
        await self._in_thread(f"deleting the folder {name}", lambda means: tree.delete(folder.apart()))
        self._shelf.forget(folder)
        self._means.usage.forget(self.path)
        self._means.news.tell(folder.key)
        self._means.news.tell(self.key)

    async def rename(self, old: str, new: str) -> None:
        if _is_inbox(new):
            raise StoreError("no other folder can become Inbox")
        if _is_inbox(old):
            await self._empty_inbox(new)
            return
        folder = await self.open(old)
        await self._means.errands.done(self.path)
        source, target = await self._in_thread(f"renaming the folder {old}", lambda means: tree.rename(means, self.path, old, _proper(new)))
        self._means.news.tell(folder.key)
        self._shelf.moved(self.path, source, target)
        self._means.news.tell(folder.key)
        self._means.news.tell(self.key)

    async def _empty_inbox(self, new: str) -> None:
        """RFC 9051 section 6.3.6: Inbox stays, and what was in it goes."""
        inbox, target = await self.open(INBOX), await self.create(new)
        await inbox.move(inbox.view().uids, target)

    async def subscriptions(self) -> Sequence[str]:
        return _read_lines(self.path)

    async def subscribe(self, name: str, on: bool = True) -> None:
        layout.levels(name)
        await self._in_thread("keeping subscriptions", lambda means: _subscribe(means, self.path, name, on=on))
        self._means.news.tell(self.key)

    async def quota(self) -> Quota:
        limit = await self._means.limit(self.postoffice, self.name)
        return Quota(self._means.usage.used(self.path), limit)

    async def attributes(self, folder: str) -> Mapping[str, bytes]:
        try:
            return attributes.read(await self._directory(folder))
        except OSError as error:
            raise refused(error, "reading attributes") from error

    async def all_attributes(self) -> Mapping[str, Mapping[str, bytes]]:
        try:
            return await asyncio.to_thread(_all_attributes, self.path)
        except OSError as error:
            raise refused(error, "reading attributes") from error

    async def expunged(self) -> bytes:
        await self._means.errands.done(self.path)
        try:
            return await asyncio.to_thread(expunged.told, self.path)
        except OSError as error:
            raise refused(error, "reading what was expunged") from error

    async def annotate(self, folder: str, changes: Mapping[str, bytes | None]) -> None:
        changes = dict(changes)
        if not folder and (wanted := changes.pop(EXPUNGED, None)) is not None:
            words = wanted.decode("ascii", "replace").split()
            await self.undelete(None if words == ["all"] else words)
        if not changes:
            return
        directory = await self._directory(folder)
        await self._in_thread("keeping attributes", lambda means: attributes.change(means, self.path, directory, changes))
        for one in dict.fromkeys((folder, "")):  # rights are attributes: others may see another tree now
            self._means.news.tell(folder_key(self.postoffice, self.name, one))

    async def undelete(self, wanted: Sequence[str] | None) -> int:
        """Bring these expunged messages back into the folders they were in, made anew where they are gone; None for all. How many there were.
        NoSuchMessage where one of them is none, and then none comes back."""
        await self._means.errands.done(self.path)
        found = await asyncio.to_thread(expunged.chosen, self.path, wanted)
        if missing := {one.upper() for one in wanted or ()} - {one.id for one in found}:
            raise NoSuchMessage(f"no expunged message has the id {min(missing)}")
        try:
            for one in found:
                await self._bring_back(one)
        except OSError as error:
            raise refused(error, "bringing messages back") from error
        return len(found)

    async def _bring_back(self, one: Kept) -> None:
        """With an id made of the old one: a crash between the two steps is followed by the second alone."""
        try:
            folder = await self.open(one.folder)
        except NoSuchFolder:
            with suppress(FolderExists):
                await self.create(one.folder)
            folder = await self.open(one.folder)
        message = expunged.restored(one, folder.columns.birth.object_id)
        if folder.columns.find(message.id) < 0:
            await folder.append(message, flags=one.flags, arrived=one.arrived)
        await asyncio.to_thread(files.remove, self._means.disk, one.path)

    async def _directory(self, folder: str) -> str:
        return (await self.open(folder)).directory if folder else self.path

    async def _in_thread(self, doing: str, change: Callable[[Means], T]) -> T:
        """Change the tree in a thread, with descriptors of its own."""
        means = self._means.apart()
        try:
            return await asyncio.to_thread(change, means)
        except OSError as error:
            raise refused(error, doing) from error
        finally:
            means.descriptors.close_all()


def _all_attributes(mailbox: str) -> dict[str, Mapping[str, bytes]]:
    found: dict[str, Mapping[str, bytes]] = {}
    for name, path in [("", mailbox), *walking.folders(mailbox)]:
        with suppress(DiskError):  # damaged: whoever asks for this folder alone is told
            if kept := attributes.read(path):
                found[name] = kept
    return found


def _is_inbox(name: str) -> bool:
    return layout.key(name) == layout.key(INBOX)


def _proper(name: str) -> str:
    """Inbox as the first level in the spelling we use."""
    first, slash, rest = name.partition("/")
    return f"{INBOX}{slash}{rest}" if _is_inbox(first) else name


def _read_lines(mailbox: str) -> list[str]:
    try:
        return Path(mailbox, layout.SUBSCRIPTIONS).read_text("utf-8", "replace").splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []


def _subscribe(means: Means, mailbox: str, name: str, *, on: bool) -> None:
    make_directories(means, mailbox)
    with mailbox_lock(means, mailbox):
        known = [other for other in _read_lines(mailbox) if layout.key(other) != layout.key(name)]
        lines = sorted([*known, name] if on else known, key=layout.key)
        means.disk.write_aside(Path(mailbox, layout.SUBSCRIPTIONS), "".join(f"{line}\n" for line in lines).encode())
