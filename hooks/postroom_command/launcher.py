"""The worker's side of `warden.py`: programs run below small processes of their own, and are waited for without a thread.

`run` returns when the program and all it started are gone. Cancelled, it first sees them ended. Wardens are started when first
needed and kept, one for each program at a time; one that somebody killed is replaced. A worker that dies takes its programs with it,
because their wardens see the line break. `ProgramFailed`: the program could not be started, or nobody knows how it ended.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from postroom.site import Log
from postroom_command.contract import ProgramFailed

SCRIPT: Final = str(Path(__file__).with_name("warden.py"))
_KILL: Final = 5.0  # seconds that a cancelled call waits for the end of its program; one in the kernel's hands may take longer
_DEFAULT: Final = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)


@dataclass(frozen=True, slots=True)
class Account:
    """Who a program runs as."""

    uid: int
    gid: int
    groups: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Program:
    """One program as it is to be started."""

    argv: Sequence[str]
    environment: Mapping[str, str]
    folder: Path  # where it starts
    limits: Mapping[str, int]  # as in `settings.Limits`
    account: Account | None = None

    def order(self) -> bytes:
        """What the warden reads."""
        account = self.account and {"uid": self.account.uid, "gid": self.account.gid, "groups": self.account.groups}
        told = {"argv": list(self.argv), "environment": dict(self.environment), "folder": str(self.folder)}
        return json.dumps({**told, "limits": dict(self.limits), "account": account}).encode()


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended: its exit code, or minus the number of the signal that killed it; and the end of what it said."""

    code: int
    out: bytes = b""
    err: bytes = b""


class Launcher:
    """The programs of one plugin instance in one worker."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._idle: list[_Warden] = []

    async def run(self, program: Program, stdin: int = -1) -> Ended:
        """Run it to its end. `stdin` is a descriptor to read from, or -1 for none; it stays the caller's. ProgramFailed."""
        order = os.memfd_create("order", os.MFD_CLOEXEC)
        try:
            os.pwrite(order, program.order(), 0)
            warden = self._told(order, stdin)
            if await self._ended(warden, program.argv[0]):
                self._idle.append(warden)
                return _understood(os.pread(order, os.fstat(order).st_size, 0))
            raise ProgramFailed("ended without a word: somebody killed the process that watched it")
        finally:
            os.close(order)

    def _told(self, order: int, stdin: int) -> _Warden:
        """A warden that has the order. One that died since its last program is replaced."""
        nothing = os.open(os.devnull, os.O_RDONLY) if stdin < 0 else -1
        try:
            while True:
                is_new = not self._idle
                warden = _Warden() if is_new else self._idle.pop()
                try:
                    warden.start(order, nothing if stdin < 0 else stdin)
                except ConnectionError:
                    if is_new:
                        raise
                    continue
                return warden
        finally:
            if nothing >= 0:
                os.close(nothing)

    async def _ended(self, warden: _Warden, name: str) -> bool:
        """Wait for the end of its program; False when the warden itself is gone. A cancelled wait ends the program first."""
        ended = asyncio.ensure_future(warden.ended())  # one read: a cancellation that meets its answer must not lose it
        try:
            return await asyncio.shield(ended)
        except asyncio.CancelledError:
            warden.kill()
            done, _ = await asyncio.wait([ended], timeout=_KILL)
            if not done:
                self._log.error("command.not_killed", program=name, seconds=_KILL)
            elif ended.result():
                self._idle.append(warden)
            raise
        finally:
            ended.cancel()


class _Warden:
    """One warden and the line to it. It goes when nobody holds it any more, and ends what it runs."""

    def __init__(self) -> None:
        self._line, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, ExitStack() as undo:
            undo.callback(self._line.close)
            self._pid = os.posix_spawn(
                sys.executable,
                [sys.executable, "-I", "-S", "-X", "utf8", SCRIPT],
                {},
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, theirs.fileno(), 0),
                    (os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_RDWR, 0),
                    (os.POSIX_SPAWN_DUP2, 1, 2),
                ],
                setsid=True,  # what is sent to the worker's group is not meant for it: it ends with its line
                setsigmask=[],
                setsigdef=_DEFAULT,
            )
            undo.pop_all()
        self._line.setblocking(False)
        weakref.finalize(self, _hang_up, self._line, self._pid)

    def start(self, order: int, stdin: int) -> None:
        """Hand over an order; ConnectionError when the warden is gone."""
        socket.send_fds(self._line, [b"r"], [order, stdin])

    def kill(self) -> None:
        """Have it end its program; also where that has stopped it."""
        with suppress(ConnectionError):
            self._line.send(b"k")
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGCONT)

    async def ended(self) -> bool:
        """Whether it told the end; else it is gone."""
        try:
            return bool(await asyncio.get_running_loop().sock_recv(self._line, 1))
        except ConnectionError:
            return False


def _hang_up(line: socket.socket, pid: int) -> None:
    line.close()
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)  # it may still have to end its program; then it stays a name in the table until this process ends


def _understood(told: bytes) -> Ended:
    """The warden's words as a value."""
    said = json.loads(told)
    if "failure" in said:
        raise ProgramFailed(f"could not be started: {said['failure']}")
    return Ended(said["code"], said["out"].encode("latin-1"), said["err"].encode("latin-1"))
