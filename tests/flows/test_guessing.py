"""Guessing passwords at a real server with two workers: both count together, so it gives as many guesses as one; and what they counted outlives
them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from postroom_disk.disk import Disk
from postroom_net.ledger import Ledger
from postroom_net.throttle import PAGES, ThrottlePolicy
from tests.demo import PATIENCE, Demo

pytestmark = pytest.mark.long
LOGIN, GUESSES = "alice@example.test", 60
HEARD = int(ThrottlePolicy().lock_ip)  # wrong passwords of an address that are looked at
TOO_MANY = b"-ERR [SYS/TEMP] too many wrong passwords"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Demo]:
    server = Demo(tmp_path / "site", workers=2).start()
    yield server
    server.close()


async def said_to(endpoint: tuple[str, int], password: str) -> bytes:
    """What the server says to this login."""
    reader, writer = await asyncio.open_connection(*endpoint)
    try:
        await reader.readline()
        writer.write(f"USER {LOGIN}\r\nPASS {password}\r\n".encode())
        await reader.readline()
        return await reader.readline()
    finally:
        writer.close()
        await writer.wait_closed()


def guesses_told_apart(site: Path) -> list[str]:
    """So many wrong passwords that the workers of this site tell from one another. They tell by 255 marks, so two guesses in a row are
    counted as one four times in a thousand, and each time one more is heard."""
    ledger = Ledger.open(site / "run" / "throttle", Disk(), pages=PAGES, size=ThrottlePolicy().size)
    try:
        by_mark = {ledger.mark(guess.encode()): guess for guess in map("guess {}".format, range(100 * GUESSES))}
    finally:
        ledger.close()
    return list(by_mark.values())[:GUESSES]


async def refused_unheard(endpoint: tuple[str, int], guesses: Sequence[str], wanted: int) -> int:
    """How many of these guesses, made all at once, were refused unheard when `wanted` of them were, or when patience ended."""
    asking = {asyncio.create_task(said_to(endpoint, guess)) for guess in guesses}
    unheard = 0
    try:
        async with asyncio.timeout(PATIENCE):
            for answer in asyncio.as_completed(asking):
                unheard += (await answer).startswith(TOO_MANY)
                if unheard == wanted:
                    break
    except TimeoutError:
        pass
    finally:
        for task in asking:
            task.cancel()
        await asyncio.gather(*asking, return_exceptions=True)
    return unheard


def test_two_workers_hear_as_many_wrong_passwords_as_one(served: Demo) -> None:
    assert len(served.told.workers) == 2
    guesses = guesses_told_apart(served.server.site)
    wanted = len(guesses) - HEARD - 1  # both may be at one when the lock falls
    assert len(guesses) == GUESSES

    async def main() -> None:
        assert await refused_unheard(served.endpoint("pop3"), guesses, wanted) == wanted
        right = served.password(LOGIN)
        told = await asyncio.gather(*(said_to(served.endpoint("pop3"), right) for _ in range(16)))
        assert all(answer.startswith(TOO_MANY) for answer in told), "each worker has locked the address, for the right password too"

    asyncio.run(main())
    served.close()  # kill -9
    served.start()

    async def later() -> None:
        assert (await said_to(served.endpoint("pop3"), served.password(LOGIN))).startswith(TOO_MANY)

    asyncio.run(later())
