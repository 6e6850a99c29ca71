"""One connection to a clamd that keeps to the protocol, and to one that does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from postroom.message import FileMessage
from postroom_clamav.errors import HungUp, ScannerError
from postroom_clamav.grammar import CLEAN, TOO_LARGE, Found
from postroom_clamav.session import BLOCK, Session
from tests.hooks_clamav.clamd import MARK, NAME, FakeClamd, fake_clamd
from tests.hooks_clamav.conftest import Run
from tests.hooks_clamav.house import SICK, large, small


@asynccontextmanager
async def speaking(folder: Path, **clamd_is: object) -> AsyncIterator[tuple[FakeClamd, Session, asyncio.Event]]:
    """A session with a clamd that is as told, and what is set when it is over: by itself, or ended inside the block."""
    async with fake_clamd(folder / "c") as clamd:
        for name, value in clamd_is.items():
            setattr(clamd, name, value)
        over = asyncio.Event()
        _, session = await asyncio.get_running_loop().create_unix_connection(lambda: Session(over.set), str(clamd.path))
        yield clamd, session, over
        await over.wait()


def test_one_connection_judges_many_messages(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with speaking(tmp_path) as (clamd, session, _):
            assert await session.scan(small()) is CLEAN
            assert await session.scan(small(SICK)) == Found(NAME)
            assert await session.scan(small(b"")) is CLEAN
            assert session.is_open and clamd.connections == 1
            assert clamd.commands == ["zIDSESSION", "zINSTREAM", "zINSTREAM", "zINSTREAM"]
            session.end()

    run(main)


def test_a_large_message_goes_in_blocks(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with speaking(tmp_path) as (clamd, session, _):
            message = large(tmp_path, octets=3_000_000, tail=MARK)
            assert await session.scan(message) == Found(NAME)
            assert clamd.streams == [message.size] and clamd.chunks == -(-message.size // BLOCK)
            assert await session.scan(small()) is CLEAN  # and the session goes on
            session.end()

    run(main)


def test_a_large_message_waits_for_clamd_to_read(tmp_path: Path, run: Run) -> None:
    """A clamd that does not read gets what fits its socket; the rest is not read from disk either."""

    class Counted(FileMessage):
        async def read(self, offset: int = 0, n: int = -1) -> bytes:
            read.append(offset)
            return await super().read(offset, n)

    read: list[int] = []

    async def main() -> None:
        async with speaking(tmp_path, fault="deaf") as (clamd, session, _):
            file = large(tmp_path, octets=40_000_000)
            scan = asyncio.create_task(session.scan(Counted(file.id, file.path, file.size)))
            while len(read) < 2 or session._room is None:
                await asyncio.sleep(0)
            for _ in range(200):
                await asyncio.sleep(0)
            assert len(read) < 20
            clamd.go_on.set()
            assert await scan is CLEAN
            assert clamd.streams == [file.size]
            session.end()

    run(main)


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        ("garbage", "no reply"),
        ("never ends", "4096 octets"),
        ("wrong number", "question 2, not 1"),
        ("error", "Can't allocate memory"),
        ("hangs up", "closed the connection"),
        ("hangs up within the reply", "closed the connection"),
        ("hangs up in the stream", "closed the connection"),
    ],
)
def test_what_is_no_answer_is_an_error_and_ends_the_session(tmp_path: Path, fault: str, why: str, run: Run) -> None:
    async def main() -> None:
        async with speaking(tmp_path, fault=fault) as (_, session, over):
            with pytest.raises(ScannerError, match=why) as told:
                await session.scan(small())
            assert not session.is_open
            if isinstance(told.value, HungUp):
                assert told.value.silent is (fault != "hangs up within the reply")
            await over.wait()
            with pytest.raises(HungUp):
                await session.scan(small())

    run(main)


def test_a_reply_may_come_octet_by_octet(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with speaking(tmp_path, fault="octet by octet") as (_, session, _):
            assert await session.scan(small(SICK)) == Found(NAME)
            assert await session.scan(small()) is CLEAN
            session.end()

    run(main)


def test_a_second_answer_ends_the_session_and_judges_nothing(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with speaking(tmp_path, fault="twice", faults_left=1) as (_, session, over):
            assert await session.scan(small()) is CLEAN
            await over.wait()
            assert not session.is_open

    run(main)


def test_a_verdict_before_the_message_was_there_is_not_believed(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with speaking(tmp_path, fault="early verdict") as (_, session, _):
            with pytest.raises(ScannerError, match="before it had it whole"):
                await session.scan(large(tmp_path, octets=30_000_000))

    run(main)


@pytest.mark.parametrize("octets", [600_000, 20_000_000])
def test_clamd_s_own_limit_is_heard_although_it_hangs_up(tmp_path: Path, octets: int, run: Run) -> None:
    async def main() -> None:
        async with speaking(tmp_path, limit=500_000) as (_, session, _):
            assert await session.scan(large(tmp_path, octets=octets)) is TOO_LARGE
            assert not session.is_open

    run(main)


def test_a_scan_given_up_ends_the_session(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with speaking(tmp_path, fault="slow") as (clamd, session, _):
            scan = asyncio.create_task(session.scan(small()))
            await clamd.asked.wait()
            scan.cancel()
            with pytest.raises(asyncio.CancelledError):
                await scan
            assert not session.is_open

    run(main)


def test_a_message_that_ends_early_is_not_judged(tmp_path: Path, run: Run) -> None:
    async def main() -> None:
        async with speaking(tmp_path) as (clamd, session, over):
            file = large(tmp_path)
            with pytest.raises(ScannerError, match="ends after"):
                await session.scan(FileMessage(file.id, file.path, file.size + 1))
            await over.wait()
            assert clamd.streams == []

    run(main)
