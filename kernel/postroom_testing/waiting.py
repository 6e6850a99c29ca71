"""Waiting for what nobody can tell a test: a program of somebody else's, the files it writes, the system's own tables.

`until` is the only place of the kit and of our tests that looks again and again by the machine's own clock, and it has a bound. What can tell is
awaited itself: a task, an event, `Folder.follow`, a process's descriptor, a clock turned by hand.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

PATIENCE: Final = 20.0  # seconds
_LOOK: Final = 0.005  # seconds between two looks


async def until(happened: Callable[[], object], what: str = "what was waited for", *, patience: float = PATIENCE) -> None:
    """Return once this is so, and give the loop its turns meanwhile. AssertionError when patience ends."""
    try:
        async with asyncio.timeout(patience):
            while not happened():  # noqa: ASYNC110 (what happens is another program's or the system's: nobody sets an event)
                await asyncio.sleep(_LOOK)
    except TimeoutError:
        raise AssertionError(f"{what} did not come to an end in {patience:g} s") from None
