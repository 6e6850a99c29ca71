"""One message into mailboxes: the hot path of the store.

The first target's file is made in its folder, the others are links to it. A message that may have been delivered before (`again`) is looked
for in every folder log of the mailbox, the expunged included, in `forgotten`, and in this worker's memory; all under the target's lock, so
that two workers with the same message cannot both deliver it. What is durable is the acceptance in the journal; a note beside it keeps the UID.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from postroom.errors import DiskError, NoSuchFolder, StoreError
from postroom.mailstore import Placed, Target
from postroom.message import SMALL, Message
from postroom_disk.disk import refused
from postroom_store import files, forgotten, layout, notes, walking
from postroom_store.folder import LocalFolder
from postroom_store.incoming import Incoming, in_file, in_memory, is_quick
from postroom_store.log import Held
from postroom_store.means import Means
from postroom_store.records import Arrival
from postroom_store.shelf import Shelf

_REMEMBERED = 20_000  # deliveries


@dataclass(frozen=True, slots=True)
class _Stump:
    """What an index took for a message: a file that a crash left short."""

    folder: LocalFolder
    uid: int


class Delivery:
    """Remembers what this worker delivered lately."""

    def __init__(self, means: Means, shelf: Shelf) -> None:
        self._means, self._shelf = means, shelf
        self._recent: OrderedDict[tuple[str, str, str], Placed] = OrderedDict()

    async def deliver(
        self, message: Message, targets: Sequence[Target], arrived: float, again: bool, *, own: bool
    ) -> list[Placed | Exception]:
        """An answer per target, in order."""
        data = message.peek()
        if data is not None:
            if is_quick(data):
                return await self._to_all(in_memory(message.id, data, 0, arrived)._replace(own=own), targets, again)
            incoming = await asyncio.to_thread(in_memory, message.id, data, 0, arrived)
            return await self._to_all(incoming._replace(own=own), targets, again)
        try:
            async with message.as_file() as path:
                incoming = await asyncio.to_thread(in_file, message.id, str(path), 0, arrived)  # too long for the loop
                return await self._to_all(incoming._replace(own=own), targets, again)
        except OSError as error:
            return [refused(error, "reading the message")] * len(targets)
        except DiskError as error:
            return [error] * len(targets)

    async def _to_all(self, incoming: Incoming, targets: Sequence[Target], again: bool) -> list[Placed | Exception]:
        answers: list[Placed | Exception] = []
        made = ""
        for target in targets:
            try:
                placed, path = await self._to(incoming, target, again, made)
                answers.append(placed)
                made = made or path
                if path and incoming.own and incoming.octets > SMALL:
                    await asyncio.to_thread(self._make_durable, path)
            except (StoreError, DiskError) as error:
                answers.append(error)
            except OSError as error:
                answers.append(refused(error, "storing a message"))
        return answers

    async def _to(self, incoming: Incoming, target: Target, again: bool, made: str) -> tuple[Placed, str]:
        """Where the message is now, and its file where this call made one."""
        who = (incoming.id, layout.key(target.postoffice), layout.key(target.mailbox))
        if (placed := self._recent.get(who)) is not None and not again:
            return replace(placed, doubled=True), ""
        folder = self._shelf.folder(target.postoffice, target.mailbox, target.folder)
        if target.flags:
            incoming = incoming._replace(flags=target.flags)
        if again:
            await self._make_ready(folder)
        try:
            held = folder.log.seize() or await folder.hold()
        except NoSuchFolder:
            folder = self._shelf.look_again(folder)
            held = await folder.hold(make=True)
        stumps: list[_Stump] = []
        with held:
            if again:
                known, stumps = self._known(folder, incoming, placed)
                if known is not None:
                    return known, ""
            if not stumps:
                return self._place(folder, held, incoming, target, made, who)
        for stump in stumps:  # each at one moment: a stump that had ended before the message came would be known as delivered and gone
            placed = self._recent[who] = await stump.folder.replace(stump.uid, incoming.upload(), stump.folder)
        assert placed is not None, "there was a stump"
        return placed, ""

    def _place(
        self, folder: LocalFolder, held: Held, incoming: Incoming, target: Target, made: str, who: tuple[str, str, str]
    ) -> tuple[Placed, str]:
        """Under the lock: file, record, note. Without the note a power cut could take the record, so a journal that is full is an error;
        the message comes again and is known then."""
        if target.limit is not None:
            folder.check_room(held, target.limit, incoming.octets)
        arrival = folder.take(held, incoming.id, self._writer(incoming, made), lambda: incoming)
        self._note(folder, arrival, incoming)
        placed = Placed(folder.name, arrival.uid, folder.log.birth.uidvalidity)
        self._recent[who] = placed
        if len(self._recent) > _REMEMBERED:
            self._recent.popitem(last=False)
        self._means.news.tell(folder.key)
        return placed, folder.file(incoming.id)

    def _note(self, folder: LocalFolder, arrival: Arrival, incoming: Incoming, trail: bytes = b"") -> None:
        """With the octets, where the journal has them nowhere else and they are few; many are made durable."""
        where, has_all = folder.where(), incoming.own and incoming.octets == arrival.octets <= SMALL
        note = notes.brought(where, arrival, incoming.data(), trail) if has_all else notes.arrived(where, arrival, trail)
        self._means.journal.note(notes.KIND, note)

    def _make_durable(self, path: str) -> None:
        with suppress(FileNotFoundError):  # expunged meanwhile
            files.make_durable(self._means.disk, path)
            self._means.disk.sync_folder(path.rsplit("/", 1)[0])

    def _writer(self, incoming: Incoming, made: str) -> Callable[[str], None]:
        """A link to the file of an earlier target; should that be expunged by now, a file of its own."""
        disk, own = self._means.disk, incoming.writer(self._means.disk)
        if not made:
            return own

        def write(path: str) -> None:
            try:
                files.link(disk, made, path)
            except FileNotFoundError:
                own(path)

        return write

    # What was delivered before.

    async def _make_ready(self, folder: LocalFolder) -> None:
        """Mend the logs of the whole mailbox and read them, so that a search of them is complete and short."""
        for name, _ in walking.folders(folder.mailbox_path):
            with suppress(NoSuchFolder):
                one = self._shelf.folder(folder.postoffice, folder.mailbox, name)
                (await one.hold()).release()
                await one.catch_up()

    def _known(self, target: LocalFolder, incoming: Incoming, recent: Placed | None) -> tuple[Placed | None, list[_Stump]]:
        """The delivery of this message to this mailbox, whatever became of it; or what an index took for it after a crash.

        Where it lies its files are made whole and its arrival is noted again: the worker that delivered it may have died with its note."""
        stumps: list[_Stump] = []
        known: Placed | None = None
        gone = replace(recent, doubled=True) if recent is not None else None
        for name, _ in walking.folders(target.mailbox_path):
            folder = self._shelf.folder(target.postoffice, target.mailbox, name)
            with suppress(NoSuchFolder):
                folder.refresh()
                columns, uidvalidity = folder.columns, folder.columns.birth.uidvalidity
                row = columns.find(incoming.id)
                if row >= 0 and _is_stump(folder, row, incoming):
                    stumps.append(_Stump(folder, columns.uids[row]))
                elif row >= 0:
                    known = known or Placed(folder.name, columns.uids[row], uidvalidity, doubled=True)
                    self._make_whole(folder, row, incoming)
                elif uid := columns.find_gone(incoming.id):
                    gone = gone or Placed(folder.name, uid, uidvalidity, doubled=True)
        if known is None and gone is None and incoming.id in forgotten.load(target.mailbox_path):
            gone = Placed(target.name, 0, 0, doubled=True)
        return known or (None if stumps else gone), stumps

    def _make_whole(self, folder: LocalFolder, row: int, incoming: Incoming) -> None:
        """What a filter made longer or shorter this time stays as it was delivered."""
        path = folder.path_of(row)
        if folder.columns.octets[row] == incoming.octets and not incoming.is_at(path):
            incoming.write(self._means.disk, path, durable=False)
        self._note(folder, folder.columns.arrival(row), incoming, folder.trail(row))


def _is_stump(folder: LocalFolder, row: int, incoming: Incoming) -> bool:
    octets = folder.columns.octets[row]
    if octets == incoming.octets:
        return False
    path = folder.path_of(row)
    return files.size(path) != octets or incoming.was_cut(path)
