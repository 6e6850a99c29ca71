"""Messages copied or moved to another folder of this store: links and records, all or none.

Links come first and are durable before the records that name them are promised; a move's sources go last. A crash in between leaves the source
as it was, at worst with links in the target that no record names.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from postroom.errors import NoSuchFolder, StoreError
from postroom.message import derived_id
from postroom_disk.disk import refused
from postroom_store import columns, files, notes
from postroom_store.log import Held
from postroom_store.means import YOUNG
from postroom_store.records import ARRIVAL, KEYWORD, Arrival, id_halves, id_text

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
    sources: list[str] = field(default_factory=list)  # files to be removed after a move
    next_uid: int = 0  # of the source


async def copy(source: LocalFolder, target: LocalFolder, uids: list[int], *, moving: bool) -> list[tuple[int, int]]:
    """Pairs of old and new UID; durable on return. OverQuota, DiskError: nothing was copied."""
    limit = await target.means.limit(target.postoffice, target.mailbox)
    if moving and source.mailbox_path == target.mailbox_path:
        limit = None
    try:
        if len(uids) > _IN_LOOP:
            copied = await asyncio.to_thread(_copy_apart, source.apart(), target.apart(), uids, moving, limit)
        else:
            copied = await _copy_here(source, target, uids, moving, limit)
        if copied.pairs:
            await asyncio.to_thread(_make_durable, target, copied)
    except OSError as error:
        raise refused(error, "copying messages") from error
    if copied.pairs:
        await target.remember(copied.said)
        if moving:
            source.means.news.tell(source.key)
            await source.sweep(copied.sources, copied.next_uid)
    return copied.pairs


async def _copy_here(source: LocalFolder, target: LocalFolder, uids: list[int], moving: bool, limit: int | None) -> Copied:
    """In the loop: both locks at once, never one of them while waiting for the other."""
    while True:
        here = await source.hold()
        if source.directory == target.directory:
            with here:
                return _copy(source, source, here, here, uids, moving, limit)
        try:
            there = target.log.seize()
        except NoSuchFolder:
            there = None
        if there is not None:
            with here, there:
                return _copy(source, target, here, there, uids, moving, limit)
        here.release()
        (await target.hold()).release()


def _copy_apart(source: LocalFolder, target: LocalFolder, uids: list[int], moving: bool, limit: int | None) -> Copied:
    """In a thread: locks in the order of their names, so that two such copies never wait for each other."""
    try:
        if source.directory == target.directory:
            with source.log.hold_now() as here:
                return _copy(source, source, here, here, uids, moving, limit)
        first, second = sorted((source, target), key=lambda folder: folder.directory)
        with first.log.hold_now() as one, second.log.hold_now() as other:
            here, there = (one, other) if first is source else (other, one)
            return _copy(source, target, here, there, uids, moving, limit)
    finally:
        source.log.shut()
        target.log.shut()


def _copy(
    source: LocalFolder, target: LocalFolder, here: Held, there: Held, uids: Sequence[int], moving: bool, limit: int | None
) -> Copied:
    source.refresh()
    target.refresh()
    rows = source.columns.rows(uids)
    copied = Copied()
    if moving and here is there:
        return copied
    if limit is not None:
        target.check_room(there, limit, sum(source.columns.octets[row] for row in rows))
    bits = _translation(source, target, there, copied, rows)
    try:
        _link(source, target, there, copied, rows, bits)
        there.commit()
    except (OSError, StoreError):
        _undo(target, copied)
        raise
    if moving and rows:
        _leave(source, target, here, there, copied, rows)
    source.refresh()
    target.refresh()
    return copied


def _link(source: LocalFolder, target: LocalFolder, there: Held, copied: Copied, rows: Sequence[int], bits: dict[int, int]) -> None:
    """Make the files and stage their arrivals."""
    known = set(zip(target.columns.high, target.columns.low)) if len(rows) > 50 else None
    saved = source.means.clock.now()
    young = saved - YOUNG
    for row in rows:
        old = source.columns.arrival(row)
        message_id, halves = old.id, (old.high, old.low)
        if (halves in known) if known is not None else (target.columns.find(message_id) >= 0):
            message_id = derived_id(message_id, target.log.birth.object_id.hex(), str(there.uidnext))
            halves = id_halves(message_id)
        new = Arrival(there.uidnext, _flags(old.flags, bits), there.modseq + 1, old.octets, old.arrived, saved, old.sent, *halves)
        path = target.file(id_text(*halves))
        files.link(source.means.disk, source.path_of(row), path)
        copied.made.append(path)
        if old.saved >= young:
            copied.young.append(path)
        there.arrive(new.uid, new.modseq, new.octets, ARRIVAL.pack(*new), source.described(row))
        copied.said.append(notes.arrived(target.where(), new))
        copied.pairs.append((old.uid, new.uid))
        if known is not None:
            known.add(halves)


def _leave(source: LocalFolder, target: LocalFolder, here: Held, there: Held, copied: Copied, rows: Sequence[int]) -> None:
    """The second half of a move: the sources end. When their record cannot be written, the copies end again."""
    copied.sources = [source.path_of(row) for row in rows]
    said = source.stage_expunge(here, rows)
    try:
        here.commit()
    except OSError:
        target.refresh()
        with suppress(OSError):
            target.stage_expunge(there, target.columns.rows(uid for _, uid in copied.pairs))
            there.commit()
            _undo(target, copied)
        raise
    copied.said += said
    copied.next_uid = here.uidnext


def _undo(target: LocalFolder, copied: Copied) -> None:
    for path in copied.made:
        with suppress(OSError):
            files.remove(target.means.disk, path)


def _make_durable(target: LocalFolder, copied: Copied) -> None:
    for path in copied.young:
        with suppress(FileNotFoundError):  # expunged meanwhile
            files.make_durable(target.means.disk, path)
    target.means.disk.sync_folder(target.directory)


def _flags(flags: int, bits: dict[int, int]) -> int:
    """Flags with the source's keywords as the target numbers them."""
    out, rest = flags & 31, flags >> 5
    while rest:
        lowest = rest & -rest
        out |= bits.get(lowest << 5, 0)
        rest ^= lowest
    return out


def _translation(source: LocalFolder, target: LocalFolder, there: Held, copied: Copied, rows: Sequence[int]) -> dict[int, int]:
    """For each keyword bit in use its bit in the target; keywords the target lacks are staged, as far as there is room for them."""
    used = 0
    for row in rows:
        used |= source.columns.flags[row]
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
