"""The index brought into line with the message files, after somebody added or removed some by hand or a log was lost.

Runs in a thread, under the folder's lock. A file that no record names gets a UID, in the order of the files' times; a record whose file is
gone is expunged; a file whose size is not the recorded one is another message now. Flags of a lost log are taken from what is left of it.
A file that this very folder expunged goes to where expunged ones are kept. What other folders of the mailbox forgot says nothing of it: it may
have been moved here, by its owner or by hand.
"""

from __future__ import annotations

import os
from bisect import bisect_left, bisect_right, insort
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postroom.message import derived_id
from postroom_store import files, layout
from postroom_store.expunged import kept_name
from postroom_store.flagging import spans_of
from postroom_store.incoming import in_file
from postroom_store.log import Held
from postroom_store.mending import read_all
from postroom_store.records import ARRIVAL, ARRIVE, CHANGE, FLAGS, Arrival, read_runs, salvage

if TYPE_CHECKING:
    from postroom_store.folder import LocalFolder

_BATCH = 200  # records written at once
_STALE = 86400.0  # seconds after which a hidden or empty file is nobody's: neither being written nor being copied here


@dataclass(slots=True)
class _Found:
    """What lies in the folder's directory."""

    sizes: dict[str, int]  # by message id
    times: dict[str, float]
    odd: list[str]  # message files that are not named as ours
    stale: list[str]  # hidden files that a crash left behind


def index(folder: LocalFolder, *, repair: bool) -> list[str]:
    """What differs, a sentence each; set right where `repair` is said. OSError when the disk refuses."""
    try:
        with folder.log.hold_now() as held:
            folder.refresh()
            if repair:
                _rename_odd(folder, _look(folder))
            return _compare(folder, held, _look(folder), repair)
    finally:
        folder.log.shut()


def _compare(folder: LocalFolder, held: Held, found: _Found, repair: bool) -> list[str]:
    known = folder.columns
    rows = {folder.path_of(row).rsplit("/", 1)[1][:32]: row for row in range(len(known))}
    lost = [row for message_id, row in rows.items() if message_id not in found.sizes]
    grown = [row for message_id, row in rows.items() if found.sizes.get(message_id, known.octets[row]) != known.octets[row]]
    new = [message_id for message_id in found.sizes if message_id not in rows]
    left = [message_id for message_id in new if known.find_gone(message_id)]
    empty = [message_id for message_id in new if not found.sizes[message_id]]
    added = sorted(set(new).difference(left, empty), key=lambda message_id: (found.times[message_id], message_id))
    changed = [folder.path_of(row).rsplit("/", 1)[1][:32] for row in grown]
    if repair:
        renamed = [
            _rename_changed(folder, message_id, str(held.uidnext)) for message_id in changed
        ]  # first: what ended is taken for left behind
        _end(folder, held, sorted(lost + grown))
        _add(folder, held, [*added, *renamed])
        old = [message_id for message_id in empty if found.times[message_id] < folder.means.clock.now() - _STALE]
        keeping = folder.keeping()
        for message_id in left:
            keeping.let_go(folder.file(message_id), kept_name(message_id, 0, found.times[message_id]))
        for path in [*map(folder.file, old), *found.stale]:
            files.remove(folder.means.disk, path)
        if lost or grown or added or folder.is_changed():
            _finish(folder)
    return _sentences(folder, lost, changed, added, left, empty, found)


def _sentences(
    folder: LocalFolder, lost: list[int], changed: list[str], added: list[str], left: list[str], empty: list[str], found: _Found
) -> list[str]:
    said = [f"{folder.name}: message {folder.columns.uids[row]} has no file" for row in lost if row < len(folder.columns)]
    said += [f"{folder.name}: the file {message_id}.MAI was changed" for message_id in changed]
    said += [f"{folder.name}: the file {message_id}.MAI is not in the index" for message_id in added]
    said += [f"{folder.name}: the file {message_id}.MAI was left behind by an expunge" for message_id in left]
    said += [f"{folder.name}: the file {message_id}.MAI is empty and not in the index" for message_id in empty]
    said += [f"{folder.name}: the file {name} is not named as a message" for name in found.odd]
    return said + [f"{folder.name}: the file {path.rsplit('/', 1)[1]} was left behind by a crash" for path in found.stale]


def _look(folder: LocalFolder) -> _Found:
    found = _Found({}, {}, [], [])
    old = folder.means.clock.now() - _STALE
    with os.scandir(folder.directory) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                if entry.name.endswith(".new") and entry.is_file() and entry.stat().st_mtime < old:
                    found.stale.append(entry.path)
            elif layout.is_message_name(entry.name):
                status = entry.stat(follow_symlinks=False)
                found.sizes[entry.name[:32]], found.times[entry.name[:32]] = status.st_size, status.st_mtime
            elif entry.name.casefold().endswith(layout.SUFFIX.casefold()) and entry.is_file(follow_symlinks=False):
                found.odd.append(entry.name)
    return found


def _rename_odd(folder: LocalFolder, found: _Found) -> None:
    """Give hand-made names the form of ours; the same name always becomes the same id."""
    for name in found.odd:
        stem = name[: -len(layout.SUFFIX)]
        canonical = stem.upper() if layout.is_message_name(stem.upper() + layout.SUFFIX) else derived_id(stem, "named by hand")
        if canonical not in found.sizes:
            folder.means.disk.rename(f"{folder.directory}/{name}", folder.file(canonical))


def _rename_changed(folder: LocalFolder, message_id: str, uid: str) -> str:
    """Octets that changed are another message, with an id of its own."""
    other = derived_id(message_id, "changed by hand", uid)
    folder.means.disk.rename(folder.file(message_id), folder.file(other))
    return other


def _end(folder: LocalFolder, held: Held, rows: list[int]) -> None:
    if rows:
        folder.stage_expunge(held, spans_of(rows))
        held.commit()


def _add(folder: LocalFolder, held: Held, ids: list[str]) -> None:
    """Give these files UIDs, in this order."""
    before = _before_the_loss(folder) if not len(folder.columns) else {}
    for number, message_id in enumerate(ids, 1):
        path = folder.file(message_id)
        known = before.get(message_id)
        incoming = in_file(message_id, path, 0, os.stat(path).st_mtime)
        if known is not None:
            incoming = incoming._replace(flags=known.flags & 31, arrived=known.arrived)
        arrival = incoming.arrival(held.uidnext, held.modseq + 1, folder.means.clock.now())
        held.arrive(arrival.uid, arrival.modseq, arrival.octets, ARRIVAL.pack(*arrival), incoming.described)
        if number % _BATCH == 0:
            held.commit()
    held.commit()


def _finish(folder: LocalFolder) -> None:
    """All of it durable, and then the word that asked for it goes."""
    disk = folder.means.disk
    disk.fsync(folder.log.fd)
    disk.sync_folder(folder.directory)
    files.remove(disk, f"{folder.directory}/{layout.CHANGED}")
    files.remove(disk, f"{folder.directory}/{layout.DAMAGED}")


def _before_the_loss(folder: LocalFolder) -> dict[str, Arrival]:
    """Arrivals by message id, with their last flags, from a log that lost its beginning."""
    arrivals: dict[int, Arrival] = {}
    uids: list[int] = []  # its keys, ascending
    with suppress(FileNotFoundError):
        fd = os.open(f"{folder.directory}/{layout.DAMAGED}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            records, _ = salvage(read_all(fd, os.fstat(fd).st_size))
        finally:
            os.close(fd)
        for record in records:
            if record.kind == ARRIVE:
                arrival = Arrival._make(ARRIVAL.unpack_from(record.payload))
                if arrival.uid not in arrivals:
                    insort(uids, arrival.uid)  # at the end, but for what was out of order
                arrivals[arrival.uid] = arrival
            elif record.kind == FLAGS:
                _reflag(arrivals, uids, record.payload)
    return {arrival.id: arrival for arrival in arrivals.values()}


def _reflag(arrivals: dict[int, Arrival], uids: list[int], payload: bytes) -> None:
    keep, add = CHANGE.unpack_from(payload)
    for first, last in read_runs(payload[CHANGE.size :]):
        for uid in uids[bisect_left(uids, first) : bisect_right(uids, last)]:
            arrivals[uid] = arrivals[uid]._replace(flags=arrivals[uid].flags & keep | add)
