"""One folder of one mailbox, shared by all sessions of this worker: the log, its columns, the message files.

A change is one record, written under the log's lock and in the journal before the call returns. Files go after the record that says so, and
come before it: a crash leaves at worst a file that no record names. Nothing is held across an await but what a session can see.
"""

from __future__ import annotations

import asyncio
import mmap
import os
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from postroom.errors import NoSuchFolder, NoSuchMessage, OverQuota, StoreError
from postroom.mailstore import FlagChange, Folder, FolderStatus, Placed, Upload
from postroom.message import Message
from postroom_disk.disk import refused
from postroom_store import beginning, columns, copying, indexing, layout, moving, notes, sweeping, uploading
from postroom_store.columns import Columns
from postroom_store.expunged import Keeping, kept_name
from postroom_store.incoming import Incoming
from postroom_store.log import FolderLog, Held
from postroom_store.means import YOUNG, Means
from postroom_store.noting import Noted
from postroom_store.reading import read_part
from postroom_store.records import (
    ARRIVAL,
    CHANGE,
    EXPUNGE,
    FLAGS,
    HEAD,
    KEYWORD,
    LENGTHS,
    MASK64,
    TAIL,
    Arrival,
    Birth,
    id_halves,
    id_text,
    id_texts,
    span_runs,
)
from postroom_store.uids import Uids, gaps, joined
from postroom_store.view import FolderView

_CHUNK = 4 << 20
_MUCH = 1 << 20  # octets of a log that take some milliseconds to read
_NEVER = (-1, 0, 0)  # no state of a log
_NOTES = 4 << 20  # octets of notes in one journal record


class LocalFolder:
    """See postroom.mailstore.Folder."""

    def __init__(self, means: Means, where: tuple[str, str, str], directory: str, mailbox_path: str) -> None:
        self.means = means
        self.postoffice, self.mailbox, self.name = where
        self.directory, self.mailbox_path = directory, mailbox_path
        self.key = folder_key(*where)
        self.log = FolderLog(means, directory)
        self.columns = Columns()
        self._view: FolderView | None = None
        self._seen = _NEVER  # state of the log when all of it was read
        self._where: tuple[Birth | None, bytes] = None, b""  # of which log
        self.noted = Noted()

    # Reading.

    def view(self) -> FolderView:
        self.refresh()
        if self._view is None or not self._view.is_of(self.columns):
            self._view = FolderView(self, self.columns, self._status())
            self.columns.lent = True
        return self._view

    def _status(self) -> FolderStatus:
        known = self.columns
        return FolderStatus(
            name=self.name,
            object_id=known.birth.object_id.hex(),
            uidvalidity=known.birth.uidvalidity,
            uidnext=known.uidnext,
            modseq=known.modseq,
            messages=len(known),
            unseen=known.unseen,
            deleted=known.deleted,
            octets=known.total,
        )

    def refresh(self) -> None:
        """Bring the columns up to the log's end; from the `view` file first where they are not of this log."""
        state = self.log.state()
        if state == self._seen:
            return
        if not self._covered() or state[0] - self._covered() > _MUCH:
            self._load()
        generation = self.columns.generation
        self._read_on()
        if self.columns.moved or (self.columns.generation != generation and not self.log.is_at_path()):
            self.log.shut()
            state = self.log.state()
            self._load()
            self._read_on()
        is_all = self.columns.covered == state[0] and not self.columns.moved  # moved: the new log is not in place yet
        self._seen = state if is_all else _NEVER
        if self.columns.work > max(500, len(self.columns) // 50):
            self.save_view()

    async def catch_up(self) -> None:
        """As `refresh`, but much is read in a thread."""
        if self.log.size() - self._covered() > _MUCH:
            known = await asyncio.to_thread(self.apart().known)
            if known.covered > self._covered():
                self._adopt(known)
        self.refresh()

    def known(self) -> Columns:
        """The columns of a folder that nobody else uses."""
        try:
            self.refresh()
            return self.columns
        finally:
            self.log.shut()

    def _covered(self) -> int:
        """Octets of this log that are in the columns; none where they are of another."""
        known = self.columns
        return known.covered if known.identity == self.log.identity else 0

    def _adopt(self, known: Columns) -> None:
        self.columns, self._view, self._seen = known, None, _NEVER

    def refresh_as(self, uidvalidity: int | None) -> None:
        """As `refresh`; NoSuchFolder where another folder took the place of the one with this UIDVALIDITY."""
        self.refresh()
        if uidvalidity is not None and uidvalidity != self.columns.birth.uidvalidity:
            raise NoSuchFolder(f"{self.name} is another folder now")

    def _load(self) -> None:
        """Take the `view` file where it is of this log and goes further than what we have; columns of another log go in any case."""
        saved = None
        with suppress(OSError):
            saved = columns.load(_read_file(f"{self.directory}/{layout.VIEW}"), self.means.epoch)
        covered = self._covered()
        if not covered:
            self._adopt(Columns())
        if saved is not None and saved.covered > covered and saved.identity == self.log.identity:
            self._adopt(saved)

    def _read_on(self) -> None:
        """Read what was added, up to what is being written this moment, or torn: the next writer mends it. Where the record read last
        is not there any more, all is read anew."""
        chunk = _CHUNK
        while True:
            known = self.columns
            before, again = known.covered, min(known.covered, columns.MARK)
            octets = memoryview(self.log.read(before - again, chunk))
            if again and not known.goes_on(octets[:again]):
                self._adopt(Columns())
                continue
            known.apply(octets[again:])
            if len(octets) < chunk:
                return
            if known.covered == before:
                chunk *= 2

    def save_view(self) -> None:
        """Write the `view` file aside and put it in place; it is derived, so a disk that refuses is no harm."""
        aside = f"{self.directory}/.{layout.VIEW}.{os.getpid()}.{id(self):x}.new"  # a thread may be at it too
        try:
            fd = self.means.disk.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            try:
                self.means.disk.write_all(fd, self.columns.save())
            finally:
                self.means.disk.close(fd)
            self.means.disk.rename(aside, f"{self.directory}/{layout.VIEW}")
            self.columns.work = 0
        except OSError:
            with suppress(OSError):
                self.means.disk.unlink(aside)

    def moved_arrival(self, uid: int, object_id: bytes) -> tuple[mmap.mmap, int]:
        """Where the lengths of a message's texts lie now, for a view older than the log. NoSuchMessage where this is not its folder any more: under
        the same UID there is another message."""
        self.refresh()
        known = self.columns
        if known.birth.object_id != object_id:
            raise NoSuchMessage(f"{self.name} is another folder now")
        row = self.row_of(uid)
        log = self.log.mapped(known.identity, known.covered)
        if log is None:
            raise NoSuchMessage(f"no message {uid} in {self.name}")
        return log, known.offsets[row] + HEAD.size + ARRIVAL.size

    def described(self, row: int) -> bytes:
        """The texts of an arrival as the log has them, to be copied into another."""
        return _texts_at(self._whole_log(), self.columns.offsets[row])

    def trail(self, row: int) -> bytes:
        """Which move an arrival came by (TRAIL), or nothing."""
        return _trail_at(self._whole_log(), self.columns.offsets[row])

    def _whole_log(self) -> mmap.mmap:
        log = self.log.mapped(self.columns.identity, self.columns.covered)
        assert log is not None, "the columns were brought up to the log under its lock"
        return log

    def arrival_notes(self, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Under the lock: the notes of these arrivals, which are in the log."""
        if not spans:
            return []
        where, log, known = self.where(), self._whole_log(), self.columns
        return [
            notes.arrived(where, fixed, _trail_at(log, at))
            for begin, end in spans
            for fixed, at in zip(known.arrivals(begin, end), known.offsets[begin:end])
        ]

    def file(self, message_id: str) -> str:
        return f"{self.directory}/{message_id}{layout.SUFFIX}"

    def path_of(self, row: int) -> str:
        return f"{self.directory}/{self.columns.high[row]:016X}{self.columns.low[row]:016X}{layout.SUFFIX}"

    def path(self, uid: int) -> str:
        return self.path_of(self.row_of(uid))

    def row_of(self, uid: int) -> int:
        """The row of a message; NoSuchMessage where it is not there, or not any more."""
        row = self.columns.row(uid)
        if row < 0:
            self.refresh()
            row = self.columns.row(uid)
        if row < 0:
            raise NoSuchMessage(f"no message {uid} in {self.name}")
        return row

    async def read(self, uid: int, offset: int = 0, n: int = -1) -> bytes:
        row = self.row_of(uid)
        path, n = self.path_of(row), max(self.columns.octets[row] - offset, 0) if n < 0 else n
        if (text := self._text(uid, path, offset, n, waits=False)) is None:
            text = await asyncio.to_thread(self._text, uid, path, offset, n)
        assert text is not None, "it was waited for"
        return text

    def peek(self, uid: int, most: int) -> bytes | None:
        row = self.row_of(uid)
        octets = self.columns.octets[row]
        return self._text(uid, self.path_of(row), 0, octets, waits=False) if octets <= most else None

    def _text(self, uid: int, path: str, offset: int, n: int, *, waits: bool = True) -> bytes | None:
        try:
            return read_part(path, offset, n, waits=waits)
        except FileNotFoundError:
            raise NoSuchMessage(f"message {uid} in {self.name} is gone") from None
        except OSError as error:
            raise refused(error, "reading a message") from error

    def keywords(self) -> Sequence[str]:
        return tuple(self.columns.keywords)

    def expunged_since(self, modseq: int) -> Uids:
        known = self.columns
        if modseq < known.birth.horizon:
            return gaps(known.uids, known.uidnext)
        return joined(sorted(known.gone_uids[bisect_right(known.gone_modseqs, modseq) :]))

    def follow(self, changed: Callable[[], None]) -> Callable[[], None]:
        return self.means.news.follow(self.key, changed)

    # Under the lock.

    async def hold(self, *, make: bool = False, durable: bool = False) -> Held:
        """The log's lock. A folder that has messages and no log yet is indexed first; `make` begins one where there is no directory,
        at once `durable` where no journal vouches for it."""
        while True:
            try:
                return await self.log.hold()
            except NoSuchFolder:
                await self._begin(make=make, durable=durable)
                if self.is_changed():
                    await self.index()

    async def _begin(self, *, make: bool, durable: bool) -> None:
        """In a thread: another worker may have the mailbox's lock for long, and many files may lie there."""
        await asyncio.to_thread(beginning.begin, self.means.apart(), self.mailbox_path, self.directory, make=make, durable=durable)
        self.means.usage.forget(self.mailbox_path)
        for path in (self.mailbox_path, self.directory):
            self.means.names.made(path)
        self.means.news.tell(folder_key(self.postoffice, self.mailbox, ""))

    def is_changed(self) -> bool:
        """Whether somebody left the word that the folder was changed by hand."""
        return os.path.exists(f"{self.directory}/{layout.CHANGED}")

    async def index(self) -> list[str]:
        """Take in what was added or removed by hand, in a thread; what was found, a sentence each."""
        found = await asyncio.to_thread(indexing.index, self.apart(), repair=True)
        self.means.news.tell(self.key)
        return found

    def apart(self) -> LocalFolder:
        """The same folder for work in a thread, with descriptors and columns of its own."""
        return LocalFolder(self.means.apart(), (self.postoffice, self.mailbox, self.name), self.directory, self.mailbox_path)

    def take(self, held: Held, message_id: str, make_file: Callable[[str], None], scanned: Callable[[], Incoming]) -> Arrival:
        """Under the lock: put the file in place, then its record. Any error, and then neither is there; ValueError for an id that is none."""
        id_halves(message_id)  # what is none must not become a path
        path = self.file(message_id)
        make_file(path)
        try:
            message = scanned()
            arrival = message.arrival(held.uidnext, held.modseq + 1, self.means.clock.now())
            held.arrive(arrival.uid, arrival.modseq, arrival.octets, ARRIVAL.pack(*arrival), message.described)
            held.commit()
        except Exception:
            with suppress(OSError):
                self.means.disk.unlink(path)
            raise
        return arrival

    def where(self) -> bytes:
        """The folder as notes in the journal name it."""
        birth = self.log.birth
        if self._where[0] is not birth:  # the log was opened anew, and may be another's
            named = notes.Where(birth.object_id, birth.uidvalidity, self.postoffice, self.mailbox, self.name)
            self._where = birth, named.pack()
        return self._where[1]

    def relocate(self, name: str, directory: str) -> None:
        """The folder was renamed by this worker. Its log is opened again by the new name: mail that came meanwhile may have begun a folder
        of the old one, which this object then has open."""
        self.log.shut()
        self.name, self.directory, self._where = name, directory, (None, b"")
        self.key = folder_key(self.postoffice, self.mailbox, name)
        self.log.path = directory
        self._view = None

    def forget_state(self) -> None:
        """Another folder may lie under this name now."""
        self.log.shut()
        self.columns, self._view, self._seen = Columns(), None, _NEVER

    def sync_names(self) -> None:
        """Make the names of the files in it durable, and its own where it is so young that a delivery may have made it, unsynced."""
        self.means.disk.sync_folder(self.directory)
        if self.log.birth.uidvalidity > self.means.clock.now() - YOUNG:  # the time of its birth, or later
            beginning.sync_up(self.means, self.directory)

    def check_room(self, held: Held, limit: int | None, octets: int) -> None:
        """OverQuota when these octets do not fit into the mailbox."""
        if limit is not None and self.means.usage.used(self.mailbox_path, but=self.directory) + held.octets + octets > limit:
            raise OverQuota(f"the mailbox {self.mailbox} is full: {limit} octets are allowed")

    def young(self, spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
        """What of these spans of rows arrived so lately that it may not be durable yet, perhaps by another worker, and was not noted by
        this one."""
        return self.noted.missing(self.columns, spans, self.means.clock.now() - YOUNG)

    async def remember(self, said: Sequence[bytes]) -> None:
        """Bring these notes to the journal; durable on return. SpoolError: they are not."""
        begin = size = 0
        for end, note in enumerate(said, 1):
            size += len(note)
            if size > _NOTES or end == len(said):
                await self.means.journal.append(notes.KIND, b"".join(said[begin:end]))
                begin, size = end, 0
        self.means.news.tell(self.key)

    # Changing.

    async def keyword(self, name: str) -> int:
        try:
            with await self.hold() as held:
                self.refresh()
                for number, known in enumerate(self.columns.keywords):
                    if known.casefold() == name.casefold():
                        return 1 << (5 + number)
                number = len(self.columns.keywords)
                if number >= columns.KEYWORDS:
                    raise StoreError(f"the folder {self.name} has {columns.KEYWORDS} keywords already, which is all it can have")
                modseq, payload = held.modseq + 1, name.encode()
                held.stage(KEYWORD, modseq, payload)
                held.commit()
                self.refresh()
        except OSError as error:
            raise refused(error, "making a keyword") from error
        await self.remember([notes.changed(self.where(), KEYWORD, modseq, payload)])
        return 1 << (5 + number)

    async def append(self, message: Message, *, flags: int = 0, arrived: float | None = None) -> Placed:
        (placed,) = await uploading.append(self, [Upload(message, flags, arrived)])
        return placed

    async def append_all(self, new: Sequence[Upload]) -> Sequence[Placed]:
        return await uploading.append(self, new)

    async def replace(self, uid: int, new: Upload, target: Folder, *, uidvalidity: int | None = None) -> Placed:
        return await uploading.replace(self, uid, new, _local(target), uidvalidity)

    async def change_flags(
        self, uids: Iterable[int], *, add: int = 0, remove: int = 0, unchanged_since: int | None = None, uidvalidity: int | None = None
    ) -> FlagChange:
        keep, add = MASK64 & ~remove, add & MASK64
        try:
            with await self.hold() as held:
                self.refresh_as(uidvalidity)
                known = self.columns
                spans, refused_uids = known.spans(uids), list[int]()
                if unchanged_since is not None:
                    spans, refused_uids = known.unchanged(spans, unchanged_since)
                spans = known.differing(spans, keep, add)
                if not spans:
                    return FlagChange(known.modseq, [], refused_uids)
                changed = known.uids_of(spans)
                modseq, payload = held.modseq + 1, CHANGE.pack(keep, add) + span_runs(spans, known.uids)
                young = self.young(spans)
                arrivals, of = [(known.uids[begin], known.uids[end - 1]) for begin, end in young], known.birth.object_id
                said = [*self.arrival_notes(young), notes.changed(self.where(), FLAGS, modseq, payload)]
                held.stage(FLAGS, modseq, payload)
                held.commit()
                self.refresh()
        except OSError as error:
            raise refused(error, "changing flags") from error
        await self.remember(said)
        for first, last in arrivals:
            self.noted.add(of, first, last)
        return FlagChange(modseq, changed, refused_uids)

    async def expunge(self, uids: Iterable[int], *, uidvalidity: int | None = None, having: int = 0) -> Sequence[int]:
        try:
            with await self.hold() as held:
                self.refresh_as(uidvalidity)
                spans = self.columns.having(self.columns.spans(uids), having)
                if not spans:
                    return []
                gone = self.columns.uids_of(spans).tolist()
                going = self.going(spans)
                said = self.stage_expunge(held, spans)
                held.commit()
                self.refresh()
        except OSError as error:
            raise refused(error, "expunging messages") from error
        await self.remember(said)
        await self.sweep(going)
        return gone

    def keeping(self, *, keep: bool = True) -> Keeping:
        """Where its expunged messages go now; away where none is to be kept."""
        return Keeping(self.means, self.mailbox_path, self.columns.birth.object_id, self.name, keep=keep)

    def going(self, spans: Sequence[tuple[int, int]], *, keep: bool = True) -> sweeping.Going:
        """Under the lock: these messages, which are about to be expunged, or to go elsewhere where nothing is to be kept of them."""
        return sweeping.going(self, spans, self.keeping(keep=keep))

    def kept_name(self, row: int) -> str:
        """What a message is called where expunged ones are kept."""
        known = self.columns
        return kept_name(id_text(known.high[row], known.low[row]), known.flags[row], known.arrived[row])

    def ids_from(self, uid: int) -> frozenset[str]:
        """Under the lock: the ids of all messages with this UID and later ones."""
        self.refresh()
        first = bisect_left(self.columns.uids, uid)
        return frozenset(id_texts(self.columns.high[first:], self.columns.low[first:]))

    def stage_expunge(self, held: Held, spans: Sequence[tuple[int, int]]) -> list[bytes]:
        """Stage the end of these spans of rows; the notes that go with it."""
        modseq, payload = held.modseq + 1, span_runs(spans, self.columns.uids)
        said = [*self.arrival_notes(self.young(spans)), notes.changed(self.where(), EXPUNGE, modseq, payload)]
        held.messages -= sum(end - begin for begin, end in spans)
        held.octets -= sum(sum(self.columns.octets[begin:end]) for begin, end in spans)
        held.stage(EXPUNGE, modseq, payload)
        return said

    async def sweep(self, going: sweeping.Going) -> None:
        """Take the files of expunged messages away; of many behind the answer."""
        await sweeping.sweep(self, going)

    async def copy(self, uids: Iterable[int], target: Folder, *, uidvalidity: int | None = None, keep: int = -1) -> list[tuple[int, int]]:
        return await copying.copy(self, _local(target), list(uids), uidvalidity, keep=keep)

    async def move(self, uids: Iterable[int], target: Folder, *, uidvalidity: int | None = None, keep: int = -1) -> list[tuple[int, int]]:
        return await moving.move(self, _local(target), list(uids), uidvalidity, keep)


def folder_key(postoffice: str, mailbox: str, name: str) -> str:
    """One text for all spellings of a folder."""
    return layout.key(f"{postoffice}\0{mailbox}\0{name}")


def _texts_at(log: mmap.mmap, at: int) -> bytes:
    """The texts of the arrival that lies there."""
    begin = at + HEAD.size + ARRIVAL.size
    return log[begin : begin + LENGTHS.size + sum(LENGTHS.unpack_from(log, begin)[2:])]


def _trail_at(log: mmap.mmap, at: int) -> bytes:
    """Its trail."""
    begin, end = at + HEAD.size + ARRIVAL.size, at + HEAD.unpack_from(log, at)[1] - TAIL
    return log[begin + LENGTHS.size + sum(LENGTHS.unpack_from(log, begin)[2:]) : end]


def _local(folder: Folder) -> LocalFolder:
    if not isinstance(folder, LocalFolder):
        raise StoreError("messages can be copied between folders of one store only")
    return folder


def _read_file(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return os.pread(fd, os.fstat(fd).st_size, 0)
    finally:
        os.close(fd)
