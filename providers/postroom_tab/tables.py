"""One table of the kernel's contract over TAB files: reading from memory, writing through to the disk.

A reader never waits and never sees half a change: `adopt` swaps in what a look or a write found, in the event loop. A write is read,
edited and written back under the folder's lock, so what another process wrote meanwhile is kept.

What it costs, with 50,000 rows in a file (two cores of 2020): loading 0.3 s; `get` 0.5 to 0.8 microseconds; putting a row last or in its place
5 to 15 ms; putting one between others or deleting one 200 to 350 ms in a thread, because every later row gets a new line number.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import chain
from typing import Generic, Protocol, TypeVar

from postroom.errors import ConfigError, RecordError
from postroom.records import Record
from postroom_tab.document import Document
from postroom_tab.files import Signature
from postroom_tab.filing import Edit, Filed, Files, key_of
from postroom_tab.table import Shape

R = TypeVar("R", bound=Record)


class Changing(Protocol):
    """Who does the writing."""

    def __call__(self, table: TabTable[R], edits: Mapping[tuple[str, ...], Edit[R]], /) -> Awaitable[int]: ...


class TabTable(Generic[R]):
    """The rows of all files of one shape; those of several post offices in the order of their names."""

    def __init__(self, shape: Shape[R], change: Changing) -> None:
        self.shape = shape
        self.files: Files[R] = {}
        self.signatures: dict[str, Signature | None] = {}  # by path, of what was last read or written
        self._change = change
        self._depth = len(shape.given)
        self._key_length = self._depth + len(shape.key)
        self._snapshot: tuple[R, ...] | None = ()
        self._version = 0
        self._watchers: list[Callable[[], None]] = []

    # Reading.

    @property
    def version(self) -> int:
        return self._version

    def snapshot(self) -> tuple[R, ...]:
        if self._snapshot is None:
            ordered = sorted(self.files.items())
            self._snapshot = tuple(chain.from_iterable(filed.document.records for _, filed in ordered))
        return self._snapshot

    async def get(self, *key: str) -> R | None:
        if len(key) != self._key_length:
            names = ", ".join((*self.shape.given, *self.shape.key))
            raise RecordError(f"{self.shape.name}: a key has {self._key_length} parts ({names}), not {len(key)}")
        depth = self._depth
        filed = self.files.get("\t".join(key[:depth]).casefold())
        return filed.document.get("\t".join(key[depth:]).casefold()) if filed else None

    async def find(self, **equals: str | int) -> Sequence[R]:
        if not equals:
            return self.snapshot()
        for name in equals:
            if name not in self.shape.fields or name == "origin":
                raise RecordError(f"{self.shape.name}: a {self.shape.record.__name__} has no field {name!r}")
        wanted = [(name, _folded(value)) for name, value in equals.items()]
        return [row for row in self._candidates(equals) if all(_folded(getattr(row, name)) == value for name, value in wanted)]

    def _candidates(self, equals: Mapping[str, str | int]) -> Sequence[R]:
        """The rows among which to look: of one file where the path is given, one row where the key is."""
        if not all(name in equals for name in self.shape.given):
            return self.snapshot()
        filed = self.files.get(key_of(str(equals[name]) for name in self.shape.given))
        if filed is None:
            return ()
        if self.shape.repeats or not all(name in equals for name in self.shape.key):
            return filed.document.records
        row = filed.document.get(key_of(str(equals[name]) for name in self.shape.key))
        return () if row is None else (row,)

    def problems(self) -> list[ConfigError]:
        """Of all files, in order of their names."""
        return [problem for _, filed in sorted(self.files.items()) for problem in filed.problems()]

    # Writing.

    async def put(self, *records: R, before: R | None = None) -> None:
        edits = dict[tuple[str, ...], Edit[R]]()
        place = None if before is None else key_of(self._names(before))
        for names, rows in self._by_file(records):
            edits[names] = _putting(rows, before if key_of(names) == place else None)
        if edits and place is not None and place not in map(key_of, edits):
            raise RecordError(f"{self.shape.name}: the row to stand before is in another file")
        if edits:
            await self._change(self, edits)

    async def delete(self, *records: R) -> int:
        edits: dict[tuple[str, ...], Edit[R]] = {
            names: _deleting([self.shape.key_of(row) for row in rows]) for names, rows in self._by_file(records)
        }
        return await self._change(self, edits) if edits else 0

    def _by_file(self, records: Sequence[R]) -> list[tuple[tuple[str, ...], list[R]]]:
        """The records by the names on their files' paths; names that differ in case only are the same."""
        rows = dict[str, tuple[tuple[str, ...], list[R]]]()
        for record in records:
            names = self._names(record)
            rows.setdefault(key_of(names), (names, []))[1].append(record)
        return list(rows.values())

    def _names(self, record: R) -> tuple[str, ...]:
        if not isinstance(record, self.shape.record):
            raise RecordError(f"{self.shape.name} holds {self.shape.record.__name__}s, not a {type(record).__name__}")
        names = self.shape.given_of(record)
        for field, name in zip(self.shape.given, names):
            if not name or set(name) & _CONTROLS:
                raise RecordError(f"{self.shape.name}: {field} is empty or holds a tab, a line end or a NUL")
        return names

    # What changed.

    def adopt(self, found: Mapping[str, Filed[R]], *, all_of_them: bool) -> None:
        """Serve these files from now on: `all_of_them`, or besides those that are known. Tells the watchers where rows changed."""
        now = dict(found) if all_of_them else {**self.files, **found}
        changed = now.keys() != self.files.keys() or any(self.files[key].document is not filed.document for key, filed in found.items())
        for filed in self.files.values() if all_of_them else ():
            self.signatures.pop(str(filed.spot.path), None)
        self.signatures.update((str(filed.spot.path), filed.signature) for filed in found.values())
        self.files = now
        if changed:
            self._snapshot = None
            self._version += 1
            self._tell()

    def _tell(self) -> None:
        for changed in list(self._watchers):
            try:
                changed()
            except Exception as error:  # a watcher's mistake is not the writer's
                asyncio.get_running_loop().call_exception_handler({"message": f"a watcher of {self.shape.name} failed", "exception": error})

    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        def tell() -> None:
            changed()

        def end() -> None:
            if tell in self._watchers:
                self._watchers.remove(tell)

        self._watchers.append(tell)
        return end


def _putting(rows: Sequence[R], before: R | None) -> Edit[R]:
    def edit(document: Document[R]) -> tuple[Document[R], int]:
        return document.put(rows, before), len(rows)

    return edit


def _deleting(keys: Sequence[str]) -> Edit[R]:
    def edit(document: Document[R]) -> tuple[Document[R], int]:
        return document.delete(keys)

    return edit


def _folded(value: object) -> object:
    return value.casefold() if isinstance(value, str) else value


_CONTROLS = frozenset("\t\r\n\0")
