"""Rights (RFC 4314), quotas (RFC 9208), annotations (RFC 5464) and NOTIFY (RFC 5465). Pure."""

from __future__ import annotations

from typing import Final, Literal

from postroom_imap4.commands import (
    EventGroup,
    FetchItem,
    GetAcl,
    GetMetadata,
    GetQuota,
    GetQuotaRoot,
    ListRights,
    MyRights,
    Notify,
    SetAcl,
    SetMetadata,
    SetQuota,
)
from postroom_imap4.grammar_fetch import fetch_items
from postroom_imap4.grammar_mailboxes import ENTRIES, entry, mailbox
from postroom_imap4.grammar_search import source
from postroom_imap4.tokens import NUMBER64, Mistake, Reader

GROUPS: Final = 100  # of NOTIFY
LIMITS: Final = 100  # of one quota root

# Rights


def set_acl(reader: Reader) -> SetAcl:
    name = mailbox(reader)
    identifier = _identifier(reader)
    reader.blank()
    rights = reader.text("rights")
    mode: Literal["", "+", "-"] = "+" if rights.startswith("+") else "-" if rights.startswith("-") else ""
    rights = rights[len(mode) :]
    if not rights.isascii() or not all(right.islower() or right.isdigit() for right in rights):
        raise Mistake("rights are small letters and digits")  # RFC 4314 section 3.1
    return SetAcl(name, identifier, mode, rights)


def delete_acl(reader: Reader) -> SetAcl:
    return SetAcl(mailbox(reader), _identifier(reader), "", "", is_delete=True)


def get_acl(reader: Reader) -> GetAcl:
    return GetAcl(mailbox(reader))


def list_rights(reader: Reader) -> ListRights:
    return ListRights(mailbox(reader), _identifier(reader))


def my_rights(reader: Reader) -> MyRights:
    return MyRights(mailbox(reader))


def _identifier(reader: Reader) -> str:
    reader.blank()
    identifier = reader.text("an identifier")
    if not identifier.isprintable() or not identifier:
        raise Mistake("an identifier has no control characters, and is not empty")
    return identifier


# Quotas


def get_quota(reader: Reader) -> GetQuota:
    reader.blank()
    return GetQuota(reader.text("a quota root"))


def get_quota_root(reader: Reader) -> GetQuotaRoot:
    return GetQuotaRoot(mailbox(reader))


def set_quota(reader: Reader) -> SetQuota:
    def limit() -> tuple[str, int]:
        resource = reader.word("a resource")
        reader.blank()
        return resource.decode(), reader.number("a limit", most=NUMBER64)

    reader.blank()
    root = reader.text("a quota root")
    reader.blank()
    return SetQuota(root, tuple(reader.listed(limit, "limits", least=0, most=LIMITS)))


# Annotations


def get_metadata(reader: Reader) -> GetMetadata:
    """Options stand before the name by the grammar of RFC 5464 and behind it in its examples: both are read."""
    reader.blank()
    options = _Options()
    if reader.sees(b"("):
        options.read(reader)
        reader.blank()
    name = reader.mailbox()
    reader.blank()
    if reader.sees_word(b"MAXSIZE", b"DEPTH", behind=b"("):
        options.read(reader)
        reader.blank()
    entries = reader.one_or_listed(lambda: entry(reader), "entry names", most=ENTRIES)
    return GetMetadata(name, tuple(entries), options.most, options.depth)


class _Options:
    """RFC 5464 section 4.2."""

    def __init__(self) -> None:
        self.most: int | None = None
        self.depth: Literal["0", "1", "infinity"] = "0"

    def read(self, reader: Reader) -> None:
        reader.listed(lambda: self._option(reader), "options of GETMETADATA")

    def _option(self, reader: Reader) -> None:
        if reader.skip_word(b"MAXSIZE"):
            reader.blank()
            self.most = reader.number("octets")
        elif reader.skip_word(b"DEPTH"):
            reader.blank()
            self.depth = reader.one_of(_DEPTHS, "a depth")
        else:
            raise reader.expected("MAXSIZE or DEPTH")


_DEPTHS: Final[dict[bytes, Literal["0", "1", "infinity"]]] = {b"0": "0", b"1": "1", b"INFINITY": "infinity"}


def set_metadata(reader: Reader) -> SetMetadata:
    def value() -> tuple[str, bytes | None]:
        name = entry(reader)
        reader.blank()
        return name, reader.nstring("a value", may_be_binary=True)

    name = mailbox(reader)
    reader.blank()
    return SetMetadata(name, tuple(reader.listed(value, "entries and their values", most=ENTRIES)))


# NOTIFY

_EVENTS: Final = {
    name.upper().encode(): name
    for name in ("MessageNew", "MessageExpunge", "FlagChange", "MailboxName", "SubscriptionChange", "MailboxMetadataChange", "ServerMetadataChange")
}  # fmt: skip
_SELECTED: Final = ("selected", "selected-delayed")
_OF_MESSAGES: Final = frozenset(("MessageNew", "MessageExpunge", "FlagChange"))
_BAD_EVENT: Final = b"BADEVENT (%b)" % " ".join(_EVENTS.values()).encode()


def notify(reader: Reader) -> Notify:
    """RFC 5465 section 3."""
    reader.blank()
    if reader.skip_word(b"NONE"):
        return Notify()
    if not reader.skip_word(b"SET"):
        raise reader.expected("SET or NONE")
    reader.blank()
    wants_status = reader.skip_word(b"STATUS")
    if wants_status:
        reader.blank()
    groups = [_group(reader)]
    while reader.skip_blank() and not reader.is_end:
        groups.append(_group(reader))
        if len(groups) > GROUPS:
            raise Mistake(f"at most {GROUPS} event groups may be given")
    if sum(group.which in _SELECTED for group in groups) > 1:
        raise Mistake("SELECTED and SELECTED-DELAYED may stand once")  # RFC 5465 section 6.1
    return Notify(tuple(groups), wants_status)


def _group(reader: Reader) -> EventGroup:
    """RFC 5465 section 8, event-group."""
    reader.mark(b"(")
    where = source(reader)
    if where.which == "subtree-one":
        raise Mistake("NOTIFY has no SUBTREE-ONE")
    reader.blank()
    is_selected = where.which in _SELECTED
    fetched: list[FetchItem] = []
    events: list[str] = []
    if not reader.skip_word(b"NONE"):
        events = reader.listed(lambda: _event(reader, fetched if is_selected else None), "events")
        _check(frozenset(events), is_selected)
    reader.mark(b")")
    return EventGroup(where.which, where.names, tuple(dict.fromkeys(events)), tuple(fetched))


def _event(reader: Reader, fetched: list[FetchItem] | None) -> str:
    word = reader.word("an event")
    name = _EVENTS.get(word)
    if name is None:
        raise Mistake("there is no such event here", _BAD_EVENT, is_no=True)  # RFC 5465 section 5.9
    if name == "MessageNew" and reader.sees(b" ("):
        if fetched is None:
            raise Mistake("what to fetch may be said of the selected folder only")  # RFC 5465 section 5.2
        reader.blank()
        fetched.extend(fetch_items(reader))
    return name


def _check(events: frozenset[str], is_selected: bool) -> None:
    """RFC 5465 sections 5 and 6.1: which events come only together, and which a selected folder has."""
    if ("MessageNew" in events) != ("MessageExpunge" in events):
        raise Mistake("MessageNew and MessageExpunge go together")
    if "FlagChange" in events and "MessageNew" not in events:
        raise Mistake("FlagChange needs MessageNew and MessageExpunge")
    if is_selected and not events <= _OF_MESSAGES:
        raise Mistake("a selected folder has message events only")
