"""The post office's rows as the connector looks them up: by name, without case, in memory.

An index is rebuilt when its table's version has grown, and never otherwise, so a recipient costs a dict look-up. A table that keeps no
snapshot (a remote provider) is read again by `refresh`, which a delivery awaits and RCPT does not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Generic, TypeVar

from postroom.address import InternalAddress
from postroom.errors import AddressError
from postroom.providers import PostofficeProvider, Table
from postroom.records import GroupRecord, MailboxRecord, MemberRecord, PostofficeRecord, Record

R = TypeVar("R", bound=Record)
V = TypeVar("V")
Key = str  # names compare without case: as in `InternalAddress.key`, post office and name with a slash between


def folded(postoffice: str, name: str) -> Key:
    """The key of a name in a post office."""
    return f"{postoffice}/{name}".casefold()


class Index(Generic[R, V]):
    """One table arranged for look-up; `arrange` is pure."""

    def __init__(self, table: Table[R], arrange: Callable[[Iterable[R]], dict[Key, V]]) -> None:
        self._table, self._arrange = table, arrange
        self._version: int | None = None
        self._rows: dict[Key, V] = {}

    @property
    def is_stale(self) -> bool:
        return self._table.version != self._version

    def now(self) -> Mapping[Key, V]:
        """As of the last change seen; never waits."""
        if (version := self._table.version) != self._version and (rows := self._table.snapshot()) is not None:
            self._rows, self._version = self._arrange(rows), version
        return self._rows

    async def refresh(self) -> None:
        """The same for a table that keeps no snapshot: read it where it has changed."""
        if self.is_stale:
            version, rows = self._table.version, self._table.snapshot()
            self._rows, self._version = self._arrange(await self._table.find() if rows is None else rows), version


def by_postoffice(rows: Iterable[PostofficeRecord]) -> dict[Key, PostofficeRecord]:
    return {row.name.casefold(): row for row in rows}


def by_mailbox(rows: Iterable[MailboxRecord]) -> dict[Key, MailboxRecord]:
    return {folded(row.postoffice, row.mailbox): row for row in rows}


def by_group(rows: Iterable[GroupRecord]) -> dict[Key, GroupRecord]:
    """Groups by the SF address that reaches them, and by their own name where that is free. An SMTP recipient is the address map's affair."""
    found: dict[Key, GroupRecord] = {}
    rows = list(rows)
    for row in rows:
        try:
            address = InternalAddress.parse(row.recipient)
        except AddressError:
            continue
        if address.connector == "SF" and address.name:
            found.setdefault(folded(address.postoffice, address.name), row)
    for row in rows:
        found.setdefault(folded(row.postoffice, row.group), row)
    return found


def by_membership(rows: Iterable[MemberRecord]) -> dict[Key, tuple[str, ...]]:
    """The members' addresses of each group, in file order."""
    found: dict[Key, list[str]] = {}
    for row in rows:
        found.setdefault(folded(row.postoffice, row.group), []).append(row.address)
    return {key: tuple(addresses) for key, addresses in found.items()}


class Book:
    """All that the connector looks up."""

    def __init__(self, provider: PostofficeProvider) -> None:
        self._postoffices = Index(provider.postoffices, by_postoffice)
        self._mailboxes = Index(provider.mailboxes, by_mailbox)
        self._groups = Index(provider.groups, by_group)
        self._members = Index(provider.members, by_membership)
        self._indexes: tuple[Index[Any, Any], ...] = (self._postoffices, self._mailboxes, self._groups, self._members)

    async def refresh(self) -> None:
        """Bring tables without a snapshot up to date; nothing to do and no wait with a local provider."""
        for index in self._indexes:
            if index.is_stale:
                await index.refresh()

    def postoffice(self, name: str) -> PostofficeRecord | None:
        return self._postoffices.now().get(name.casefold())

    def mailbox(self, address: InternalAddress) -> MailboxRecord | None:
        return self._mailboxes.now().get(address.key[1])

    def group(self, address: InternalAddress) -> GroupRecord | None:
        return self._groups.now().get(address.key[1])

    def members(self, group: GroupRecord) -> Sequence[str]:
        return self._members.now().get(folded(group.postoffice, group.group), ())

    def all_mailboxes(self) -> Iterable[MailboxRecord]:
        return self._mailboxes.now().values()

    def all_groups(self) -> Iterable[GroupRecord]:
        return {id(row): row for row in self._groups.now().values()}.values()
