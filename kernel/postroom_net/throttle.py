"""How guessing passwords is made slow, without locking out the owner. Pure: every call is told the time.

Wrong passwords are counted per address, per network (/64) and per account; a count halves every `half_life`. A few are free, then each
answer is held back longer, then nobody there is heard at all until the count has decayed. A network from which an account was used
with success lately is that owner's *known device*: for that account it is slowed down, never locked, whatever others do to the account
or it does to other accounts. Memory is bounded; who was seen longest ago is forgotten first.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass

from postroom_net.limits import network_of


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
        self.half_life, self.size = half_life, size
        self._counts: OrderedDict[str, tuple[float, float]] = OrderedDict()  # key: count, when

    def __len__(self) -> int:
        return len(self._counts)

    def get(self, key: str, now: float) -> float:
        count, when = self._counts.get(key, (0.0, now))
        return count * 0.5 ** ((now - when) / self.half_life) if count else 0.0

    def add(self, key: str, now: float) -> None:
        self._counts[key] = (self.get(key, now) + 1.0, now)
        self._counts.move_to_end(key)
        if len(self._counts) > self.size:
            self._counts.popitem(last=False)

    def forget(self, key: str) -> None:
        self._counts.pop(key, None)

    def until(self, key: str, now: float, below: float) -> float:
        """Seconds until a count that has reached `below` has made room for half of one; zero where it has not reached it."""
        count, full = self.get(key, now), below - 0.5
        return self.half_life * math.log2(count / full) if count > full else 0.0


class Throttle:
    """What is remembered about wrong and right passwords in this process."""

    def __init__(self, policy: ThrottlePolicy | None = None) -> None:
        self.policy = policy = policy or ThrottlePolicy()
        self._ips, self._networks, self._accounts, self._pairs = (Counts(policy.half_life, policy.size) for _ in range(4))
        self._known: OrderedDict[tuple[str, str], float] = OrderedDict()

    def is_known(self, attempt: Attempt, now: float) -> bool:
        """Whether this account was lately used with success from this network."""
        since = self._known.get((attempt.account, attempt.network))
        return since is not None and now - since <= self.policy.known_for

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

    def failed(self, attempt: Attempt, now: float) -> None:
        """Count a wrong password."""
        self._pairs.add(_pair(attempt), now)
        if self.is_known(attempt, now):
            return  # the owner's own mistakes lock nobody, not even the address for other accounts
        self._ips.add(attempt.ip, now)
        self._networks.add(attempt.network, now)
        self._accounts.add(attempt.account, now)

    def succeeded(self, attempt: Attempt, now: float) -> None:
        """Remember a right password. What the address did to other accounts stays counted: a guesser may own one account."""
        key = (attempt.account, attempt.network)
        self._known[key] = now
        self._known.move_to_end(key)
        if len(self._known) > self.policy.size:
            self._known.popitem(last=False)
        self._pairs.forget(_pair(attempt))


def _pair(attempt: Attempt) -> str:
    return f"{attempt.account}\0{attempt.network}"
