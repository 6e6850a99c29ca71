"""Messages a user uploads: all or none through any crash (RFC 3502), and one in the place of another (RFC 8508).

Files come first, then with one write the records that count together, then one record of the journal, and only then the answer. What the
journal refuses is taken back. A crash in between leaves at worst files that no record names. A message that replaces one of another
folder goes the way of a move (moving.py): the journal knows of both ends before either happens. And for one small message by itself the
journal comes first, as its client waits for it (`_put_one`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from postroom.errors import DiskError, NoSuchFolder, StoreError
from postroom.mailstore import Placed, Upload
from postroom.message import SMALL, derived_id, new_id
from postroom_disk.disk import refused
from postroom_store import copying, files, moving, notes
from postroom_store.flagging import spans_of
from postroom_store.incoming import Incoming, at_hand, in_memory, taken_in
from postroom_store.log import Held
from postroom_store.records import ARRIVAL, EXPUNGE, TRAIL, Arrival, id_halves, runs
from postroom_store.sweeping import Going

if TYPE_CHECKING:
    from postroom.journal import Segment
    from postroom_store.folder import LocalFolder

_IN_LOOP = 20  # messages; the files of more are made in a thread
_IN_JOURNAL = 4 << 20  # octets of the messages of one call that its one record may hold


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to come, what is to end at the same moment, and what must hold under the lock."""

    incoming: Sequence[Incoming]
    asides: Sequence[str]  # where the octets lie that are durable already
    limit: int | None
    ends: int = 0  # UID of the message in this folder that is replaced
    uidvalidity: int | None = None  # under which it was known
    move: copying.Move | None = None  # by which a message of another folder is replaced
    old: int = 0  # its UID there
    frees: int = 0  # octets that will go from another folder of this mailbox


@dataclass(frozen=True, slots=True)
class _Came:
    """What was done under the lock."""

    arrivals: Sequence[Arrival]
    trail: bytes
    said: Sequence[bytes]  # notes beside those of the arrivals
    into: bytes  # the folder's object id
    uidvalidity: int
    going: Going | None = None


async def append(folder: LocalFolder, uploads: Sequence[Upload]) -> list[Placed]:
    """Where they lie, in order; durable on return. OverQuota, DiskError: none was stored."""
    limit = await folder.means.limit(folder.postoffice, folder.mailbox)
    try:
        return await _put(folder, uploads, limit)
    except OSError as error:
        raise refused(error, "appending a message") from error


async def replace(source: LocalFolder, uid: int, new: Upload, target: LocalFolder, uidvalidity: int | None) -> Placed:
    """Where the new one lies; durable on return. Goes on to its end when whoever waits for it is cancelled. NoSuchMessage, OverQuota,
    DiskError: nothing was changed."""
    replaced = _in_place(source, uid, new, uidvalidity) if _is_one(source, target) else _elsewhere(source, uid, new, target, uidvalidity)
    return await asyncio.shield(asyncio.ensure_future(replaced))


async def _in_place(folder: LocalFolder, uid: int, new: Upload, uidvalidity: int | None) -> Placed:
    limit = await folder.means.limit(folder.postoffice, folder.mailbox)
    try:
        (placed,) = await _put(folder, [new], limit, ends=uid, uidvalidity=uidvalidity)
        return placed
    except OSError as error:
        raise refused(error, "replacing a message") from error


async def _elsewhere(source: LocalFolder, uid: int, new: Upload, target: LocalFolder, uidvalidity: int | None) -> Placed:
    """The four steps of a move, of which the second brings other octets."""
    limit = await target.means.limit(target.postoffice, target.mailbox)
    try:
        for folder in (source, target):
            (await folder.hold()).release()
        target.refresh()
        source.refresh_as(uidvalidity)
        row = source.row_of(uid)
        token = bytes.fromhex(new_id())
        begun = notes.moving(target.where(), token, target.columns.uidnext, source.where(), runs([row], source.columns.uids), replaces=True)
        move = copying.Move(token, source.columns.birth.object_id, target.columns.birth.object_id)
        frees = source.columns.octets[row] if source.mailbox_path == target.mailbox_path else 0
        segment = await source.means.journal.append(notes.KIND, begun)
        segment.hold()  # until the old one has ended: what the journal forgets nobody finishes
        try:
            (placed,) = await _put(target, [new], limit, move=move, old=uid, frees=frees)
            await moving.end(source, target, [(uid, placed.uid)], move, begun, replaced=True)
            return placed
        finally:
            segment.release()
    except OSError as error:
        raise refused(error, "replacing a message") from error


def _is_one(source: LocalFolder, target: LocalFolder) -> bool:
    return source.directory == target.directory


async def _put(
    folder: LocalFolder,
    uploads: Sequence[Upload],
    limit: int | None,
    *,
    ends: int = 0,
    uidvalidity: int | None = None,
    move: copying.Move | None = None,
    old: int = 0,
    frees: int = 0,
) -> list[Placed]:
    """OSError, StoreError, DiskError: nothing came and nothing ended."""
    now = folder.means.clock.now()
    if len(uploads) == 1 and (data := at_hand(uploads[0].message)) is not None:
        one = uploads[0]
        if not ends and move is None:
            return [await _put_one(folder, one, data, limit)]
        only = in_memory(one.message.id, data, one.flags, _when(one, now))
        return await _put_all(folder, _Wanted([only], [""], limit, ends, uidvalidity, move, old, frees))
    if not uploads:
        return []
    async with AsyncExitStack() as stack:
        incoming = [await stack.enter_async_context(taken_in(one.message, one.flags, _when(one, now))) for one in uploads]
        asides = await _set_aside(folder, incoming, stack)
        return await _put_all(folder, _Wanted(incoming, asides, limit, ends, uidvalidity, move, old, frees))


def _when(upload: Upload, now: float) -> float:
    return now if upload.arrived is None else upload.arrived


# One small message: the journal's disk is at work while the message is scanned, and while its file and its record are made.


async def _put_one(folder: LocalFolder, new: Upload, data: bytes, limit: int | None) -> Placed:
    """The journal has its octets and its number before the folder has: what then fails is withdrawn there, and who dies in between has told nobody."""
    means, refusal = folder.means, None
    with await folder.hold() as held:
        folder.refresh()
        if limit is not None:
            folder.check_room(held, limit, len(data))
        begun = _begun(folder, held, new, len(data))
        written = means.journal.begin(notes.KIND, notes.begun(folder.where(), begun, data))
        try:
            folder.take(  # the file comes first, also because the journal's thread cannot begin while a scan holds the interpreter
                held,
                begun.id,
                lambda path: files.put(means.disk, path, data),
                lambda: in_memory(begun.id, data, new.flags, begun.arrived),
            )
        except Exception as error:
            refusal = error
    if refusal is not None:
        await _withdraw(folder, written, begun)
        raise refusal
    into, uidvalidity = folder.log.birth.object_id, folder.log.birth.uidvalidity
    try:
        await written
    except (OSError, DiskError):
        await copying.take_back(folder, [(0, begun.uid)], into)
        raise
    _tell(folder, into, begun.uid, begun.uid)
    return Placed(folder.name, begun.uid, uidvalidity)


def _begun(folder: LocalFolder, held: Held, new: Upload, octets: int) -> Arrival:
    """What its arrival will be; when it was sent is not looked for yet."""
    now, message_id = folder.means.clock.now(), new.message.id
    if folder.columns.find(message_id) >= 0:
        message_id = _other_id(folder, message_id, held.uidnext)
    arrived = _when(new, now)
    return Arrival(held.uidnext, new.flags, held.modseq + 1, octets, arrived, now, arrived, *id_halves(message_id))


async def _withdraw(folder: LocalFolder, written: asyncio.Future[Segment], begun: Arrival) -> None:
    """It is not here, so it must not be put here after a crash. A disk that refuses even this loses nothing: it may come then, unasked."""
    with suppress(OSError, DiskError):
        await written
    with suppress(OSError, DiskError):
        await folder.means.journal.append(notes.KIND, notes.withdrawn(folder.where(), begun))


# All others: files and records, then the journal.


async def _put_all(folder: LocalFolder, wanted: _Wanted) -> list[Placed]:
    came = await _under_lock(folder, wanted)
    try:
        if any(wanted.asides):
            await asyncio.to_thread(folder.sync_names)
        await _remember(folder, wanted, came)
    except (OSError, DiskError):
        if came.going is None:
            await copying.take_back(folder, [(0, one.uid) for one in came.arrivals], came.into)
        raise
    if came.going is not None:
        await folder.sweep(came.going)
    return [Placed(folder.name, one.uid, came.uidvalidity) for one in came.arrivals]


async def _set_aside(folder: LocalFolder, incoming: Sequence[Incoming], stack: AsyncExitStack) -> list[str]:
    """What is too large for the journal lies in the folder under a hidden name, durable, so that the lock is held for a link only."""
    asides, noted = [], 0
    for one in incoming:
        noted += one.octets if one.octets <= SMALL else 0
        aside = ""
        if one.octets > SMALL or noted > _IN_JOURNAL:
            aside = f"{folder.directory}/.{one.id}.{os.getpid()}.new"
            stack.callback(_remove, folder, aside)
            await asyncio.to_thread(one.write, folder.means.disk, aside, durable=True)
        asides.append(aside)
    return asides


def _remove(folder: LocalFolder, aside: str) -> None:
    """A name that is hidden, of octets that lie elsewhere by now or are nobody's: what stays, `check` removes."""
    with suppress(OSError):
        files.remove(folder.means.disk, aside)


async def _remember(folder: LocalFolder, wanted: _Wanted, came: _Came) -> None:
    """One record of the journal, so that a power cut takes all or none."""
    where = folder.where()
    said = list(came.said)
    for one, aside, arrival in zip(wanted.incoming, wanted.asides, came.arrivals):
        arrived = notes.arrived(where, arrival, came.trail) if aside else notes.brought(where, arrival, one.data(), came.trail)
        said.append(arrived)
    await folder.means.journal.append(notes.KIND, *said)
    _tell(folder, came.into, came.arrivals[0].uid, came.arrivals[-1].uid)


def _tell(folder: LocalFolder, into: bytes, first: int, last: int) -> None:
    """What came is durable."""
    asyncio.get_running_loop().call_soon(_read_on, folder)  # behind the answer
    folder.noted.add(into, first, last)
    folder.means.news.tell(folder.key)


def _read_on(folder: LocalFolder) -> None:
    """Who asks next finds the new message read. Nothing is opened for it: the store may be closed by now."""
    if folder.log.fd >= 0:
        with suppress(OSError, StoreError):  # he meets it himself
            folder.refresh()


# Under the lock.


async def _under_lock(folder: LocalFolder, wanted: _Wanted) -> _Came:
    if len(wanted.incoming) > _IN_LOOP:
        (await folder.hold()).release()  # whole, and begun
        return await asyncio.to_thread(_take_apart, folder.apart(), wanted)
    with await folder.hold() as held:
        return _take(folder, held, wanted)


def _take_apart(folder: LocalFolder, wanted: _Wanted) -> _Came:
    try:
        with folder.log.hold_now() as held:
            return _take(folder, held, wanted)
    finally:
        folder.log.shut()


def _take(folder: LocalFolder, held: Held, wanted: _Wanted) -> _Came:
    """Files, then records. OSError, StoreError: neither is there."""
    folder.refresh_as(wanted.uidvalidity)
    birth, move = folder.columns.birth, wanted.move
    if move is not None and birth.object_id != move.target:
        raise NoSuchFolder(f"{folder.name} was replaced by another folder just now")
    ending = [folder.row_of(wanted.ends)] if wanted.ends else []
    freed = wanted.frees + sum(folder.columns.octets[row] for row in ending)
    _check_room(folder, held, wanted, freed)
    if len(wanted.incoming) == 1 and not ending:
        arrival, trail = _take_one(folder, held, wanted)
        return _Came([arrival], trail, [], birth.object_id, birth.uidvalidity)
    return _take_together(folder, held, wanted, ending)


def _check_room(folder: LocalFolder, held: Held, wanted: _Wanted, freed: int) -> None:
    """OverQuota where they do not fit. One that takes no more room than what it replaces always does."""
    octets = sum(one.octets for one in wanted.incoming)
    if octets > freed:
        folder.check_room(held, wanted.limit, octets - freed)


def _take_one(folder: LocalFolder, held: Held, wanted: _Wanted) -> tuple[Arrival, bytes]:
    incoming, move = _named(folder, wanted.incoming[0], held.uidnext), wanted.move
    trail = TRAIL.pack(move.token, wanted.old, held.uidnext) if move is not None else b""
    if trail:
        incoming = incoming._replace(described=incoming.described + trail)
    return folder.take(held, incoming.id, incoming.writer(folder.means.disk, wanted.asides[0]), lambda: incoming), trail


def _take_together(folder: LocalFolder, held: Held, wanted: _Wanted, ending: Sequence[int]) -> _Came:
    arrivals: list[Arrival] = []
    made: list[str] = []
    known, saved = folder.columns, folder.means.clock.now()
    said = [] if not ending else folder.arrival_notes(folder.young(spans_of(ending)))
    going = folder.going(spans_of(ending)) if ending else None
    payload = runs(ending, known.uids)
    try:
        for one, aside in zip(wanted.incoming, wanted.asides):
            incoming = _named(folder, one, held.uidnext)
            arrival = incoming.arrival(held.uidnext, held.modseq + 1, saved)
            incoming.writer(folder.means.disk, aside)(path := folder.file(incoming.id))
            made.append(path)
            held.come(arrival.uid, arrival.modseq, arrival.octets, ARRIVAL.pack(*arrival), incoming.described)
            arrivals.append(arrival)
        held.messages -= len(ending)
        held.octets -= sum(known.octets[row] for row in ending)
        held.together(payload)
        held.commit()
    except (OSError, StoreError):
        for path in made:
            with suppress(OSError):
                folder.means.disk.unlink(path)
        raise
    if ending:
        said.append(notes.changed(folder.where(), EXPUNGE, held.modseq, payload))
    return _Came(arrivals, b"", said, known.birth.object_id, known.birth.uidvalidity, going)


def _named(folder: LocalFolder, incoming: Incoming, uid: int) -> Incoming:
    """Under an id of its own, where one of that id is here already."""
    return incoming if folder.columns.find(incoming.id) < 0 else incoming.named(_other_id(folder, incoming.id, uid))


def _other_id(folder: LocalFolder, message_id: str, uid: int) -> str:
    return derived_id(message_id, folder.log.birth.object_id.hex(), str(uid))
