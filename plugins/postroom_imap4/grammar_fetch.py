"""FETCH and its sections, STORE, COPY and MOVE: commands on messages by number (RFC 9051 sections 6.4.5 to 6.4.8). Pure.

Macros may stand within the list, where the standard has them alone; a single BODY[] may stand without parentheses.
"""

from __future__ import annotations

from typing import Final, Literal

from postroom_imap4 import answers
from postroom_imap4.commands import Copy, Fetch, FetchItem, Macro, Numbers, Partial, Section, Store
from postroom_imap4.tokens import NUMBER64, Mistake, Reader

ITEMS: Final = 500  # of one FETCH
FIELDS: Final = 1000  # header names of one section
LEVELS: Final = 100  # numbers in a part's number; the scanner goes no deeper

_FAST: Final = (Macro.FLAGS, Macro.INTERNALDATE, Macro.SIZE)
_ALL: Final = (*_FAST, Macro.ENVELOPE)
_MACROS: Final[dict[bytes, tuple[FetchItem, ...]]] = {
    b"ALL": _ALL,
    b"FAST": _FAST,
    b"FULL": (*_ALL, Macro.BODY),
    b"RFC822": (Section(b"RFC822", peeks=False),),  # RFC 3501 section 6.4.5
    b"RFC822.HEADER": (Section(b"RFC822.HEADER", b"HEADER"),),
    b"RFC822.TEXT": (Section(b"RFC822.TEXT", b"TEXT", peeks=False),),
    **{macro.value: (macro,) for macro in Macro if macro is not Macro.PREVIEW_LAZY},
}
_TEXTS: Final = frozenset((b"", b"HEADER", b"HEADER.FIELDS", b"HEADER.FIELDS.NOT", b"TEXT", b"MIME"))
_MODES: Final[dict[bytes, tuple[Literal["", "+", "-"], bool]]] = {
    b"FLAGS": ("", False),
    b"+FLAGS": ("+", False),
    b"-FLAGS": ("-", False),
    b"FLAGS.SILENT": ("", True),
    b"+FLAGS.SILENT": ("+", True),
    b"-FLAGS.SILENT": ("-", True),
}


def fetch(reader: Reader, by_uid: bool) -> Fetch:
    reader.blank()
    numbers = reader.numbers()
    reader.blank()
    items = fetch_items(reader)
    changed_since, vanished, partial = None, False, None
    if reader.skip_blank() and not reader.is_end:
        changed_since, vanished, partial = _modifiers(reader)
    if vanished and not (by_uid and changed_since is not None):
        raise Mistake("VANISHED goes with UID FETCH and CHANGEDSINCE only")  # RFC 7162 section 3.2.6
    return Fetch(numbers, items, by_uid, changed_since, vanished, partial)


def fetch_items(reader: Reader) -> tuple[FetchItem, ...]:
    """What to fetch: one item, or several in parentheses; each once."""
    found = reader.one_or_listed(lambda: _item(reader), "what to fetch", most=ITEMS)
    if len(found) == 1:
        return found[0]
    return tuple(dict.fromkeys([item for items in found for item in items]))


def _item(reader: Reader) -> tuple[FetchItem, ...]:
    word = reader.word("what to fetch")
    if reader.sees(b"["):
        return (_section(reader, word),)
    items = _MACROS.get(word)
    if items is None:
        raise reader.expected("something to fetch", taken=True)
    # RFC 8970 section 3.1. What modifies the command stands in parentheses too, so that only the one word is taken for ours.
    return (Macro.PREVIEW_LAZY,) if word == b"PREVIEW" and reader.skip_caseless(b" (LAZY)") else items


def _modifiers(reader: Reader) -> tuple[int | None, bool, Partial | None]:
    """RFC 4466 section 2.4: CHANGEDSINCE and VANISHED (RFC 7162), PARTIAL (RFC 9394)."""
    changed_since: list[int] = []
    partials: list[Partial] = []
    vanished: list[bool] = []

    def modifier() -> None:
        if reader.skip_word(b"CHANGEDSINCE"):
            reader.blank()
            changed_since.append(reader.modseq())
        elif reader.skip_word(b"VANISHED"):
            vanished.append(True)
        elif reader.skip_word(b"PARTIAL"):
            reader.blank()
            partials.append(partial_range(reader))
        else:
            raise reader.expected("CHANGEDSINCE, VANISHED or PARTIAL")

    reader.listed(modifier, "modifiers of FETCH")
    if max(len(changed_since), len(partials), len(vanished)) > 1:
        raise Mistake("a modifier may be given once")
    return changed_since[0] if changed_since else None, bool(vanished), partials[0] if partials else None


def partial_range(reader: Reader) -> Partial:
    """A window of results (RFC 9394 section 3.3): both ends count from the first, or both from the last."""
    minus = reader.skip(b"-")
    first = reader.number("the first of a window such as 1:100", least=1)
    reader.mark(b":")
    if minus and not reader.sees(b"-"):
        raise reader.expected('"-": both ends count from the last')
    if minus:
        reader.mark(b"-")
    last = reader.number("the last of a window", least=1)
    return Partial(-first, -last) if minus else Partial(first, last)


# Sections


def _section(reader: Reader, word: bytes) -> Section:
    """`BODY[...]<...>` and its kin, from the bracket on (RFC 9051 section 9, fetch-att)."""
    name, dot, peek = word.partition(b".")
    peeks = peek == b"PEEK"
    if name == b"BINARY" and word != b"BINARY.SIZE" and (peeks or not dot):
        return _binary(reader, "binary", peeks)
    if word == b"BINARY.SIZE":
        return _binary(reader, "binary.size", True)
    if name != b"BODY" or (dot and not peeks):
        raise reader.expected("BODY, BODY.PEEK, BINARY, BINARY.PEEK or BINARY.SIZE before a section", taken=True)
    reader.mark(b"[")
    section, what = _part_and_text(reader)
    fields, shown = None, b".".join([section, what] if section and what else [section or what])
    if what.startswith(b"HEADER.FIELDS"):
        fields, list_text = _header_list(reader)
        shown += list_text
        section = b"%b.HEADER" % section if section else b"HEADER"
    else:
        section = shown
    reader.mark(b"]")
    label = b"BODY[%b]" % shown
    names = None if fields is None else tuple(dict.fromkeys([field.lower() for field in fields]))
    return Section(label, section, names, what == b"HEADER.FIELDS.NOT", _window(reader), peeks)


def _part_and_text(reader: Reader) -> tuple[bytes, bytes]:
    """A part's number and what of it: ("1.2", "MIME"), ("", "HEADER.FIELDS"), both may be empty."""
    if reader.sees(b"]"):
        return b"", b""
    word = reader.word("a section")
    numbers, text = _split(word)
    if len(numbers) > LEVELS or any(len(number) > 6 or not int(number) for number in numbers) or word.endswith(b"."):
        raise reader.expected("a part number", taken=True)
    if text not in _TEXTS or (text == b"MIME" and not numbers):
        raise reader.expected("HEADER, HEADER.FIELDS, HEADER.FIELDS.NOT, TEXT, or MIME of a part", taken=True)
    return b".".join([b"%d" % int(number) for number in numbers]), text


def _split(word: bytes) -> tuple[list[bytes], bytes]:
    """The leading numbers of a dotted word, and its rest."""
    pieces = word.split(b".")
    for place, piece in enumerate(pieces):
        if not piece.isdigit():
            return pieces[:place], b".".join(pieces[place:])
    return pieces, b""


def _header_list(reader: Reader) -> tuple[list[bytes], bytes]:
    """The names of HEADER.FIELDS, and the list as the answer repeats it."""
    reader.blank()
    names = reader.listed(lambda: reader.astring("a header field's name"), "header field names", most=FIELDS)
    return names, b" (%b)" % b" ".join([answers.astring(name) for name in names])


def _window(reader: Reader) -> tuple[int, int] | None:
    """`<offset.octets>` (RFC 9051 section 9, partial)."""
    if not reader.skip(b"<"):
        return None
    offset = reader.number("the first octet", most=NUMBER64)
    reader.mark(b".")
    octets = reader.number("how many octets", least=1, most=NUMBER64)
    reader.mark(b">")
    return offset, octets


def _binary(reader: Reader, kind: Literal["binary", "binary.size"], peeks: bool) -> Section:
    """RFC 9051 section 6.4.5.2: part numbers only, and no window for a size."""
    reader.mark(b"[")
    part, what = _part_and_text(reader)
    if what:
        raise reader.expected("part numbers alone", taken=True)
    reader.mark(b"]")
    window = _window(reader) if kind == "binary" else None
    return Section(b"%b[%b]" % (kind.upper().encode(), part), part, window=window, peeks=peeks, kind=kind)


# STORE, COPY, MOVE


def store(reader: Reader, by_uid: bool) -> Store:
    reader.blank()
    numbers = reader.numbers()
    reader.blank()
    unchanged_since = _unchanged_since(reader) if reader.sees(b"(") else None
    mode, silent = reader.one_of(_MODES, "how to change flags")
    reader.blank()
    flags = reader.flags() if reader.sees(b"(") else reader.bare_flags()
    return Store(numbers, mode, flags, silent, by_uid, unchanged_since)


def _unchanged_since(reader: Reader) -> int:
    """RFC 7162 section 3.1.3."""

    def modifier() -> int:
        if not reader.skip_word(b"UNCHANGEDSINCE"):
            raise reader.expected("UNCHANGEDSINCE")
        reader.blank()
        return reader.modseq()

    found = reader.listed(modifier, "a modifier of STORE")
    if len(found) > 1:
        raise Mistake("a modifier may be given once")
    reader.blank()
    return found[0]


def copy(reader: Reader, by_uid: bool) -> Copy:
    return _copy(reader, by_uid, moves=False)


def move(reader: Reader, by_uid: bool) -> Copy:
    """RFC 6851."""
    return _copy(reader, by_uid, moves=True)


def _copy(reader: Reader, by_uid: bool, *, moves: bool) -> Copy:
    reader.blank()
    numbers: Numbers = reader.numbers()
    reader.blank()
    return Copy(numbers, reader.mailbox(), by_uid, moves)
