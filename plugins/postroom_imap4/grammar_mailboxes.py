"""Commands on folders: SELECT, CREATE, LIST, STATUS and their kin (RFC 9051 sections 6.3.2 to 6.3.11). Pure."""

from __future__ import annotations

from typing import Final

from postroom_imap4.commands import Create, Delete, List, Numbers, Rename, Resync, Select, Status, Subscribe
from postroom_imap4.tokens import Mistake, Reader

ENTRIES: Final = 1000  # of METADATA, and octets of one's name
PATTERNS: Final = 1000  # of one LIST

STATUS_ITEMS: Final = {
    name.encode(): name
    for name in (
        "MESSAGES", "UIDNEXT", "UIDVALIDITY", "UNSEEN", "DELETED", "SIZE", "RECENT",
        "HIGHESTMODSEQ",  # RFC 7162
        "APPENDLIMIT",  # RFC 7889
        "MAILBOXID",  # RFC 8474
        "DELETED-STORAGE",  # RFC 9208
    )
}  # fmt: skip
_SELECTS: Final = {name.encode(): name for name in ("SUBSCRIBED", "REMOTE", "RECURSIVEMATCH", "SPECIAL-USE")}
_RETURNS: Final = {name.encode(): name for name in ("SUBSCRIBED", "CHILDREN", "SPECIAL-USE", "MYRIGHTS")}


def mailbox(reader: Reader) -> str:
    """A folder's name with the blank before it."""
    reader.blank()
    return reader.mailbox()


def select(reader: Reader) -> Select:
    return _select(reader, readonly=False)


def examine(reader: Reader) -> Select:
    return _select(reader, readonly=True)


def _select(reader: Reader, *, readonly: bool) -> Select:
    name = mailbox(reader)
    resyncs: list[Resync] = []
    plain: list[bytes] = []

    def parameter() -> None:
        if reader.skip_word(b"QRESYNC"):
            resyncs.append(_resync(reader))
        else:
            plain.append(reader.one_of({b"CONDSTORE": b"CONDSTORE"}, "QRESYNC or a parameter of SELECT"))

    if reader.skip_blank() and not reader.is_end:
        reader.listed(parameter, "parameters of SELECT")
    if len(resyncs) > 1:
        raise Mistake("QRESYNC may be given once")
    return Select(name, readonly, bool(plain), resyncs[0] if resyncs else None)


def _resync(reader: Reader) -> Resync:
    """RFC 7162 section 7, select-param: UIDVALIDITY, mod-sequence, known UIDs, and pairs of sequence numbers and UIDs."""
    reader.blank()
    reader.mark(b"(")
    uidvalidity = reader.number("a UIDVALIDITY", least=1)
    reader.blank()
    modseq = reader.modseq()
    known: Numbers | None = None
    match: tuple[Numbers, Numbers] | None = None
    if reader.skip_blank() and reader.sees_set():
        known = reader.numbers(may_save=False)
        reader.skip_blank()
    if reader.skip(b"("):
        messages = reader.numbers(may_save=False)
        reader.blank()
        match = messages, reader.numbers(may_save=False)
        reader.mark(b")")
    reader.mark(b")")
    return Resync(uidvalidity, modseq, known, match)


def create(reader: Reader) -> Create:
    """A slash at the end says that folders will be made below, which needs no saying here (RFC 9051 section 6.3.4)."""
    name = mailbox(reader).removesuffix("/")
    uses: list[str] = []

    def parameter() -> None:
        if not reader.skip_word(b"USE"):
            raise reader.expected("USE")
        reader.blank()
        uses.extend(reader.listed(reader.attribute, "special uses", least=0))  # RFC 6154 section 6

    if reader.skip_blank() and not reader.is_end:
        reader.listed(parameter, "parameters of CREATE")
    return Create(name, tuple(uses))


def delete(reader: Reader) -> Delete:
    return Delete(mailbox(reader))


def rename(reader: Reader) -> Rename:
    old = mailbox(reader)
    return Rename(old, mailbox(reader).removesuffix("/"))


def subscribe(reader: Reader) -> Subscribe:
    return Subscribe(mailbox(reader), on=True)


def unsubscribe(reader: Reader) -> Subscribe:
    return Subscribe(mailbox(reader), on=False)


def status(reader: Reader) -> Status:
    name = mailbox(reader)
    reader.blank()
    return Status(name, _status_items(reader))


def _status_items(reader: Reader) -> tuple[str, ...]:
    found = reader.listed(lambda: reader.one_of(STATUS_ITEMS, "a status item"), "status items")
    return tuple(dict.fromkeys(found))


# LIST


def lsub(reader: Reader) -> List:
    """RFC 3501 section 6.3.9."""
    reader.blank()
    reference = reader.pattern()
    reader.blank()
    return List(reference, (reader.pattern(),), is_lsub=True)


def list_(reader: Reader) -> List:
    """RFC 9051 section 9, list; with what RFC 5258, 5819, 6154, 8440 and 9590 add. Unknown options are refused (RFC 5258 section 3)."""
    reader.blank()
    has_options = reader.sees(b"(")
    options = _select_options(reader) if has_options else frozenset[str]()
    reference = reader.pattern()
    reader.blank()
    has_patterns = reader.sees(b"(")
    patterns = tuple(reader.listed(reader.pattern, "mailbox patterns", least=0, most=PATTERNS) if has_patterns else [reader.pattern()])
    has_returns = reader.skip_blank() and not reader.is_end
    returns, status_items, metadata = _return_options(reader) if has_returns else (frozenset[str](), (), ())
    is_extended = has_options or has_patterns or has_returns
    return List(reference, patterns, False, options, returns, status_items, metadata, is_extended)


def _select_options(reader: Reader) -> frozenset[str]:
    found = frozenset(reader.listed(lambda: reader.one_of(_SELECTS, "a selection option"), "selection options", least=0))
    if "RECURSIVEMATCH" in found and found <= {"RECURSIVEMATCH", "REMOTE"}:
        raise Mistake("RECURSIVEMATCH needs another selection option beside it")  # RFC 5258 section 3.1
    reader.blank()
    return found


def _return_options(reader: Reader) -> tuple[frozenset[str], tuple[str, ...], tuple[str, ...]]:
    plain: set[str] = set()
    status_items: list[str] = []
    metadata: list[str] = []

    def option() -> None:
        if reader.skip_word(b"STATUS"):  # RFC 5819 section 2
            reader.blank()
            status_items.extend(_status_items(reader))
        elif reader.skip_word(b"METADATA"):  # RFC 9590 section 2
            reader.blank()
            metadata.extend(reader.listed(lambda: entry(reader), "entry names", most=ENTRIES))
        else:
            plain.add(reader.one_of(_RETURNS, "STATUS, METADATA or a return option"))

    if not reader.skip_word(b"RETURN"):
        raise reader.expected("RETURN or the end of the command")
    reader.blank()
    reader.listed(option, "return options", least=0)
    return frozenset(plain), tuple(dict.fromkeys(status_items)), tuple(dict.fromkeys(metadata))


def entry(reader: Reader) -> str:
    """The name of an annotation, in small letters: names compare without case (RFC 5464 section 3.1)."""
    name = reader.text("an entry name")
    if not name.startswith("/") or name.endswith("/") or "//" in name or not name.isascii() or not name.isprintable():
        raise Mistake("an entry name begins with a slash, does not end with one, and is plain ASCII: /private/comment")
    if "*" in name or "%" in name or len(name) > ENTRIES:
        raise Mistake(f'an entry name has no "*" and no "%", and at most {ENTRIES} octets')
    return name.lower()
