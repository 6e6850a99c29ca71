"""postroom_smtp.gate: tables as they are now."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from postroom.errors import DiskError
from postroom.providers import SmtpProvider
from postroom.records import AccessRecord
from postroom.site import Log
from postroom_smtp.gate import Gate, problems
from tests.plugins_smtp.desk import Lines, Rows, Tables, run

DENIED = AccessRecord(mask="203.0.113.*")


def gate_of(tables: Tables, log: Lines) -> Gate:
    return Gate(cast(SmtpProvider, tables), cast(Log, log), listed_only=False)


@pytest.mark.parametrize("remote", [False, True])
def test_a_change_is_in_force_at_once(remote: bool) -> None:
    async def main() -> None:
        tables, log = Tables(), Lines()
        tables.deny = Rows([], remote=remote)
        gate = gate_of(tables, log)
        await gate.open()
        assert gate.access.decide("203.0.113.1").may_connect
        tables.deny.become(DENIED)
        tables.deny.become(DENIED, AccessRecord(mask="nonsense"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not gate.access.decide("203.0.113.1").may_connect
        assert log.of("smtp.bad_mask")
        await gate.close()
        assert tables.deny.watchers == []

    run(main())


def test_the_last_good_tables_stay_while_the_provider_is_away() -> None:
    async def main() -> None:
        tables, log = Tables(deny=[DENIED]), Lines()
        tables.deny.remote = True
        gate = gate_of(tables, log)
        await gate.open()
        tables.deny.error = DiskError("the database is away")
        tables.deny.become()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not gate.access.decide("203.0.113.1").may_connect
        assert log.errors == ["smtp.tables_unreadable"]
        await gate.close()

    run(main())


def test_check_tells_of_masks_that_are_none() -> None:
    found = problems(cast(SmtpProvider, Tables(access=[AccessRecord(mask="10.*"), AccessRecord(mask="ten")])))
    assert len(found) == 1 and "'ten'" in found[0]
