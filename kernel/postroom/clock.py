"""The only place that asks what time it is.

Everything that waits or stamps is handed a `Clock`, so that three days of retries pass in a microsecond of test.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Time as the house sees it."""

    def now(self) -> float:
        """Unix seconds; may jump when an operator sets the machine's clock."""

    def monotonic(self) -> float:
        """Seconds that only grow; for deadlines and durations."""

    async def sleep(self, seconds: float) -> None:
        """Return after that many seconds of this clock; zero or less yields once."""


class SystemClock:
    """The machine's own time."""

    now = staticmethod(time.time)
    monotonic = staticmethod(time.monotonic)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(seconds, 0))
