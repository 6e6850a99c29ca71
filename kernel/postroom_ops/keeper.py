"""Keeps equal processes alive on shared sockets: one a place, started again when it dies, replaced when it is silent.

Sockets are bound here and stay open between two lives, so peers wait instead of being refused. `renew` starts new processes on the
same sockets, more or fewer of them where that is asked for, and lets the old ones go when the new ones are ready. A process is given its slot and its sockets by an order on its
channel, so one that is up already (a `spare`) can have the next place. The child's side is `child`.
"""

from __future__ import annotations

import asyncio
import json
import os
import pwd
import signal
import socket
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from postroom_ops.asks import Clock, Log

SILENT: Final = 10.0  # seconds without a sign of life after which a process is replaced
REFUSED: Final = 3  # exit code of a child that will not come up however often it is tried; its text is the event `refused`
_LONGEST_PAUSE: Final = 30.0  # seconds before a dead one is started again
_LIVED: Final = 60.0  # seconds after which a death starts the pauses anew
_FAREWELL: Final = 60.0  # seconds for which one that was told to go may be silent: at the end it may wait for a busy disk
_TRIES: Final = 3  # starts of a place that never came up
Command = Callable[[int], Sequence[str]]  # the child's end of the channel


class StartFailed(Exception):
    """The processes do not come up; the text is what the child said, or how it ended."""


@dataclass(eq=False)
class Child:
    """A process that was not given its order yet."""

    process: asyncio.subprocess.Process
    end: socket.socket

    async def hear(self) -> dict[str, Any]:
        """The one line it says before it waits for its order. StartFailed when it ends without a word."""
        line = b""
        while not line.endswith(b"\n"):
            if not (some := await asyncio.get_running_loop().sock_recv(self.end, 65536)):
                raise StartFailed(f"the child ended with {await self.process.wait()}")
            line += some
        said: dict[str, Any] = json.loads(line)
        return said

    async def give(self, slot: int, sockets: Sequence[tuple[str, socket.socket]]) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Its order, and the channel from then on. One that is dead already is found out by the channel's end."""
        order = json.dumps({"slot": slot, "labels": [label for label, _ in sockets]}).encode() + b"\n"
        with suppress(OSError):
            socket.send_fds(self.end, [order], [one.fileno() for _, one in sockets])
        return await asyncio.open_connection(sock=self.end)

    async def dismiss(self) -> None:
        """It is not wanted."""
        self.end.close()
        with suppress(ProcessLookupError):
            self.process.kill()
        await self.process.wait()


async def spawn(command: Command, **rights: Any) -> Child:
    """A child; `rights` as `subprocess.Popen` takes them."""
    ours, theirs = socket.socketpair()
    nothing, handed = asyncio.subprocess.DEVNULL, theirs.fileno()
    try:
        process = await asyncio.create_subprocess_exec(*command(handed), pass_fds=[handed], stdin=nothing, stdout=nothing, **rights)
    except BaseException:
        ours.close()
        raise
    finally:
        theirs.close()
    ours.setblocking(False)
    return Child(process, ours)


@dataclass(eq=False)
class Life:
    """One process."""

    place: int
    slot: int
    process: asyncio.subprocess.Process
    lines: asyncio.StreamReader
    writer: asyncio.StreamWriter
    began: float
    beat: float | None = None  # when it was last heard; nothing is expected of it before it is up
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    refusal: str = ""
    renew: Callable[[], None] = lambda: None  # another is to take its place, and it goes when that one is ready

    async def listen(self, clock: Clock) -> int:
        """Hear what it says until it ends; its exit code."""
        with suppress(ConnectionResetError):  # it died before it read its order
            while not self.lines.at_eof():
                with suppress(ValueError):  # a line torn or too long, from a process in trouble: that is no reason to stop the others
                    self._hear(await self.lines.readline(), clock)
        code = await self.process.wait()
        self.writer.close()
        with suppress(OSError):
            await self.writer.wait_closed()
        return code

    def _hear(self, line: bytes, clock: Clock) -> None:
        match json.loads(line):
            case {"event": "ready"}:
                self.ready.set()
            case {"event": "refused", "error": error}:
                self.refusal = str(error)
            case {"event": "renew"}:
                self.renew()
        self.beat = clock.monotonic()

    def signal(self, number: int) -> None:
        with suppress(ProcessLookupError):
            self.process.send_signal(number)


@dataclass(frozen=True, slots=True)
class _Ending:
    """How a life ended, or that it did not begin (no code)."""

    code: int | None = None
    why: str = ""


@dataclass(eq=False)
class Keeper:
    """So many processes. `failed` is called once when there is no point in going on."""

    command: Command
    places: int
    clock: Clock
    log: Log
    failed: Callable[[BaseException], None]
    sockets: dict[str, list[socket.socket]] = field(default_factory=dict)  # by label, one for each place there was when they were bound
    lives: dict[int, Life] = field(default_factory=dict)  # by place: those that serve
    spare: Child | None = None  # a process that is up already; the next place that needs one takes it
    _alive: set[Life] = field(default_factory=set)  # also those that come up or drain
    _slots: set[int] = field(default_factory=set)  # theirs
    _watcher: asyncio.Task[Any] | None = None
    _renew: dict[int, asyncio.Event] = field(default_factory=dict)
    _tasks: set[asyncio.Task[Any]] = field(default_factory=set)
    _news: asyncio.Condition = field(default_factory=asyncio.Condition)
    _over: asyncio.Event = field(default_factory=asyncio.Event)

    async def start(self) -> None:
        """Returns when all serve. The first comes up alone, for it may have to clean up after all; never returns after `failed`."""
        for place in range(self.places):
            self._background(self._keep(place))
            if place == 0:
                await self._until(lambda: 0 in self.lives)
        await self._until(lambda: len(self.lives) == self.places)
        self._watcher = self._background(self._watch())

    async def renew(self, within: float, places: int = 0) -> bool:
        """Replace all by new ones, at so many places where that is said; False when those did not come up in so many seconds and the old
        ones serve on."""
        before, were = dict(self.lives), self.places
        self.places = places = places or were
        stay = range(min(places, were))
        for place in stay:
            self._renew[place].set()
        for place in range(were, places):
            self._background(self._keep(place))
        try:
            async with asyncio.timeout(within):
                await self._until(lambda: all(self.lives.get(place) is not before.get(place) for place in range(places)))
        except TimeoutError:
            if places < were:
                self.places = were
            return False
        for place in range(places, were):  # last, for the others have their sockets now
            self.lives.pop(place).signal(signal.SIGTERM)
        return True

    async def stop(self, seconds: float) -> None:
        """Let all drain; kill who takes longer."""
        self._over.set()
        for life in self._alive:
            life.signal(signal.SIGTERM)
        if self._watcher is not None:
            self._watcher.cancel()
        if (spare := self._take_spare()) is not None:
            await spare.dismiss()
        if self._tasks:
            _, late = await asyncio.wait(tuple(self._tasks), timeout=seconds)
            if late:
                self.kill()
                await asyncio.wait(late)

    def kill(self) -> None:
        """At once."""
        for life in self._alive:
            life.signal(signal.SIGKILL)

    async def _until(self, so: Callable[[], bool]) -> None:
        async with self._news:
            await self._news.wait_for(so)

    def _background(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.failed(error)

    async def _keep(self, place: int) -> None:
        """Have one process at this place until the end."""
        pause, old, tries = 0.1, None, 0
        renew = self._renew[place] = asyncio.Event()
        while not (self._over.is_set() or self._is_left(place)):
            life, ending = None, _Ending()
            try:
                life = await self._begin(place)
            except OSError as error:  # no process, memory or descriptor is to be had now
                ending = _Ending(why=str(error))
            else:
                ended = self._background(self._attend(life))
                if await _first(ended, life.ready):
                    await self._serve_by(life, old)
                    old = life if await _first(ended, renew) else None
                    renew.clear()
                    if old is not None:
                        continue
                ending = _Ending(await ended, life.refusal)
            tries += 1
            if self._over.is_set() or self._is_left(place):
                return
            if self._watcher is None and place not in self.lives and (ending.code == REFUSED or tries == _TRIES):
                raise StartFailed(ending.why or f"the first process cannot start, it ended with {ending.code}")
            lived = life is not None and self.clock.monotonic() - life.began > _LIVED
            pause = 0.1 if lived else min(pause * 2, _LONGEST_PAUSE)
            self._tell(place, life, ending, pause)
            resting = asyncio.ensure_future(self.clock.sleep(pause))
            await _first(resting, self._over)
            resting.cancel()

    def _is_left(self, place: int) -> bool:
        """Whether there is no such place any more."""
        if place < self.places:
            return False
        self.lives.pop(place, None)
        self._renew.pop(place, None)
        return True

    def _share(self, place: int) -> list[tuple[str, socket.socket]]:
        """The sockets of a place, labels beside them. Each socket is somebody's, whatever the number of places was when they were bound:
        a peer that waits in one must be heard. Where there are too few, several places share one."""
        shares = ((label, some[place :: self.places] or [some[place % len(some)]]) for label, some in self.sockets.items())
        return [(label, one) for label, share in shares for one in share]

    def _tell(self, place: int, life: Life | None, ending: _Ending, pause: float) -> None:
        if life is None:
            self.log.error("worker.not_started", place=place, pause=pause, why=ending.why)
        else:
            self.log.error("worker.died", slot=life.slot, pid=life.process.pid, code=ending.code, pause=pause, why=ending.why)

    async def _attend(self, life: Life) -> int:
        """From its first word to its end; its exit code. Its slot is free from then on."""
        self._alive.add(life)
        if self._over.is_set():
            life.signal(signal.SIGTERM)
        try:
            return await life.listen(self.clock)
        finally:
            self._alive.discard(life)
            self._slots.discard(life.slot)

    async def _serve_by(self, life: Life, old: Life | None) -> None:
        """From now on this one has the place."""
        async with self._news:
            self.lives[life.place] = life
            self._news.notify_all()
        if old is not None:
            old.signal(signal.SIGTERM)

    async def _begin(self, place: int) -> Life:
        """A process with its sockets in its hands. OSError: there is none, and its slot is free."""
        slot = next(number for number in range(len(self._slots) + 1) if number not in self._slots)
        self._slots.add(slot)
        try:
            child = self._take_spare() or await spawn(self.command)
        except BaseException:
            self._slots.discard(slot)
            raise
        lines, writer = await child.give(slot, self._share(place))
        self.log.info("worker.started", slot=slot, pid=child.process.pid, place=place)
        return Life(place, slot, child.process, lines, writer, self.clock.monotonic(), renew=self._renew[place].set)

    def _take_spare(self) -> Child | None:
        spare, self.spare = self.spare, None
        return spare

    async def _watch(self) -> None:
        """Kill who is silent; whoever keeps the place starts another. Who goes holds a journal slot until it is gone."""
        while True:
            await self.clock.sleep(1.0)
            for life in tuple(self._alive):
                patience = SILENT if self.lives.get(life.place) is life else _FAREWELL
                if life.beat is not None and self.clock.monotonic() - life.beat > patience and life.process.returncode is None:
                    self.log.error("worker.silent", slot=life.slot, pid=life.process.pid, seconds=patience)
                    life.beat = None  # once: to signal a dead child again reaps it, and asyncio then knows no exit code
                    life.signal(signal.SIGKILL)


async def _first(ended: asyncio.Future[Any], event: asyncio.Event) -> bool:
    """Whether the event came before the end."""
    waiting = asyncio.ensure_future(event.wait())
    await asyncio.wait([ended, waiting], return_when=asyncio.FIRST_COMPLETED)
    waiting.cancel()
    return event.is_set() and not ended.done()


def bind(host: str, port: int, places: int) -> list[socket.socket]:
    """One bound socket a place, all of one port (0: any that is free). OSError."""
    made: list[socket.socket] = []
    try:
        for _ in range(places):
            one = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
            made.append(one)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if places > 1:
                one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            if one.family == socket.AF_INET6:
                one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            one.bind((host, port))
            port = one.getsockname()[1]
    except OSError:
        for one in made:
            one.close()
        raise
    return made


def drop_rights(owner: pwd.struct_passwd | None) -> None:
    """Become this account for good."""
    if owner is not None:
        os.setgroups([])
        os.setresgid(owner.pw_gid, owner.pw_gid, owner.pw_gid)
        os.setresuid(owner.pw_uid, owner.pw_uid, owner.pw_uid)
