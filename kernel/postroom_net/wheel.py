"""Deadlines of many connections on one timer.

A connection keeps its deadline in an attribute and moves it with every command, which costs an assignment. The wheel looks at a
connection only when the deadline it last saw has come, and puts it back where that has moved meanwhile. A deadline strikes up to one
tick late, never early.
"""

from __future__ import annotations

from typing import Protocol


class Timed(Protocol):
    """What has a deadline."""

    deadline: float  # seconds of the wheel's clock; may be moved later at any time, to move it earlier call `TimerWheel.watch` again

    def expire(self) -> None:
        """The deadline has passed. The wheel has let go of it already."""


class Ticking(Protocol):
    """The part of a clock that the wheel needs."""

    def monotonic(self) -> float: ...
    async def sleep(self, seconds: float) -> None: ...


class TimerWheel:
    """Watches deadlines. One `run` per wheel, as a task of whoever owns it; `turn` alone serves tests and other drivers."""

    def __init__(self, clock: Ticking, tick: float = 1.0) -> None:
        self.clock, self.tick = clock, tick
        self._slots: dict[int, set[Timed]] = {}
        self._slot_of: dict[Timed, int] = {}

    def __len__(self) -> int:
        return len(self._slot_of)

    def watch(self, timed: Timed) -> None:
        """Watch this one, or look at it again because its deadline was moved to an earlier time."""
        slot = int(max(timed.deadline, self.clock.monotonic()) / self.tick) + 1
        known = self._slot_of.get(timed)
        if known is not None:
            if known <= slot:
                return
            self._leave(timed, known)
        self._slot_of[timed] = slot
        self._slots.setdefault(slot, set()).add(timed)

    def forget(self, timed: Timed) -> None:
        """Stop watching; nothing happens where it was not watched."""
        slot = self._slot_of.pop(timed, None)
        if slot is not None:
            self._leave(timed, slot)

    def _leave(self, timed: Timed, slot: int) -> None:
        others = self._slots[slot]
        others.discard(timed)
        if not others:
            del self._slots[slot]

    def turn(self) -> None:
        """Expire what is due now."""
        now = self.clock.monotonic()
        last = int(now / self.tick)
        for slot in [slot for slot in self._slots if slot <= last]:
            members = self._slots.get(slot, set())  # `expire` may forget others of the same slot
            while members:
                timed = members.pop()
                del self._slot_of[timed]
                if timed.deadline > now:
                    self.watch(timed)
                else:
                    timed.expire()
            self._slots.pop(slot, None)

    async def run(self) -> None:
        """Turn once a tick until cancelled."""
        while True:
            await self.clock.sleep(self.tick)
            self.turn()
