"""Every test of the kit for providers is red on a provider that breaks what it tests: the TAB provider, with one method bent."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest

from postroom.errors import RecordError
from postroom.providers import ProviderSet
from postroom_testing.providers import KINDS, Kind, ProviderContract, table_of
from tests.kit.red import own_tests
from tests.providers_tab.desk import made

pytestmark = pytest.mark.long

MAILBOXES = next(kind for kind in KINDS if str(kind) == "mailboxes")


class Bent:
    """One table: as the real one, unless a subclass says otherwise."""

    def __init__(self, inner: Any, kind: Kind[Any]) -> None:
        self.inner, self.kind = inner, kind

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    @property
    def version(self) -> int:
        return int(self.inner.version)


class BentSet:
    """A provider set whose tables are bent."""

    def __init__(self, inner: ProviderSet, by: type[Bent]) -> None:
        self.inner = inner
        tables = [(kind, by(table_of(inner, kind), kind)) for kind in KINDS]
        self.families: Mapping[str, object] = {
            family: SimpleNamespace(**{str(kind): table for kind, table in tables if kind.family == family}) for family in inner.families
        }

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class Contract(ProviderContract):
    by: ClassVar[type[Bent]] = Bent
    many = 100

    @classmethod
    async def opened(cls, place: Path) -> ProviderSet:
        tab = made(place / "Config", watch=True)
        await tab.open()
        return cast(ProviderSet, BentSet(tab, cls.by))


class FindsNothing(Bent):
    async def get(self, *key: str) -> Any:
        return None


class AlwaysThere(Bent):
    async def get(self, *key: str) -> Any:
        return next(iter(await self.inner.find()), None)

    async def find(self, **equals: object) -> Any:
        return [self.kind.row("ghost")]


class MindsCase(Bent):
    async def get(self, *key: str) -> Any:
        row = await self.inner.get(*key)
        return row if row is not None and self.kind.key_of(row) == key else None


class PutsLast(Bent):
    async def put(self, *records: Any, before: Any = None) -> None:
        await self.inner.delete(*records)
        await self.inner.put(*records)


class PutsAnywhere(Bent):
    async def put(self, *records: Any, before: Any = None) -> None:
        try:
            await self.inner.put(*records, before=before)
        except RecordError:
            await self.inner.put(*records)


class CountsNothing(Bent):
    async def delete(self, *records: Any) -> int:
        await self.inner.delete(*records)
        return 0


class FirstFieldOnly(Bent):
    async def find(self, **equals: str | int) -> Sequence[Any]:
        return cast(Sequence[Any], await self.inner.find(**dict(list(equals.items())[:1])))


class Patterns(Bent):
    async def find(self, **equals: str | int) -> Sequence[Any]:
        rows = await self.inner.find()
        return [row for row in rows if all(fnmatchcase(str(getattr(row, name)), str(value)) for name, value in equals.items())]


class TakesAnything(Bent):
    async def put(self, *records: Any, before: Any = None) -> None:
        try:
            await self.inner.put(*records, before=before)
        except RecordError:
            pass


class DropsColumns(Bent):
    async def put(self, *records: Any, before: Any = None) -> None:
        await self.inner.put(*(replace(one, extra=()) for one in records), before=before)


class FromNowhere(Bent):
    async def find(self, **equals: str | int) -> Sequence[Any]:
        return [replace(row, origin=None) for row in await self.inner.find(**equals)]


class OneByOne(Bent):
    async def put(self, *records: Any, before: Any = None) -> None:
        for one in records:
            await self.inner.put(one, before=before)


class Deaf(Bent):
    async def put(self, *records: Any, before: Any = None) -> None: ...


class Silent(Bent):
    def watch(self, changed: Callable[[], None]) -> Callable[[], None]:
        return lambda: None


class OneForAll(Bent):
    async def get(self, *key: str) -> Any:
        return next((row for row in await self.inner.find() if self.kind.name_of(row) == key[-1]), None)


class Short(Bent):
    async def find(self, **equals: str | int) -> Sequence[Any]:
        return list(await self.inner.find(**equals))[:50]


class LosesSome(Bent):
    async def put(self, *records: Any, before: Any = None) -> None:
        await self.inner.put(*(one for one in records if not self.kind.name_of(one).endswith("1")), before=before)


class DeafContract(Contract):
    """At the top of the module, for the test that opens it in other processes."""

    by = Deaf


@dataclass(frozen=True)
class Wrong:
    """How the table is bent, the test that must show it, and its further arguments."""

    by: type[Bent]
    test: str
    bad: str = ""

    def __str__(self) -> str:
        return f"{self.by.__name__}-{self.test}"


TABLE = [
    Wrong(AlwaysThere, "test_an_empty_place_has_no_rows_and_no_problems"),
    Wrong(FindsNothing, "test_a_row_that_was_put_is_got_and_found_whole"),
    Wrong(AlwaysThere, "test_what_is_not_there_is_none"),
    Wrong(MindsCase, "test_keys_compare_without_case_and_keep_theirs"),
    Wrong(PutsLast, "test_put_replaces_the_row_of_the_same_key_in_its_place"),
    Wrong(PutsLast, "test_order_is_kept_and_before_says_where"),
    Wrong(PutsAnywhere, "test_a_place_before_a_row_that_is_not_there_is_refused"),
    Wrong(CountsNothing, "test_delete_takes_these_rows_only_and_counts_them"),
    Wrong(FirstFieldOnly, "test_find_by_several_fields_means_all_of_them"),
    Wrong(Patterns, "test_no_value_is_a_pattern"),
    Wrong(TakesAnything, "test_control_characters_are_refused", "\n"),
    Wrong(TakesAnything, "test_a_key_without_text_is_refused"),
    Wrong(DropsColumns, "test_unknown_columns_are_kept"),
    Wrong(FromNowhere, "test_every_row_says_where_it_was_read"),
    Wrong(OneByOne, "test_a_batch_is_all_or_nothing"),
    Wrong(Deaf, "test_what_put_returned_for_is_there_after_reopening"),
    Wrong(Silent, "test_version_grows_and_watchers_are_told_of_every_change"),
    Wrong(OneForAll, "test_tables_of_two_post_offices_do_not_mix"),
    Wrong(Short, "test_a_large_table"),
    Wrong(LosesSome, "test_two_instances_lose_none_of_each_other"),
    Wrong(FindsNothing, "test_an_instance_sees_what_another_wrote"),
    Wrong(Deaf, "test_two_processes_lose_none_of_each_other"),
]


@pytest.mark.parametrize("wrong", TABLE, ids=str)
def test_it_is_shown(wrong: Wrong, tmp_path: Path) -> None:
    contract = DeafContract() if wrong.by is Deaf else type("Bent", (Contract,), {"by": wrong.by})()
    test = getattr(contract, wrong.test)
    given = {"tmp_path": tmp_path, "kind": MAILBOXES, "bad": wrong.bad}
    with pytest.raises((AssertionError, pytest.fail.Exception)):
        test(**{name: given[name] for name in inspect.signature(test).parameters})


def test_families_that_nobody_knows_are_shown(tmp_path: Path) -> None:
    class Strange(Contract):
        @classmethod
        async def opened(cls, place: Path) -> ProviderSet:
            offered = cast(Any, await Contract.opened(place))
            offered.families = {"weather": object()}
            return cast(ProviderSet, offered)

    with pytest.raises(AssertionError, match="weather"):
        Strange().test_offers_known_families_with_all_their_tables(tmp_path)


def test_each_test_of_the_contract_is_shown_red() -> None:
    own = {"test_offers_known_families_with_all_their_tables"}
    assert own_tests(ProviderContract) == {wrong.test for wrong in TABLE} | own
