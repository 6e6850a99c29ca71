"""What a worker of the store does behind its answers, in the order of nobody: such as taking away the files of expunged messages.

An errand is nobody's promise. It is waited for where its outcome is to be seen, and before the store is closed; a crash leaves it undone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any


class Errands:
    """What this worker does behind its answers, by the directory of the mailbox it is done in."""

    def __init__(self) -> None:
        self._going: dict[asyncio.Task[None], str] = {}

    def begin(self, mailbox: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._going[task] = mailbox
        task.add_done_callback(self._going.pop)

    async def done(self, mailbox: str = "") -> None:
        """When all that was begun for this mailbox, or for any, is done."""
        waited = [task for task, where in self._going.items() if mailbox in ("", where)]
        if waited:
            await asyncio.wait(waited)
