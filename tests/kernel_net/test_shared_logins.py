"""Two workers' logins over one ledger: a wrong password is one guess wherever it is seen, and a lock at one is a lock at both."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from postroom_disk.disk import Disk
from postroom_net.ledger import Ledger
from postroom_net.login import Login, Row
from postroom_net.throttle import PAGES
from tests.kernel_net.test_login import BAD, BOB, CHEAP, HASHED, HOME, Entry
from tests.kernel_net.ticking import Ticking


def with_two(folder: Path, test: Callable[[Login, Login], Coroutine[Any, Any, None]]) -> None:
    async def lookup(name: str) -> Row | None:
        return Entry("bob@po", HASHED) if name == "bob@po" else None

    async def main() -> None:
        clock, disk = Ticking(), Disk()
        logins = [Login(lookup, clock, cost=CHEAP, threads=1) for _ in range(2)]
        ledgers = [Ledger.open(folder / "run" / "throttle", disk, pages=PAGES, size=1000) for _ in logins]
        try:
            for login, ledger in zip(logins, ledgers):
                login.throttle.share(ledger)
            await test(*logins)
        finally:
            for login, ledger in zip(logins, ledgers):
                login.close()
                ledger.close()

    asyncio.run(main())


def test_the_same_wrong_password_at_both_is_one_guess(tmp_path: Path) -> None:
    async def test(one: Login, other: Login) -> None:
        for login in (one, other, one, other):
            assert await login.verify("bob@po", "old password", HOME, "pop3") == BAD
        assert one.throttle._ips.get(HOME, one.clock.monotonic()) == 1.0

    with_two(tmp_path, test)


def test_a_lock_at_one_is_a_lock_at_both_and_the_owner_who_came_by_one_is_heard_at_both(tmp_path: Path) -> None:
    async def test(one: Login, other: Login) -> None:
        assert await one.verify("bob@po", "secret", "203.0.113.9", "pop3") == BOB
        for number in range(40):  # more than the lock needs: the clock goes on while answers are held back
            await (one, other)[number % 2].verify("bob@po", f"guess {number}", HOME, "pop3")
        for login in (one, other):
            assert getattr(await login.verify("bob@po", "secret", HOME, "pop3"), "reason", "") == "throttled"
            assert await login.verify("bob@po", "secret", "203.0.113.9", "pop3") == BOB

    with_two(tmp_path, test)
