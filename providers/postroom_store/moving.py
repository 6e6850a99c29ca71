"""Messages moved to another folder, all or nothing through any crash.

Four steps: the journal is told that a move begins; the messages arrive in the target, each with the move's token in its record; that is made
durable; the sources end. Until the last step is in the source's log the journal keeps the first. So after a crash replay finds every move that
may be half done, and `finish` ends each source whose message is alive in the target under that very move. Where none arrived, nothing
happened. A crash while finishing is followed by another finish, which finds less to do.

A message that takes the place of one in another folder (REPLACE) is a move of one message whose octets change on the way.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

from postroom.errors import NoSuchFolder
from postroom.message import FileMessage, Message, new_id
from postroom_disk.disk import refused
from postroom_store import copying, files, layout, notes
from postroom_store.beginning import path_of
from postroom_store.flagging import spans_of
from postroom_store.log import Held
from postroom_store.notes import MoveNote, Where
from postroom_store.records import TRAIL, id_text, read_runs, runs

if TYPE_CHECKING:
    from postroom.journal import Replay
    from postroom_store.folder import LocalFolder
    from postroom_store.means import Means

Pairs = list[tuple[int, int]]


async def move(source: LocalFolder, target: LocalFolder, uids: list[int], uidvalidity: int | None, keep: int = -1) -> Pairs:
    """Pairs of old and new UID; durable on return. Goes on to its end when whoever waits for it is cancelled."""
    if source.directory == target.directory:
        return []
    return await asyncio.shield(asyncio.ensure_future(_move(source, target, uids, uidvalidity, keep)))


async def _move(source: LocalFolder, target: LocalFolder, uids: list[int], uidvalidity: int | None, keep: int) -> Pairs:
    try:
        for folder in (source, target):
            (await folder.hold()).release()
        target.refresh()
        source.refresh_as(uidvalidity)
    except OSError as error:
        raise refused(error, "moving messages") from error
    rows = source.columns.rows(uids)
    if not rows:
        return []
    token = bytes.fromhex(new_id())
    begun = notes.moving(target.where(), token, target.columns.uidnext, source.where(), runs(rows, source.columns.uids))
    said = copying.Move(token, source.columns.birth.object_id, target.columns.birth.object_id)
    segment = await source.means.journal.append(notes.KIND, begun)
    segment.hold()  # until the sources have ended: what the journal forgets nobody finishes
    try:
        pairs = await copying.copy(source, target, uids, uidvalidity, said, keep)
        await end(source, target, pairs, said, begun)
    finally:
        segment.release()
    return pairs


async def end(source: LocalFolder, target: LocalFolder, pairs: Pairs, said: copying.Move, begun: bytes, *, replaced: bool = False) -> None:
    """The last step. When the source's log refuses, the copies are taken back. What was moved is not expunged: there is nothing to bring
    back; what was replaced is."""
    try:
        with await source.hold() as held:
            source.refresh()
            if source.columns.birth.object_id != said.source:
                raise NoSuchFolder(f"{source.name} is another folder now")
            spans = source.columns.spans(old for old, _ in pairs)
            going = source.going(spans, keep=replaced)
            ended = source.stage_expunge(held, spans) if spans else []
            held.commit()
            source.refresh()
    except NoSuchFolder:  # renamed or deleted this moment: looked for where it lies now
        await asyncio.to_thread(_end_elsewhere, source, begun)
        return
    except OSError as error:
        await copying.take_back(target, pairs, said.target)
        raise refused(error, "moving messages") from error
    await source.remember(ended)
    await source.sweep(going)


def _end_elsewhere(source: LocalFolder, begun: bytes) -> None:
    means = source.means.apart()
    try:
        finish(means, [note for note in notes.read(begun) if isinstance(note, MoveNote)], None)
    except OSError as error:
        raise refused(error, "moving messages") from error
    finally:
        means.descriptors.close_all()


# After a crash.


def finish(means: Means, moves: Iterable[MoveNote], found: Replay | None) -> None:
    """Bring these moves to their end, wherever their folders lie now. Durable with the next sync. OSError when the disk refuses."""
    between: dict[tuple[bytes, bytes], list[MoveNote]] = defaultdict(list)
    for note in moves:
        between[note.source.object_id, note.where.object_id].append(note)
    for notes_of_two in between.values():
        _Finish(means, notes_of_two, found).run()


class _Finish:
    """All moves from one folder to another."""

    def __init__(self, means: Means, moves: Sequence[MoveNote], found: Replay | None) -> None:
        self._means, self._moves, self._found = means, moves, found
        self._source, self._target = moves[0].source, moves[0].where
        self._tokens = frozenset(note.token for note in moves)
        self._replacing = frozenset(note.token for note in moves if note.replaces)
        self._floor = min(note.floor for note in moves)

    def run(self) -> None:
        while (target := _folder(self._means, self._target)) is not None:
            source = _folder(self._means, self._source)
            try:
                with ExitStack() as locks:
                    held = _hold([target, source] if source else [target], locks)
                    if _is(target, self._target) and (source is None or _is(source, self._source)):
                        self._finish(target, source, held)
                        return
            except NoSuchFolder:  # renamed or deleted while we looked
                continue
            finally:
                target.log.shut()
                if source is not None:
                    source.log.shut()

    def _finish(self, target: LocalFolder, source: LocalFolder | None, held: dict[LocalFolder, Held]) -> None:
        target.refresh()
        if source is not None:
            source.refresh()
        ends: list[int] = []
        whole: list[str] = []
        torn: list[int] = []
        for row, uid, last, is_copy in self._came(target):
            was = source.columns.row(uid) if source is not None else -1
            if (was >= 0 and not self._is_here(target, last)) or not self._make_whole(target, row, source, was if is_copy else -1):
                torn.append(row)
            elif was >= 0:
                ends.append(was)
                whole.append(target.path_of(row))
        if torn:
            _expunge(target, held[target], torn)
        if source is not None:
            self._remove_links(target, source)
        if ends and source is not None:
            for path in whole:
                files.make_durable(self._means.disk, path)
            self._means.disk.sync_folder(target.directory)
            self._means.disk.fdatasync(target.log.fd)  # the target has it for good before the source lets go
            _expunge(source, held[source], sorted(ends))

    def _came(self, target: LocalFolder) -> list[tuple[int, int, int, bool]]:
        """Rows that are alive in the target under these moves, the UID each had in the source, the UID of the last of its move, and whether
        it is the same message."""
        came = []
        for row in range(bisect_left(target.columns.uids, self._floor), len(target.columns)):
            trail = target.trail(row)
            if len(trail) == TRAIL.size and trail[:16] in self._tokens:
                token, uid, last = TRAIL.unpack(trail)
                came.append((row, uid, last, token not in self._replacing))
        return came

    def _is_here(self, target: LocalFolder, last: int) -> bool:
        """Whether the last message of a move came, and so all did; a write cut short is a move that never happened."""
        row = target.columns.row(last)
        return target.trail(row)[:16] in self._tokens if row >= 0 else last in target.columns.gone_uids

    def _make_whole(self, target: LocalFolder, row: int, source: LocalFolder | None, was: int) -> bool:
        """Whether the target has the octets too; after a power cut a record may be there without them. They are taken from where the
        message was; where nobody has them the move never came to that message."""
        path, octets = target.path_of(row), target.columns.octets[row]
        if source is not None and was >= 0:
            old = source.path_of(was)
            self._restore(source.columns.arrival(was).id, old, octets)
            if files.size(old) == octets and not files.same(old, path):
                files.remove(self._means.disk, path)
                files.link(self._means.disk, old, path)
        elif files.size(path) != octets:
            self._restore(target.columns.arrival(row).id, path, octets)
        return files.size(path) == octets

    def _remove_links(self, target: LocalFolder, source: LocalFolder) -> None:
        """Links made for records that never came: an index would take them for new messages."""
        alive = set(zip(target.columns.high, target.columns.low))
        for note in self._moves:
            if note.replaces:
                continue
            for begin, end in source.columns.rows_in(read_runs(note.uids)):
                for halves in zip(source.columns.high[begin:end], source.columns.low[begin:end]):
                    if halves not in alive:
                        files.remove(self._means.disk, target.file(id_text(*halves)))

    def _restore(self, message_id: str, path: str, octets: int) -> None:
        """The file as the journals hold it, if they do."""
        message = self._found.message(message_id) if self._found is not None else None
        if message is None or message.size != octets:
            return
        _write(self._means, message, path)


def _write(means: Means, message: Message, path: str) -> None:
    data = message.peek()
    if data is not None:
        if not files.holds(path, data):
            files.replace(means.disk, path, data)
    elif isinstance(message, FileMessage) and not files.same(str(message.path), path):
        files.remove(means.disk, path)
        files.link(means.disk, str(message.path), path)


def _expunge(folder: LocalFolder, held: Held, rows: Sequence[int]) -> None:
    paths = [folder.path_of(row) for row in rows]
    folder.stage_expunge(held, spans_of(rows))
    held.commit()
    for path in paths:
        files.remove(folder.means.disk, path)


def _hold(folders: Collection[LocalFolder], locks: ExitStack) -> dict[LocalFolder, Held]:
    """Locks in the order of their names, as everybody takes two."""
    return {folder: locks.enter_context(folder.log.hold_now()) for folder in sorted(folders, key=lambda one: one.directory)}


def _folder(means: Means, where: Where) -> LocalFolder | None:
    """The folder of this identity wherever it lies now; None if it was deleted."""
    from postroom_store.folder import LocalFolder  # folder.py stands on this file

    mailbox = means.names.mailbox(where.postoffice, where.mailbox)
    path = path_of(means, mailbox, where.object_id)
    if path is None:
        return None
    name = "/".join(map(layout.decode, path[len(mailbox) + 1 :].split("/")))
    return LocalFolder(means, (where.postoffice, where.mailbox, name), path, mailbox)


def _is(folder: LocalFolder, where: Where) -> bool:
    return folder.log.birth.object_id == where.object_id
