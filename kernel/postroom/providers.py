"""Providers: how connectors, agents and services read and change their configuration. Overview section 6.

Six families, each a set of tables over frozen records. A plugin offers the families it can fill; the settings choose one
offer per family. Values are always literal: no star, percent sign or quote in an argument is ever read as a wildcard.

Errors: `RecordError` when a record cannot be kept as asked (the caller's move), `DiskError` when the back end is out of
reach (the world's; a server defers). A broken row is reported through `problems` and passed over; a table that cannot be read at all
leaves the last good one in force.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from postroom.errors import ConfigError
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
    Record,
)

R = TypeVar("R", bound=Record)


class Table(Protocol[R]):
    """One table. Keys compare without case. Order of rows is kept, and new rows come last unless `put` is told a place."""

    @property
    def version(self) -> int:
        """Grows with every change seen; equal versions mean equal tables. Never waits."""

    def snapshot(self) -> Sequence[R] | None:
        """All rows where they lie in memory, else None; never waits. Local providers always have one."""

    async def get(self, *key: str) -> R | None:
        """The row with exactly this key (the record's leading identifying fields), or None."""

    async def find(self, **equals: str | int) -> Sequence[R]:
        """All rows whose named fields equal these values, in order; without arguments, all rows."""

    async def put(self, *records: R, before: R | None = None) -> None:
        """Add these rows, or replace the rows of the same key in their places. `before` places new rows only. All are durable when this
        returns, or none changed."""

    async def delete(self, *records: R) -> int:
        """Remove the rows with the keys of these records; how many there were. Durable when this returns."""

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        """Call `changed` in the event loop after every change, whoever made it; the answer ends the watch."""


class PostofficeProvider(Protocol):
    """Post offices, mailboxes and groups."""

    @property
    def postoffices(self) -> Table[PostofficeRecord]: ...  # key: name
    @property
    def mailboxes(self) -> Table[MailboxRecord]: ...  # key: postoffice, mailbox
    @property
    def groups(self) -> Table[GroupRecord]: ...  # key: postoffice, group
    @property
    def members(self) -> Table[MemberRecord]: ...  # key: postoffice, group, address


class SmtpProvider(Protocol):
    """Domains, and who may connect and send."""

    @property
    def domains(self) -> Table[DomainRecord]: ...  # key: domain
    @property
    def access(self) -> Table[AccessRecord]: ...  # key: mask, right
    @property
    def deny(self) -> Table[AccessRecord]: ...  # key: mask, right
    @property
    def blacklist(self) -> Table[BlacklistRecord]: ...  # key: target, banned


class AddressMapProvider(Protocol):
    """The address map."""

    @property
    def rows(self) -> Table[AddressMapRecord]: ...  # key: source, destination


class AuthenticationProvider(Protocol):
    """Logins."""

    @property
    def logins(self) -> Table[AuthRecord]: ...  # key: username


class ListProvider(Protocol):
    """Lists and their members."""

    @property
    def lists(self) -> Table[ListRecord]: ...  # key: postoffice, name
    @property
    def list_members(self) -> Table[ListMemberRecord]: ...  # key: postoffice, list, address


class DirectoryProvider(Protocol):
    """Addresses to look up."""

    @property
    def entries(self) -> Table[DirectoryRecord]: ...  # key: postoffice, address


FAMILIES = ("postoffice", "smtp", "address_map", "authentication", "lists", "directory")


class ProviderSet(Protocol):
    """What one plugin offers: families by name (of FAMILIES), its own life, and what is wrong with its data."""

    @property
    def families(self) -> Mapping[str, object]: ...

    async def open(self) -> None:
        """Read everything, start watching. ConfigError only where there is no last good table to serve."""

    async def close(self) -> None: ...

    def problems(self) -> Sequence[ConfigError]:
        """Rows that could not be read, by file, line and remedy; empty when all is well."""


@dataclass(frozen=True, slots=True)
class Providers:
    """The choice: one provider per family."""

    postoffice: PostofficeProvider
    smtp: SmtpProvider
    address_map: AddressMapProvider
    authentication: AuthenticationProvider
    lists: ListProvider
    directory: DirectoryProvider
