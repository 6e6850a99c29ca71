"""Messages copied to another folder of this store: links and records, all or none. The first half of a move is done here too.

Links come first and are durable before the records that name them are promised; the records count together. A crash in between leaves
the source as it was, at worst with links in the target that no record names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from postroom.errors import DiskError, NoSuchFolder, StoreError
from postroom.message import derived_id
from postroom_disk.disk import refused
from postroom_store import columns, files, notes
from postroom_store.flagging import spans_of
from postroom_store.log import Held
from postroom_store.means import YOUNG
from postroom_store.records import ARRIVAL, KEYWORD, TRAIL, Arrival, id_halves, id_text

if TYPE_CHECKING:
    from postroom_store.folder import LocalFolder

_IN_LOOP = 200  # messages; more are copied in a thread


@dataclass(slots=True)
class Copied:
    """What a copy did, for the steps that follow outside the locks."""

    pairs: list[tuple[int, int]] = field(default_factory=list)
    said: list[bytes] = field(default_factory=list)  # notes for the journal
    made: list[str] = field(default_factory=list)  # files in the target
    young: list[str] = field(default_factory=list)  # those of them whose octets may not be durable
    into: bytes = b""  # the target's object id


@dataclass(frozen=True, slots=True)
class Move:
    """What a move said of itself in the journal before it began."""

    token: bytes
    source: bytes  # the folders' object ids
    target: bytes


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What is to be copied, and what must hold under the locks."""

    uids: list[int]
    uidvalidity: int | None  # of the source
    move: Move | None
    limit: int | None
    keep: int  # flags of the source that come along


async def copy(
    source: LocalFolder, target: LocalFolder, uids: list[int], uidvalidity: int | None = None, move: Move | None = None, keep: int = -1
) -> list[tuple[int, int]]:
    """Pairs of old and new UID; durable on return. OverQuota, DiskError: nothing was copied."""
    limit = await target.means.limit(target.postoffice, target.mailbox)
    if move is not None and source.mailbox_path == target.mailbox_path:
        limit = None
    wanted = _Wanted(uids, uidvalidity, move, limit, keep)
    try:
        if len(uids) > _IN_LOOP:
            copied = await asyncio.to_thread(_copy_apart, source.apart(), target.apart(), wanted)
        else:
            copied = await _copy_here(source, target, wanted)
        if copied.pairs:
            await _promise(target, copied)
    except OSError as error:
        raise refused(error, "copying messages") from error
    return copied.pairs


async def _promise(target: LocalFolder, copied: Copied) -> None:
    """Make it durable, or take it back."""
    try:
        await asyncio.to_thread(_make_durable, target, copied)
        await target.remember(copied.said)
        target.noted.add(copied.into, copied.pairs[0][1], copied.pairs[-1][1])
    except (OSError, DiskError):
        await take_back(target, copied.pairs, copied.into)
        raise


async def take_back(target: LocalFolder, pairs: Sequence[tuple[int, int]], identity: bytes) -> None:
    """Remove copies that could not be promised, as far as the disk lets us."""
    with suppress(OSError, DiskError, StoreError):
        with await target.hold() as there:
            target.refresh()
            rows = target.columns.rows(new for _, new in pairs)
            if not rows or target.columns.birth.object_id != identity:  # another folder of that name has the same UIDs
                return
            paths = [target.path_of(row) for row in rows]
            said = target.stage_expunge(there, spans_of(rows))
            there.commit()
            target.refresh()
            for path in paths:
                files.remove(target.means.disk, path)
        target.means.journal.note(notes.KIND, b"".join(said))
        target.means.news.tell(target.key)


async def _copy_here(source: LocalFolder, target: LocalFolder, wanted: _Wanted) -> Copied:
    """In the loop: both locks at once, never one of them while waiting for the other."""
    while True:
        here = await source.hold()
        if source.directory == target.directory:
            with here:
                return _copy(source, source, here, wanted)
        try:
            there = target.log.seize()
        except NoSuchFolder:
            there = None
        if there is not None:
            with here, there:
                return _copy(source, target, there, wanted)
        here.release()
        (await target.hold()).release()


def _copy_apart(source: LocalFolder, target: LocalFolder, wanted: _Wanted) -> Copied:
    """In a thread: locks in the order of their names, so that two such copies never wait for each other."""
    try:
        if source.directory == target.directory:
            with source.log.hold_now() as here:
                return _copy(source, source, here, wanted)
        first, second = sorted((source, target), key=lambda folder: folder.directory)
        with first.log.hold_now() as one, second.log.hold_now() as other:
            there = other if first is source else one
            return _copy(source, target, there, wanted)
    finally:
        source.log.shut()
        target.log.shut()


def _copy(source: LocalFolder, target: LocalFolder, there: Held, wanted: _Wanted) -> Copied:
    source.refresh_as(wanted.uidvalidity)
    target.refresh()
    move = wanted.move
    if move is not None and (source.columns.birth.object_id, target.columns.birth.object_id) != (move.source, move.target):
        raise NoSuchFolder(f"{source.name} or {target.name} was replaced by another folder just now")
    rows = source.columns.rows(wanted.uids)
    copied = Copied(into=target.columns.birth.object_id)
    if wanted.limit is not None:
        target.check_room(there, wanted.limit, sum(source.columns.octets[row] for row in rows))
    bits = _translation(source, target, there, copied, rows, wanted.keep)
    try:
        _link(source, target, there, copied, rows, bits, wanted)
        there.commit()
    except (OSError, StoreError):
        _undo(target, copied)
        raise
    target.refresh()
    return copied


def _link(
    source: LocalFolder, target: LocalFolder, there: Held, copied: Copied, rows: Sequence[int], bits: dict[int, int], wanted: _Wanted
) -> None:
    """Make the files and stage their arrivals."""
    move, keep = wanted.move, wanted.keep
    is_foreign = source.mailbox_path != target.mailbox_path  # under its own id it would count as delivered there
    known = set(zip(target.columns.high, target.columns.low)) if len(rows) > 50 else None
    saved = source.means.clock.now()
    young = saved - YOUNG
    last = there.uidnext + len(rows) - 1
    come = there.come if len(rows) > 1 else there.arrive
    for row in rows:
        old = source.columns.arrival(row)
        message_id, halves = old.id, (old.high, old.low)
        if is_foreign or ((halves in known) if known is not None else target.columns.find(message_id) >= 0):
            message_id = derived_id(message_id, target.log.birth.object_id.hex(), str(there.uidnext))
            halves = id_halves(message_id)
        new = Arrival(there.uidnext, _flags(old.flags & keep, bits), there.modseq + 1, old.octets, old.arrived, saved, old.sent, *halves)
        trail = TRAIL.pack(move.token, old.uid, last) if move is not None else b""
        path = target.file(id_text(*halves))
        files.link(source.means.disk, source.path_of(row), path)
        copied.made.append(path)
        if old.saved >= young:
            copied.young.append(path)
        come(new.uid, new.modseq, new.octets, ARRIVAL.pack(*new), source.described(row) + trail)
        copied.said.append(notes.arrived(target.where(), new, trail))
        copied.pairs.append((old.uid, new.uid))
        if known is not None:
            known.add(halves)
    if len(rows) > 1:
        there.together()


def _undo(target: LocalFolder, copied: Copied) -> None:
    for path in copied.made:
        with suppress(OSError):
            files.remove(target.means.disk, path)


def _make_durable(target: LocalFolder, copied: Copied) -> None:
    for path in copied.young:
        with suppress(FileNotFoundError):  # expunged meanwhile
            files.make_durable(target.means.disk, path)
    target.sync_names()


def _flags(flags: int, bits: dict[int, int]) -> int:
    """Flags with the source's keywords as the target numbers them."""
    out, rest = flags & 31, flags >> 5
    while rest:
        lowest = rest & -rest
        out |= bits.get(lowest << 5, 0)
        rest ^= lowest
    return out


def _translation(source: LocalFolder, target: LocalFolder, there: Held, copied: Copied, rows: Sequence[int], keep: int) -> dict[int, int]:
    """For each keyword bit in use and to be kept its bit in the target; keywords the target lacks are staged, as far as there is room for them."""
    used = 0
    for row in rows:
        used |= source.columns.flags[row] & keep
    names = list(target.columns.keywords)
    numbers = {name.casefold(): number for number, name in enumerate(names)}
    bits = {}
    for number, name in enumerate(source.columns.keywords):
        if not used >> (5 + number) & 1:
            continue
        if name.casefold() not in numbers:
            if len(names) >= columns.KEYWORDS:
                continue
            numbers[name.casefold()] = len(names)
            names.append(name)
            modseq = there.modseq + 1
            there.stage(KEYWORD, modseq, name.encode())
            copied.said.append(notes.changed(target.where(), KEYWORD, modseq, name.encode()))
        bits[1 << (5 + number)] = 1 << (5 + numbers[name.casefold()])
    return bits
