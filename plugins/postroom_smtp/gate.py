"""The access tables as they are now: compiled once, and again after each change that a provider tells of.

Between changes a question costs no look at the tables. While a provider is out of reach the last good tables stay in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

from postroom.errors import DiskError
from postroom.providers import SmtpProvider, Table
from postroom.records import DomainRecord, Record
from postroom.site import Log
from postroom_smtp.access import Access

R = TypeVar("R", bound=Record)


class Gate:
    """Owned by the inbound agent: `open` before the first question, `close` at the end."""

    def __init__(self, provider: SmtpProvider, log: Log, *, listed_only: bool) -> None:
        self.access = Access(listed_only=listed_only)
        self.domains: Sequence[DomainRecord] = ()
        self.kept: frozenset[str] = frozenset()  # domains of ours whose mail stays here, in lower case
        self._passed_on: dict[str, DomainRecord] = {}  # those that DOMAIN.TAB redirects
        self.opened = False
        self._provider, self._log, self._listed_only = provider, log, listed_only
        self._unwatch: list[Callable[[], None]] = []
        self._reading: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Read the tables and follow them. DiskError when they cannot be read: a server that knows no rules lets nobody in."""
        provider = self._provider
        for table in (provider.access, provider.deny, provider.blacklist, provider.domains):
            self._unwatch.append(table.watch(self._changed))
        await self._read()
        self.opened = True

    async def close(self) -> None:
        while self._unwatch:
            self._unwatch.pop()()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    def domain(self, name: str) -> DomainRecord | None:
        """The row by which a domain is redirected."""
        return self._passed_on.get(name)

    def _changed(self) -> None:
        if self._reading is None:
            self._reading = asyncio.ensure_future(self._read_again())

    async def _read_again(self) -> None:
        self._reading, _ = None, self._reading  # a change from here on is one we may have missed
        try:
            await self._read()
        except DiskError as error:
            self._log.error("smtp.tables_unreadable", error=str(error))

    async def _read(self) -> None:
        provider = self._provider
        access, deny, blacklist = await _rows(provider.access), await _rows(provider.deny), await _rows(provider.blacklist)
        self.access = Access(access, deny, blacklist, listed_only=self._listed_only)
        self.domains = await _rows(provider.domains)
        ours = [row for row in self.domains if row.status == 1]
        self._passed_on = {row.domain.lower(): row for row in ours if row.redirect_status in (1, 2) and row.redirect_hosts}
        self.kept = frozenset(row.domain.lower() for row in ours) - frozenset(self._passed_on)
        for problem in self.access.problems:
            self._log.warning("smtp.bad_mask", problem=problem)


async def _rows(table: Table[R]) -> Sequence[R]:
    rows = table.snapshot()
    return await table.find() if rows is None else rows


def problems(provider: SmtpProvider) -> Sequence[str]:
    """What `postroom check` says of the tables as far as they are in memory."""
    return Access(provider.access.snapshot() or (), provider.deny.snapshot() or ()).problems
