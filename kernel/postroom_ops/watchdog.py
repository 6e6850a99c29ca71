"""Who blocks the loop: a thread that looks at what the loop does, and knocks when it is busy.

When nobody answers the knock for 50 ms, the loop's stack tells whose code it is in. It names the plugin and the line; it cannot set the
loop free, and one that may never come back is told of while it is busy still. A loop that waits for news is left asleep: its innermost frame is the one that waits, and it burns no time. A block shorter
than 75 ms may pass unseen between two looks, one shorter than 150 ms where the loop had nothing to do before.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType

from postroom_ops.asks import Clock

BLOCKED = 0.05  # seconds
STUCK = 1.0  # seconds after which a block is told although it lasts: whoever replaces the process may be first otherwise
_PAUSE, _IDLE = 0.025, 0.1  # seconds between two looks: while the loop is busy, and while it waits
_BURNT = 0.5  # share of a pause that a waiting loop may have been at work
_WAITING = frozenset({"asyncio.runners", "selectors"})  # modules whose frames are innermost while a loop waits: uvloop's, asyncio's own
Told = Callable[[str, str, float], None]  # module, place in it, seconds


class Watchdog:
    """Knocks at the running loop; `told` is called once a block, with the module and line that was busy: in the loop after it, or from the
    dog's own thread while it lasts."""

    def __init__(self, clock: Clock, told: Told, blamable: Callable[[str], bool]) -> None:
        self._clock, self._told, self._blamable = clock, told, blamable
        self._loop = asyncio.get_running_loop()
        self._watched = threading.get_ident()
        self._answered = threading.Event()
        self._stop, self._over = threading.Lock(), False  # released to stop; waiting for a lock costs less than waiting for an event
        self._worked = time.pthread_getcpuclockid(self._watched)  # how long the watched thread was at work
        self._thread = threading.Thread(target=self._watch, name="postroom-watchdog", daemon=True)

    def start(self) -> None:
        self._stop.acquire()
        self._thread.start()

    def stop(self) -> None:
        self._over = True
        self._stop.release()
        self._thread.join()

    def _watch(self) -> None:
        worked, pause = time.clock_gettime(self._worked), _PAUSE
        while not self._stop.acquire(timeout=pause):
            before, worked = worked, time.clock_gettime(self._worked)
            if worked - before < pause * _BURNT and self._waits():
                pause = _IDLE
                continue
            pause = _PAUSE
            self._answered.clear()
            try:
                self._loop.call_soon_threadsafe(self._answered.set)
            except RuntimeError:  # closed
                return
            self._wait_for_answer(self._clock.monotonic())

    def _waits(self) -> bool:
        """Whether the loop is asleep until something happens."""
        frame = sys._current_frames().get(self._watched)
        return frame is None or frame.f_globals.get("__name__") in _WAITING

    def _wait_for_answer(self, knocked: float) -> None:
        if self._answered.wait(BLOCKED):
            return
        seen, is_told = self._look(), False
        while not self._answered.wait(STUCK):
            if self._over:
                return
            if not is_told and (found := self._look()) is not None:
                is_told = True
                self._told(*found, self._clock.monotonic() - knocked)
        seconds = self._clock.monotonic() - knocked
        if seen is not None and not is_told and not self._over:
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
