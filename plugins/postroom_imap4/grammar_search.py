"""SEARCH, SORT, THREAD and the search of several folders: keys, what is to be returned, charsets (RFC 9051 section 6.4.4). Pure.

A program of keys is read with a stack of our own, so no client can make us recurse. What comes out is at most DEPTH levels deep: an OR within
an OR and a NOT within a NOT add none, for clients chain hundreds of them; lists within lists do, and too many are refused. The rest of the
house may therefore recurse over a key.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from postroom_imap4.commands import (
    AllOf,
    AnyOf,
    ById,
    Fuzzy,
    HasFlag,
    HasSaveDate,
    InHeader,
    InSet,
    InText,
    ModSeq,
    Not,
    OnDay,
    Partial,
    Returns,
    Search,
    SearchKey,
    Size,
    Sort,
    SortKey,
    Source,
    Thread,
    Within,
)
from postroom_imap4.grammar_fetch import partial_range
from postroom_imap4.tokens import DEPTH, NUMBER64, Mistake, Reader
from postroom_mime.words import codec_name

KEYS: Final = 10_000  # of one program: what is read within 50 ms
SORT_KEYS: Final = 50
NAMES: Final = 1000  # folders in one list
SOURCES: Final = 100  # of one search, each of which may name many folders
ALL: Final = AllOf(())
NONE: Final = Not(ALL)
_UTF8: Final = frozenset(("utf-8", "ascii"))

Decode: TypeAlias = Callable[[bytes], str]


def search(reader: Reader, by_uid: bool) -> Search:
    reader.blank()
    returns = _returns(reader)
    return Search(_keys(reader, _charset, returns), by_uid, returns)


def esearch(reader: Reader) -> Search:
    """RFC 7377 section 2; the answers have UIDs. Without IN it is the selected folder's."""
    reader.blank()
    sources = _sources(reader) if reader.skip_word(b"IN") else (Source("selected"),)
    returns = _returns(reader)
    return Search(_keys(reader, _charset, returns), True, returns, sources)


def sort(reader: Reader, by_uid: bool) -> Sort:
    """RFC 5256 section 3, RFC 5267 section 3."""
    reader.blank()
    returns = _returns(reader)
    keys = tuple(reader.listed(lambda: _sort_key(reader), "sort keys", most=SORT_KEYS))
    reader.blank()
    return Sort(keys, _keys(reader, _named_charset, returns), by_uid, returns)


def thread(reader: Reader, by_uid: bool) -> Thread:
    """RFC 5256 section 3."""
    reader.blank()
    algorithm = reader.one_of(_ALGORITHMS, "a threading algorithm")
    reader.blank()
    return Thread(algorithm, _program(reader, _named_charset(reader)), by_uid)


_ALGORITHMS: Final[dict[bytes, Literal["ORDEREDSUBJECT", "REFERENCES", "REFS"]]] = {
    b"ORDEREDSUBJECT": "ORDEREDSUBJECT",
    b"REFERENCES": "REFERENCES",
    b"REFS": "REFS",
}
_SORT_KEYS: Final = {name.encode(): name for name in ("ARRIVAL", "CC", "DATE", "FROM", "SIZE", "SUBJECT", "TO", "DISPLAYFROM", "DISPLAYTO")}


def _sort_key(reader: Reader) -> SortKey:
    reverse = reader.skip_word(b"REVERSE")
    if reverse:
        reader.blank()
    return SortKey(reader.one_of(_SORT_KEYS, "a sort key"), reverse)


# What is to be returned, and from where


def _returns(reader: Reader) -> Returns:
    """`RETURN (...)` (RFC 9051 section 9, search-return-opts), with the blank behind it. An empty list is ALL."""
    if not reader.skip_word(b"RETURN"):
        return Returns()
    reader.blank()
    items: set[str] = set()
    partials: list[Partial] = []

    def option() -> None:
        if reader.skip_word(b"PARTIAL"):
            reader.blank()
            partials.append(partial_range(reader))
        else:
            items.add(reader.one_of(_RETURNS, "what to return"))

    reader.listed(option, "what to return", least=0)
    reader.blank()
    if len(partials) > 1 or (partials and "ALL" in items):
        raise Mistake("only one of PARTIAL and ALL may be given")  # RFC 9394 section 3.1
    if not items and not partials:
        items.add("ALL")
    return Returns(True, frozenset(items), partials[0] if partials else None)


_RETURNS: Final = {name.encode(): name for name in ("MIN", "MAX", "ALL", "COUNT", "SAVE", "RELEVANCY")}
_WHICH: Final[dict[bytes, Literal["selected", "selected-delayed", "inboxes", "personal", "subscribed"]]] = {
    b"SELECTED": "selected",
    b"SELECTED-DELAYED": "selected-delayed",
    b"INBOXES": "inboxes",
    b"PERSONAL": "personal",
    b"SUBSCRIBED": "subscribed",
}
_NAMED: Final[dict[bytes, Literal["subtree", "subtree-one", "mailboxes"]]] = {
    b"SUBTREE": "subtree",
    b"SUBTREE-ONE": "subtree-one",
    b"MAILBOXES": "mailboxes",
}


def source(reader: Reader) -> Source:
    """RFC 5465 section 8, filter-mailboxes; with subtree-one of RFC 7377."""
    for word, named in _NAMED.items():
        if reader.skip_word(word):
            reader.blank()
            return Source(named, tuple(reader.one_or_listed(reader.mailbox, "a mailbox name", most=NAMES)))
    return Source(reader.one_of(_WHICH, "folders: SUBTREE, SUBTREE-ONE, MAILBOXES or one of"))


def _sources(reader: Reader) -> tuple[Source, ...]:
    reader.blank()
    found = tuple(reader.listed(lambda: source(reader), "folders to search", most=SOURCES))
    if any(one.which == "selected-delayed" for one in found):
        raise Mistake("ESEARCH has no SELECTED-DELAYED")  # RFC 7377 section 2.2
    reader.blank()
    return found


# Charsets


def _charset(reader: Reader) -> Decode:
    if not reader.skip_word(b"CHARSET"):
        return _decode_with("utf-8")
    reader.blank()
    return _named_charset(reader)


def _named_charset(reader: Reader) -> Decode:
    """The charset in which strings are written, with the blank behind it. US-ASCII is read as UTF-8, which has it in it."""
    codec = codec_name(reader.astring("a charset"))
    if codec is None:
        raise Mistake("the charset is not known here", b"BADCHARSET (UTF-8 US-ASCII)", is_no=True)  # RFC 9051 section 7.1
    reader.blank()
    return _decode_with("utf-8" if codec in _UTF8 else codec)


def _decode_with(codec: str) -> Decode:
    def decode(octets: bytes) -> str:
        try:
            return octets.decode(codec)
        except (UnicodeError, ValueError, OverflowError):  # some stateful codecs raise whatever they like
            raise Mistake(f"a search text must be written in the charset of the command ({codec})") from None

    return decode


# Keys


@dataclass(slots=True)
class _Open:
    """A key that waits for keys within it: a list for its end, OR for one key more than it swallowed ORs, NOT and FUZZY for one."""

    kind: Literal["top", "list", "or", "not", "fuzzy"]
    wanted: int = -1  # keys; below zero: up to its end
    keys: list[SearchKey] = field(default_factory=list)

    @property
    def is_full(self) -> bool:
        return len(self.keys) == self.wanted

    def key(self) -> SearchKey:
        if self.kind == "not":
            return _denied(self.keys[0])
        if self.kind == "fuzzy":
            return Fuzzy(self.keys[0])
        if self.kind == "or":
            return AnyOf(tuple(self.keys))
        return self.keys[0] if len(self.keys) == 1 else AllOf(tuple(self.keys))


def _denied(key: SearchKey) -> SearchKey:
    return HasFlag(key.flag, not key.on) if isinstance(key, HasFlag) else Not(key)


def _keys(reader: Reader, charset: Callable[[Reader], Decode], returns: Returns) -> SearchKey:
    """The charset and the keys. A search that ends with NO leaves nothing where its result was to be saved (RFC 5182 section 2.1)."""
    try:
        return _program(reader, charset(reader))
    except Mistake as mistake:
        mistake.empties = mistake.is_no and "SAVE" in returns.items
        raise


def _program(reader: Reader, decode: Decode) -> SearchKey:
    """The keys up to the end of the command. All of them must hold."""
    stack = [_Open("top")]
    for _ in range(KEYS):
        while (key := _key(reader, decode, stack)) is None:
            if len(stack) > DEPTH:
                raise Mistake(f"a search has at most {DEPTH} levels")  # case 28
        stack[-1].keys.append(key)
        while _closes(reader, stack):
            pass
        if not _goes_on(reader, stack[-1].kind):
            return stack[0].key()
    raise Mistake(f"a search has at most {KEYS} keys")


def _goes_on(reader: Reader, within: str) -> bool:
    """Whether another key follows, and the blank before it is taken. `within` is the innermost key that is still open."""
    is_blank = reader.skip_blank()
    if not reader.is_end and is_blank:
        return True
    if reader.is_end and within == "top":
        return False
    raise reader.expected("a blank" if within == "top" else 'a blank or ")"' if within == "list" else "a blank and a search key")


def _key(reader: Reader, decode: Decode, stack: list[_Open]) -> SearchKey | None:
    """A key without keys within it; None where another key was opened, which its own keys follow."""
    if reader.sees_set():
        return InSet(reader.numbers(), by_uid=False)
    if reader.skip(b"("):
        reader.skip_blank()
        stack.append(_Open("list"))
        return None
    word = reader.word("a search key")
    fixed = _FIXED.get(word)
    if fixed is not None:
        return fixed
    read = _KEYS.get(word)
    if read is None and word not in _OPENING:
        raise reader.expected("a search key", taken=True)
    if word != b"MODSEQ":
        reader.blank()
    if read is not None:
        return read(reader, decode)
    _open(word, stack)
    return None


_OPENING: Final = frozenset((b"OR", b"NOT", b"FUZZY"))


def _open(word: bytes, stack: list[_Open]) -> None:
    top = stack[-1]
    if word == b"OR" and top.kind == "or":
        top.wanted += 1
    elif word == b"NOT" and top.kind == "not":
        stack.pop()
    elif word == b"OR":
        stack.append(_Open("or", 2))
    elif word == b"NOT":
        stack.append(_Open("not", 1))
    elif top.kind != "fuzzy":  # RFC 6203
        stack.append(_Open("fuzzy", 1))


def _closes(reader: Reader, stack: list[_Open]) -> bool:
    """Whether the innermost open key has ended here, and is now one of the keys of the one around it."""
    top = stack[-1]
    if not top.is_full and not (top.kind == "list" and (reader.skip(b")") or reader.skip(b" )"))):
        return False
    stack.pop()
    stack[-1].keys.append(top.key())
    return True


_FIXED: Final[dict[bytes, SearchKey]] = {
    b"ALL": ALL,
    b"RECENT": NONE,
    b"NEW": NONE,
    b"OLD": ALL,
    b"SAVEDATESUPPORTED": HasSaveDate(),
    **{name.upper().encode(): HasFlag("\\" + name) for name in ("Answered", "Deleted", "Draft", "Flagged", "Seen")},
    **{b"UN" + name.upper().encode(): HasFlag("\\" + name, False) for name in ("Answered", "Deleted", "Draft", "Flagged", "Seen")},
}


def _in_header(name: bytes) -> Callable[[Reader, Decode], SearchKey]:
    return lambda reader, decode: InHeader(name, decode(reader.astring("a text")))


def _header(reader: Reader, decode: Decode) -> SearchKey:
    name = reader.astring("a header field's name").lower()
    reader.blank()
    return InHeader(name, decode(reader.astring("a text")))


def _in_text(headers: bool) -> Callable[[Reader, Decode], SearchKey]:
    return lambda reader, decode: InText(decode(reader.astring("a text")), headers)


def _on_day(what: Literal["arrived", "sent", "saved"], how: Literal["before", "on", "since"]) -> Callable[[Reader, Decode], SearchKey]:
    return lambda reader, decode: OnDay(what, how, reader.day())


def _within(younger: bool) -> Callable[[Reader, Decode], SearchKey]:
    """RFC 5032 section 3."""
    return lambda reader, decode: Within(younger, reader.number("seconds", least=1, most=NUMBER64))


def _size(larger: bool) -> Callable[[Reader, Decode], SearchKey]:
    return lambda reader, decode: Size(larger, reader.number("octets", most=NUMBER64))


def _keyword(on: bool) -> Callable[[Reader, Decode], SearchKey]:
    """No message is recent, by whatever name it is asked."""

    def key(reader: Reader, decode: Decode) -> SearchKey:
        flag = reader.flag()
        return HasFlag(flag, on) if flag != "\\Recent" else NONE if on else ALL

    return key


def _by_id(what: Literal["email", "thread"]) -> Callable[[Reader, Decode], SearchKey]:
    """RFC 8474 section 6."""
    return lambda reader, decode: ById(what, reader.text("an object id"))


def _modseq(reader: Reader, decode: Decode) -> SearchKey:
    """RFC 7162 section 3.1.5: an entry's name and type may stand before the number, and say nothing here."""
    reader.blank()
    if reader.sees(b'"'):
        reader.string("an entry name")
        reader.blank()
        reader.one_of({b"PRIV": 0, b"SHARED": 0, b"ALL": 0}, "an entry type")
        reader.blank()
    return ModSeq(reader.modseq())


_KEYS: Final[dict[bytes, Callable[[Reader, Decode], SearchKey]]] = {
    **{name.upper(): _in_header(name) for name in (b"subject", b"from", b"to", b"cc", b"bcc")},
    b"HEADER": _header,
    b"TEXT": _in_text(True),
    b"BODY": _in_text(False),
    b"BEFORE": _on_day("arrived", "before"),
    b"ON": _on_day("arrived", "on"),
    b"SINCE": _on_day("arrived", "since"),
    b"SENTBEFORE": _on_day("sent", "before"),
    b"SENTON": _on_day("sent", "on"),
    b"SENTSINCE": _on_day("sent", "since"),
    b"SAVEDBEFORE": _on_day("saved", "before"),  # RFC 8514 section 4.3
    b"SAVEDON": _on_day("saved", "on"),
    b"SAVEDSINCE": _on_day("saved", "since"),
    b"YOUNGER": _within(True),
    b"OLDER": _within(False),
    b"LARGER": _size(True),
    b"SMALLER": _size(False),
    b"KEYWORD": _keyword(True),
    b"UNKEYWORD": _keyword(False),
    b"UID": lambda reader, decode: InSet(reader.numbers(), by_uid=True),
    b"MODSEQ": _modseq,
    b"EMAILID": _by_id("email"),
    b"THREADID": _by_id("thread"),
}
