"""The watchdog where a loop does not come back: it tells while the block lasts, and once."""

from __future__ import annotations

import asyncio
import threading

from postroom.clock import SystemClock
from postroom_ops.watchdog import Watchdog


def test_features_case_48_who_blocks_for_ever_is_told_while_it_lasts() -> None:
    told: list[tuple[str, str, float, str]] = []

    async def main() -> None:
        said = threading.Event()

        def tell(module: str, place: str, seconds: float) -> None:
            told.append((module, place, seconds, threading.current_thread().name))
            said.set()

        dog = Watchdog(SystemClock(), tell, lambda module: module == __name__)
        dog.start()
        never_comes_back(said)
        for _ in range(3):
            await asyncio.sleep(0)
        dog.stop()

    asyncio.run(main())
    [(module, place, seconds, thread)] = told
    assert module == __name__ and place.endswith("never_comes_back") and seconds >= 1 and thread == "postroom-watchdog"


def never_comes_back(said: threading.Event) -> None:
    """Until it is told of."""
    assert said.wait(30)
