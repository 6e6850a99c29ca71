"""The one place where a login is decided, for every service.

`verify` answers with a Principal or a Refused and never raises for what a client sent. An unknown login and a wrong password cannot be
told apart, in words or in time: both cost one hash. A password seen before costs a microsecond: a keyed digest of it is kept in memory,
bound to the stored text, so that it is worth nothing once the record changes. Guessing is slowed down by `throttle.py`; a flood of
hashes cannot starve other people's, see `gate.py`. When the records cannot be read the answer is `unavailable`, never `bad`.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Literal, Protocol

from postroom_net import passwords
from postroom_net.gate import FairGate, GateFull
from postroom_net.passwords import HashCost
from postroom_net.throttle import Attempt, Throttle, ThrottlePolicy

_LONGEST_LOGIN, _LONGEST_PASSWORD = 320, 4096  # octets; nobody's is longer, and hashing megabytes is an attack


class Row(Protocol):
    """A login as a provider keeps it."""

    @property
    def username(self) -> str: ...  # mailbox@postoffice
    @property
    def status(self) -> int: ...  # 1 enabled, 0 disabled
    @property
    def password(self) -> str: ...  # a hash with its scheme, or clear text
    @property
    def account(self) -> str: ...  # the post office
    @property
    def rights(self) -> str: ...


class Clock(Protocol):
    """The time this needs."""

    def now(self) -> float: ...
    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Principal:
    """Who has logged in, as the record spells it."""

    username: str
    postoffice: str
    mailbox: str
    rights: str


Reason = Literal["bad", "disabled", "throttled", "unavailable"]


@dataclass(frozen=True, slots=True)
class Refused:
    """Why not. `bad` says no more on purpose; `disabled` is told only to who knows the password. `wait` is in seconds, zero if unknown."""

    reason: Reason
    wait: float = 0.0


class Observer(Protocol):
    """Told about every password found right that was not in the cache."""

    def __call__(self, login: str, password: str | bytes, row: Row, /) -> None: ...


@dataclass(frozen=True, slots=True)
class LoginNames:
    """How people may write a login: which characters stand for the at sign, and the post office of a bare name."""

    separators: str = "@"
    postoffice: str = ""

    def full(self, login: str) -> str | None:
        """`mailbox@postoffice`, or None where no login can look like this."""
        login = login.strip()
        if not login or len(login) > _LONGEST_LOGIN or not login.isprintable():
            return None
        if "@" in login:
            return login
        at = max((login.rfind(character) for character in self.separators), default=-1)
        if 0 < at < len(login) - 1:
            return f"{login[:at]}@{login[at + 1 :]}"
        return f"{login}@{self.postoffice}" if self.postoffice else login


class Arrival(Protocol):
    """Told of everybody who logged in, and from where."""

    def __call__(self, who: Principal, peer_ip: str, service: str, /) -> None: ...


@dataclass(frozen=True, slots=True)
class Known:
    """A login that was looked up for a mechanism that proves a password without showing it. It may not exist, and nobody may notice."""

    attempt: Attempt
    service: str
    row: Row | None = field(repr=False)

    def secret(self, kind: Literal["clear", "scram"]) -> str | None:
        """The password where it is stored in clear text, or its SCRAM verifier; None where there is none."""
        if self.row is None:
            return None
        return passwords.clear_text(self.row.password) if kind == "clear" else passwords.scram_verifier(self.row.password)


class SeenPasswords:
    """Keyed digests of passwords with the verdict they got, each bound to the stored text it was compared with."""

    def __init__(self, clock: Clock, seconds: float, size: int) -> None:
        self._clock, self._seconds, self._size = clock, seconds, size
        self._key = secrets.token_bytes(32)
        self._seen: OrderedDict[bytes, tuple[str, bool, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def digest(self, account: str, password: bytes) -> bytes:
        name = account.encode("utf-8", "surrogatepass")
        return hashlib.blake2b(b"%d:%b%b" % (len(name), name, password), digest_size=32, key=self._key).digest()

    def verdict(self, digest: bytes, stored: str) -> bool | None:
        """What this password was found to be against this stored text, None where that is not known any more."""
        seen = self._seen.get(digest)
        if seen is None:
            return None
        if seen[0] != stored or self._clock.monotonic() >= seen[2]:
            del self._seen[digest]
            return None
        return seen[1]

    def remember(self, digest: bytes, stored: str, right: bool) -> None:
        self._seen[digest] = (stored, right, self._clock.monotonic() + self._seconds)
        self._seen.move_to_end(digest)
        if len(self._seen) > self._size:
            self._seen.popitem(last=False)


class Login:
    """Decides logins for one process.

    `lookup` finds a row by its full name, None where there is none; the errors named in `outages` mean that it cannot be told now.
    `observers` are told of right passwords, so that clear text can be replaced by a hash; `arrivals` of everybody who came in. `close` ends
    the hashing threads.
    """

    def __init__(
        self,
        lookup: Callable[[str], Awaitable[Row | None]],
        clock: Clock,
        *,
        names: LoginNames | None = None,
        cost: HashCost | None = None,
        policy: ThrottlePolicy | None = None,
        outages: tuple[type[Exception], ...] = (OSError,),
        seen_for: float = 600.0,
        seen_size: int = 10_000,
        threads: int = 0,
    ) -> None:
        self.lookup, self.clock, self.outages = lookup, clock, outages
        self.names, self.cost = names or LoginNames(), cost or HashCost()
        self.throttle = Throttle(policy)
        self.observers: list[Observer] = []
        self.arrivals: list[Arrival] = []
        self.seen = SeenPasswords(clock, seen_for, seen_size)
        threads = threads or os.cpu_count() or 1
        self._gate = FairGate(threads)
        self._threads = ThreadPoolExecutor(threads, "password")
        self._dummy = ""
        self._looks: set[asyncio.Task[bool | Refused]] = set()

    async def verify(self, login: str, password: str | bytes, peer_ip: str, service: str) -> Principal | Refused:
        """Whether this password is this login's. May take as long as `ThrottlePolicy.longest_delay`; does not suspend for a password
        seen before where the lookup does not."""
        found = await self._find(login, peer_ip)
        if isinstance(found, Refused):
            return found
        attempt, row = found
        given = passwords.prepared(password)
        stored = row.password if row is not None else ""
        if not given or len(given) > _LONGEST_PASSWORD:
            stored, given, row = "", b"\0", None  # costs what any wrong one costs
        right = self.seen.verdict(self.seen.digest(attempt.account, given), stored)
        if right is None:
            first = await self._first_look(attempt, stored, given)
            if isinstance(first, Refused):
                return first
            right = first
            if right and row is not None:
                self._tell(login, password, row)
        return await self._settled(attempt, row, right, service)

    async def prove(self, login: str, check: Callable[[str | None], bool], peer_ip: str, service: str) -> Principal | Refused:
        """For mechanisms that need the clear text and one answer (APOP): `check` is given it, or None where there is no login or only a
        hash, and says whether the client has proven to know it."""
        known = await self.look_up(login, peer_ip, service)
        if isinstance(known, Refused):
            return known
        clear = known.secret("clear")
        return await self.settle(known, check(clear) and clear is not None)

    async def look_up(self, login: str, peer_ip: str, service: str) -> Known | Refused:
        """Begin a proof that shows no password; what becomes of it is for `settle` to hear."""
        found = await self._find(login, peer_ip)
        return found if isinstance(found, Refused) else Known(found[0], service, found[1])

    async def settle(self, known: Known, right: bool) -> Principal | Refused:
        """The proof has ended. A guess that was begun before the lock fell is not heard after it; a wrong one is counted."""
        now = self.clock.monotonic()
        if wait := self.throttle.locked(known.attempt, now):
            return Refused("throttled", wait)
        if not right:
            self.throttle.failed(known.attempt, now)
        return await self._settled(known.attempt, known.row, right, known.service)

    def close(self) -> None:
        """End the hashing threads; what they are at is finished first."""
        self._threads.shutdown()

    async def _find(self, login: str, peer_ip: str) -> tuple[Attempt, Row | None] | Refused:
        """The attempt and its row, or why it is not heard."""
        name = self.names.full(login)
        attempt = Attempt(_comparable(name if name is not None else login), peer_ip)
        if wait := self.throttle.locked(attempt, self.clock.monotonic()):
            return Refused("throttled", wait)
        try:
            return attempt, (await self.lookup(name) if name is not None else None)
        except self.outages:
            return Refused("unavailable")

    async def _first_look(self, attempt: Attempt, stored: str, given: bytes) -> bool | Refused:
        """Compare a password not seen before. Goes on to its end when the client hangs up: what it costs us is counted in any case."""
        look = asyncio.create_task(self._look(attempt, stored, given))
        self._looks.add(look)
        look.add_done_callback(self._looks.discard)
        return await asyncio.shield(look)

    async def _look(self, attempt: Attempt, stored: str, given: bytes) -> bool | Refused:
        """At the cost of exactly one hash unless it is right. One attempt of a network at a time, so that guesses sent side by side meet
        the lock like guesses sent one after another."""
        try:
            async with self._gate.place(attempt.network):
                if wait := self.throttle.locked(attempt, self.clock.monotonic()):
                    return Refused("throttled", wait)
                right = await asyncio.get_running_loop().run_in_executor(self._threads, self._compare, stored, given)
                self.seen.remember(self.seen.digest(attempt.account, given), stored, right)
                if not right:  # counted once: the same wrong password again is no further guess
                    self.throttle.failed(attempt, self.clock.monotonic(), given)
                return right
        except GateFull:
            return Refused("unavailable")

    def _compare(self, stored: str, given: bytes) -> bool:
        """In a thread."""
        if not self._dummy:
            self._dummy = passwords.slow_hash(secrets.token_hex(16), self.cost)
        right = passwords.verify(stored, given)
        if not right and not passwords.is_slow(stored):
            passwords.verify(self._dummy, given)
        return right

    async def _settled(self, attempt: Attempt, row: Row | None, right: bool, service: str) -> Principal | Refused:
        now = self.clock.monotonic()
        if not right or row is None:
            if delay := self.throttle.delay(attempt, now):
                await self.clock.sleep(delay)
            return Refused("bad")
        self.throttle.succeeded(attempt, now)
        if not row.status:
            return Refused("disabled")
        who = principal(row)
        for arrival in self.arrivals:
            arrival(who, attempt.ip, service)
        return who

    def _tell(self, login: str, password: str | bytes, row: Row) -> None:
        for observer in self.observers:
            observer(login, password, row)


def principal(row: Row) -> Principal:
    """The row as who it stands for."""
    mailbox, _, postoffice = row.username.rpartition("@")
    return Principal(row.username, row.account or postoffice, mailbox or row.username, row.rights)


def _comparable(login: str) -> str:
    """One text for all spellings of a login, of bounded length."""
    return login[:_LONGEST_LOGIN].strip().casefold()
