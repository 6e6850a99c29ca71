from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from postroom_net import oauth, scram
from postroom_net.authentication import Authenticator, Verdict
from postroom_net.login import Login, LoginNames, Principal, Refused, Row
from postroom_net.passwords import HashCost, hash_password, slow_hash
from postroom_net.sasl import LOGIN, PLAIN, Challenge, Fault, Mechanisms, cram_md5
from postroom_net.throttle import ThrottlePolicy
from tests.kernel_net.scram_client import Client
from tests.kernel_net.ticking import Ticking

CHEAP = HashCost(1, 8, 1, 4096)
STORED = hash_password("pencil", CHEAP)
BOB = Principal("bob@po", "po", "bob", "USER")


@dataclass(frozen=True)
class Entry:
    username: str
    password: str = field(repr=False)
    status: int = 1
    account: str = "po"
    rights: str = "USER"


class Desk:
    """A service that offers everything, over three logins."""

    def __init__(self, policy: ThrottlePolicy | None = None) -> None:
        rows = (Entry("bob@po", STORED), Entry("old@po", slow_hash("pencil", CHEAP)), Entry("off@po", STORED, 0), Entry("eve@po", "pencil"))
        self.rows: dict[str, Entry] = {row.username: row for row in rows}
        self.clock = Ticking()
        self.login = Login(self._find, self.clock, cost=CHEAP, threads=1, policy=policy)
        offered = Mechanisms([PLAIN, LOGIN, cram_md5("mail.test"), *scram.mechanisms(lambda: b"k" * 32)])
        self.authenticator = Authenticator(offered, self.login, "smtp")

    async def _find(self, name: str) -> Row | None:
        if name == "broken@po":
            raise OSError("the database is away")
        return self.rows.get(name)

    async def plain(self, text: bytes, ip: str = "192.0.2.1") -> Verdict:
        trial = self.authenticator.begin("PLAIN", ip, secure=True, binding=None)
        assert trial is not None
        return await trial.go(trial.exchange.begin(b64encode(text)))

    async def scram(self, login: str, password: str, ip: str = "192.0.2.1") -> Verdict:
        """The verdict after the last word of the client."""
        trial = self.authenticator.begin("SCRAM-SHA-256", ip, secure=True, binding=None)
        assert trial is not None
        client = Client(login, password)
        said = await trial.go(trial.exchange.begin(b64encode(client.first())))
        if isinstance(said, Challenge):
            said = await trial.go(trial.exchange.answer(b64encode(client.final(said.data))))
        if isinstance(said, Challenge):
            assert said.data == client.expected
            said = await trial.go(trial.exchange.answer(b""))
        return said


def run(test: Callable[[Desk], Awaitable[None]], policy: ThrottlePolicy | None = None) -> None:
    async def main() -> None:
        desk = Desk(policy)
        try:
            await test(desk)
        finally:
            desk.login.close()

    asyncio.run(main())


def test_every_mechanism_ends_with_who_it_is() -> None:
    async def test(desk: Desk) -> None:
        assert await desk.plain(b"\0bob@po\0pencil") == BOB
        assert await desk.plain(b"bob@po\0bob@po\0pencil") == BOB
        assert await desk.scram("bob@po", "pencil") == BOB

    run(test)


def test_one_refusal_for_all_that_is_wrong() -> None:
    """Unknown, wrong, without a verifier: the same words."""

    async def test(desk: Desk) -> None:
        for login, password in (("nobody@po", "pencil"), ("bob@po", "wrong"), ("old@po", "pencil"), ("eve@po", "pencil")):
            assert await desk.scram(login, password) == Refused("bad")
        assert await desk.plain(b"\0old@po\0pencil") == Principal("old@po", "po", "old", "USER")
        assert await desk.scram("off@po", "wrong") == Refused("bad")
        assert await desk.scram("off@po", "pencil") == Refused("disabled")

    run(test)


def test_a_database_that_is_away_is_no_wrong_password() -> None:
    async def test(desk: Desk) -> None:
        assert await desk.scram("broken@po", "pencil") == Refused("unavailable")
        assert await desk.plain(b"\0broken@po\0pencil") == Refused("unavailable")

    run(test)


def test_guesses_are_slowed_down_whatever_the_mechanism() -> None:
    """Case 44: three are free, then each answer is held back longer, then the address is not heard; another address still is."""

    async def test(desk: Desk) -> None:
        for _ in range(12):
            assert await desk.scram("bob@po", "wrong") == Refused("bad")
        assert desk.clock.slept[:3] == [1.0, 2.0, 4.0] and max(desk.clock.slept) == 15.0
        for _ in range(20):
            await desk.plain(b"\0bob@po\0guess%d" % _)
        heard = await desk.scram("bob@po", "pencil")
        assert isinstance(heard, Refused) and heard.reason == "throttled" and heard.wait > 0
        assert await desk.scram("bob@po", "pencil", "198.51.100.7") == BOB

    run(test, ThrottlePolicy(lock_ip=15.0, lock_account=1000.0))


def test_a_proof_begun_before_the_lock_is_not_heard_after_it() -> None:
    """Guesses held ready side by side gain nothing."""

    async def test(desk: Desk) -> None:
        trial = desk.authenticator.begin("SCRAM-SHA-256", "192.0.2.1", secure=True, binding=None)
        assert trial is not None
        client = Client("bob@po", "pencil")
        said = await trial.go(trial.exchange.begin(b64encode(client.first())))
        assert isinstance(said, Challenge)
        for _ in range(3):
            await desk.scram("bob@po", "wrong")
        last = await trial.go(trial.exchange.answer(b64encode(client.final(said.data))))
        assert isinstance(last, Challenge)
        verdict = await trial.go(trial.exchange.answer(b""))
        assert isinstance(verdict, Refused) and verdict.reason == "throttled"

    run(test, ThrottlePolicy(lock_ip=2.0))


def test_rubbish_is_nobodys_failed_login() -> None:
    """Case 44: base64 that is none costs the peer an answer, and nobody else anything."""

    async def test(desk: Desk) -> None:
        for name in ("PLAIN", "SCRAM-SHA-256", "LOGIN"):
            trial = desk.authenticator.begin(name, "192.0.2.1", secure=True, binding=None)
            assert trial is not None
            assert await trial.go(trial.exchange.begin(b"!!!!")) is Fault.MALFORMED
        assert await desk.plain(b"\0bob@po\0pencil") == BOB and not desk.clock.slept

    run(test)


@pytest.mark.parametrize("first", [b"eve\0bob@po\0pencil"])
def test_acting_for_another_is_not_offered(first: bytes) -> None:
    async def test(desk: Desk) -> None:
        assert await desk.plain(first) is Fault.NOT_ALLOWED

    run(test)


def test_who_arrives_is_told() -> None:
    async def test(desk: Desk) -> None:
        seen: list[tuple[Principal, str, str]] = []
        desk.login.arrivals.append(lambda *told: seen.append(told))
        await desk.scram("bob@po", "wrong")
        await desk.scram("bob@po", "pencil")
        await desk.plain(b"\0bob@po\0pencil")
        assert seen == [(BOB, "192.0.2.1", "smtp")] * 2

    run(test)


def test_a_login_that_is_not_there_has_one_salt_however_it_is_written() -> None:
    """A login that exists has one salt for all its spellings; one that has not must not be told from it by having several."""

    async def test(desk: Desk) -> None:
        desk.login.names = LoginNames("@%", "po")

        async def salt(login: str) -> bytes:
            trial = desk.authenticator.begin("SCRAM-SHA-256", "192.0.2.1", secure=True, binding=None)
            assert trial is not None
            said = await trial.go(trial.exchange.begin(b64encode(Client(login, "x").first())))
            assert isinstance(said, Challenge)
            return said.data.partition(b",")[2]

        spellings = ("{}@po", "{}", "{}%po", " {}@PO")
        assert len({await salt(one.format("bob")) for one in spellings[:3]}) == 1
        assert len({await salt(one.format("nobody")) for one in spellings}) == 1
        assert await salt("nobody") != await salt("nobody@other")

    run(test)


def test_a_token_is_judged_whether_or_not_there_is_such_a_login() -> None:
    """Else the time it takes tells who has a mailbox here."""

    class Tokens:
        def __init__(self) -> None:
            self.asked: list[str] = []

        async def vouches(self, token: str, login: str) -> bool | None:
            self.asked.append(login)
            return True

    async def test(desk: Desk) -> None:
        tokens = Tokens()
        offered = Authenticator(Mechanisms(oauth.mechanisms()), desk.login, "smtp", tokens)
        for login in ("bob@po", "nobody@po"):
            trial = offered.begin("OAUTHBEARER", "192.0.2.1", secure=True, binding=None)
            assert trial is not None
            said = await trial.go(trial.exchange.begin(b64encode(f"n,a={login},\x01auth=Bearer abc\x01\x01".encode())))
            if login == "bob@po":
                assert said == BOB
                continue
            assert isinstance(said, Challenge)
            assert await trial.go(trial.exchange.answer(b64encode(b"\x01"))) == Refused("bad")
        assert tokens.asked == ["bob@po", "nobody@po"]

    run(test)
