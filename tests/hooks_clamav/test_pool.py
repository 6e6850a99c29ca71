"""The connections of a worker: how many, how long, and what is asked again."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from postroom_clamav.errors import ScannerError
from postroom_clamav.grammar import CLEAN, Found
from postroom_clamav.pool import REST, Address
from postroom_testing.clock import HandClock
from tests.hooks_clamav.clamd import NAME, fake_clamd
from tests.hooks_clamav.conftest import Run
from tests.hooks_clamav.house import SICK, gauge, pool_at, small


def test_a_connection_is_used_again_and_closed_when_it_rests(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with fake_clamd(tmp_path / "c") as clamd:
            clock, level = HandClock(), gauge()
            pool = pool_at(clamd, clock=clock, level=level)
            for _ in range(5):
                assert await pool.scan(small()) is CLEAN
            assert clamd.connections == 1 and level._value.get() == 1
            await clock.advance(REST - 1)
            await pool.tend()
            assert await pool.scan(small(SICK)) == Found(NAME)
            assert clamd.connections == 1
            await clock.advance(REST)
            await pool.tend()
            while level._value.get():
                await asyncio.sleep(0)
            assert await pool.scan(small()) is CLEAN
            assert clamd.commands.count("zIDSESSION") == 3  # the first, the sign of life, and a new one
            pool.close()

    run(main)


def test_no_more_than_so_many_at_a_time_and_all_get_their_turn(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with fake_clamd(tmp_path / "c") as clamd:
            clamd.fault = "slow"
            clamd.faults_left = 3
            pool = pool_at(clamd, 3)
            scans = [asyncio.create_task(pool.scan(small())) for _ in range(20)]
            while len(clamd.streams) < 3:
                await asyncio.sleep(0)
            for _ in range(100):
                await asyncio.sleep(0)
            assert clamd.connections == 3 and not any(scan.done() for scan in scans)
            clamd.go_on.set()
            assert await asyncio.gather(*scans) == [CLEAN] * 20
            assert clamd.connections == 3
            pool.close()

    run(main)


def test_who_gives_up_leaves_his_place_to_the_next(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with fake_clamd(tmp_path / "c") as clamd:
            clamd.fault, clamd.faults_left = "slow", 1
            pool = pool_at(clamd, 1)
            first, second, third = (asyncio.create_task(pool.scan(small())) for _ in range(3))
            await clamd.asked.wait()
            second.cancel()
            first.cancel()
            assert await third is CLEAN
            assert [isinstance(one, asyncio.CancelledError) for one in await asyncio.gather(first, second, return_exceptions=True)]
            pool.close()

    run(main)


@pytest.mark.parametrize("fault", ["hangs up behind the reply", "hangs up"])
def test_a_kept_connection_that_died_is_replaced_silently(tmp_path: Path, fault: str, run: Run) -> None:
    async def main() -> None:
        async with fake_clamd(tmp_path / "c") as clamd:
            pool = pool_at(clamd)
            assert await pool.scan(small()) is CLEAN
            clamd.fault, clamd.faults_left = fault, 1
            assert await pool.scan(small(SICK)) == Found(NAME)
            assert await pool.scan(small(SICK)) == Found(NAME)
            assert clamd.connections == 2 and not pool.failure
            pool.close()

    run(main)


def test_a_restart_between_two_messages_is_not_noticed(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with fake_clamd(tmp_path / "c") as clamd:
            pool = pool_at(clamd)
            assert await asyncio.gather(*(pool.scan(small()) for _ in range(4))) == [CLEAN] * 4
            clamd.hang_up()
            assert await pool.scan(small()) is CLEAN
            pool.close()

    run(main)


def test_half_an_answer_is_not_asked_again(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with fake_clamd(tmp_path / "c") as clamd:
            pool = pool_at(clamd)
            assert await pool.scan(small()) is CLEAN
            clamd.fault, clamd.faults_left = "hangs up within the reply", 1
            with pytest.raises(ScannerError, match="closed the connection"):
                await pool.scan(small())
            assert clamd.connections == 1 and "closed the connection" in pool.failure
            assert await pool.scan(small()) is CLEAN
            assert not pool.failure
            pool.close()

    run(main)


def test_a_new_connection_that_dies_is_an_error(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with fake_clamd(tmp_path / "c") as clamd:
            clamd.fault = "hangs up"
            pool = pool_at(clamd)
            with pytest.raises(ScannerError, match="closed the connection"):
                await pool.scan(small())
            assert clamd.connections == 1

    run(main)


def test_clamd_down_is_an_error_at_once_and_heals(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with fake_clamd(tmp_path / "c") as clamd:
            pool = pool_at(clamd)
            pool.address = Address(tmp_path / "nothing")
            with pytest.raises(ScannerError, match="cannot be reached: No such file"):
                await pool.scan(small())
            await pool.tend()
            assert "cannot be reached" in pool.failure
            pool.address = Address(clamd.path)
            await pool.tend()
            assert not pool.failure
            pool.close()

    run(main)


@pytest.mark.parametrize(
    ("fault", "why"), [("deaf", "does not answer within"), ("wrong pong", "no reply"), ("greets", "unasked|no reply|PING")]
)
def test_a_clamd_that_gives_no_sign_of_life(tmp_path: Path, fault: str, why: str, run: Run) -> None:
    async def main() -> None:
        async with fake_clamd(tmp_path / "c") as clamd:
            clamd.fault = fault
            clock = HandClock()
            pool = pool_at(clamd, clock=clock, seconds=0.05)
            await clock.advance(REST)
            await pool.tend()
            assert pool.failure and re.search(why, pool.failure), pool.failure

    run(main)


def test_tcp(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with fake_clamd(tmp_path / "c", tcp=True) as clamd:
            pool = pool_at(clamd)
            assert await pool.scan(small(SICK)) == Found(NAME)
            assert str(pool.address).startswith("127.0.0.1 port ")
            pool.close()

    run(main)
