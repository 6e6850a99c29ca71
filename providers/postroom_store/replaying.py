"""What the journals know of folders, put back after a power cut.

The notes of all slots are merged with a folder's log by MODSEQ. What the log lacks is added under the same UID and MODSEQ: at the end where it
belongs there, otherwise the log is written anew in order. Message files are compared with what the journals hold and made whole. What was
noted before the log had it (`begun`) may never have come there, and then its numbers may be another's. All of it may be done twice; last,
moves that were cut in two are finished (moving.py). A message that nobody has any more is told to the operator's log; an id in `forgotten`
stays forgotten.
"""

from __future__ import annotations

import os
from bisect import insort
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from postroom.errors import NoSuchFolder
from postroom.message import FileMessage, Message
from postroom_store import files, forgotten, layout, mending, moving, notes
from postroom_store.beginning import begin, path_of
from postroom_store.epoch import JUMP
from postroom_store.folder import LocalFolder
from postroom_store.incoming import Incoming, in_file, in_memory
from postroom_store.log import FolderLog
from postroom_store.means import Means
from postroom_store.notes import ArrivalNote, ChangeNote, MoveNote, Where, WithdrawnNote
from postroom_store.records import (
    ARRIVAL,
    ARRIVE,
    EPOCH,
    EXPUNGE,
    FLAGS,
    HEADER,
    KEYWORD,
    LAST_UID,
    MOVED,
    NAMED,
    NOTHING,
    Arrival,
    Birth,
    Entry,
    Tail,
    salvage,
)

if TYPE_CHECKING:
    from postroom.journal import Replay


@dataclass(slots=True)
class _Story:
    """What the journals know of one folder."""

    where: Where
    noted: dict[tuple[int, str], ArrivalNote] = field(default_factory=dict)  # by UID and id; the earliest, or the one with octets
    withdrawn: set[tuple[int, str]] = field(default_factory=set)
    changes: dict[int, ChangeNote] = field(default_factory=dict)  # by MODSEQ

    def add(self, note: ArrivalNote | WithdrawnNote | ChangeNote) -> None:
        if isinstance(note, ChangeNote):
            self.changes[note.modseq] = note
            return
        which = note.arrival.uid, note.arrival.id
        if isinstance(note, WithdrawnNote):
            self.withdrawn.add(which)
            return
        known = self.noted.get(which, note)
        first = min(known, note, key=lambda one: (one.arrival.modseq, one.data is None))
        self.noted[which] = replace(first, begun=known.begun and note.begun)

    def standing(self) -> list[ArrivalNote]:
        """What came, or may have: what was in the log before it was noted goes first, and of the rest what was begun last."""
        left = [note for which, note in self.noted.items() if which not in self.withdrawn]
        return sorted(left, key=lambda note: (True, -note.arrival.saved) if note.begun else (False, note.arrival.modseq))


def replay(means: Means, found: Replay) -> None:
    """Recovery, as the journal asks for it. OSError when the disk refuses: nothing may be cut then."""
    stories: dict[tuple[str, str], dict[bytes, _Story]] = defaultdict(dict)
    moves: list[MoveNote] = []
    for record in found.records:
        for note in notes.read(record.payload):
            if isinstance(note, MoveNote):
                moves.append(note)
                continue
            where = note.where
            mailbox = stories[layout.key(where.postoffice), layout.key(where.mailbox)]
            mailbox.setdefault(where.object_id, _Story(where)).add(note)
    apart = means.apart()
    try:
        for mailbox in stories.values():
            for story in mailbox.values():
                _Merge(apart, story, found).run()
        moving.finish(apart, moves, found)
    finally:
        apart.descriptors.close_all()


class _Merge:
    """One folder and its story."""

    def __init__(self, means: Means, story: _Story, found: Replay) -> None:
        self._means, self._story, self._found = means, story, found
        where = story.where
        self._mailbox = means.names.mailbox(where.postoffice, where.mailbox)
        self._forgotten = forgotten.load(self._mailbox)
        self._came: dict[int, ArrivalNote] = {}  # by UID

    def run(self) -> None:
        folder = self._open()
        if folder is None:
            return
        try:
            with folder.log.hold_now():
                self._merge(folder)
        finally:
            folder.log.shut()

    def _open(self) -> LocalFolder | None:
        """The folder wherever it lies now; begun again under its old identity if the power cut took it whole; None if it was deleted."""
        where = self._story.where
        path = path_of(self._means, self._mailbox, where.object_id)
        if path is None:
            if not any(note.arrival.id not in self._forgotten for note in self._story.standing()):
                return None
            path = self._means.names.folder(self._mailbox, where.folder)
            with suppress(NoSuchFolder):  # sets a damaged log aside
                FolderLog(self._means, path).hold_now().release()
            begin(self._means, self._mailbox, path, make=True, birth=Birth(where.object_id, where.uidvalidity, 1, 1))
        name = "/".join(map(layout.decode, path[len(self._mailbox) + 1 :].split("/")))
        folder = LocalFolder(self._means, (where.postoffice, where.mailbox, name), path, self._mailbox)
        folder.log.size()
        if folder.log.birth.object_id != where.object_id:
            self._means.log.error("folder_replaced", folder=name, mailbox=where.mailbox)  # its log was lost before the journals were read
            return None
        return folder

    def _merge(self, folder: LocalFolder) -> None:
        records, rescued = _records(folder)
        late = self._settle(records, folder.log.birth.base)
        missing = self._missing(folder, records)
        alive = _alive([*records, *missing])
        ready: list[Entry] = []
        for record in missing:
            if record.kind != ARRIVE:
                ready.append(record)
            elif (whole := self._brought_back(folder, record, alive)) is not None:
                ready.append(whole)
        for note in self._came.values():
            if alive.get(note.arrival.uid) == note.arrival.id:
                self._make_file(folder, note)
        if ready or rescued or late:
            jump = self._jump([*records, *ready])
            ordered = [*sorted([*records, *ready], key=_order), jump, *self._behind(folder, late, jump.tail)]
            mending.rewrite(self._means, folder.directory, folder.log.fd, ordered, folder.log.generation + 1)

    def _settle(self, records: Iterable[Entry], base: int) -> list[ArrivalNote]:
        """Which notes tell of this log's arrivals; and those that may have come, but under numbers that somebody else's have too. What was begun and
        is not in the log, where something else has one of its numbers, never was there: nobody was told that it came. And it is there already
        where an earlier replay, or an index, gave it others."""
        ids = {fixed.uid: fixed.id for fixed in _arrivals(records)}
        modseqs = {record.tail.modseq for record in records if record.kind not in (HEADER, EPOCH)}
        here, noted, late = set(ids.values()), set(self._story.changes), list[ArrivalNote]()
        for note in self._story.standing():
            uid, modseq = note.arrival.uid, note.arrival.modseq
            if note.begun and ids.get(uid) != note.arrival.id:
                if uid in ids or modseq in modseqs or modseq <= base or note.arrival.id in here:
                    continue
                if uid in self._came or modseq in noted:
                    late.append(note)
                    continue
            self._came.setdefault(uid, note)
            noted.add(modseq)
        here = {note.arrival.id for note in self._came.values()}
        return [note for note in late if note.arrival.id not in here and note.arrival.id not in self._forgotten]

    def _behind(self, folder: LocalFolder, late: Iterable[ArrivalNote], tail: Tail) -> Iterator[Entry]:
        """Arrivals under numbers of their own, behind all others, their files made."""
        for number, note in enumerate(late):
            assert note.data is not None, "what was begun has its octets"
            if tail.uidnext + number > LAST_UID:
                self._means.log.error("message_lost", id=note.arrival.id, mailbox=folder.mailbox, folder=folder.name)
                continue
            incoming = in_memory(note.arrival.id, note.data, note.arrival.flags, note.arrival.arrived)
            incoming.write(self._means.disk, folder.file(incoming.id), durable=False)
            arrival = incoming.arrival(tail.uidnext + number, tail.modseq + 1 + number, note.arrival.saved)
            after = tail._replace(uidnext=arrival.uid + 1, modseq=arrival.modseq)
            yield Entry(0, ARRIVE, ARRIVAL.pack(*arrival) + incoming.described, after)

    def _jump(self, records: Iterable[Entry]) -> Entry:
        """Past all numbers that a client may know and nobody has."""
        uidnext, modseq = max(record.tail.uidnext for record in records), max(record.tail.modseq for record in records)
        return Entry(0, EPOCH, b"", Tail(min(uidnext + JUMP, LAST_UID + 1), modseq + JUMP, self._means.epoch, 0, 0, 0))

    def _missing(self, folder: LocalFolder, records: Iterable[Entry]) -> list[Entry]:
        """Records the journals have and the log has not, in MODSEQ order; arrivals without their texts yet."""
        base = folder.log.birth.base
        uids = {fixed.uid for fixed in _arrivals(records)}
        modseqs = {record.tail.modseq for record in records if record.kind not in (ARRIVE, HEADER, EPOCH)}  # an epoch's is a jump ahead
        epoch, found = self._means.epoch, list[Entry]()
        for note in self._came.values():
            arrival = note.arrival
            if arrival.uid not in uids and arrival.modseq > base:
                found.append(Entry(0, ARRIVE, ARRIVAL.pack(*arrival), Tail(arrival.uid + 1, arrival.modseq, epoch, 0, 0, 0)))
        for change in self._story.changes.values():
            if change.modseq not in modseqs and change.modseq > base:
                found.append(Entry(0, change.kind, change.payload, Tail(1, change.modseq, epoch, 0, 0, 0)))
        return sorted(found, key=lambda record: record.tail.modseq)

    def _brought_back(self, folder: LocalFolder, record: Entry, alive: dict[int, str]) -> Entry | None:
        """A missing arrival with its texts; of a message that was expunged later only the id matters."""
        arrival, described = Arrival._make(ARRIVAL.unpack(record.payload)), NOTHING
        if alive.get(arrival.uid) == arrival.id:
            incoming = self._incoming(folder, self._came[arrival.uid])
            if incoming is None:
                self._means.log.error("message_lost", id=arrival.id, mailbox=folder.mailbox, folder=folder.name)
                return None
            sent = incoming.sent if self._came[arrival.uid].begun else arrival.sent
            arrival = arrival._replace(octets=incoming.octets, sent=sent)  # as accepted, where a filter's text is lost
            described = incoming.described
        return Entry(0, ARRIVE, ARRIVAL.pack(*arrival) + described + self._came[arrival.uid].trail, record.tail)

    def _incoming(self, folder: LocalFolder, note: ArrivalNote) -> Incoming | None:
        """The octets of a message, from the journals or, if it was durable long before, from its file."""
        arrival = note.arrival
        message = None if note.data is not None else self._found.message(arrival.id)
        data = note.data if note.data is not None else _in_memory(message)
        if data is not None:
            return in_memory(arrival.id, data, arrival.flags, arrival.arrived)
        path = str(message.path) if isinstance(message, FileMessage) else folder.file(arrival.id)
        if os.path.exists(path) and os.path.getsize(path) == arrival.octets:
            return in_file(arrival.id, path, arrival.flags, arrival.arrived)
        return None

    def _make_file(self, folder: LocalFolder, note: ArrivalNote) -> None:
        """The message's file, whole: made or made anew where it differs from what the journals hold. They have it as it was accepted: what
        a filter made of it is another text under the same id, and where that is whole it stays."""
        path = folder.file(note.arrival.id)
        incoming = self._incoming(folder, note)
        if incoming is None:
            self._means.log.error("message_torn", path=path)
        elif incoming.octets != note.arrival.octets == files.size(path):
            return
        elif incoming.path != path and not incoming.is_at(path):
            incoming.write(self._means.disk, path, durable=False)


def _arrivals(records: Iterable[Entry]) -> Iterator[Arrival]:
    return (Arrival._make(ARRIVAL.unpack_from(record.payload)) for record in records if record.kind == ARRIVE)


def _in_memory(message: Message | None) -> bytes | None:
    return None if message is None else message.peek()


def _records(folder: LocalFolder) -> tuple[list[Entry], bool]:
    """What the log has, and what is left of one that lost its beginning; whether there was such a one."""
    fd = folder.log.fd
    records, _ = salvage(mending.read_all(fd, os.fstat(fd).st_size))
    rescued: list[Entry] = []
    if all(record.kind in (HEADER, EPOCH) for record in records):
        with suppress(FileNotFoundError):
            data = Path(folder.directory, layout.DAMAGED).read_bytes()
            rescued = [record for record in salvage(data)[0] if record.kind in (ARRIVE, FLAGS, EXPUNGE, KEYWORD)]
    return [record for record in (*records, *rescued) if record.kind not in (NAMED, MOVED)], bool(rescued)


def _order(record: Entry) -> tuple[int, bool]:
    return record.tail.modseq, record.kind != HEADER


def _alive(records: Iterable[Entry]) -> dict[int, str]:
    """Message ids by UID, after all these records."""
    alive: dict[int, str] = {}
    uids: list[int] = []  # its keys, ascending
    for record in sorted(records, key=_order):
        if record.kind == ARRIVE:
            arrival = Arrival._make(ARRIVAL.unpack_from(record.payload))
            if arrival.uid not in alive:
                insort(uids, arrival.uid)  # at the end, but for what was out of order
            alive[arrival.uid] = arrival.id
        elif record.kind == EXPUNGE:
            for uid in mending.end_runs(uids, record.payload):
                del alive[uid]
    return alive
