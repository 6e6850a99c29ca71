"""Rows for these tests: a post office family over plain lists, and the site's few rows that most cases share."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from postroom.address import InternalAddress
from postroom.envelope import Envelope, Recipient
from postroom.records import GroupRecord, MailboxRecord, MemberRecord, PostofficeRecord, Record

R = TypeVar("R", bound=Record)
PO = "Acme"


class Rows(Generic[R]):
    """A `Table` over a list; `remote` ones keep no snapshot."""

    def __init__(self, rows: Sequence[R], *, remote: bool = False) -> None:
        self.rows, self.remote, self.version, self.snapshots = list(rows), remote, 1, 0

    def snapshot(self) -> Sequence[R] | None:
        self.snapshots += 1
        return None if self.remote else tuple(self.rows)

    async def find(self, **equals: str | int) -> Sequence[R]:
        return [row for row in self.rows if all(getattr(row, name) == value for name, value in equals.items())]

    async def get(self, *key: str) -> R | None:
        names = type(self.rows[0]).__dataclass_fields__ if self.rows else {}
        fields = [name for name in names if name not in ("origin", "extra")][: len(key)]
        return next((row for row in self.rows if all(str(getattr(row, f)).casefold() == k.casefold() for f, k in zip(fields, key))), None)

    async def put(self, *records: R, before: R | None = None) -> None:
        self.rows += records
        self.version += 1

    async def delete(self, *records: R) -> int:
        raise AssertionError("the connector deletes nothing")

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        raise AssertionError("the connector compares versions")


@dataclass
class Family:
    """The post office family."""

    postoffices: Rows[PostofficeRecord]
    mailboxes: Rows[MailboxRecord]
    groups: Rows[GroupRecord]
    members: Rows[MemberRecord]


def family(
    mailboxes: Sequence[MailboxRecord] = (), groups: Mapping[str, Sequence[str]] | None = None, *, remote: bool = False, status: int = 1
) -> Family:
    """Post office Acme with these mailboxes and groups (name to members)."""
    groups = groups or {}
    return Family(
        Rows([PostofficeRecord(name=PO, status=status)], remote=remote),
        Rows(mailboxes, remote=remote),
        Rows([GroupRecord(postoffice=PO, recipient=f"[SF:{PO}/{name}]", group=name) for name in groups], remote=remote),
        Rows([MemberRecord(postoffice=PO, group=name, address=a) for name, members in groups.items() for a in members], remote=remote),
    )


def box(name: str, *, status: int = 1, limit: int = -1, redirect: int = 0, to: str = "") -> MailboxRecord:
    return MailboxRecord(postoffice=PO, mailbox=name, status=status, limit=limit, redirect_status=redirect, redirect_address=to)


def address(text: str) -> InternalAddress:
    return InternalAddress.parse(text)


def sf(name: str) -> InternalAddress:
    return InternalAddress("SF", f"{PO}/{name}")


def envelope(*names: str, passed: Sequence[str] = (), notify: frozenset[str] = frozenset(), original: str = "") -> Envelope:
    """An envelope to these mailboxes or groups of Acme."""
    recipients = tuple(Recipient(sf(name), original, notify) for name in names)
    sender = address("[SMTP:eve@example.org]")
    return Envelope("E1", "A" * 32, "SMTP", sender, recipients, 1000.0, expanded=tuple(map(sf, passed)))
