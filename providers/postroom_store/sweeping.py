"""Files of expunged messages taken out of their folder: to where they are kept for a while, or away. The expunge is durable by then.

A few go at once. Many go behind the answer, in a thread and in short spells under the folder's lock: what a client waits for is one record,
however much it expunges. A file stays where its message came in again meanwhile. Nobody loses anything where a crash, or another worker's
rename of the folder, cuts a sweep short: the log has the ids, and the caretaker takes up what was left (tending.py).
"""

from __future__ import annotations

import asyncio
import os
from array import array
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postroom.errors import NoSuchFolder
from postroom_store.expunged import Keeping, kept_name
from postroom_store.records import id_text, id_texts

if TYPE_CHECKING:
    from postroom_store.folder import LocalFolder

FEW = 20  # files that are taken away before the answer
_SPELL = 100  # files for which the lock is held
_PAUSE = 0.002  # seconds between two spells, for those who wait for the lock


@dataclass(frozen=True, slots=True)
class Going:
    """Messages that were expunged from one folder at one time."""

    ids: Sequence[str]
    flags: Sequence[int]
    arrived: Sequence[float]
    next_uid: int  # of the folder then; what has this UID or a later one came since
    of: bytes  # its object id: another folder may bear its name by now
    keeping: Keeping

    def spells(self) -> Iterator[Going]:
        for at in range(0, len(self.ids), _SPELL):
            some = slice(at, at + _SPELL)
            yield Going(self.ids[some], self.flags[some], self.arrived[some], self.next_uid, self.of, self.keeping)

    def sweep(self, folder: LocalFolder, uidnext: int) -> None:
        """Under the folder's lock; `uidnext` is the log's."""
        if folder.log.birth.object_id != self.of:
            return
        came = frozenset[str]() if uidnext == self.next_uid else folder.ids_from(self.next_uid)
        for message_id, flags, arrived in zip(self.ids, self.flags, self.arrived):
            if message_id not in came:
                self.keeping.let_go(folder.file(message_id), kept_name(message_id, flags, arrived))


def going(folder: LocalFolder, spans: Sequence[tuple[int, int]], keeping: Keeping) -> Going:
    """These spans of rows of a folder, which are about to be expunged."""
    known = folder.columns
    high, low, flags, arrived = array("Q"), array("Q"), array("Q"), array("d")
    for begin, end in spans:
        high += known.high[begin:end]
        low += known.low[begin:end]
        flags += known.flags[begin:end]
        arrived += known.arrived[begin:end]
    return Going(id_texts(high, low), flags, arrived, known.uidnext, known.birth.object_id, keeping)


async def sweep(folder: LocalFolder, gone: Going) -> None:
    """Take their files away, or have it begun."""
    if len(gone.ids) > FEW:
        folder.means.errands.begin(folder.mailbox_path, _behind(folder.apart(), gone))
        return
    with suppress(NoSuchFolder, OSError), await folder.hold() as held:
        gone.sweep(folder, held.uidnext)


async def _behind(folder: LocalFolder, gone: Going) -> None:
    try:
        for some in gone.spells():
            await asyncio.to_thread(_spell, folder, some)
            await asyncio.sleep(_PAUSE)
    except (NoSuchFolder, OSError):
        return
    finally:
        folder.log.shut()


def _spell(folder: LocalFolder, some: Going) -> None:
    with folder.log.hold_now() as held:
        some.sweep(folder, held.uidnext)


def left_behind(folder: LocalFolder, keeping: Keeping) -> int:
    """Under the folder's lock: files of expunged messages that are still there, taken away; how many there were. Their flags are forgotten,
    and they count as arrived when their file was made."""
    known, left = folder.columns, 0
    alive = set(zip(known.high, known.low))
    for halves in zip(known.gone_high, known.gone_low):
        path = folder.file(id_text(*halves))
        if halves not in alive:
            with suppress(FileNotFoundError):
                keeping.let_go(path, kept_name(id_text(*halves), 0, os.stat(path).st_mtime))
                left += 1
    return left
