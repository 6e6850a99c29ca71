"""FETCH, STORE, COPY, MOVE and EXPUNGE of the selected folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from postroom.errors import StoreError
from postroom.mailstore import DELETED, FLAGGED, SEEN, Folder
from postroom_imap4.answers import flag_bits
from postroom_imap4.commands import Copy, Expunge, Fetch, Macro, Store
from postroom_imap4.doing_folders import target_of
from postroom_imap4.doing_select import uid_runs, vanished
from postroom_imap4.fetching import Fetching
from postroom_imap4.numbers import count, listed, rows_in, set_text, spans_where, window
from postroom_imap4.replies import Ended, bad, no, ok
from postroom_imap4.rights import ALL_FLAGS
from postroom_imap4.selected import Own, Selected, Spans

if TYPE_CHECKING:
    from postroom_imap4.session import Session

READ_ONLY: Final = no("the folder is selected read-only", b"READ-ONLY")
NOT_PERMITTED: Final = no("you may not do this with the selected folder", b"NOPERM")


def limited(session: Session, spans: Spans) -> tuple[Spans, bytes]:
    """The last so many rows, and the response code that tells the lowest UID among them, where one command may not have all (RFC 9738
    section 3.1: from the highest message down)."""
    limit = session.world.settings.message_limit
    if not limit or (over := count(spans) - limit) <= 0:
        return spans, b""
    left = []
    for first, after in spans:
        skipped = min(over, after - first)
        over -= skipped
        if first + skipped < after:
            left.append((first + skipped, after))
    return left, b"MESSAGELIMIT %d %d" % (limit, session.folder.view.uids[left[0][0]])


async def fetch(session: Session, command: Fetch) -> Ended:
    """RFC 9051 section 6.4.5; CHANGEDSINCE and VANISHED are RFC 7162, PARTIAL is RFC 9394."""
    selected = session.folder
    if command.vanished and not (session.modes.qresync and command.by_uid and command.changed_since is not None):
        return bad("VANISHED needs UID FETCH, CHANGEDSINCE and ENABLE QRESYNC")  # RFC 7162 section 3.2.6
    spans: Spans = selected.rows(command.numbers, by_uid=command.by_uid)
    if command.partial is not None:  # of all that are named, changed or not (RFC 9394 section 3.4)
        first, after = window(command.partial, count(spans))
        spans = _part(spans, first, after)
    if command.changed_since is not None or Macro.MODSEQ in command.items:
        await session.wire.send(session.condstore())
    if command.changed_since is not None:
        if command.vanished:
            gone = vanished(selected, command.changed_since, uid_runs(command.numbers, selected.view))
            await session.send_all(gone)
        spans = _changed(selected, spans, command.changed_since)
    spans, code = limited(session, spans)
    fetching = Fetching(
        selected.folder,
        selected.view,
        modseq=command.changed_since is not None,
        uidonly=session.modes.uidonly,
        utf8=session.modes.utf8_names,
    )
    async for piece in fetching.pieces(spans, command.items, by_uid=command.by_uid):
        await session.wire.send(piece)
    await _mark_read(session, fetching.seen, by_uid=command.by_uid)
    if fetching.undecodable:
        return no("a part's encoding is not known", b"UNKNOWN-CTE")
    if fetching.gone and not command.by_uid:
        return no("some messages were expunged meanwhile", b"EXPUNGEISSUED")  # RFC 2180 section 4.1.2
    return ok("that is all", code)


def _changed(selected: Selected, spans: Spans, since: int) -> Spans:
    modseqs = selected.view.modseqs
    rows = [row for row in rows_in(spans) if modseqs[row] > since]
    mask = bytearray(len(modseqs))
    for row in rows:
        mask[row] = 1
    return spans_where(map(bool, mask))


def _part(spans: Spans, first: int, after: int) -> Spans:
    """The rows from the first-th on, up to the after-th."""
    found, at = [], 0
    for begin, end in spans:
        low, high = max(first - at, 0) + begin, min(after - at + begin, end)
        if low < high:
            found.append((low, high))
        at += end - begin
    return found


async def _mark_read(session: Session, uids: Sequence[int], *, by_uid: bool) -> None:
    """What was read sets \\Seen, and the client is told with the same answer (RFC 9051 section 6.4.5)."""
    selected = session.folder
    if not uids or not selected.may("s"):
        return
    change = await selected.folder.change_flags(uids, add=SEEN, uidvalidity=selected.view.status.uidvalidity)
    if change.changed:
        own = Own(selected.spans(sorted(change.changed)), change, ALL_FLAGS, SEEN)
        await session.send_all(selected.stored(own, may_expunge=by_uid))


async def bits_of(folder: Folder, flags: Sequence[str], *, make: bool = True, may: int = ALL_FLAGS) -> int:
    """The bits of flags in this folder, of those that one `may` change; keywords it has not got yet are made. StoreError where it can have
    no more."""
    bits, missing = flag_bits(flags, folder.keywords())
    for name in missing if make and may & FLAGGED else ():
        bits |= await folder.keyword(name)
    return bits & may


async def store(session: Session, command: Store) -> Ended:
    """RFC 9051 section 6.4.6; UNCHANGEDSINCE is RFC 7162 section 3.1.3."""
    selected = session.folder
    if selected.readonly:
        return READ_ONLY
    may = selected.changeable
    spans, code = limited(session, selected.rows(command.numbers, by_uid=command.by_uid))
    try:
        bits = await bits_of(selected.folder, command.flags, make=command.mode != "-", may=may)
    except StoreError as error:
        return no(str(error), b"LIMIT")  # RFC 5530
    if not may or (may != ALL_FLAGS and command.mode and command.flags and not bits):
        return NOT_PERMITTED  # but not where it may change some of these flags (RFC 4314 section 4)
    if command.unchanged_since is not None:
        await session.wire.send(session.condstore())
    keep, add = {"": (ALL_FLAGS & ~may, bits), "+": (ALL_FLAGS, bits), "-": (ALL_FLAGS & ~bits, 0)}[command.mode]
    change = await selected.folder.change_flags(
        selected.uids(spans),
        add=add,
        remove=ALL_FLAGS & ~keep,
        unchanged_since=command.unchanged_since,
        uidvalidity=selected.view.status.uidvalidity,
    )
    refused = sorted(change.refused)
    if refused and not command.by_uid:
        refused = [row + 1 for row in rows_in(selected.spans(refused))]
    await session.send_all(selected.stored(Own(spans, change, keep, add, command.silent), may_expunge=command.by_uid))
    if refused:
        return ok("some were changed by others", b"MODIFIED " + set_text(refused))
    return ok("done", code)


async def copy(session: Session, command: Copy) -> Ended:
    """COPY, and MOVE of RFC 6851: all or nothing."""
    selected = session.folder
    if command.moves and not selected.may("te"):  # RFC 6851 section 4.4: as a COPY, a STORE of \Deleted and an EXPUNGE
        return READ_ONLY if selected.readonly else NOT_PERMITTED
    spans, code = limited(session, selected.rows(command.numbers, by_uid=command.by_uid))
    if code:
        return no("too many messages at once, take fewer", code)  # RFC 9738 section 3.1: not in part
    found = await target_of(session, command.name)
    if isinstance(found, Ended):
        return found
    target, may = found
    uids, uidvalidity = selected.uids(spans), selected.view.status.uidvalidity
    done = selected.folder.move if command.moves else selected.folder.copy
    pairs = sorted(await done(uids, target, uidvalidity=uidvalidity, keep=may))  # RFC 4314 section 4: flags one may not set stay behind
    if not pairs:
        return ok("there was no such message") if not uids else no("these messages were expunged", b"EXPUNGEISSUED")
    session.noted(lambda known: known.brought(command.name, [new for _, new in pairs]))
    copied = b"COPYUID %d %b %b" % (
        target.view().status.uidvalidity,
        set_text([old for old, _ in pairs]),
        listed([new for _, new in pairs]),
    )
    if not command.moves:
        return ok("copied", copied)
    await session.wire.send(ok("moved", copied).line(b"*"))  # before the EXPUNGEs (RFC 6851 section 4.3)
    return await taken_away(session, "done")


async def taken_away(session: Session, text: str) -> Ended:
    """Tell that messages are gone; the answer to the command that did it, with HIGHESTMODSEQ for who knows it (RFC 7162 section 3.2.7, RFC 6851
    section 4.4, RFC 8508 section 4.5)."""
    await session.tell(may_expunge=True)
    return ok(text, b"HIGHESTMODSEQ %d" % session.folder.view.status.modseq if session.modes.condstore else b"")


async def expunge(session: Session, command: Expunge) -> Ended:
    """EXPUNGE, and UID EXPUNGE of RFC 4315."""
    selected = session.folder
    if not selected.may("e"):
        return READ_ONLY if selected.readonly else NOT_PERMITTED
    await session.tell(may_expunge=True)
    view = selected.view
    doomed: Spans = spans_where(flags & DELETED > 0 for flags in view.flags) if view.status.deleted else []
    if command.uids is not None:
        doomed = _common(doomed, selected.rows(command.uids, by_uid=True))
    spans, code = limited(session, doomed)
    gone = await selected.folder.expunge(selected.uids(spans), uidvalidity=view.status.uidvalidity, having=DELETED)
    if code:
        return ok("expunged in part", code)
    return await taken_away(session, "expunged") if gone else ok("expunged")


def _common(one: Spans, other: Spans) -> Spans:
    """The rows that are in both; each ascends."""
    found, place = [], 0
    for begin, end in one:
        while place < len(other) and other[place][1] <= begin:
            place += 1
        at = place
        while at < len(other) and other[at][0] < end:
            found.append((max(begin, other[at][0]), min(end, other[at][1])))
            at += 1
    return found
