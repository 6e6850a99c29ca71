"""The selected folder of one client: what it knows of it, and what it must be told.

`view` is what the client knows, numbers included: it changes only by what is told. A message that was expunged and whose end may not be told
yet keeps its row there (`held.py`); arrivals and flags are told in any case. Sequence numbers therefore mean the same message for client
and server at every moment (RFC 9051 section 7.5.1), EXISTS never shrinks without EXPUNGE, and no list of messages is kept: views are shared.
`Gone` is raised where the folder was removed, or another took its place: nothing the client knows is true any more.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from postroom.errors import NoSuchFolder
from postroom.mailstore import FLAGGED, FlagChange, Folder, View
from postroom_imap4.answers import flag_list
from postroom_imap4.commands import Numbers
from postroom_imap4.held import HeldView
from postroom_imap4.numbers import rows_in, rows_of, set_text
from postroom_imap4.reach import Place
from postroom_imap4.rights import ALL, Rights, flags_of

Spans = Sequence[tuple[int, int]]  # rows, each (first, after)

PIECE = 1000  # answers that are made at once


class Gone(Exception):
    """The selected folder is not there any more."""


@dataclass(slots=True)
class Modes:
    """What this client enabled (RFC 5161), or used and thereby enabled."""

    rev2: bool = False  # RFC 9051
    utf8: bool = False  # RFC 6855
    condstore: bool = False  # RFC 7162
    qresync: bool = False
    uidonly: bool = False  # RFC 9586

    @property
    def vanishes(self) -> bool:
        """Whether VANISHED stands where EXPUNGE would."""
        return self.qresync or self.uidonly

    @property
    def utf8_names(self) -> bool:
        return self.rev2 or self.utf8


@dataclass(frozen=True, slots=True)
class Own:
    """A change of flags that this client asked for."""

    spans: Spans  # rows of what it knows
    change: FlagChange
    keep: int  # flags become flags & keep | add
    add: int
    silent: bool = False


@dataclass(frozen=True, slots=True)
class _Aside:
    """What must not be told as if others had done it: UIDs that were told just now, and flags that the client expects by UID."""

    told: Collection[int] = ()
    expected: Mapping[int, int] = field(default_factory=dict)
    modseq: int = 0  # with CONDSTORE: that of the client's change; a later one is news even where the flags are as expected


_NOTHING = _Aside()


class Selected:
    """One client's."""

    __slots__ = ("_keywords", "_now", "folder", "modes", "name", "place", "readonly", "rights", "saved", "tells_flags", "view", "whole")

    def __init__(self, folder: Folder, modes: Modes, *, readonly: bool = False, place: Place | None = None, rights: Rights = ALL) -> None:
        """NoSuchFolder where it was removed this moment. `place`: whose it is, where it may be somebody else's."""
        self.folder, self.modes, self.readonly = folder, modes, readonly
        self.place, self.rights = place, rights
        self.name = folder.name if place is None else place.beside(folder.name).shown
        self.view: View = folder.view()
        self._now = self.view
        self.tells_flags = True  # what others make of them (RFC 5465: a client may not want to know)
        self.saved: Sequence[int] = ()  # UIDs that "$" stands for (RFC 5182)
        self._keywords = folder.keywords()
        self.whole = 0  # where it `holds`: the MODSEQ up to which the client was told all

    @property
    def condstore(self) -> bool:
        return self.modes.condstore

    @property
    def keywords(self) -> Sequence[str]:
        """Those the client was told of."""
        return self._keywords

    def may(self, needed: str) -> bool:
        """Whether the client may do what needs these rights, all of them."""
        return not self.readonly and self.rights.issuperset(needed)

    @property
    def changeable(self) -> int:
        """The flags the client may change."""
        return 0 if self.readonly else flags_of(self.rights)

    def flags_lines(self) -> bytes:
        """All flags there may be, and those the client may change."""
        return flags_line(self._keywords) + permanent_line(self._keywords, self.changeable)

    @property
    def holds(self) -> bool:
        """Whether messages were expunged that the client still counts."""
        return self.view is not self._now

    def rows(self, numbers: Numbers, *, by_uid: bool) -> list[tuple[int, int]]:
        """The rows these numbers mean to the client. BadNumber beyond the last message."""
        return rows_of(numbers, self.view, by_uid=by_uid, saved=self.saved)

    def uids(self, spans: Spans) -> Sequence[int]:
        """The UIDs of rows; of one span a piece of the view's own, for the store to see at a glance."""
        uids = self.view.uids
        if len(spans) == 1:
            return uids[spans[0][0] : spans[0][1]]
        return [uid for first, after in spans for uid in uids[first:after]]

    def spans(self, uids: Sequence[int]) -> list[tuple[int, int]]:
        """The rows of ascending UIDs, as far as the client knows them."""
        known = self.view.uids
        spans: list[tuple[int, int]] = []
        for uid in uids:
            row = bisect_left(known, uid)
            if row == len(known) or known[row] != uid:
                continue
            if spans and spans[-1][1] == row:
                spans[-1] = (spans[-1][0], row + 1)
            else:
                spans.append((row, row + 1))
        return spans

    def look(self) -> View:
        """The folder as it is now. Costs an fstat where nothing changed."""
        try:
            now = self.folder.view()
        except NoSuchFolder as error:
            raise Gone(str(error)) from error
        if now.status.uidvalidity != self._now.status.uidvalidity:
            raise Gone(f"{self.name} is another folder now")
        return now

    def moved(self, folder: Folder) -> bool:
        """The same folder, found again under another name; False where it is not the same."""
        if folder.view().status.uidvalidity != self._now.status.uidvalidity:
            return False
        self.folder = folder
        self.place = self.place.beside(folder.name) if self.place is not None else None
        self.name = folder.name if self.place is None else self.place.shown
        return True

    def news(self, *, may_expunge: bool) -> bytes:
        """All that the client must be told; from now on it knows it."""
        return b"".join(self.pieces(may_expunge=may_expunge))

    def pieces(self, *, may_expunge: bool) -> Iterator[bytes]:
        """The same in pieces. They must all be sent: what the client knows is moved on before the first."""
        now = self.look()
        if now is self._now and not (self.holds and may_expunge):
            return iter(())
        return self._move_on(now, may_expunge, _NOTHING)

    def stored(self, own: Own, *, may_expunge: bool) -> Iterator[bytes]:
        """The answer to a change of the client's own, with whatever else is news. What it asked for silently is not echoed, unless others
        changed the same flags meanwhile (RFC 9051 section 6.4.6); with CONDSTORE its MODSEQ is told all the same (RFC 7162 section 3.1.3)."""
        now, old = self.look(), self.view
        if own.silent and not self.condstore:
            is_alone = own.change.modseq == now.status.modseq == old.status.modseq + 1
            if own.change.changed and is_alone and not self.holds:  # one that changed nothing tells the MODSEQ of somebody else
                self.view = self._now = now
                return iter(())
            return self._move_on(now, may_expunge, _Aside(expected=self._expected(own)))
        uids = self.uids(own.spans) if not own.silent else sorted(own.change.changed)
        aside = _Aside(frozenset(uids)) if not own.silent else _Aside(expected=self._expected(own), modseq=own.change.modseq)
        told = self._move_on(now, may_expunge, aside)
        has_moved = bisect_left(self.view.uids, old.status.uidnext) != len(old)
        spans = self.spans(uids) if has_moved or own.silent else own.spans
        return self._with_own(told, spans, own)

    def _expected(self, own: Own) -> dict[int, int]:
        """The flags the client believes in, by UID."""
        changed, known = set(own.change.changed), self.view
        return {
            uid: flags & own.keep | own.add
            for first, after in own.spans
            for uid, flags in zip(known.uids[first:after], known.flags[first:after])
            if uid in changed
        }

    def _with_own(self, told: Iterator[bytes], spans: Spans, own: Own) -> Iterator[bytes]:
        yield from told
        rows = rows_in(spans)
        if isinstance(self.view, HeldView):
            rows = [row for row in rows if not self.view.is_lost(row)]
        if not own.silent:
            yield from self.fetches(self.view, rows)
            return
        uid_column, modseqs, ours = self.view.uids, self.view.modseqs, own.change.modseq
        line = b"* %d UIDFETCH (MODSEQ (%d))\r\n" if self.modes.uidonly else b"* %d FETCH (UID %d MODSEQ (%d))\r\n"
        for some in _slices([row for row in rows if modseqs[row] == ours]):
            if self.modes.uidonly:
                yield b"".join([line % (uid_column[row], ours) for row in some])
            else:
                yield b"".join([line % (row + 1, uid_column[row], ours) for row in some])

    def _move_on(self, now: View, may_expunge: bool, aside: _Aside) -> Iterator[bytes]:
        """Know what is now, and tell it."""
        old, self._now = self.view, now
        if _only_came(old, now):
            self.view = now
            return self._told(old, now, (), [], len(old) != len(now))
        lost = _lost(self.folder, old, now)
        if lost and not isinstance(old, HeldView):
            self.whole = old.status.modseq
        self.view = now if may_expunge or not lost else HeldView(old, now, lost)
        first_new = len(self.view) - (len(now) - bisect_left(now.uids, old.status.uidnext))
        since = old.status.modseq
        rows = [row for row, modseq in enumerate(self.view.modseqs[:first_new]) if modseq > since] if self.tells_flags else []
        if aside is not _NOTHING:
            rows = self._others(rows, aside)
        return self._told(old, self.view, lost if may_expunge else (), rows, first_new < len(self.view))

    def _others(self, rows: Sequence[int], aside: _Aside) -> list[int]:
        """Those of the changed rows that the client does not know from its own change."""
        uids, flags, told, expected = self.view.uids, self.view.flags, aside.told, aside.expected
        rows = [row for row in rows if uids[row] not in told]
        if not aside.modseq:
            return [row for row in rows if expected.get(uids[row], -1) != flags[row]]
        modseqs = self.view.modseqs
        return [row for row in rows if modseqs[row] != aside.modseq or expected.get(uids[row], -1) != flags[row]]

    def _told(self, old: View, new: View, lost: Sequence[int], rows: Sequence[int], came: bool) -> Iterator[bytes]:
        """EXPUNGE by old numbers, from the last on, so that none shifts another; the rest by new ones."""
        yield self._new_keywords()
        if lost and self.modes.vanishes:
            uids = old.uids
            yield b"* VANISHED %b\r\n" % set_text([uids[row] for row in lost])  # RFC 7162 section 3.2.10
        else:
            for some in _slices(lost[::-1]):
                yield b"".join([b"* %d EXPUNGE\r\n" % (row + 1) for row in some])
        if came:
            yield b"* %d EXISTS\r\n" % len(new)
        yield from self.fetches(new, rows)

    def _new_keywords(self) -> bytes:
        """Keywords that were made since (RFC 9051 section 7.3.5: the client should be told)."""
        known = self.folder.keywords()
        if len(known) == len(self._keywords):
            return b""
        self._keywords = known
        return self.flags_lines()

    def fetches(self, view: View, rows: Sequence[int]) -> Iterator[bytes]:
        """Flags as they are, with the UID in any case (RFC 9051 section 7.5.2)."""
        if not rows:
            return
        uids, flags, modseqs, keywords = view.uids, view.flags, view.modseqs, self._keywords
        for some in _slices(rows):
            texts = [flag_list(flags[row], keywords) for row in some]
            if self.modes.uidonly and self.condstore:
                line = b"* %d UIDFETCH (FLAGS %b MODSEQ (%d))\r\n"
                yield b"".join([line % (uids[row], text, modseqs[row]) for row, text in zip(some, texts)])
            elif self.modes.uidonly:
                yield b"".join([b"* %d UIDFETCH (FLAGS %b)\r\n" % (uids[row], text) for row, text in zip(some, texts)])
            elif self.condstore:
                line = b"* %d FETCH (UID %d FLAGS %b MODSEQ (%d))\r\n"
                yield b"".join([line % (row + 1, uids[row], text, modseqs[row]) for row, text in zip(some, texts)])
            else:
                line = b"* %d FETCH (UID %d FLAGS %b)\r\n"
                yield b"".join([line % (row + 1, uids[row], text) for row, text in zip(some, texts)])


def flags_line(keywords: Sequence[str]) -> bytes:
    """The untagged FLAGS answer: all flags there may be."""
    return b"* FLAGS %b\r\n" % flag_list((1 << (5 + len(keywords))) - 1, keywords)


def permanent_line(keywords: Sequence[str], changeable: int) -> bytes:
    """Those the client may change (RFC 9051 section 7.1); "\\*": it may make new keywords."""
    if not changeable:
        return b"* OK [PERMANENTFLAGS ()] read-only\r\n"
    known = flag_list((1 << (5 + len(keywords))) - 1 & changeable, keywords)
    more = b" \\*" if changeable & FLAGGED else b""
    return b"* OK [PERMANENTFLAGS %b%b)] flags are kept\r\n" % (known[:-1], more)


def _only_came(old: View, now: View) -> bool:
    """Whether nothing but arrivals lies between: each change has a MODSEQ of its own, so their number says it, and no column is looked at."""
    before, after = old.status, now.status
    return after.modseq - before.modseq == after.messages - before.messages >= 0


def _lost(folder: Folder, old: View, now: View) -> list[int]:
    """Rows of `old` that `now` has not, ascending."""
    uids = old.uids
    kept = bisect_left(now.uids, old.status.uidnext)
    missing = len(uids) - kept
    if not missing:
        return []
    if not kept:
        return list(range(len(uids)))
    gone = folder.expunged_since(old.status.modseq) if missing * 8 < len(uids) else ()
    if len(gone) <= 2 * missing + PIECE and not isinstance(old, HeldView):
        rows = [row for uid in gone if (row := bisect_left(uids, uid)) < len(uids) and uids[row] == uid]
        if len(rows) == missing:
            return rows
    still = set(now.uids[:kept])
    return [row for row, uid in enumerate(uids) if uid not in still]


def _slices(rows: Sequence[int]) -> Iterator[Sequence[int]]:
    return (rows[begin : begin + PIECE] for begin in range(0, len(rows), PIECE))
