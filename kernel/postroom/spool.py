"""The spool: who is responsible for a message between its acceptance and its end.

A small message is accepted into the journal and carried in memory (the express lane). What must wait, what other programs
drop in and what a crash left behind rests in a queue folder as a pair: `<id>.MAI`, the command file, and
`Messages/<id>.MAI`, the octets. Queue entries survive a crash at any line of this file. `SpoolError` and `DiskError` mean that
the disk refused: nothing was acknowledged, and the caller keeps what it has.

A claim ends in `done`, `again` or `bad`; when its process dies, the pair or the journal still has it. A claimed pair is
locked (flock on its command file), so two processes never hold one. The command file's mtime is the time it is due (postroom_ops/dues.py).
Listing reads only. DESIGN sections 7 and 9; docs/decisions/0002 and 0006.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Final

from postroom import commandfile
from postroom.address import InternalAddress
from postroom.clock import Clock
from postroom.envelope import Attempt, Envelope
from postroom.errors import CommandFileError
from postroom.journal import ACCEPTED, SETTLED, Finder, Journal, Replay, Segment, accept_head, accepted
from postroom.message import FileMessage, MemoryMessage, Message
from postroom_disk.disk import Disk, refused, refusing, unkept
from postroom_disk.ids import HALF
from postroom_disk.keyed import quote
from postroom_ops.dues import all_due, due_of
from postroom_ops.ends import end_pair, find_octets, remove_pair, was_ended
from postroom_ops.files import add_lines, entries, is_whole, link, lock_file, move, put, sync_file, whole
from postroom_ops.parts import Parts

MOST_CRASHES: Final = 3
PRIVATE: Final = "Private"  # key of a command file with its own id: a program's private copy, not mail; docs/decisions/0005


@dataclass(frozen=True, slots=True)
class Queue:
    """One queue folder."""

    spool: Spool
    acronym: str
    name: str  # "Inbound" or "Outgoing"
    folder: Path
    messages: Path

    def command_path(self, item: str) -> Path:
        return self.folder / f"{item}.MAI"

    def message_path(self, item: str) -> Path:
        return self.messages / f"{item}.MAI"

    def items(self) -> Iterator[tuple[str, float]]:
        """Id and due time of every pair at rest. Reads only."""
        with suppress(FileNotFoundError), os.scandir(self.folder) as entries:
            said = all_due(self.folder)
            for entry in entries:
                if entry.name.endswith(".MAI") and entry.name[0] != "." and entry.is_file():
                    with suppress(FileNotFoundError):  # finished while we look: the others are there still
                        yield entry.name[:-4], due_of(entry.stat(), said)

    def look(self, item: str) -> Envelope | None:
        """The envelope of a pair at rest, or None where there is none. Reads only. CommandFileError."""
        try:
            path = self.command_path(item)
            return commandfile.decode(path.read_bytes(), item=item, source=self.acronym, due=due_of(path.stat(), all_due(self.folder)))
        except FileNotFoundError:
            return None


@dataclass(frozen=True, slots=True)
class Queues:
    """The two queues of a connector. Inbound means toward the MTA."""

    inbound: Queue
    outgoing: Queue


@dataclass(eq=False, slots=True)
class Claim:
    """One item in one process's hands. Exactly one of `done`, `again`, `bad` ends it; `drop` puts a pair back as it was."""

    queue: Queue
    envelope: Envelope
    message: Message
    segment: Segment | None = None  # of the journal, for what was accepted and never rested
    lock: int = -1  # descriptor of the locked command file, for what rests
    octets: int = 0  # of the command file as it was found
    is_large: bool = False  # accepted in a file of its own, whatever a hook put in its place
    is_settled: bool = False  # all is done, and the journal has it: nothing of the pair is needed any more
    is_over: bool = False  # nothing is left to do but its end
    is_old: bool = False  # what the journals had when it was put to rest is cut
    over: frozenset[InternalAddress] = frozenset()  # destinations that need nothing more of it, though its end is not written yet

    def done(self) -> None:
        """All recipients are settled: forget it. DiskError leaves the pair, and its destinations know it already."""
        spool = self.queue.spool
        if not self.is_settled and self.envelope.id not in spool.unsynced:
            spool.settled(self.envelope)
        if self.lock >= 0:
            spool.remove(self)
        elif self.is_large:
            spool.journal.after_cut(self.queue.message_path(self.envelope.id))
        self._end()

    def again(self, envelope: Envelope) -> None:
        """Let it rest with this envelope until `envelope.attempt.due`. Where nothing but that time is new, no file is made."""
        old, new = self.envelope.attempt, envelope.attempt
        same = (new.count, new.told, new.error, new.crashes + 1) == (old.count, old.told, old.error, old.crashes)
        if self.lock >= 0 and same and replace(envelope, attempt=old) == self.envelope:
            self.queue.spool.put_back(self, envelope.attempt.due)
        else:
            self.queue.spool.rest(self.queue, envelope, self.message, over=True, claim=self if self.lock >= 0 else None)
        self._end()

    @property
    def left(self) -> Envelope:
        """What is still to be done. `envelope` stays what it was, for the file is that yet."""
        return _without(self.queue, self.envelope, self.over) if self.over else self.envelope

    @property
    def found(self) -> Envelope:
        """What rests, as it was before it was claimed."""
        attempt = self.envelope.attempt
        return replace(self.envelope, attempt=replace(attempt, crashes=attempt.crashes - 1))

    def bad(self, why: str) -> None:
        """Put it into Bad Mail, for a person to look at."""
        self.queue.spool.set_aside("Bad Mail", self.left, self.message, why)
        self.done()

    def drop(self) -> None:
        """Let go without an end. A pair stays as it is; what only the journal has stays held there, and the next start replays it."""
        self.queue.spool.unsynced.discard(self.envelope.id)
        if self.lock >= 0:
            lock, self.lock = self.lock, -1
            self.queue.spool._claimed.pop(self.envelope.id, None)
            self.queue.spool.disk.close(lock)
            self.queue.spool.let_go(self.queue, self.envelope.id)

    def _end(self) -> None:
        if self.segment is not None:
            segment, self.segment = self.segment, None
            segment.release()
        self.drop()


@dataclass
class Spool:
    """All queues of a site, and the way into the journal."""

    root: Path
    disk: Disk
    journal: Journal
    clock: Clock
    damaged: Callable[[str, str], None] = lambda item, why: None  # told of every pair that cannot be read
    rested: Callable[[Queue, str, str, float], None] = lambda queue, item, hop, due: None  # of every pair put to rest; in any thread
    let_go: Callable[[Queue, str], None] = lambda queue, item: None  # of every pair that is claimed no more
    _queues: dict[str, Queues] = field(default_factory=dict)
    # Items in hand of which a pair was written: a note that they are done could reach the disk before it. A replay carries them again, and
    # finds the pair, or what is left of it.
    unsynced: set[str] = field(default_factory=set)
    _durable: set[Path] = field(default_factory=set)  # folders whose names are, though somebody else may have made them
    _claimed: dict[str, Claim] = field(default_factory=dict)  # the pairs that this process holds
    _parts: Parts = field(default_factory=lambda: Parts(HALF))

    def __post_init__(self) -> None:
        self.journal.replayer((ACCEPTED, SETTLED), self.replay)
        self.journal.find = Finder(self.message_at_rest)

    def __getitem__(self, acronym: str) -> Queues:
        acronym = acronym.upper()
        if acronym not in self._queues:
            made = ((name, self.root / "Queues" / acronym / name) for name in ("Inbound", "Outgoing"))
            self._queues[acronym] = Queues(*(Queue(self, acronym, name, folder, folder / "Messages") for name, folder in made))
        return self._queues[acronym]

    def queues(self) -> Iterator[Queue]:
        """Every queue that has a folder."""
        parent = self.root / "Queues"
        for acronym in sorted(entry.name for entry in parent.iterdir()) if parent.is_dir() else []:
            yield from (self[acronym].inbound, self[acronym].outgoing)

    # Taking responsibility.

    async def accept(self, envelope: Envelope, message: Message) -> Claim:
        """Durable on return. A FileMessage must lie at `big(...)`; it is synced here. SpoolError: nothing was kept."""
        queue = self[envelope.source].inbound
        command = commandfile.encode(envelope)
        data = message.peek()
        if data is None:
            await asyncio.to_thread(self._sync_file, queue, message)
        segment = await self.journal.append(ACCEPTED, accept_head(envelope.id, command), command, data or b"")
        segment.hold()
        return Claim(queue, envelope, message, segment, is_large=data is None)

    def _sync_file(self, queue: Queue, message: Message) -> None:
        path = queue.message_path(message.id)
        with refusing(f"syncing {path.name}", unkept):
            sync_file(self.disk, path)

    def big(self, message_id: str, source: str) -> Path:
        """Where a message larger than SMALL is streamed before it is accepted. SpoolError when the folder cannot be made."""
        path = self[source].inbound.message_path(message_id)
        with refusing(f"making {path.parent}", unkept):
            if path.parent not in self._durable or not path.parent.is_dir():
                self.disk.make_durable_folders(path.parent, self.root)
                self._durable.add(path.parent)
        return path

    def settled(self, envelope: Envelope) -> None:
        """Note that all of an item is done."""
        self.journal.note(SETTLED, bytes.fromhex(envelope.id))

    async def settle(self, envelope: Envelope, destinations: Collection[InternalAddress]) -> None:
        """These destinations of an item have it: durable on return, so a crash never sends it to them again, nor where the message that it is a
        part of is parted anew. Where a pair is claimed, the journal keeps that until its end, whichever part of it they are of. SpoolError."""
        item = envelope.holder or envelope.id
        names = ";".join(quote(str(destination)) for destination in destinations).encode("utf-8", "surrogateescape")
        if (claim := self._claimed.get(item)) is not None and not claim.is_old and envelope.message != item:
            self.journal.note(SETTLED, bytes.fromhex(envelope.message), names)
        is_all = claim is not None and item == envelope.id and len(destinations) == len(envelope.recipients)
        segment = await self.journal.append(SETTLED, bytes.fromhex(item), b"" if is_all else names)
        if claim is not None and claim.segment is None:
            segment.hold()
            claim.segment = segment

    # Pairs at rest.

    def rest(self, queue: Queue, envelope: Envelope, message: Message, *, over: bool = False, claim: Claim | None = None) -> None:
        """Write a pair, unsynced: the journal still has it, or had it when the pair was written. An existing pair stays unless `over`; what is
        new of a claimed one is added to its command file."""
        path = queue.command_path(envelope.id)
        if not over and (path.exists() or was_ended(queue.folder, envelope.id)):
            return
        with refusing(f"writing {envelope.id} into {queue.acronym} {queue.name}"):
            self._place(queue.message_path(envelope.id), message, sync=claim is not None)
            status, due = "Unsent" if queue.name == "Outgoing" else "Undelivered", envelope.attempt.due or self.clock.now()
            # No journal has a claimed pair any more, so a power cut must leave the old file or the new one.
            if claim is not None and add_lines(self.disk, claim.lock, commandfile.amendment(claim.found, envelope, status=status)):
                self.disk.utime(claim.lock, (due, due))
            else:
                put(self.disk, path, commandfile.encode(envelope, status=status), due, sync=claim is not None)
        self.unsynced.add(envelope.holder)  # none where the item itself rests: that is not done
        self.rested(queue, envelope.id, envelope.hop, envelope.attempt.due)

    def put_back(self, claim: Claim, due: float) -> None:
        """A claimed pair as it was found, with another time."""
        with refusing(f"putting {claim.envelope.id} back"):
            self.disk.ftruncate(claim.lock, claim.octets)
            self.disk.utime(claim.lock, (due, due))
        self.rested(claim.queue, claim.envelope.id, claim.envelope.hop, due)

    def _place(self, path: Path, message: Message, *, sync: bool = False) -> None:
        """The octets at this path: linked where they lie in a file, written where they do not. "Exists" is not "done"."""
        data = message.peek() or b""
        if isinstance(message, FileMessage):
            if message.path != path:
                if sync:
                    sync_file(self.disk, message.path)
                link(self.disk, message.path, path)
        elif not path.exists() or path.read_bytes() != data:
            put(self.disk, path, data, sync=sync)

    def remove(self, claim: Claim) -> None:
        """Take a finished pair away. The octets go once what became of them is durable: at once where the journal has that."""
        queue, item, message = claim.queue, claim.envelope.id, claim.envelope.message
        # What nobody can make again leaves no mark: no journal has it, and the message it is a part of does not wait to be parted again.
        is_last = message == item or not os.access(f"{self[claim.envelope.source].inbound.folder}/{message}.MAI", os.F_OK)
        self._end_pair(queue, item, marked=not (claim.is_settled and claim.is_old and is_last))
        if claim.is_settled:
            with suppress(OSError):  # the next cut tries again
                return self.disk.unlink(f"{queue.messages}/{item}.MAI")
        return self.journal.after_cut(queue.message_path(item))

    def _end_pair(self, queue: Queue, item: str, *, marked: bool = True) -> None:
        with refusing(f"removing {item} from {queue.acronym} {queue.name}"):
            end_pair(self.disk, queue.folder, item, self.journal.slot, marked=marked)

    def message_at_rest(self, message_id: str) -> Message | None:
        """A message of this id in any queue folder, finished ones included while their octets are there. Reads only."""
        found = find_octets((queue.folder for queue in self.queues()), message_id)
        return None if found is None else FileMessage(message_id, *found)

    def has(self, queue: Queue, envelope: Envelope, message: Message) -> bool:
        """Whether an item that a replay makes again rests already, or is done. A power cut may have torn a pair: its octets are put right, and
        one whose command file cannot be read goes. Who else is at a whole one is not disturbed. DiskError."""
        with refusing(f"putting {envelope.id} right"):
            with suppress(CommandFileError):
                if (found := queue.look(envelope.id)) is None or found.recipients:
                    if found is not None and not is_whole(path := queue.message_path(envelope.id), message.peek()):
                        self._place(path, message)
                        self.unsynced.add(envelope.holder)
                    return found is not None or was_ended(queue.folder, envelope.id)
            self.disk.unlink(queue.command_path(envelope.id))
            return False

    def parted(self, claim: Claim, acronyms: Iterable[str]) -> frozenset[InternalAddress]:
        """The destinations that parts of a claimed message, made for these connectors by a process that died with it, care for or cared for.
        DiskError."""
        over, folders = set[InternalAddress](), [self[acronym].outgoing.folder for acronym in acronyms]
        with refusing(f"looking for parts of {claim.envelope.id}"):
            for _, item, command in self._parts.of(claim.envelope.message, folders, claim, tuple(self._claimed.values())):
                with suppress(CommandFileError):  # torn by a power cut: it is made again
                    part = commandfile.decode(command, item=item, source="")
                    over.update(part.settled, (one.address for one in part.recipients))
        if over:  # who made them died before anybody knew them to be durable
            self.unsynced.add(claim.envelope.id)
        return frozenset(over)

    def set_aside(
        self, shelf: str, envelope: Envelope, message: Message, why: str, by: str = "", at: str = "", *, is_told: bool = False
    ) -> None:
        """A pair in `Bad Mail` or `Quarantine`, unsynced like any pair; `by` is the instance that holds it, `at` the hook where it said so. Where
        the sender `is_told` no replay sets it aside again."""
        extra = {**envelope.extra, "HeldBy": by, "HeldAt": at} if by else envelope.extra
        noted = replace(envelope, attempt=replace(envelope.attempt, error=why), extra=extra)
        folder = self.root / shelf
        with refusing(f"setting {envelope.id} aside"):
            self._place(folder / "Messages" / f"{envelope.id}.MAI", message)
            command = commandfile.encode(noted, status="Bad" if shelf == "Bad Mail" else shelf)
            put(self.disk, folder / f"{envelope.id}.MAI", command, self.clock.now())
        if not is_told:
            self.unsynced.add(envelope.holder or envelope.id)

    # Claiming.

    def claim(self, queue: Queue, item: str, by: float = inf) -> Claim | None:
        """Lock a pair and count the attempt to hold it, before any hook is asked; None when another process has it, it is gone, or not due `by` then.

        A pair that cannot be read goes to Bad Mail and `damaged` is told; one that killed its process three times does so too."""
        path = f"{queue.folder}/{item}.MAI"
        with refusing(f"locking {item}"):
            if self.is_private(item) or (lock := lock_file(self.disk, path)) is None:
                return None
        try:
            status = os.fstat(lock)
            since = due_of(status, all_due(queue.folder) if status.st_mtime > by else None)
            if since > by:
                self.disk.close(lock)
                return None
            data = whole(os.read(lock, status.st_size))
            envelope = commandfile.decode(data, item=item, source=queue.acronym, due=since, held=1)
            if not envelope.recipients:
                raise CommandFileError(f"command file {item}.MAI names no recipient")
            if envelope.extra.get(PRIVATE) == item:
                self._drop_private(queue, item, lock)
                return None
            size = os.stat(message_path := queue.message_path(item)).st_size
        except (CommandFileError, FileNotFoundError) as error:
            self._shelve_damaged(queue, item, lock, str(error))
            return None
        except OSError as error:
            self.disk.close(lock)
            raise refused(error, f"reading {item}") from error
        claim = Claim(queue, envelope, FileMessage(envelope.message, message_path, size), None, lock, len(data))
        if envelope.attempt.crashes > MOST_CRASHES:
            why = f"its process died {envelope.attempt.crashes - 1} times holding it"
            self.damaged(item, why)
            claim.bad(why)
            return None
        self._count(claim, data, status.st_size)
        self._claimed[item] = claim
        return claim

    def _count(self, claim: Claim, data: bytes, size: int) -> None:
        """A key that stands twice counts as it stands last, and a torn line is none: the file is whole at every instruction."""
        line = b"Status=Delivering\r\nCrashes=%d\r\n" % claim.envelope.attempt.crashes
        try:
            if size > len(data):
                self.disk.ftruncate(claim.lock, len(data))
            self.disk.write_all(claim.lock, line if data.endswith(b"\n") else b"\r\n" + line)
        except OSError as error:
            claim.drop()
            raise refused(error, f"counting the attempt at {claim.envelope.id}") from error

    def is_private(self, item: str) -> bool:
        """Whether a program works on this pair, whatever it made of the command file's lock."""
        return os.access(f"{self.root}/run/private/{item}", os.F_OK)

    def _drop_private(self, queue: Queue, item: str, lock: int) -> None:
        """A program's copy whose hook died; the message itself is elsewhere."""
        try:
            with refusing(f"removing the private copy {item}"):
                remove_pair(self.disk, queue.folder, item)
        finally:
            self.disk.close(lock)

    def _shelve_damaged(self, queue: Queue, item: str, lock: int, why: str) -> None:
        shelf = self.root / "Bad Mail"
        try:
            with refusing(f"setting {item} aside"):
                move(self.disk, queue.message_path(item), shelf / "Messages" / f"{item}.MAI")
                move(self.disk, queue.command_path(item), shelf / f"{item}.MAI")
        finally:
            self.disk.close(lock)
        self.damaged(item, why)

    def find(self, item: str) -> tuple[Queue, Envelope] | None:
        """Where an item rests. Reads only."""
        return next(((queue, found) for queue in self.queues() if (found := queue.look(item)) is not None), None)

    # Recovery.

    def replay(self, replay: Replay) -> None:
        """Every acceptance that is not settled becomes a pair in its Inbound queue; what is settled is taken off resting pairs."""
        settled: dict[str, set[InternalAddress] | None] = {}
        for record in replay.records:
            if record.kind == SETTLED:
                _add_settled(settled, record.payload)
        self._bring_back(replay, settled)
        seen = {self._replay_accepted(record.payload, replay, settled) for record in replay.records if record.kind == ACCEPTED}
        for item, destinations in settled.items():
            if item not in seen:
                self._settle_resting(item, destinations, replay)

    def _bring_back(self, replay: Replay, settled: Mapping[str, set[InternalAddress] | None]) -> None:
        """Finished items of dead workers whose octets are still there may have become nothing durable: they are done again, unless the
        journal says that they were."""
        for queue in self.queues():
            for slot in replay.slots:
                for mark in entries(queue.folder / "Done" / str(slot)):
                    if settled.get(mark.name, set()) is None:
                        replay.afterwards.append(queue.message_path(mark.name))
                    elif queue.message_path(mark.name).exists():
                        self.disk.rename(mark, queue.command_path(mark.name))

    def _replay_accepted(self, payload: bytes, replay: Replay, settled: Mapping[str, set[InternalAddress] | None]) -> str:
        item = payload[:16].hex().upper()
        command, data = accepted(payload)
        destinations = settled.get(item, set())
        envelope = commandfile.decode(command, item=item, source="")
        queue = self[envelope.source].inbound
        path = queue.message_path(item)
        message: Message = MemoryMessage(envelope.message, data) if data else FileMessage(envelope.message, path, 0)
        if self.has(queue, envelope, message):
            item = ""  # what is settled of it is taken off the pair
        elif destinations is None and not data:
            replay.afterwards.append(path)
        elif destinations is not None and (data or path.exists()):  # octets in a file go last: then all is durable that became of them
            again = Attempt(due=envelope.attempt.due, crashes=envelope.attempt.crashes + 1)
            self.rest(queue, replace(envelope, attempt=again, settled=envelope.settled | destinations), message, over=True)
        if queue.command_path(envelope.id).exists():  # it is parted again
            outgoing = [queue.folder for queue in self.queues() if queue.name == "Outgoing"]
            self._parts.drop_torn(self.disk, envelope.message, message.peek(), outgoing, replay)
        return item

    def _settle_resting(self, item: str, destinations: set[InternalAddress] | None, replay: Replay) -> None:
        if (found := self.find(item)) is None or (lock := lock_file(self.disk, found[0].command_path(item))) is None:
            return  # another process works on it: what it settles it settles itself
        try:
            queue, envelope = found[0], found[0].look(item) or found[1]  # read again: somebody had it until it was locked
            left = _without(queue, envelope, destinations or ())
            if destinations is None or not left.recipients:
                self._end_pair(queue, item)
                replay.afterwards.append(queue.message_path(item))
            else:
                self.rest(queue, left, FileMessage(envelope.message, queue.message_path(item), 0), over=True)
        finally:
            self.disk.close(lock)


def _without(queue: Queue, envelope: Envelope, over: Collection[InternalAddress]) -> Envelope:
    """The envelope once these destinations need nothing more. Recipients of an Outgoing queue are destinations."""
    left = envelope.recipients
    if queue.name == "Outgoing":
        left = tuple(one for one in left if one.address not in over)
    return replace(envelope, recipients=left, settled=envelope.settled.union(over))


def _add_settled(settled: dict[str, set[InternalAddress] | None], payload: bytes) -> None:
    item, names = payload[:16].hex().upper(), payload[16:]
    known = settled.setdefault(item, set())
    if not names:
        settled[item] = None
    elif known is not None:
        known.update(commandfile.addresses(names.decode("utf-8", "surrogateescape")))
