"""A circuit breaker: what keeps failing is left alone for a while, then tried once, and served again when that goes well."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(eq=False, slots=True)
class Breaker:
    """Counts failures in a row. It opens at `limit` of them; after `probe` seconds one try is let through, whose end decides."""

    limit: int
    probe: float  # seconds
    failures: int = 0
    opened: float | None = None  # when it opened last, by the caller's clock; None while it is closed
    is_probing: bool = False

    def may_try(self, now: float) -> bool:
        """Whether to try now. Where it is open, a yes is the one probe."""
        if self.opened is None:
            return True
        if self.is_probing or now - self.opened < self.probe:
            return False
        self.is_probing = True
        return True

    def worked(self) -> bool:
        """A try went well; whether that closed it."""
        was_open = self.opened is not None
        self.failures, self.opened, self.is_probing = 0, None, False
        return was_open

    def failed(self, now: float) -> bool:
        """A try failed; whether it opens now, or stays open after a probe."""
        self.failures += 1
        if not self.is_probing and self.failures != self.limit:
            return False
        self.opened, self.is_probing = now, False
        return True

    def let_go(self) -> None:
        """A try was given up and says nothing."""
        self.is_probing = False
