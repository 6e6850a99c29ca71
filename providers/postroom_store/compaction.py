"""A log written anew without what nobody needs: the expunged, the overwritten flags. And ids kept in mind before a log forgets them.

Runs in a thread, under the mailbox's lock and then the folder's. The new log is whole and durable before it takes the old one's place.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from postroom_store import forgotten, mending, sweeping
from postroom_store.beginning import highest_uidvalidity, mailbox_lock
from postroom_store.log import Held
from postroom_store.means import Means
from postroom_store.records import ARRIVAL, ARRIVE, BIRTH, HEADER, KEYWORD, VERSION, Entry, Tail, id_text

if TYPE_CHECKING:
    from postroom_store.folder import LocalFolder

LEAST = 256 * 1024  # octets of garbage below which a log is left alone


def is_due(folder: LocalFolder) -> bool:
    """Whether more than half of the log is garbage, as far as the columns know."""
    return folder.columns.garbage > max(LEAST, folder.columns.covered // 2)


def compact(folder: LocalFolder) -> None:
    """OSError when the disk refuses; then the old log stays."""
    try:
        with mailbox_lock(folder.means, folder.mailbox_path), folder.log.hold_now() as held:
            folder.refresh()
            keep_in_mind(folder.means, folder.mailbox_path, gone_ids(folder))
            sweeping.left_behind(folder, folder.keeping())  # once the log forgets them they would look like new ones
            mending.rewrite(folder.means, folder.directory, folder.log.fd, _entries(folder, held), folder.log.generation + 1)
            folder.refresh()  # the new one
            folder.save_view()  # else every reader would go through all of it
    finally:
        folder.log.shut()


def gone_ids(folder: LocalFolder) -> list[str]:
    return list(map(id_text, folder.columns.gone_high, folder.columns.gone_low))


def all_ids(folder: LocalFolder) -> list[str]:
    return [*map(id_text, folder.columns.high, folder.columns.low), *gone_ids(folder)]


def keep_in_mind(means: Means, mailbox: str, ids: Iterable[str]) -> None:
    """Under the mailbox's lock: put these ids into its `forgotten` file; durable on return."""
    said = forgotten.load(mailbox)
    more = said.and_also(ids, means.journal.live(), highest_uidvalidity(means, mailbox))
    if more.batches != said.batches or more.uidvalidity != said.uidvalidity:
        forgotten.save(means.disk, mailbox, more)


def _entries(folder: LocalFolder, held: Held) -> Iterator[Entry]:
    known = folder.columns
    tail = Tail(held.uidnext, held.modseq, folder.means.epoch, 0, 0, 0)
    birth = known.birth._replace(base=held.modseq, horizon=held.modseq)
    yield Entry(0, HEADER, BIRTH.pack(VERSION, *birth), tail)
    for name in known.keywords:
        yield Entry(0, KEYWORD, name.encode(), tail)
    for row in range(len(known)):
        yield Entry(0, ARRIVE, ARRIVAL.pack(*known.arrival(row)) + folder.described(row) + folder.trail(row), tail)
