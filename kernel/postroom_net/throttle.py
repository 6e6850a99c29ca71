"""How guessing passwords is made slow, without locking out the owner. Pure: every call is told the time.

Wrong passwords are counted per address, per network (/64) and per account; a count halves every `half_life`. A few are free, then each
answer is held back longer, then nobody there is heard at all until the count has decayed. A network from which an account was used
with success lately is that owner's *known device*: for that account it is slowed down, never locked, whatever others do to the account
or it does to other accounts. Memory is bounded; who was seen longest ago is forgotten first. With `share` all workers of a site count in one
ledger, so that more workers give nobody more guesses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from postroom_net.ledger import Entry, Ledger, Memory, Table
from postroom_net.limits import network_of

PAGES: Final = 5  # tables of a ledger that is to be shared
_SOON: Final = 60.0  # seconds for which a device that is known need not be noted again


@dataclass(frozen=True, slots=True)
class ThrottlePolicy:
    """Where slow begins and where it ends."""

    free: float = 3.0  # wrong passwords answered at once
    first_delay: float = 1.0  # seconds the next one is held back; each further one twice as long
    longest_delay: float = 15.0  # seconds
    lock_ip: float = 20.0  # wrong passwords after which an address is not heard
    lock_network: float = 60.0
    lock_account: float = 50.0  # the same for an account, from wherever it is not known
    half_life: float = 600.0  # seconds
    known_for: float = 14 * 86_400.0  # seconds a device stays known after its last success
    size: int = 65_536  # entries of each kind remembered


@dataclass(frozen=True, slots=True)
class Attempt:
    """Who tries which account; `account` is its comparable form, also where there is no such account."""

    account: str
    ip: str

    @property
    def network(self) -> str:
        return network_of(self.ip)


class Counts:
    """Decaying counts by key, the least recently touched forgotten first."""

    def __init__(self, half_life: float, size: int) -> None:
        self.half_life = half_life
        self.table: Table = Memory(size)

    def __len__(self) -> int:
        return len(self.table)

    def get(self, key: str, now: float) -> float:
        return self._decayed(self.table.get(key), now)

    def add(self, key: str, now: float, mark: int = 0) -> bool:
        """Count one more; not where the last one had the same mark (zero is none) within a half-life, and then the answer is no."""
        counted = True

        def one_more(old: Entry | None) -> Entry:
            nonlocal counted
            if old is not None and mark and old.mark == mark and not _is_foreign(old, now) and now - old.when < self.half_life:
                counted = False
                return old
            return Entry(self._decayed(old, now) + 1.0, now, mark)

        self.table.change(key, one_more)
        return counted

    def forget(self, key: str) -> None:
        if self.table.get(key) is not None:
            self.table.change(key, lambda old: None)

    def _decayed(self, entry: Entry | None, now: float) -> float:
        if entry is None or _is_foreign(entry, now):
            return 0.0
        return entry.value * math.pow(0.5, max(now - entry.when, 0.0) / self.half_life)

    def until(self, key: str, now: float, below: float) -> float:
        """Seconds until a count that has reached `below` has made room for half of one; zero where it has not reached it."""
        count, full = self.get(key, now), below - 0.5
        return self.half_life * math.log2(count / full) if count > full else 0.0


class Throttle:
    """What is remembered about wrong and right passwords: in this process, or in the site once it is shared."""

    def __init__(self, policy: ThrottlePolicy | None = None) -> None:
        self.policy = policy = policy or ThrottlePolicy()
        self._ips, self._networks, self._accounts, self._pairs = (Counts(policy.half_life, policy.size) for _ in range(4))
        self._known: Table = Memory(policy.size)
        self._ledger: Ledger | None = None

    def share(self, ledger: Ledger) -> None:
        """Count from now on in these tables, which have PAGES pages and are the other workers' too."""
        for number, counts in enumerate((self._ips, self._networks, self._accounts, self._pairs)):
            counts.table = ledger.page(number)
        self._known = ledger.page(PAGES - 1)
        self._ledger = ledger

    def is_known(self, attempt: Attempt, now: float) -> bool:
        """Whether this account was lately used with success from this network."""
        return self._known_since(attempt, now, self.policy.known_for)

    def _known_since(self, attempt: Attempt, now: float, seconds: float) -> bool:
        """Whether it was within so many seconds."""
        entry = self._known.get(_pair(attempt))
        return entry is not None and not _is_foreign(entry, now) and now - entry.when <= seconds

    def locked(self, attempt: Attempt, now: float) -> float:
        """Seconds this attempt must not be heard; zero where its password may be looked at."""
        if self.is_known(attempt, now):
            return 0.0
        policy = self.policy
        return max(
            self._ips.until(attempt.ip, now, policy.lock_ip),
            self._networks.until(attempt.network, now, policy.lock_network),
            self._accounts.until(attempt.account, now, policy.lock_account),
        )

    def delay(self, attempt: Attempt, now: float) -> float:
        """Seconds the answer to a wrong password is held back, after `failed` has counted it."""
        policy = self.policy
        if self.is_known(attempt, now):
            count = self._pairs.get(_pair(attempt), now)
        else:
            shares = policy.lock_network / policy.lock_ip, policy.lock_account / policy.lock_ip
            count = max(
                self._ips.get(attempt.ip, now),
                self._networks.get(attempt.network, now) / max(shares[0], 1.0),
                self._accounts.get(attempt.account, now) / max(shares[1], 1.0),
            )
        over = math.ceil(count - policy.free - 1e-3)
        return min(policy.first_delay * 2.0 ** (over - 1), policy.longest_delay) if over > 0 else 0.0

    def failed(self, attempt: Attempt, now: float, password: bytes = b"") -> None:
        """Count a wrong password. Where the tables are shared and the password is told, the same one again is not counted again: another
        worker, with its own memory of what it saw, did that."""
        mark = self._ledger.mark(password) if self._ledger is not None and password else 0
        if not self._pairs.add(_pair(attempt), now, mark):
            return
        if self.is_known(attempt, now):
            return  # the owner's own mistakes lock nobody, not even the address for other accounts
        self._ips.add(attempt.ip, now)
        self._networks.add(attempt.network, now)
        self._accounts.add(attempt.account, now)

    def succeeded(self, attempt: Attempt, now: float) -> None:
        """Remember a right password. What the address did to other accounts stays counted: a guesser may own one account."""
        if not self._known_since(attempt, now, min(_SOON, self.policy.known_for / 100)):
            self._known.change(_pair(attempt), lambda old: Entry(1.0, now))
        self._pairs.forget(_pair(attempt))


def _is_foreign(entry: Entry, now: float) -> bool:
    """Whether it is from the future: another clock wrote it, and it says nothing."""
    return entry.when > now + 1.0


def _pair(attempt: Attempt) -> str:
    return f"{attempt.account}\0{attempt.network}"
