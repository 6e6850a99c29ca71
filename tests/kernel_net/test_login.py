from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from argon2.low_level import verify_secret

from postroom_net import passwords
from postroom_net.login import Login, LoginNames, Principal, Refused, Row
from postroom_net.passwords import HashCost, hash_password
from postroom_net.throttle import ThrottlePolicy
from tests.kernel_net.ticking import Ticking

CHEAP = HashCost(1, 8, 1)
HOME, AWAY = "198.51.100.1", "203.0.113.9"


@dataclass(frozen=True)
class Entry:
    username: str
    password: str = field(repr=False)
    status: int = 1
    account: str = "po"
    rights: str = "USER"


@dataclass
class House:
    """A Login over a few rows, and how many hashes it computed."""

    login: Login
    rows: dict[str, Entry]
    clock: Ticking
    hashes: list[str]

    async def verify(self, login: str, password: str | bytes, ip: str = HOME) -> Principal | Refused:
        return await self.login.verify(login, password, ip, "pop3")


HASHED = hash_password("secret", CHEAP)
BOB = Principal("bob@po", "po", "bob", "USER")
BAD = Refused("bad")


def run(test: Callable[[House], Coroutine[Any, Any, None]], monkeypatch: pytest.MonkeyPatch, **options: Any) -> None:
    rows = {
        row.username: row
        for row in (Entry("bob@po", HASHED), Entry("eve@po", "clear"), Entry("off@po", HASHED, status=0), Entry("nil@po", ""))
    }
    hashes: list[str] = []

    def counted(stored: bytes, *rest: Any) -> bool:
        hashes.append(stored.decode())
        return verify_secret(stored, *rest)

    monkeypatch.setattr(passwords, "verify_secret", counted)

    async def lookup(name: str) -> Row | None:
        if name == "broken@po":
            raise OSError("the database is away")
        return rows.get(name.lower())

    async def main() -> None:
        clock = Ticking()
        login = Login(lookup, clock, cost=CHEAP, threads=2, **options)
        try:
            await test(House(login, rows, clock, hashes))
        finally:
            login.close()

    asyncio.run(main())


def test_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: House) -> None:
        assert await house.verify("bob@po", "secret") == BOB
        assert await house.verify("BOB@po", b"secret") == BOB
        assert await house.verify("eve@po", "clear") == Principal("eve@po", "po", "eve", "USER")
        assert await house.verify("off@po", "secret") == Refused("disabled")
        assert await house.verify("broken@po", "secret") == Refused("unavailable")
        for login, password in (("bob@po", "wrong"), ("nobody@po", "secret"), ("off@po", "wrong"), ("nil@po", ""), ("bob@po", "")):
            assert await house.verify(login, password, f"192.0.2.{len(login)}") == BAD, login

    run(test, monkeypatch)


@pytest.mark.parametrize(
    ("login", "password"),
    [
        ("bob@po", "wrong"),  # a hash is stored
        ("eve@po", "wrong"),  # clear text is stored
        ("nobody@po", "wrong"),
        ("nil@po", "x"),
        ("off@po", "wrong"),
        ("bob@po", ""),
        ("bob@po", "x" * 5000),
        ("no\nname", "wrong"),
        ("", "wrong"),
    ],
)
def test_every_wrong_login_costs_one_hash(login: str, password: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: House) -> None:
        assert await house.verify(login, password) == BAD
        assert len(house.hashes) == 1 and house.clock.slept == []

    run(test, monkeypatch)


def test_a_password_seen_before_costs_no_hash(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: House) -> None:
        for _ in range(5):
            assert await house.verify("bob@po", "secret") == BOB
        assert len(house.hashes) == 1
        house.clock.at += 599
        await house.verify("bob@po", "secret")
        assert len(house.hashes) == 1
        house.clock.at += 2
        await house.verify("bob@po", "secret")
        assert len(house.hashes) == 2

    run(test, monkeypatch)


def test_a_changed_record_ends_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: House) -> None:
        assert await house.verify("bob@po", "secret") == BOB
        house.rows["bob@po"] = replace(house.rows["bob@po"], password=hash_password("new", CHEAP))
        assert await house.verify("bob@po", "secret") == BAD
        assert await house.verify("bob@po", "new") == BOB
        house.rows["bob@po"] = replace(house.rows["bob@po"], status=0)
        assert await house.verify("bob@po", "new") == Refused("disabled")
        del house.rows["bob@po"]
        assert await house.verify("bob@po", "new") == BAD

    run(test, monkeypatch)


def test_what_is_kept_in_memory_is_no_password(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: House) -> None:
        await house.verify("bob@po", "secret")
        (digest,) = house.login.seen._seen
        assert len(digest) == 32 and b"secret" not in digest
        other = Login(house.login.lookup, house.clock, cost=CHEAP)
        assert other.seen.digest("bob@po", b"secret") != digest
        other.close()

    run(test, monkeypatch)


def test_what_was_seen_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: House) -> None:
        for n in range(10):
            await house.verify(f"user{n}@po", "x", f"192.0.2.{n}")
        assert len(house.login.seen) == 4

    run(test, monkeypatch, seen_size=4)


def test_the_same_wrong_password_again_is_no_further_guess(monkeypatch: pytest.MonkeyPatch) -> None:
    """A phone that polls with last year's password neither burns hashes nor locks its owner out."""

    async def test(house: House) -> None:
        for _ in range(50):
            assert await house.verify("bob@po", "last year's") == BAD
        assert len(house.hashes) == 1 and house.clock.slept == []
        assert await house.verify("bob@po", "secret") == BOB

    run(test, monkeypatch)


def test_guessing_gets_slow_and_then_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: House) -> None:
        answers = [await house.verify("bob@po", f"guess{n}") for n in range(30)]
        assert answers[:20] == [BAD] * 20
        refused = answers[-1]
        assert isinstance(refused, Refused) and refused.reason == "throttled" and refused.wait > 0
        assert len(house.hashes) < 30 and max(house.clock.slept) == 15.0
        assert await house.verify("bob@po", "secret", HOME) != BOB  # nor is the right one
        assert await house.verify("bob@po", "secret", AWAY) == BOB

    run(test, monkeypatch, policy=ThrottlePolicy(half_life=1e9))


def test_guesses_side_by_side_meet_the_lock_like_guesses_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: House) -> None:
        answers = await asyncio.gather(*(house.verify("bob@po", f"guess{n}") for n in range(60)))
        assert sum(answer == BAD for answer in answers) == 20 == len(house.hashes)

    run(test, monkeypatch, policy=ThrottlePolicy(half_life=1e9))


def test_a_client_that_hangs_up_is_counted_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: House) -> None:
        for n in range(5):
            trying = asyncio.create_task(house.verify("bob@po", f"guess{n}"))
            await asyncio.sleep(0)
            trying.cancel()
            await asyncio.gather(trying, return_exceptions=True)
        await asyncio.gather(*house.login._looks)
        assert len(house.hashes) == 5 and house.login.throttle._ips.get(HOME, house.clock.at) > 4.9

    run(test, monkeypatch)


def test_the_owner_comes_in_while_the_account_is_attacked(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: House) -> None:
        assert await house.verify("bob@po", "secret", HOME) == BOB
        for n in range(60):
            await house.verify("bob@po", f"guess{n}", f"192.0.2.{n}")
        stranger = await house.verify("bob@po", "secret", AWAY)
        assert isinstance(stranger, Refused) and stranger.reason == "throttled"
        assert await house.verify("bob@po", "secret", HOME) == BOB

    run(test, monkeypatch, policy=ThrottlePolicy(half_life=1e9))


def test_observers_hear_of_right_passwords_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(house: House) -> None:
        told: list[tuple[str, str | bytes, str]] = []
        house.login.observers.append(lambda login, password, row: told.append((login, password, row.password)))
        for password in ("wrong", "clear", "clear"):
            await house.verify("eve@po", password)
        assert told == [("eve@po", "clear", "clear")]

    run(test, monkeypatch)


def test_proofs(monkeypatch: pytest.MonkeyPatch) -> None:
    async def prove(house: House, login: str, expected: str | None, answer: bool = True) -> Principal | Refused:
        def check(secret: str | None) -> bool:
            assert secret == expected
            return answer

        return await house.login.prove(login, check, HOME, "pop3")

    async def test(house: House) -> None:
        assert isinstance(await prove(house, "eve@po", "clear"), Principal)
        assert await prove(house, "eve@po", "clear", False) == BAD
        assert await prove(house, "bob@po", None) == BAD  # only a hash is stored
        assert await prove(house, "nobody@po", None) == BAD
        assert await prove(house, "broken@po", None) == Refused("unavailable")

    run(test, monkeypatch)


NAMES = LoginNames(separators="@#%", postoffice="po")


@pytest.mark.parametrize(
    ("login", "full"),
    [
        ("bob@po", "bob@po"),
        (" bob@po ", "bob@po"),
        ("bob#po", "bob@po"),
        ("bob%po", "bob@po"),
        ("b#b@po", "b#b@po"),
        ("a#b%po", "a#b@po"),
        ("bob$po", "bob$po@po"),
        ("bob", "bob@po"),
        ("bob#", "bob#@po"),
        ("#bob", "#bob@po"),
        ("", None),
        ("a\0b@po", None),
        ("a\r\nb@po", None),
        ("x" * 400, None),
    ],
)
def test_names(login: str, full: str | None) -> None:
    assert NAMES.full(login) == full


def test_a_bare_name_without_a_default_stays_bare() -> None:
    assert LoginNames().full("bob") == "bob" and LoginNames().full("bob#po") == "bob#po"
