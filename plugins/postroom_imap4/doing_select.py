"""SELECT and EXAMINE with CONDSTORE and QRESYNC (RFC 7162), CLOSE, UNSELECT, IDLE."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Final

from postroom.mailstore import DELETED, SEEN, View
from postroom_imap4.answers import mailbox
from postroom_imap4.commands import STAR, Close, Idle, Numbers, Resync, Select, Unselect
from postroom_imap4.doing_folders import object_id
from postroom_imap4.numbers import merged
from postroom_imap4.replies import NO_NUMBERS, Ended, bad, ok, untagged
from postroom_imap4.rights import WRITES
from postroom_imap4.selected import Selected, flags_line, permanent_line

if TYPE_CHECKING:
    from postroom_imap4.session import Session

Runs = list[tuple[int, int]]
_LINE: Final = 2000  # runs of UIDs in one VANISHED answer


async def select(session: Session, command: Select) -> Ended:
    """A failing SELECT leaves nothing selected (RFC 9051 section 6.3.2)."""
    if command.resync is not None and not session.modes.qresync:
        return bad("say ENABLE QRESYNC first")  # RFC 7162 section 3.2.5
    if session.modes.uidonly and command.resync is not None and command.resync.match is not None:
        return NO_NUMBERS
    if session.selected is not None:
        session.deselect()
        await session.wire.send(untagged("the folder before is closed", b"CLOSED"))
    place, folder, found = await session.reach.open(command.name, "r")
    session.modes.condstore |= command.condstore
    selected = Selected(folder, session.modes, readonly=command.readonly, place=place, rights=found)
    await session.wire.send(b"".join(_facts(selected)))
    if command.resync is not None:
        await session.send_all(_resumed(selected, command.resync))
    session.selected = selected
    return ok("selected", b"READ-WRITE" if not command.readonly and found & WRITES else b"READ-ONLY")  # RFC 4314 section 5.2


def _facts(selected: Selected) -> Iterator[bytes]:
    """RFC 9051 section 6.3.2; what rev1 wants besides, RFC 3501 section 6.3.1."""
    view, rev2 = selected.view, selected.modes.rev2
    status = view.status
    yield flags_line(selected.keywords)
    yield b"* %d EXISTS\r\n" % len(view)
    if not rev2:
        yield b"* 0 RECENT\r\n"
        if status.unseen and not selected.modes.uidonly:  # RFC 9586: no message number is told
            first = next((row for row, flags in enumerate(view.flags) if not flags & SEEN), 0)
            yield untagged("the first one not read", b"UNSEEN %d" % (first + 1))
    yield permanent_line(selected.keywords, selected.changeable)
    yield untagged("UIDs are of this folder", b"UIDVALIDITY %d" % status.uidvalidity)
    yield untagged("the next one", b"UIDNEXT %d" % status.uidnext)
    yield untagged("the highest one", b"HIGHESTMODSEQ %d" % max(1, status.modseq))
    yield untagged("its name for ever", b"MAILBOXID (%b)" % object_id(status))  # RFC 8474 section 4.2
    if rev2:
        yield b'* LIST () "/" %b\r\n' % mailbox(selected.name, True)


def _resumed(selected: Selected, resync: Resync) -> Iterator[bytes]:
    """What happened since the client was here (RFC 7162 section 3.2.5)."""
    view = selected.view
    if resync.uidvalidity != view.status.uidvalidity:
        return
    known = uid_runs(resync.known, view)
    yield from vanished(selected, resync.modseq, [(max(first, _common(view, resync) + 1), last) for first, last in known])
    rows = [row for row, modseq in enumerate(view.modseqs) if modseq > resync.modseq]
    if resync.known is not None:
        uids = view.uids
        rows = [row for row in rows if _is_in(known, uids[row])]
    yield from selected.fetches(view, rows)


def _common(view: View, resync: Resync) -> int:
    """The highest UID of which the client has the number right: nothing up to it was expunged that it counts (RFC 7162 section 3.2.5.2)."""
    if resync.match is None:
        return 0
    uids, common = view.uids, 0
    for number, uid in zip(_singles(resync.match[0]), _singles(resync.match[1])):
        if not 0 < number <= len(uids) or uids[number - 1] != uid:
            break
        common = uid
    return common


def _singles(numbers: Numbers) -> Iterator[int]:
    for first, last in numbers.runs:
        yield from range(first, last + 1)


def uid_runs(numbers: Numbers | None, view: View) -> Runs:
    """A set of UIDs as runs; None is all there ever were."""
    last = view.status.uidnext - 1
    if numbers is None:
        return [(1, last)] if last else []
    runs = [sorted((first or last, after or last)) for first, after in numbers.runs if last or STAR not in (first, after)]
    return [(first, min(after - 1, last)) for first, after in merged((a, b + 1) for a, b in runs) if first <= last]


def _is_in(runs: Runs, uid: int) -> bool:
    place = bisect_right(runs, (uid, 1 << 63)) - 1
    return place >= 0 and uid <= runs[place][1]


def vanished(selected: Selected, since: int, runs: Runs) -> Iterator[bytes]:
    """VANISHED (EARLIER) for what of these UIDs was expunged after that MODSEQ."""
    gone = selected.folder.expunged_since(since)
    found = [run for first, last in runs if first <= last for run in _runs_in(gone, first, last)]
    for begin in range(0, len(found), _LINE):
        texts = [b"%d" % first if first == last else b"%d:%d" % (first, last) for first, last in found[begin : begin + _LINE]]
        yield b"* VANISHED (EARLIER) %b\r\n" % b",".join(texts)


def _runs_in(numbers: Sequence[int], first: int, last: int) -> Iterator[tuple[int, int]]:
    """Runs of ascending numbers between two. Takes steps by runs, not by numbers: all UIDs of years may be gone."""
    at, end = bisect_left(numbers, first), bisect_right(numbers, last)
    while at < end:
        begin = numbers[at]
        step = 1
        while at + step < end and numbers[at + step] == begin + step:
            step *= 2
        low, high = step // 2, min(step, end - at)  # the run has more than `low` numbers, or just one, and at most `high`
        while low + 1 < high:
            middle = (low + high) // 2
            low, high = (middle, high) if numbers[at + middle] == begin + middle else (low, middle)
        length = low + 1
        yield begin, begin + length - 1
        at += length


async def close(session: Session, command: Close) -> Ended:
    """Expunges without a word (RFC 9051 section 6.4.1); who may not expunge closes all the same (RFC 4314 section 4)."""
    selected = session.folder
    session.deselect()
    if selected.may("e"):
        view = selected.look()
        doomed = list(compress(view.uids, [flags & DELETED for flags in view.flags])) if view.status.deleted else []
        if doomed:
            await selected.folder.expunge(doomed, uidvalidity=view.status.uidvalidity, having=DELETED)
    return ok("closed")


async def unselect(session: Session, command: Unselect) -> Ended:
    session.deselect()
    return ok("closed")


async def idle(session: Session, command: Idle) -> None:
    """RFC 2177: the answer comes with the client's DONE."""
    session.begin_idle()
    await session.wire.send(b"+ idling\r\n")
    if session.selected is not None:
        await session.tell(may_expunge=True)
