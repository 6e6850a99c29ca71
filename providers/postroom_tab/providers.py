"""All six provider families over the TAB files of one Config folder.

Everything is in memory from `open` on. Edits by hand or by a panel are seen by watching the folder, by a hint from the worker that made them, and at the
latest by a look every `poll_seconds`; each way only says that a look is due. A look that finds nothing new changes nothing.

Errors: `open` raises ConfigError where a file cannot be read and no older text of it can; later, trouble is told by `problems` and
the last good rows stay in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from watchfiles import Change, awatch

from postroom.clock import Clock
from postroom.errors import ConfigError, DiskError, Origin
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
from postroom.site import Bus, Log
from postroom_disk.disk import Disk, refused
from postroom_tab import files, filing, shapes
from postroom_tab.filing import Edit, Filed, Moment
from postroom_tab.layout import Tree, means
from postroom_tab.settings import TabSettings
from postroom_tab.table import Shape
from postroom_tab.tables import TabTable

R = TypeVar("R", bound=Record)
AnyTable = TabTable[Any]

TOPIC = "tab"  # on the bus: another worker changed the file table named in the hint
_QUIET_MS = 40  # milliseconds without a further event before a burst of them counts as over
_BURST_MS = 400


@dataclass(frozen=True, slots=True)
class TabPostoffices:
    """The post office provider."""

    postoffices: TabTable[PostofficeRecord]
    mailboxes: TabTable[MailboxRecord]
    groups: TabTable[GroupRecord]
    members: TabTable[MemberRecord]


@dataclass(frozen=True, slots=True)
class TabSmtp:
    """The SMTP provider."""

    domains: TabTable[DomainRecord]
    access: TabTable[AccessRecord]
    deny: TabTable[AccessRecord]
    blacklist: TabTable[BlacklistRecord]


@dataclass(frozen=True, slots=True)
class TabAddressMap:
    """The address map provider."""

    rows: TabTable[AddressMapRecord]


@dataclass(frozen=True, slots=True)
class TabAuthentication:
    """The authentication provider."""

    logins: TabTable[AuthRecord]


@dataclass(frozen=True, slots=True)
class TabLists:
    """The list provider."""

    lists: TabTable[ListRecord]
    list_members: TabTable[ListMemberRecord]


@dataclass(frozen=True, slots=True)
class TabDirectory:
    """The directory provider."""

    entries: TabTable[DirectoryRecord]


class TabProviders:
    """The provider set: the families, and the one who looks after their files."""

    def __init__(self, folder: Path, settings: TabSettings, *, clock: Clock, disk: Disk, log: Log, bus: Bus) -> None:
        self.folder, self.settings = folder, settings
        self._clock, self._disk, self._log, self._bus = clock, disk, log, bus
        self._tables: dict[str, AnyTable] = {}
        self._families = self._made_families()
        self._turn = asyncio.Lock()  # a look and a change never overlap
        self._due: set[AnyTable] = set()
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._writing: set[asyncio.Task[int]] = set()
        self._doubting: asyncio.Task[None] | None = None
        self._unheard: Callable[[], None] = lambda: None
        self._told: frozenset[str] = frozenset()
        self.blind = ""  # why the operating system does not tell of edits

    def _made_families(self) -> Mapping[str, object]:
        t = self._table
        return {
            "postoffice": TabPostoffices(t(shapes.POSTOFFICES), t(shapes.MAILBOXES), t(shapes.GROUPS), t(shapes.MEMBERS)),
            "smtp": TabSmtp(t(shapes.DOMAINS), t(shapes.ACCESS), t(shapes.DENY), t(shapes.BLACKLIST)),
            "address_map": TabAddressMap(t(shapes.ADDRESS_MAP)),
            "authentication": TabAuthentication(t(shapes.LOGINS)),
            "lists": TabLists(t(shapes.LISTS), t(shapes.LIST_MEMBERS)),
            "directory": TabDirectory(t(shapes.DIRECTORY)),
        }

    def _table(self, shape: Shape[R]) -> TabTable[R]:
        table = TabTable(shape, self._change)
        self._tables["/".join(shape.patterns[0])] = table
        return table

    # The contract.

    @property
    def families(self) -> Mapping[str, object]:
        return self._families

    async def open(self) -> None:
        try:
            self._disk.make_folders(self.folder)
            await self._follow()
            await self._look(self._tables.values())
            self._want_nothing_lost()
        except OSError as error:
            await self.close()
            remedy = "Give the server the right to read and write there"
            raise ConfigError(f"the folder of the TAB files: {error.strerror}", origin=Origin(str(self.folder)), remedy=remedy) from error
        except BaseException:
            await self.close()
            raise

    async def _follow(self) -> None:
        """Start to listen before the first look, so that no edit falls between the two."""
        self._unheard = self._bus.listen(TOPIC, self._hear)
        self._spawn(self._look_when_due())
        self._spawn(self._poll())
        if self.settings.watch:
            self._spawn(self._watch())
        await asyncio.sleep(0)  # each task takes its first step, in which the watches are set

    def _want_nothing_lost(self) -> None:
        for table in self._tables.values():
            for filed in table.files.values():
                if filed.lost and filed.trouble:
                    raise filed.trouble

    async def close(self) -> None:
        self._unheard()
        self._unheard = lambda: None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, *self._writing, return_exceptions=True)

    def problems(self) -> Sequence[ConfigError]:
        return [problem for table in self._tables.values() for problem in table.problems()]

    def exposed(self) -> Iterable[str]:
        """A sentence for each file with passwords that other users of this machine can read."""
        for table in self._tables.values():
            for filed in table.files.values() if table.shape.secret else ():
                for path in (filed.spot.path, files.saved(filed.spot.path)):
                    if path.exists() and path.stat().st_mode & 0o077:
                        yield f"{path}: other users of this machine can read the passwords in it. Run: chmod 600 '{path}'"

    # Looking.

    async def _look(self, tables: Iterable[AnyTable]) -> None:
        async with self._turn:
            if files.is_unfinished(self.folder):
                async with self._locked():
                    await asyncio.to_thread(files.recover, self._disk, self.folder)
            for table, found in await asyncio.to_thread(self._seen, list(tables), self._moment()):
                table.adopt(found, all_of_them=True)
        self._tell_problems()
        self._look_again_at_doubts()

    def _seen(self, tables: Sequence[AnyTable], moment: Moment) -> list[tuple[AnyTable, dict[str, Filed[Any]]]]:
        tree = Tree(self.folder)
        return [(table, filing.look(table.shape, tree, table.files, moment)) for table in tables]

    def _moment(self) -> Moment:
        return Moment(self._clock.monotonic(), self.settings.settle_seconds)

    def _tell_problems(self) -> None:
        """Log each problem once, when it comes."""
        problems = frozenset(map(str, self.problems()))
        for problem in sorted(problems - self._told):
            self._log.warning("tab_problem", problem=problem)
        self._told = problems

    def _look_again_at_doubts(self) -> None:
        doubts = any(filed.doubted is not None for table in self._tables.values() for filed in table.files.values())
        if doubts and (self._doubting is None or self._doubting.done()):
            self._doubting = self._spawn(self._look_after_doubts())

    async def _look_after_doubts(self) -> None:
        await self._clock.sleep(self.settings.settle_seconds)
        self._doubting = None
        self._want_look(self._tables.values())

    def _want_look(self, tables: Iterable[AnyTable]) -> None:
        self._due.update(tables)
        if self._due:
            self._news.set()

    async def _look_when_due(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            due, self._due = self._due, set()
            try:
                await self._look(due)
            except (OSError, DiskError) as error:  # the next poll tries again
                self._log.error("tab_look_failed", error=str(error))

    async def _poll(self) -> None:
        while True:
            await self._clock.sleep(self.settings.poll_seconds)
            self._want_look(self._tables.values())

    async def _watch(self) -> None:
        """Ask for a look at what the operating system says was changed. Without it (no watches left, no such folder) polling remains."""
        try:
            async for changes in awatch(self.folder, watch_filter=_is_of_interest, step=_QUIET_MS, debounce=_BURST_MS):
                for _, path in changes:
                    self._want_look(self._tables_of(path))
        except (OSError, RuntimeError) as error:
            self.blind = str(error)
            self._log.warning("tab_watch_failed", error=self.blind, poll_seconds=self.settings.poll_seconds)

    def _tables_of(self, path: str) -> Iterable[AnyTable]:
        """The tables that a changed path may concern: none where it is as we left it, all where it is no file of a table."""
        try:
            parts = Path(path).relative_to(self.folder).parts
        except ValueError:
            return self._tables.values()
        owner = next((table for table in self._tables.values() if any(means(one, parts) for one in table.shape.patterns)), None)
        if owner is None:
            return self._tables.values()
        known = owner.signatures.get(path)
        return () if known is not None and files.signature(Path(path)) == known else (owner,)

    def _hear(self, payload: bytes) -> None:
        table = self._tables.get(payload.decode(errors="replace"))
        self._want_look((table,) if table else self._tables.values())

    # Changing.

    async def _change(self, table: TabTable[R], edits: Mapping[tuple[str, ...], Edit[R]]) -> int:
        """A change once begun is ended, also when whoever asked for it is cancelled."""
        task = asyncio.create_task(self._changed(table, edits))
        self._writing.add(task)
        task.add_done_callback(self._writing.discard)
        return await asyncio.shield(task)

    async def _changed(self, table: TabTable[R], edits: Mapping[tuple[str, ...], Edit[R]]) -> int:
        async with self._turn:
            try:
                async with self._locked():
                    changed, count = await asyncio.to_thread(
                        filing.change, table.shape, self.folder, self._disk, table.files, edits, self._moment()
                    )
            except OSError as error:
                raise refused(error, f"changing {table.shape.name}") from error
            table.adopt(changed, all_of_them=False)
        if changed:
            self._bus.send(TOPIC, "/".join(table.shape.patterns[0]).encode())
        return count

    def _locked(self) -> AbstractAsyncContextManager[None]:
        return files.locked(self._disk, self._clock, self.folder, self.settings.lock_timeout_seconds)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _is_of_interest(change: Change, path: str) -> bool:
    """Not our own lock and asides, nor the old texts."""
    name = path.rpartition("/")[2]
    return not name.startswith(".") and not name.casefold().endswith(".sav")
