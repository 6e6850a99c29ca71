"""The children of one isolated instance in one worker: one event each at a time, started on demand up to a number, and kept.

Who finds none free waits in line, and the wait counts to the hook's deadline. A child whose asker went away (the deadline, the worker's end) is
in the middle of something: it is killed, and another is started when one is wanted. One that holds more memory after an event than it may is
replaced. Nothing here outlives `close`.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from typing import Final

from postroom.clock import Clock
from postroom.dispatch import Nonsense
from postroom.errors import PostroomError
from postroom.settings import HookPolicy
from postroom.site import Log
from postroom.transfer import PASS, Replace, TransferEvent, Verdict
from postroom_isolation import crossing
from postroom_isolation.crossing import Raised, Replaced
from postroom_isolation.line import Broken, Frame
from postroom_isolation.octets import GROWTH, Replacements, lend, sealed
from postroom_isolation.process import Child, Ended, NotUp, Order
from postroom_isolation.telling import pass_on

_MIB: Final = 1 << 20


class Garbled(PostroomError):
    """A child does not speak as it should: it is not ours any more."""


class Pool:
    """Asks one instance's children."""

    def __init__(
        self,
        order: Order,
        policy: HookPolicy,
        clock: Clock,
        log: Log,
        replacements: Replacements,
        counted: Callable[[str], None] = lambda why: None,
    ) -> None:
        """`counted` is told why a child ended: `died`, `deadline`, `memory` or `nonsense`."""
        self._order, self._policy, self._clock, self._log, self._counted = order, policy, clock, log, counted
        self._replacements = replacements
        self._all: set[Child] = set()  # also those that come up or are being shot
        self._free: list[Child] = []  # the last one back is asked first: its memory is warm
        self._waiting: deque[asyncio.Future[Child]] = deque()
        self._starting: set[asyncio.Task[None]] = set()
        self._coming: set[Child] = set()
        self._ending: set[Child] = set()
        self._serving = 0  # children that are asked, free, or coming up
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    def make(self) -> Child:
        """A child's process; OSError when there is no room for one."""
        child = Child(self._order, self._clock, lambda frame: pass_on(frame, self._log), self._lost)
        self._all.add(child)
        return child

    def admit(self, child: Child) -> None:
        """One that is up already, from before there was a loop."""
        self._free.append(child)
        self._serving += 1

    async def ask(self, hook: str, event: TransferEvent) -> Verdict:
        """The verdict of one child. Ended, Raised, Nonsense or NotUp where there is none."""
        said = crossing.write_event(hook, event)
        child = await self._lend()
        try:
            data = event.message.peek()
            octets = sealed(data) if data is not None else await lend(event.message)
        except BaseException:
            self._free_again(child)
            raise
        try:
            verdict = await self._read(await child.ask(said, octets), event)
        except Ended:
            raise
        except Garbled:
            self._end(child, "nonsense")
            raise
        except (Raised, Nonsense, Broken, OSError):  # it answered, or was never asked
            self._back(child)
            raise
        except BaseException:
            self._end(child, "deadline")
            raise
        self._back(child)
        return verdict

    async def _read(self, frame: Frame, event: TransferEvent) -> Verdict:
        """The verdict in a frame, with a copy of its message. Garbled, or Nonsense where only the message is not as it may be."""
        if frame.data == crossing.PASSED and frame.descriptor < 0:
            return PASS
        try:
            said = crossing.read_answer(frame.data)
            if isinstance(said, Replaced) != (frame.descriptor >= 0):
                raise Nonsense("a Replace comes with its message, and nothing else does")
        except (Raised, Nonsense) as error:
            if frame.descriptor >= 0:
                os.close(frame.descriptor)
            raise error if isinstance(error, Raised) else Garbled(str(error)) from None
        if not isinstance(said, Replaced):
            return said
        return Replace(await self._replacements.take(said.id, said.size, frame.descriptor, event.message.size + GROWTH))

    # Who is free.

    async def _lend(self) -> Child:
        """A free child, now or in turn."""
        if self._closed:
            raise NotUp("the site is being closed")
        self._settle_in()
        while self._free and not self._waiting:
            if (child := self._free[-1]).is_up():
                return self._free.pop()
            self._bury(child)
        if self._serving < self._policy.processes and len(self._starting) <= len(self._waiting):
            self._start()
        assert self._loop is not None
        mine: asyncio.Future[Child] = self._loop.create_future()
        self._waiting.append(mine)
        try:
            return await mine
        except asyncio.CancelledError:
            if mine.done() and not mine.cancelled() and mine.exception() is None:
                self._free_again(mine.result())
            raise

    def _settle_in(self) -> None:
        """Let what is up already live in this loop."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
            for child in list(self._free):
                child.attach(self._loop, self._gone) if child.is_up() else self._bury(child)

    def _bury(self, child: Child) -> None:
        """It died while nobody asked it, and nobody was told yet: that is no message's fault."""
        child.kill()
        self._gone(child)

    def _back(self, child: Child) -> None:
        """It answered: the next in line has it, unless it grew too large."""
        if self._policy.memory and (holds := child.resident()) > self._policy.memory * _MIB:
            self._log.warning("hook.child_recycled", pid=child.process.pid, mib=holds // _MIB, limit=self._policy.memory)
            self._end(child, "memory")
        else:
            self._free_again(child)

    def _free_again(self, child: Child) -> None:
        if child not in self._all:  # it died meanwhile
            return
        while self._waiting:
            if not (waiter := self._waiting.popleft()).done():
                waiter.set_result(child)
                return
        self._free.append(child)

    # Coming and going.

    def _start(self) -> None:
        """One more child; it belongs to whoever waits when it is up."""
        assert self._loop is not None
        self._serving += 1
        task = self._loop.create_task(self._bring_up())
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _bring_up(self) -> None:
        child: Child | None = None
        try:
            self._coming.add(child := self.make())
            child.attach(asyncio.get_running_loop(), self._gone)
            await child.come_up()
        except (NotUp, OSError, ValueError) as error:
            self._arrived(child)
            self._log.error("hook.child_not_up", error=str(error))
            self._serving -= 1
            if child is not None and child in self._all:
                self._ending.add(child)
                child.shoot("did not come up")
            self._tell_waiting(f"no child comes up: {error}")
        else:
            self._arrived(child)
            self._log.info("hook.child_started", pid=child.process.pid)
            self._free_again(child)

    def _arrived(self, child: Child | None) -> None:
        """It comes up no more, one way or the other: whoever is told next must see that."""
        if child is not None:
            self._coming.discard(child)
        if (task := asyncio.current_task()) is not None:
            self._starting.discard(task)

    def _tell_waiting(self, why: str) -> None:
        while self._waiting:
            if not (waiter := self._waiting.popleft()).done():
                waiter.set_exception(NotUp(why))

    def _end(self, child: Child, why: str) -> None:
        """Kill it; its place is free at once."""
        if child in self._all and child not in self._ending:
            self._ending.add(child)
            self._counted(why)
            self._leave(child)
            child.shoot(f"was ended: {why}")

    def _gone(self, child: Child) -> None:
        """Its process is no more."""
        self._all.discard(child)
        if child in self._ending:
            self._ending.discard(child)
            return
        self._counted("died")
        if child in self._coming:
            return
        self._log.error("hook.child_died", pid=child.process.pid, how=child.how)
        self._leave(child)

    def _leave(self, child: Child) -> None:
        """Its place is free. Where mail is under way another comes up at once: its start is not to eat the next message's deadline."""
        self._serving -= 1
        if child in self._free:  # it died while nobody asked: the next one who asks starts another
            self._free.remove(child)
        elif not self._closed and self._loop is not None and self._serving < self._policy.processes:
            self._start()

    def _lost(self, lines: int) -> None:
        self._log.warning("hook.child_noisy", lines_lost=lines)

    def close(self) -> None:
        """End all, at once; who waits is told. Safe to be called twice."""
        self._closed = True
        if self._loop is not None and not self._loop.is_closed():
            for task in self._starting:
                task.cancel()
            self._tell_waiting("the site is being closed")
        for child in list(self._all):
            child.kill()
        self._all.clear()
        self._free.clear()
