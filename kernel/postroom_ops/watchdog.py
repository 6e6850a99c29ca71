"""Who blocks the loop: a thread that knocks, and looks at the loop's stack when nobody answers for 50 ms.

It names the plugin and the line; it cannot set the loop free. A block shorter than 75 ms may pass unseen between two knocks.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Callable
from types import FrameType

from postroom_ops.asks import Clock

BLOCKED = 0.05  # seconds
_PAUSE = 0.025
Told = Callable[[str, str, float], None]  # module, place in it, seconds


class Watchdog:
    """Knocks at the running loop; `told` is called in the loop after a block, with the module and line that was busy."""

    def __init__(self, clock: Clock, told: Told, blamable: Callable[[str], bool]) -> None:
        self._clock, self._told, self._blamable = clock, told, blamable
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._answered, self._stop = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="postroom-watchdog", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(_PAUSE):
            self._answered.clear()
            try:
                self._loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:  # closed
                return
            self._wait_for_answer(self._clock.monotonic())

    def _wait_for_answer(self, knocked: float) -> None:
        if self._answered.wait(BLOCKED):
            return
        seen = self._look()
        while not self._answered.wait(1.0):
            if self._stop.is_set():
                return
        seconds = self._clock.monotonic() - knocked
        if seen is not None and not self._stop.is_set():
            self._loop.call_soon_threadsafe(self._told, *seen, seconds)

    def _look(self) -> tuple[str, str] | None:
        """Module and place of the innermost frame that is somebody's, else of the innermost."""
        frame = sys._current_frames().get(self._watched)
        return None if frame is None else find_culprit(frame, self._blamable)


def find_culprit(frame: FrameType, blamable: Callable[[str], bool]) -> tuple[str, str]:
    """The innermost frame whose module `blamable` knows; the innermost of all where it knows none."""
    at: FrameType | None = frame
    while at is not None and not blamable(str(at.f_globals.get("__name__", ""))):
        at = at.f_back
    found = at or frame
    return str(found.f_globals.get("__name__", "")), f"{found.f_code.co_filename}:{found.f_lineno} {found.f_code.co_qualname}"
