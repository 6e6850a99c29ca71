"""SEARCH, SORT and THREAD: what is answered, and how (RFC 9051 section 6.4.4, RFC 4731, 5182, 5256, 5267, 7377, 9394)."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from postroom.errors import DiskError, NoSuchFolder, StoreError
from postroom.mailstore import Folder, View
from postroom_imap4.answers import mailbox, quoted
from postroom_imap4.commands import AllOf, AnyOf, Command, Fuzzy, InSet, Not, Returns, Search, SearchKey, Sort, Source, Thread
from postroom_imap4.listing import is_inbox, key_of
from postroom_imap4.notifying import is_at_or_below
from postroom_imap4.numbers import listed, set_text, window
from postroom_imap4.replies import Ended, bad, no, ok
from postroom_imap4.rights import NotPermitted
from postroom_imap4.searching import Asked, asks_modseq, highest_modseq
from postroom_imap4.searching import search as rows_found
from postroom_imap4.sorting import sort as rows_sorted
from postroom_imap4.threads import thread as threaded

if TYPE_CHECKING:
    from postroom_imap4.selected import Selected
    from postroom_imap4.session import Session

_LINE: Final = 5000  # numbers of a SEARCH answer that are made at once
_FOLDERS: Final = 1000  # folders one MULTISEARCH may look into


@dataclass(frozen=True, slots=True)
class Found:
    """What a search came to, in the order in which it is told."""

    view: View
    rows: Sequence[int]
    by_uid: bool
    is_sorted: bool  # in an order that says something
    with_modseq: bool

    def numbers(self, rows: Sequence[int]) -> list[int]:
        if not self.by_uid:
            return [row + 1 for row in rows]
        uids = self.view.uids
        return [uids[row] for row in rows]

    def text(self, rows: Sequence[int]) -> bytes:
        return listed(self.numbers(rows)) if self.is_sorted else set_text(self.numbers(rows))

    def modseq(self, rows: Sequence[int]) -> int:
        return highest_modseq(self.view, rows)


async def search(session: Session, command: Search) -> Ended:
    if command.sources:
        return await _search_many(session, command)
    if session.selected is None:
        return bad("select a folder first")
    selected, returns = session.selected, command.returns
    view = selected.view
    with _saving(session, returns):
        rows, code = await _found_rows(session, view, command.key)
    found = Found(view, rows, command.by_uid, False, asks_modseq(command.key))
    if found.with_modseq:
        await session.wire.send(session.condstore())
    if "SAVE" in returns.items:
        selected.saved = Found(view, _saved(found.rows, returns), True, False, False).numbers(_saved(found.rows, returns))
    await _answer(session, b"SEARCH", found, returns)
    return ok("that is all", code)


def names_numbers(command: Command) -> bool:
    """Whether message numbers stand anywhere among the keys of a search. Pure."""
    left: list[SearchKey] = [command.key] if isinstance(command, Search | Sort | Thread) else []
    while left:
        match left.pop():
            case InSet(numbers=numbers, by_uid=False):
                if numbers.runs:
                    return True
            case Not(inner) | Fuzzy(inner):
                left.append(inner)
            case AnyOf(keys) | AllOf(keys):
                left += keys
    return False


@contextmanager
def _saving(session: Session, returns: Returns) -> Iterator[None]:
    """A search that ends with NO leaves nothing where its result was to be saved (RFC 5182 section 2.1)."""
    try:
        yield
    except (StoreError, DiskError):
        if "SAVE" in returns.items:
            session.folder.saved = ()
        raise


async def _found_rows(session: Session, view: View, key: SearchKey) -> tuple[Sequence[int], bytes]:
    """The rows, and the response code where they are not all (RFC 9738 section 3.1: the last ones)."""
    asked = Asked(session.world.clock.now(), session.folder.saved, session.world.aid, session.progress.went_on)
    rows = await rows_found(session.folder.folder, view, key, asked)
    session.progress.uncounted()  # what follows has no count
    limit = session.world.settings.message_limit
    if not limit or len(rows) <= limit:
        return rows, b""
    return rows[-limit:], b"MESSAGELIMIT %d %d" % (limit, view.uids[rows[-limit]])


def _saved(rows: Sequence[int], returns: Returns) -> Sequence[int]:
    """What is shown by MIN, MAX and PARTIAL, where no more is asked for (RFC 5182 section 2.4, RFC 9394 section 3.2)."""
    if returns.items & {"ALL", "COUNT"} or not (returns.items & {"MIN", "MAX"} or returns.partial is not None):
        return rows
    first, after = window(returns.partial, len(rows)) if returns.partial is not None else (0, 0)
    ends = {*(rows[:1] if "MIN" in returns.items else ()), *(rows[-1:] if "MAX" in returns.items else ())}
    return sorted(ends.union(rows[first:after]))


async def _answer(session: Session, kind: bytes, found: Found, returns: Returns) -> None:
    """As SEARCH or SORT where that is what the client expects, else as ESEARCH (RFC 9051 section 6.4.4: rev2 knows nothing else)."""
    session.progress.silence()  # nothing may come between the pieces of the answer
    if not returns.is_given and (kind == b"SORT" or not session.modes.rev2):
        await _plain(session, kind, found)
        return
    if _is_silent(returns):
        return
    await session.wire.send(esearch(b"(TAG %b)" % quoted(session.tag), found, returns))


def _is_silent(returns: Returns) -> bool:
    """RFC 5182 section 2.1: nothing is told of what is only saved."""
    return returns.items == {"SAVE"} and returns.partial is None


async def _plain(session: Session, kind: bytes, found: Found) -> None:
    await session.wire.send(b"* " + kind)
    for begin in range(0, len(found.rows), _LINE):
        numbers = found.numbers(found.rows[begin : begin + _LINE])
        await session.wire.send(b" %d" * len(numbers) % tuple(numbers))
    modseq = b" (MODSEQ %d)" % found.modseq(found.rows) if found.with_modseq and found.rows else b""
    await session.wire.send(modseq + b"\r\n")


def esearch(about: bytes, found: Found, returns: Returns) -> bytes:
    """RFC 4731 section 3.1; where nothing was found there is neither MIN nor MAX nor ALL."""
    return b"* ESEARCH %b%b%b\r\n" % (about, b" UID" if found.by_uid else b"", b"".join(_results(found, returns)))


def _results(found: Found, returns: Returns) -> Iterator[bytes]:
    rows, items = found.rows, returns.items
    shown: Sequence[int] = ()
    if rows and "MIN" in items:
        yield b" MIN %b" % found.text(rows[:1])
        shown = rows[:1]
    if rows and "MAX" in items:
        yield b" MAX %b" % found.text(rows[-1:])
        shown = [*shown, *rows[-1:]]
    if returns.partial is not None:  # RFC 9394 section 3.1
        first, after = window(returns.partial, len(rows))
        part = rows[first:after]
        yield b" PARTIAL (%d:%d %b)" % (returns.partial.first, returns.partial.last, found.text(part) if part else b"NIL")
        shown = part
    if rows and ("ALL" in items or not (items - {"SAVE", "RELEVANCY"} or returns.partial is not None)):
        yield b" ALL %b" % found.text(rows)
        shown = rows
    if "COUNT" in items:
        yield b" COUNT %d" % len(rows)
        shown = rows
    if "RELEVANCY" in items and rows:  # RFC 6203 section 4: what is found is found exactly
        yield b" RELEVANCY (%b)" % b" ".join([b"100"] * len(rows))
    if found.with_modseq and shown:  # RFC 7162 section 3.1.10
        yield b" MODSEQ %d" % found.modseq(shown)


async def sort(session: Session, command: Sort) -> Ended:
    """RFC 5256, ESORT of RFC 5267."""
    selected = session.folder
    view = selected.view
    with _saving(session, command.returns):
        rows, code = await _found_rows(session, view, command.key)
        ordered = await rows_sorted(selected.folder, view, rows, command.keys)
    found = Found(view, ordered, command.by_uid, True, asks_modseq(command.key))
    if found.with_modseq:
        await session.wire.send(session.condstore())
    if "SAVE" in command.returns.items:
        saved = Found(view, (), True, False, False).numbers(_saved(ordered, command.returns))
        selected.saved = sorted(saved)
    await _answer(session, b"SORT", found, command.returns)
    return ok("that is all", code)


async def thread(session: Session, command: Thread) -> Ended:
    """RFC 5256."""
    selected = session.folder
    view = selected.view
    rows, code = await _found_rows(session, view, command.key)
    text = await threaded(selected.folder, view, rows, command.algorithm, command.by_uid)
    await session.wire.send(b"* THREAD%b\r\n" % text)
    return ok("that is all", code)


# MULTISEARCH (RFC 7377).


async def _search_many(session: Session, command: Search) -> Ended:
    """An answer for each folder in which something was found. What is saved is of one folder only, the selected (RFC 7377 section 2.2)."""
    saves = "SAVE" in command.returns.items
    if saves and any(source.which != "selected" for source in command.sources):
        return bad("SAVE needs the selected folder and no other")
    names = await _named(session, command.sources)
    if names is None:
        return bad("select a folder first")
    if len(names) > _FOLDERS:
        return no(f"one search looks into {_FOLDERS} folders at most", b"LIMIT")
    for number, name in enumerate(names):
        session.progress.went_on(number, len(names))
        selected = session.selected if session.selected is not None and key_of(session.selected.name) == key_of(name) else None
        try:
            folder, view = await _place(session, name, selected)
        except (NoSuchFolder, NotPermitted):
            continue  # RFC 7377 section 2.1: what is not there, or may not be read, is passed over
        asked = Asked(session.world.clock.now(), selected.saved if selected is not None else None, session.world.aid)
        with _saving(session, command.returns):
            rows = await rows_found(folder, view, command.key, asked)
        await asyncio.sleep(0)
        found = Found(view, rows, True, False, asks_modseq(command.key))
        if saves and selected is not None:
            selected.saved = found.numbers(_saved(rows, command.returns))
        if not rows or _is_silent(command.returns):
            continue
        about = b"(TAG %b MAILBOX %b UIDVALIDITY %d)" % (
            quoted(session.tag),
            mailbox(name, session.modes.utf8_names),
            view.status.uidvalidity,
        )
        await session.wire.send(esearch(about, found, command.returns))
    return ok("that is all")


async def _place(session: Session, name: str, selected: Selected | None) -> tuple[Folder, View]:
    if selected is not None:
        return selected.folder, selected.view
    _, folder, _ = await session.reach.open(name, "r")
    return folder, folder.view()


async def _named(session: Session, sources: Sequence[Source]) -> list[str] | None:
    """The folders meant, each once; None where the selected one is among them and there is none."""
    named: dict[str, str] = {}
    own = [name for name in await session.box.folders() if session.reach.sharing.names.is_own(name)]
    for source in sources:
        if source.which == "selected":
            if session.selected is None:
                return None
            found: Sequence[str] = [session.selected.name]
        elif source.which == "subscribed":
            found = await session.box.subscriptions()
        else:
            theirs = await session.reach.visible([f"{name}*" for name in source.names]) if source.names else ()
            found = meant(source, (*own, *theirs))
            await asyncio.sleep(0)
        for name in found:
            named.setdefault(key_of(name), name)
    return list(named.values())


def meant(source: Source, names: Iterable[str]) -> list[str]:
    """Those of these folders that a source means. Pure."""
    keys = frozenset(map(key_of, source.names))
    return [name for name in names if _is_meant(source, keys, key_of(name))]


def _is_meant(source: Source, keys: Collection[str], key: str) -> bool:
    match source.which:
        case "personal":
            return True
        case "inboxes":
            return is_inbox(key)
        case "mailboxes":
            return key in keys
        case "subtree":
            return is_at_or_below(key, keys)
        case "subtree-one":
            return key in keys or key.rpartition("/")[0] in keys
        case _:
            return False
