"""The contract of a provider as a test suite: what `postroom.providers` promises, proven against any back end.

Write a subclass in a test file of your own and say how your provider set is opened:

    class TestMine(ProviderContract):
        @classmethod
        async def opened(cls, place: Path) -> ProviderSet:
            mine = MyProviders(f"sqlite:///{place}/mine.db", ...)
            await mine.open()
            return mine

Or name your plugin's class as `plugin` and its table as `settings`; the set is then what its hook `providers` gives.

`place` is an empty folder of the test's own. Opening it again must show what was kept, so nothing may live in memory only. Families you do
not offer are passed over; with `writes = False`, so is every test that keeps a row. The class must stand at the top of an importable module,
because one test opens it in two other processes. Override `noticed` where another writer's change is learned in another way than by a watcher.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar, cast

import pytest

from postroom.errors import PostroomError, RecordError
from postroom.host import Host
from postroom.providers import FAMILIES, ProviderSet, Table
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
from postroom_testing.ground import ground_in, points_of

R = TypeVar("R", bound=Record)


@dataclass(frozen=True)
class Kind(Generic[R]):
    """One table: where it is found, its key, and how the tests make rows of it."""

    family: str
    table: str
    key: tuple[str, ...]
    text: str  # a field that holds any text, for rows that differ in what is no key (a key field where there is none)
    row: Callable[[str], R]  # a row whose `named` field is this name
    named: str = ""  # the key field that tells the tests' rows apart: the last one unless said

    def key_of(self, record: R) -> tuple[str, ...]:
        """A record's key as `Table.get` wants it."""
        return tuple(getattr(record, name) for name in self.key)

    @property
    def varies(self) -> str:
        return self.named or self.key[-1]

    def name_of(self, record: R) -> str:
        return str(getattr(record, self.varies))

    def __str__(self) -> str:
        return self.table


KINDS: tuple[Kind[Any], ...] = (
    Kind("postoffice", "postoffices", ("name",), "account", lambda name: PostofficeRecord(name, 1, "example.test")),
    Kind(
        "postoffice", "mailboxes", ("postoffice", "mailbox"), "redirect_address", lambda name: MailboxRecord("example.test", name, 1, 2048)
    ),
    Kind(
        "postoffice", "groups", ("postoffice", "group"), "recipient", lambda name: GroupRecord("example.test", "[SF:example.test/g]", name)
    ),
    Kind("postoffice", "members", ("postoffice", "group", "address"), "address", lambda name: MemberRecord("example.test", "sales", name)),
    Kind("smtp", "domains", ("domain",), "redirect_hosts", lambda name: DomainRecord(name, 1, 2, "192.0.2.1:26", "example.test")),
    Kind("smtp", "access", ("mask", "right"), "account", lambda name: AccessRecord(name, 1, "RELAY", "SYSTEM"), "mask"),
    Kind("smtp", "deny", ("mask", "right"), "account", lambda name: AccessRecord(name, 1, "CONNECT", "SYSTEM"), "mask"),
    Kind("smtp", "blacklist", ("target", "banned"), "account", lambda name: BlacklistRecord("example.test", name, 1, "example.test")),
    Kind(
        "address_map", "rows", ("source", "destination"), "account", lambda name: AddressMapRecord("[SMTP:a@example.test]", name, "0", "x")
    ),
    Kind(
        "authentication",
        "logins",
        ("username",),
        "description",
        lambda name: AuthRecord(name, 1, "$argon2id$v=19$x", "example.test", "ADMIN"),
    ),
    Kind(
        "lists",
        "lists",
        ("postoffice", "name"),
        "description",
        lambda name: ListRecord(
            "example.test",
            name,
            1,
            1,
            "[SMTP:m@example.test]",
            "[SMTP:l@example.test]",
            3,
            "News",
            (("prefix", "[n]"), ("a;b=c%3B", "=;%")),
        ),
    ),
    Kind(
        "lists",
        "list_members",
        ("postoffice", "list", "address"),
        "address",
        lambda name: ListMemberRecord("example.test", "news", name, 1, 0),
    ),
    Kind(
        "directory",
        "entries",
        ("postoffice", "address"),
        "description",
        lambda name: DirectoryRecord("example.test", name, "Ann", "+1 555"),
    ),
)
_BY_NAME = {str(kind): kind for kind in KINDS}
# Names that some back end might take for a pattern, an end of text, a number, a quote or another name.
LITERALS = (
    "*",
    "a*",
    "*a",
    "%",
    "a%",
    "_",
    "a_",
    "?",
    "[a]",
    "[!a]",
    "a'b",
    'a"b',
    "a\\b",
    "a;b",
    "--a",
    "a b",
    "0",
    "00",
    "1e1",
    "-1",
    "null",
    "a,b",
    "ünïcode",
)


def table_of(provider_set: ProviderSet, kind: Kind[R]) -> Table[R] | None:
    """The table in this set, None where its family is not offered."""
    family = provider_set.families.get(kind.family)
    return None if family is None else cast("Table[R]", getattr(family, kind.table))


class ProviderContract:
    """Subclass it, say how to open your provider set, and every promise of a table is tested."""

    plugin: ClassVar[type | None] = None  # in place of `opened`: the plugin's class, and
    settings: ClassVar[Mapping[str, object]] = {}  # its table
    writes: ClassVar[bool] = True
    many: ClassVar[int] = 2000  # rows of the large table

    @classmethod
    async def opened(cls, place: Path) -> ProviderSet:
        """Your provider set on this folder, opened; as it stands: the one that `plugin` offers a site in this folder."""
        assert cls.plugin is not None, "name your class as `plugin`, or override `opened`"
        yaml = json.dumps({"server": "mail.example.test", "plugins": {"tested": cls.settings}}, indent=1)
        ground = ground_in(place, yaml)
        offers = Host(ground.settings, ground, points_of({"tested": cls.plugin})).providers()
        assert "tested" in offers, "the hook providers gives nothing"
        await offers["tested"].open()
        return offers["tested"]

    @classmethod
    async def noticed(cls, table: Table[Any], happened: Callable[[], bool]) -> None:
        """Wait until this table shows what another writer did. As it stands: until a watcher is told, ten seconds at most. No polling."""
        told = asyncio.Event()
        end = table.watch(told.set)
        try:
            async with asyncio.timeout(10):
                while not happened():
                    await told.wait()
                    told.clear()
        finally:
            end()

    @asynccontextmanager
    async def set_at(self, place: Path) -> AsyncIterator[ProviderSet]:
        """A provider set, opened and closed."""
        provider_set = await self.opened(place)
        try:
            yield provider_set
        finally:
            await provider_set.close()

    @asynccontextmanager
    async def table_at(self, place: Path, kind: Kind[R]) -> AsyncIterator[Table[R]]:
        """One table of a set; the test is skipped where its family is not offered."""
        async with self.set_at(place) as provider_set:
            yield _wanted(provider_set, kind)

    @pytest.fixture(params=KINDS, ids=str)
    def kind(self, request: pytest.FixtureRequest) -> Kind[Any]:
        if not self.writes:
            pytest.skip("this provider only reads")
        return cast("Kind[Any]", request.param)

    # The set.

    def test_offers_known_families_with_all_their_tables(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.set_at(tmp_path) as provider_set:
                assert provider_set.families
                assert set(provider_set.families) <= set(FAMILIES)
                tables = [table_of(provider_set, kind) for kind in KINDS if kind.family in provider_set.families]
                assert None not in tables

        asyncio.run(main())

    def test_an_empty_place_has_no_rows_and_no_problems(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.set_at(tmp_path) as provider_set:
                assert list(provider_set.problems()) == []
                for table in filter(None, (table_of(provider_set, kind) for kind in KINDS)):
                    assert list(await table.find()) == []
                    assert not table.snapshot()

        asyncio.run(main())

    # Get, find, put, delete.

    def test_a_row_that_was_put_is_got_and_found_whole(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            row = kind.row("one")
            async with self.table_at(tmp_path, kind) as table:
                await table.put(row)
                assert await table.get(*kind.key_of(row)) == row
                assert list(await table.find()) == [row]
                assert list(await table.find(**dict(zip(kind.key, kind.key_of(row))))) == [row]
                assert table.snapshot() in (None, (row,), [row])

        asyncio.run(main())

    def test_what_is_not_there_is_none(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            async with self.table_at(tmp_path, kind) as table:
                await table.put(kind.row("one"))
                assert await table.get(*kind.key_of(kind.row("on"))) is None
                assert await table.get(*kind.key_of(kind.row("one1"))) is None
                assert list(await table.find(**{kind.varies: "two"})) == []

        asyncio.run(main())

    def test_keys_compare_without_case_and_keep_theirs(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            row = kind.row("Straße.Ömer")
            async with self.table_at(tmp_path, kind) as table:
                await table.put(row)
                assert await table.get(*(part.swapcase() for part in kind.key_of(row))) == row
                assert list(await table.find(**{kind.varies: "sTRASSE.öMER"})) == [row]

        asyncio.run(main())

    def test_put_replaces_the_row_of_the_same_key_in_its_place(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            rows = [kind.row(name) for name in ("one", "two", "three")]
            async with self.table_at(tmp_path, kind) as table:
                await table.put(*rows)
                changed = kind.row("TWO") if kind.text in kind.key else replace(rows[1], **{kind.text: "other"})
                await table.put(changed)
                assert list(await table.find()) == [rows[0], changed, rows[2]]

        asyncio.run(main())

    def test_order_is_kept_and_before_says_where(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            first, second, third, fourth, last = (kind.row(name) for name in ("z", "m", "a", "q", "b"))
            async with self.table_at(tmp_path, kind) as table:
                await table.put(first, last)
                await table.put(second, third, before=last)
                await table.put(fourth, before=last)
            async with self.table_at(tmp_path, kind) as table:
                assert list(await table.find()) == [first, second, third, fourth, last]
                await table.put(kind.row("front"), before=first)
                assert list(await table.find())[:2] == [kind.row("front"), first]

        asyncio.run(main())

    def test_a_place_before_a_row_that_is_not_there_is_refused(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            async with self.table_at(tmp_path, kind) as table:
                await table.put(kind.row("one"))
                with pytest.raises(RecordError):
                    await table.put(kind.row("two"), before=kind.row("three"))
                assert list(await table.find()) == [kind.row("one")]

        asyncio.run(main())

    def test_delete_takes_these_rows_only_and_counts_them(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            rows = [kind.row(name) for name in ("one", "two", "three", "four")]
            async with self.table_at(tmp_path, kind) as table:
                await table.put(*rows)
                assert await table.delete(rows[1], kind.row("none"), kind.row("FOUR")) == 2
                assert list(await table.find()) == [rows[0], rows[2]]
                assert await table.delete(rows[1]) == 0
                assert await table.delete() == 0
            async with self.table_at(tmp_path, kind) as table:
                assert list(await table.find()) == [rows[0], rows[2]]

        asyncio.run(main())

    def test_find_by_several_fields_means_all_of_them(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            rows = [kind.row(name) for name in ("one", "two")]
            async with self.table_at(tmp_path, kind) as table:
                await table.put(*rows)
                fixed = {name: getattr(rows[0], name) for name in kind.key if name != kind.varies}
                assert list(await table.find(**fixed, **{kind.varies: "two"})) == [rows[1]]
                if fixed:
                    assert list(await table.find(**fixed)) == rows
                    assert list(await table.find(**{next(iter(fixed)): "elsewhere", kind.varies: "two"})) == []

        asyncio.run(main())

    # Values are literal.

    def test_no_value_is_a_pattern(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            rows = [kind.row(name) for name in ("a", "ab", "aXb", *LITERALS)]
            async with self.table_at(tmp_path, kind) as table:
                await table.put(*rows)
                for row in rows:
                    assert await table.get(*kind.key_of(row)) == row
                    assert list(await table.find(**{kind.varies: kind.name_of(row)})) == [row]
                for name in ("*", "%", "?", "_", "[a]"):
                    assert await table.delete(kind.row(name)) == 1
                    assert await table.get(*kind.key_of(kind.row(name))) is None
                assert len(await table.find()) == len(rows) - 5
            async with self.table_at(tmp_path, kind) as table:
                assert list(await table.find()) == [row for row in rows if kind.name_of(row) not in ("*", "%", "?", "_", "[a]")]

        asyncio.run(main())

    @pytest.mark.parametrize("bad", ["\t", "\r", "\n", "\0", "\r\n"], ids=["tab", "cr", "lf", "nul", "crlf"])
    def test_control_characters_are_refused(self, tmp_path: Path, kind: Kind[Any], bad: str) -> None:
        async def main() -> None:
            good = kind.row("good")
            async with self.table_at(tmp_path, kind) as table:
                await table.put(good)
                for row in (
                    kind.row(f"a{bad}b"),
                    kind.row(f"a{bad}"),
                    replace(good, **{kind.text: f"x{bad}y"}),
                    replace(good, extra=(bad,)),
                ):
                    with pytest.raises(RecordError):
                        await table.put(row)
                assert list(await table.find()) == [good]

        asyncio.run(main())

    def test_a_key_without_text_is_refused(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            async with self.table_at(tmp_path, kind) as table:
                with pytest.raises(RecordError):
                    await table.put(kind.row(""))
                assert list(await table.find()) == []

        asyncio.run(main())

    def test_unknown_columns_are_kept(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            row = replace(kind.row("one"), extra=("", "more", "", "0"))
            async with self.table_at(tmp_path, kind) as table:
                await table.put(row, kind.row("two"))
            async with self.table_at(tmp_path, kind) as table:
                got = await table.get(*kind.key_of(row))
                assert got == row
                if kind.text not in kind.key:
                    await table.put(replace(got, **{kind.text: "other"}))
                    assert [found.extra for found in await table.find()] == [row.extra, ()]

        asyncio.run(main())

    # Promises.

    def test_every_row_says_where_it_was_read(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            async with self.table_at(tmp_path, kind) as table:
                await table.put(kind.row("one"), kind.row("two"))
                await table.put(kind.row("zero"), before=kind.row("one"))
                origins = [row.origin for row in await table.find()]
                assert all(origin is not None and origin.where for origin in origins)
                assert len(set(map(str, origins))) == 3

        asyncio.run(main())

    def test_a_batch_is_all_or_nothing(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            kept = kind.row("kept")
            async with self.table_at(tmp_path, kind) as table:
                await table.put(kept)
                version = table.version
                with pytest.raises(PostroomError):
                    await table.put(kind.row("new"), kind.row("bad\n"), kind.row("newer"))
                assert list(await table.find()) == [kept]
                assert table.version == version
            async with self.table_at(tmp_path, kind) as table:
                assert list(await table.find()) == [kept]

        asyncio.run(main())

    def test_what_put_returned_for_is_there_after_reopening(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            rows = [kind.row(name) for name in ("one", "two", "three")]
            async with self.table_at(tmp_path, kind) as table:
                await table.put(*rows)
                await table.delete(rows[0])
            async with self.table_at(tmp_path, kind) as table:
                assert list(await table.find()) == rows[1:]

        asyncio.run(main())

    def test_version_grows_and_watchers_are_told_of_every_change(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            told: list[int] = []
            async with self.table_at(tmp_path, kind) as table:
                end = table.watch(lambda: told.append(table.version))
                versions = [table.version]
                for change in (
                    partial(table.put, kind.row("one")),
                    partial(table.put, kind.row("two")),
                    partial(table.delete, kind.row("one")),
                ):
                    before = len(told)
                    await change()
                    versions.append(table.version)
                    await _soon(partial(_is_longer, told, before))
                assert versions == sorted(set(versions))
                assert told[-1] == versions[-1]
                end()
                end()
                count = len(told)
                await table.put(kind.row("three"))
                assert (table.version > versions[-1], len(told)) == (True, count)

        asyncio.run(main())

    def test_tables_of_two_post_offices_do_not_mix(self, tmp_path: Path, kind: Kind[Any]) -> None:
        if "postoffice" not in kind.key:
            pytest.skip("one table for all post offices")

        async def main() -> None:
            here, there = kind.row("one"), replace(kind.row("one"), postoffice="other.test")
            async with self.table_at(tmp_path, kind) as table:
                await table.put(here, there)
                assert await table.get(*kind.key_of(there)) == there
                assert list(await table.find(postoffice="OTHER.test")) == [there]
                assert await table.delete(here) == 1
                assert list(await table.find()) == [there]

        asyncio.run(main())

    def test_a_large_table(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            rows = [kind.row(f"name{number}") for number in range(self.many)]
            async with self.table_at(tmp_path, kind) as table:
                await table.put(*rows)
            async with self.table_at(tmp_path, kind) as table:
                assert list(await table.find()) == rows
                assert await table.get(*kind.key_of(rows[-1])) == rows[-1]
                assert await table.delete(*rows[1::2]) == len(rows[1::2])
                assert list(await table.find()) == rows[::2]

        asyncio.run(main())

    # Several writers.

    def test_two_instances_lose_none_of_each_other(self, tmp_path: Path, kind: Kind[Any]) -> None:
        async def main() -> None:
            async with self.table_at(tmp_path, kind) as ours, self.table_at(tmp_path, kind) as theirs:
                for number in range(3):
                    await ours.put(kind.row(f"ours{number}"))
                    await theirs.put(kind.row(f"theirs{number}"))
                await asyncio.gather(*(table.put(kind.row(f"{name}{n}")) for name, table in (("x", ours), ("y", theirs)) for n in range(3)))
            async with self.table_at(tmp_path, kind) as table:
                names = {kind.name_of(row) for row in await table.find()}
                assert names == {f"{who}{number}" for who in ("ours", "theirs", "x", "y") for number in range(3)}

        asyncio.run(main())

    def test_an_instance_sees_what_another_wrote(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.set_at(tmp_path) as here, self.set_at(tmp_path) as there:
                for kind in KINDS if self.writes else ():
                    ours, theirs = table_of(here, kind), table_of(there, kind)
                    if ours is not None and theirs is not None:
                        await theirs.put(kind.row("one"))
                        await self.noticed(ours, partial(_shows_rows, ours))
                        assert await ours.get(*kind.key_of(kind.row("one"))) == kind.row("one")

        asyncio.run(main())

    def test_two_processes_lose_none_of_each_other(self, tmp_path: Path) -> None:
        if not self.writes:
            pytest.skip("this provider only reads")
        kind = asyncio.run(self._first_kind(tmp_path))
        names = [[f"{who}{number}" for number in range(15)] for who in ("left", "right")]
        context = multiprocessing.get_context("spawn")
        writers = [context.Process(target=_write_from_elsewhere, args=(type(self), tmp_path, str(kind), part)) for part in names]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60)
        assert [writer.exitcode for writer in writers] == [0, 0]
        asyncio.run(self._want_rows(tmp_path, kind, {name for part in names for name in part}))

    async def _first_kind(self, place: Path) -> Kind[Any]:
        async with self.set_at(place) as provider_set:
            return next(kind for kind in KINDS if kind.family in provider_set.families)

    async def _want_rows(self, place: Path, kind: Kind[Any], names: set[str]) -> None:
        async with self.table_at(place, kind) as table:
            rows = await table.find()
            assert {kind.name_of(row) for row in rows} == names
            assert len(rows) == len(names)


def _write_from_elsewhere(contract: type[ProviderContract], place: Path, table: str, names: Sequence[str]) -> None:
    """What one of the two processes does: a row at a time."""

    async def main() -> None:
        provider_set = await contract.opened(place)
        try:
            rows = _wanted(provider_set, _BY_NAME[table])
            for name in names:
                await rows.put(_BY_NAME[table].row(name))
        finally:
            await provider_set.close()

    asyncio.run(main())


def _wanted(provider_set: ProviderSet, kind: Kind[R]) -> Table[R]:
    table = table_of(provider_set, kind)
    if table is None:
        pytest.skip(f"the family {kind.family} is not offered")
    return table


def _is_longer(told: Sequence[int], before: int) -> bool:
    return len(told) > before


def _shows_rows(table: Table[Any]) -> bool:
    """Whether a table has rows in memory, or keeps none there and asks each time."""
    rows = table.snapshot()
    return rows is None or len(rows) > 0


async def _soon(happened: Callable[[], bool]) -> None:
    """Give a watcher that is called in the event loop its turn."""
    for _ in range(1000):
        if happened():
            return
        await asyncio.sleep(0)
    raise AssertionError("the watcher was not told")
