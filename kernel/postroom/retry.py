"""When to try again, when to say that it takes long, when to give up. Pure, so three days pass in a microsecond of test."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from postroom.envelope import Attempt

MINUTE, HOUR = 60.0, 3600.0


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Delays after each failed attempt, the last one repeating, until the message is older than its lifetime."""

    delays: tuple[float, ...] = (15 * MINUTE, 30 * MINUTE, 60 * MINUTE, 240 * MINUTE)  # seconds
    lifetime: float = 72 * HOUR  # seconds since arrival
    tell_after: tuple[float, ...] = (4 * HOUR,)  # ages in seconds at which the sender hears of the delay
    tell_every: int = 0  # or: a delay notice per so many attempts, a "batch" of the overview's section 3.1.2
    hops: Mapping[str, RetryPolicy] = field(default_factory=dict)  # what holds for a next hop (a domain, in lower case) instead

    def of(self, hop: str) -> RetryPolicy:
        """What holds for mail to this next hop."""
        return self.hops.get(hop.lower(), self)

    def next(self, attempt: Attempt, arrived: float, now: float) -> float | None:
        """The time of the next attempt after `attempt.count` of them have failed, or None: give up.

        A clock set back by the operator never makes a message older, one set forward never skips the last attempt."""
        delay = self.delays[min(attempt.count, len(self.delays)) - 1] if attempt.count else 0.0
        due, expires = now + delay, arrived + self.lifetime
        if now >= expires and attempt.count >= len(self.delays):
            return None
        return due if due <= expires or attempt.count < len(self.delays) else max(expires, now)

    def tells(self, attempt: Attempt, arrived: float, now: float) -> bool:
        """Whether a delay notice is owed after this failed attempt, given how many were sent."""
        if self.tell_every:
            return attempt.count // self.tell_every > attempt.told
        return sum(now - arrived >= age for age in self.tell_after) > attempt.told


OVERVIEW = RetryPolicy(delays=(3 * HOUR,), lifetime=72 * HOUR, tell_after=(), tell_every=10)  # overview section 3.1.2
PRESETS = {"default": RetryPolicy(), "overview": OVERVIEW}
