"""The kit's provider contract, run against TAB files, with and without the operating system's watches."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from postroom.providers import ProviderSet, Table
from postroom_testing.providers import KINDS, ProviderContract, table_of
from tests.providers_tab.desk import Hub, made


class TestTab(ProviderContract):
    """Watching the folder, as a site does."""

    @classmethod
    async def opened(cls, place: Path) -> ProviderSet:
        tab = made(place / "Config", watch=True)
        await tab.open()
        return tab


def test_a_hint_from_the_bus_is_enough_to_see_another_workers_change(tmp_path: Path) -> None:
    async def main() -> None:
        hub = Hub()
        here, there = made(tmp_path / "Config", hub=hub), made(tmp_path / "Config", hub=hub)
        await here.open()
        await there.open()
        try:
            for kind in KINDS:
                ours, theirs = _table(here, kind), _table(there, kind)
                told = asyncio.Event()
                ours.watch(told.set)
                await theirs.put(kind.row("one"))
                await asyncio.wait_for(told.wait(), 10)
                assert ours.snapshot() == (kind.row("one"),)
        finally:
            await here.close()
            await there.close()

    asyncio.run(main())


def _table(provider_set: ProviderSet, kind: Any) -> Table[Any]:
    table: Table[Any] | None = table_of(provider_set, kind)
    assert table is not None
    return table
