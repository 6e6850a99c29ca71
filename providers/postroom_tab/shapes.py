"""The thirteen tables of the overview's section 6: where each lies and what its columns are.

Not in the overview, and ours to choose (no such file was ever seen): LIST.TAB, the lists' members and DIRECTORY.TAB.

    LIST.TAB         name, status, kind, moderator, address, posting, description, options
    LISTS/<list>.TAB address, kind, status
    DIRECTORY.TAB    address, name, telephone, description

`options` is one trailing column of `key=value` pairs joined by ";". A "%", ";" or "=" within is written as "%25", "%3B", "%3D".
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from postroom.errors import Origin
from postroom.records import (
    AccessRecord,
    AddressMapRecord,
    AuthRecord,
    BlacklistRecord,
    DirectoryRecord,
    DomainRecord,
    GroupRecord,
    ListMemberRecord,
    ListRecord,
    MailboxRecord,
    MemberRecord,
    PostofficeRecord,
)
from postroom_tab.table import Shape

_RIGHTS = frozenset(("CONNECT", "RELAY"))
_PO = ("Postoffices", "*")


class AccessShape(Shape[AccessRecord]):
    """SMTP-ACCESS and SMTP-DENY: `mask, status, right, account`, or as the overview has it `mask, status, SMTPAccess, right, account`.

    The word CONNECT or RELAY tells where the right stands. A line keeps its form, and the SMTPAccess that we do not read, through a rewrite;
    a new line takes the form of the one before it.
    """

    def split(self, cells: list[str]) -> list[str]:
        if _is_long(cells):
            del cells[2]
        return cells

    def join(self, cells: list[str], like: Sequence[str]) -> list[str]:
        return [*cells[:2], like[2], *cells[2:]] if _is_long(like) else cells


def _is_long(cells: Sequence[str]) -> bool:
    """Whether a line has the overview's fifth column."""
    if len(cells) < 4 or cells[2].strip().upper() in _RIGHTS:
        return False
    return cells[3].strip().upper() in _RIGHTS or len(cells) >= 5


class ListShape(Shape[ListRecord]):
    """LIST.TAB, whose last column is a bag of named options."""

    def values(self, cells: list[str], origin: Origin) -> Sequence[object]:
        return [*super().values(cells, origin)[:-1], options_of(cells[-1])]

    def cell(self, value: object) -> str:
        return options_text(value) if isinstance(value, tuple) else super().cell(value)


def options_of(text: str) -> tuple[tuple[str, str], ...]:
    """The pairs of an options column, in order."""
    pairs = (pair.partition("=") for pair in text.split(";") if pair)
    return tuple((_plain(name), _plain(value)) for name, _, value in pairs)


def options_text(options: tuple[tuple[str, str], ...]) -> str:
    """Undoes `options_of`."""
    return ";".join(f"{_escaped(name)}={_escaped(value)}" for name, value in options)


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace(";", "%3B").replace("=", "%3D")


def _plain(text: str) -> str:
    return re.sub(r"%(25|3B|3D)", lambda found: chr(int(found[1], 16)), text, flags=re.IGNORECASE)


POSTOFFICES = Shape(PostofficeRecord, ("POSTOFFICE.TAB",), columns="name status account", key="name")
MAILBOXES = Shape(
    MailboxRecord,
    (*_PO, "MAILBOX.TAB"),
    given="postoffice",
    columns="mailbox status limit redirect_status redirect_address",
    key="mailbox",
)
GROUPS = Shape(GroupRecord, (*_PO, "GROUP-MAP.TAB"), given="postoffice", columns="recipient group", key="group", repeats=True)
MEMBERS = Shape(MemberRecord, (*_PO, "GROUPS", "*.TAB"), given="postoffice group", columns="address", key="address")
DOMAINS = Shape(
    DomainRecord, ("DOMAIN.TAB",), ("DOMAINS.TAB",), columns="domain status redirect_status redirect_hosts account", key="domain"
)
ACCESS = AccessShape(AccessRecord, ("SMTP-ACCESS.TAB",), columns="mask status right account", key="mask right")
DENY = AccessShape(AccessRecord, ("SMTP-DENY.TAB",), columns="mask status right account", key="mask right")
BLACKLIST = Shape(BlacklistRecord, ("SMTP-BLACKLIST.TAB",), columns="target banned status account", key="target banned")
ADDRESS_MAP = Shape(AddressMapRecord, ("ADDRESS-MAP.TAB",), columns="source destination scope account", key="source destination")
LOGINS = Shape(AuthRecord, ("AUTH.TAB",), columns="username status password account rights description", key="username", secret=True)
LISTS = ListShape(
    ListRecord,
    (*_PO, "LIST.TAB"),
    given="postoffice",
    columns="name status kind moderator address posting description options",
    key="name",
    secret=True,
)
LIST_MEMBERS = Shape(ListMemberRecord, (*_PO, "LISTS", "*.TAB"), given="postoffice list", columns="address kind status", key="address")
DIRECTORY = Shape(DirectoryRecord, (*_PO, "DIRECTORY.TAB"), given="postoffice", columns="address name telephone description", key="address")

SHAPES: tuple[Shape[Any], ...] = (
    POSTOFFICES,
    MAILBOXES,
    GROUPS,
    MEMBERS,
    DOMAINS,
    ACCESS,
    DENY,
    BLACKLIST,
    ADDRESS_MAP,
    LOGINS,
    LISTS,
    LIST_MEMBERS,
    DIRECTORY,
)
