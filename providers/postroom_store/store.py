"""The repository of all mailboxes of a site, on local disk: what the hook `mail_store` answers with."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from postroom.mailstore import Placed, Target
from postroom.message import Message
from postroom_disk.disk import refused
from postroom_store import checking, notes, replaying, tree
from postroom_store.delivering import Delivery
from postroom_store.folder import folder_key
from postroom_store.mailbox import LocalMailbox
from postroom_store.means import Means
from postroom_store.shelf import Shelf
from postroom_store.tending import Round

if TYPE_CHECKING:
    from postroom.journal import Replay

T = TypeVar("T")


class LocalStore:
    """See postroom.mailstore.MailStore. Made before the journals are replayed, opened after."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._shelf = Shelf(means)
        self._delivery = Delivery(means, self._shelf)
        self._round = Round()
        means.journal.replayer([notes.KIND], self._replay)

    async def open(self) -> None:
        try:
            _ = self._means.epoch
        except OSError as error:
            raise refused(error, "opening the mailbox store") from error
        self._means.news.open()

    async def close(self) -> None:
        await self._means.errands.done()
        self._means.news.close()
        self._means.descriptors.close_all()

    async def deliver(
        self, message: Message, targets: Sequence[Target], *, arrived: float, again: bool = False, own: bool = False
    ) -> Sequence[Placed | Exception]:
        return await self._delivery.deliver(message, targets, arrived, again, own=own)

    async def mailbox(self, postoffice: str, name: str) -> LocalMailbox:
        return LocalMailbox(self._means, self._shelf, postoffice, name)

    async def remove(self, postoffice: str, name: str) -> None:
        path = self._means.names.mailbox(postoffice, name)
        await self._means.errands.done(path)
        await self._in_thread("removing a mailbox", lambda means: tree.remove(means, postoffice, name))
        self._shelf.left(path)
        self._means.news.tell(folder_key(postoffice, name, ""))

    async def check(self, postoffice: str, name: str, *, repair: bool = False) -> Sequence[str]:
        await self._means.errands.done(self._means.names.mailbox(postoffice, name))
        return await self._in_thread("checking a mailbox", lambda means: checking.check(means, postoffice, name, repair=repair))

    def settle(self) -> None:
        """Nothing waits in memory: every record and file was handed to the file system when it was made."""

    async def tend(self) -> None:
        touched = await self._in_thread("tending the mailboxes", self._round.go_on)
        for folder in touched:
            self._means.news.tell(folder.key)
        for mailbox in {folder_key(folder.postoffice, folder.mailbox, "") for folder in touched}:
            self._means.news.tell(mailbox)

    def _replay(self, found: Replay) -> None:
        replaying.replay(self._means, found)

    async def _in_thread(self, doing: str, work: Callable[[Means], T]) -> T:
        """Work on many files, in a thread and with descriptors of its own."""
        means = self._means.apart()
        try:
            return await asyncio.to_thread(work, means)
        except OSError as error:
            raise refused(error, doing) from error
        finally:
            means.descriptors.close_all()
