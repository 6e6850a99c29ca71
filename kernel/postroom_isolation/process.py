"""One child of an isolated plugin, as the worker sees it: started, asked one event at a time, killed, and buried.

Whoever asks gets the child's answer, `Raised` for what its hook raised, or `Ended` where the child is gone. A child is the leader of a
session and process group of its own: killed, it takes along what it started. It dies with the worker that started it.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from postroom.clock import Clock
from postroom.errors import PostroomError
from postroom_isolation import line as wire
from postroom_isolation.line import Broken, Frame, Line

STARTING: Final = 20.0  # seconds a child may take to import and construct its plugin
_LINES: Final = 200  # log lines a second that are taken from one child; more are counted
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")


class Ended(ConnectionError):
    """The child is gone; the text says how it ended."""


class NotUp(PostroomError):
    """A child did not come up."""


@dataclass(frozen=True, slots=True)
class Order:
    """What every child of one instance is told: the settings' text and where it stands, which instance, which class, which worker."""

    root: str
    text: str
    where: str
    name: str
    value: str  # of the entry point
    worker: int
    memory: int  # MiB


class Child:
    """One process, from its start to its burial."""

    def __init__(self, order: Order, clock: Clock, logged: Callable[[Frame], None], lost: Callable[[int], None]) -> None:
        """Start it. OSError when there is no room for a process."""
        self._clock, self._logged, self._lost = clock, logged, lost
        ours, theirs = socket.socketpair()
        told = _file(json.dumps({name: getattr(order, name) for name in Order.__slots__}).encode())
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "postroom_isolation.child", str(theirs.fileno()), str(told), str(os.getpid()), order.name],
                pass_fds=(theirs.fileno(), told),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,
            )
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
            os.close(told)
        self._line = Line(ours)
        self._death = self._memory = -1
        self._deaths = select.poll()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._answer: asyncio.Future[Frame] | None = None
        self._gone: Callable[[Child], None] = lambda child: None
        self._second, self._lines = 0, 0
        self._buried = False
        self.how = ""  # it ended, once it has
        try:
            self._death = os.pidfd_open(self.process.pid)
            self._deaths.register(self._death, select.POLLIN)
            self._memory = os.open(f"/proc/{self.process.pid}/statm", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.kill()
            raise

    # Coming up.

    def greet(self) -> Mapping[str, Any]:
        """What it says first, waited for here and now. NotUp."""
        until = self._clock.monotonic() + STARTING
        ready = select.poll()
        ready.register(self._line, select.POLLIN)
        while (left := until - self._clock.monotonic()) > 0 and ready.poll(left * 1000):
            frames = self._frames()
            if frames is None:
                raise NotUp(f"its process {self.kill()}")
            for frame in frames:
                if frame.kind == wire.HELLO:
                    return _hello(frame)
                self._told(frame)
        raise NotUp(f"it did not come up within {STARTING:g} seconds")

    def _frames(self) -> list[Frame] | None:
        try:
            return self._line.receive()
        except BlockingIOError:
            return []
        except Broken as error:
            raise NotUp(str(error)) from None

    def attach(self, loop: asyncio.AbstractEventLoop, gone: Callable[[Child], None]) -> None:
        """Live in this loop from now on; `gone` is told once of its death."""
        self._loop, self._gone = loop, gone
        loop.add_reader(self._death, self._died)
        self._line.attach(loop, self._told, self._hung_up)

    async def come_up(self) -> None:
        """Wait for its first word. NotUp."""
        assert self._loop is not None
        self._answer = self._loop.create_future()
        try:
            async with asyncio.timeout(STARTING):
                said = _hello(await self._answer)
            if "hooks" not in said:
                raise NotUp(said["refused"][0]["what"])
        except TimeoutError:
            raise NotUp(f"it did not come up within {STARTING:g} seconds") from None
        except Ended as error:
            raise NotUp(str(error)) from None
        finally:
            self._answer = None

    # Being asked.

    async def ask(self, event: bytes, descriptor: int) -> Frame:
        """Its answer; the descriptor is closed in any case. Ended."""
        if self._buried or self._loop is None:
            os.close(descriptor)
            raise Ended(f"the child {self.how}")
        self._answer = self._loop.create_future()
        try:
            try:
                self._line.send(wire.EVENT, event, descriptor)
            except OSError:
                self._hung_up("")  # its death is known in a moment, and how it died
            return await self._answer
        except asyncio.CancelledError:
            if self._answer.done() and not self._answer.cancelled() and self._answer.exception() is None:
                _drop(self._answer.result())  # it answered in the very moment of the deadline
            raise
        finally:
            self._answer = None

    def is_up(self) -> bool:
        """Whether its process is there still."""
        return not self._buried and not self._deaths.poll(0)

    def resident(self) -> int:
        """Octets of memory it has now; zero where it is gone."""
        with suppress(OSError, IndexError):
            return int(os.pread(self._memory, 128, 0).split()[1]) * _PAGE
        return 0

    def _told(self, frame: Frame) -> None:
        if frame.kind == wire.LOG:
            self._take_line(frame)
        elif self._answer is not None and not self._answer.done() and frame.kind in (wire.VERDICT, wire.HELLO):
            self._answer.set_result(frame)
            return
        _drop(frame)

    def _take_line(self, frame: Frame) -> None:
        """So many lines a second; what is more is told as a number."""
        if (second := int(self._clock.monotonic())) != self._second:
            lost, self._second, self._lines = max(self._lines - _LINES, 0), second, 0
            if lost:
                self._lost(lost)
        self._lines += 1
        if self._lines <= _LINES:
            self._logged(frame)

    # Ending.

    def _hung_up(self, why: str) -> None:
        """The line ended, or spoke nonsense: what is left of the process goes, and its death says the rest."""
        self.how = self.how or why
        self._kill()

    def _died(self) -> None:
        assert self._loop is not None
        self._loop.remove_reader(self._death)
        self._line.read(self._told, lambda why: None)  # its last words
        self.kill()
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(Ended(f"the child {self.how}"))
        self._gone(self)

    def _kill(self) -> None:
        if self.process.returncode is None:  # once it is buried its number may be another's
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def kill(self) -> str:
        """End it and all it started, now, and let go of everything; how it ended. Waits for the kernel to take it down. Safe to be called twice."""
        if not self._buried:
            self._buried = True
            self._kill()
            code = self.process.wait()
            self.how = self.how or (f"was killed by {_signal(-code)}" if code < 0 else f"ended with exit status {code}")
            if self._loop is not None and not self._loop.is_closed():
                self._loop.remove_reader(self._death)
            self._line.close()
            for fd in (self._death, self._memory):
                if fd >= 0:
                    os.close(fd)
        return self.how

    def shoot(self, why: str) -> None:
        """End it without waiting: `gone` is told when it is over."""
        self.how = self.how or why
        self._line.detach()
        self._kill()


def _drop(frame: Frame) -> None:
    if frame.descriptor >= 0:
        os.close(frame.descriptor)


def _hello(frame: Frame) -> Mapping[str, Any]:
    said: dict[str, Any] = json.loads(frame.data)
    return said


def _file(data: bytes) -> int:
    fd = os.memfd_create("postroom-order", os.MFD_CLOEXEC)
    with open(fd, "wb", closefd=False) as file:
        file.write(data)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
