"""The supervisor of a site: binds the sockets, drops rights, has the workers kept alive. It runs no plugin code.

A worker that dies is started again, one that is silent is replaced; their sockets stay open meanwhile. A reload starts new workers on
the same sockets and drains the old ones when the new ones serve; settings that cannot be used leave everything as it is.
SIGTERM drains and ends with 0, a second one kills. Nothing is printed: `on_ready` is told who serves where.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import pwd
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from socket import socket
from typing import Any, Final

from postroom.clock import SystemClock
from postroom.connectors import Endpoint
from postroom.errors import ConfigError
from postroom.settings import Settings, load
from postroom_disk.disk import Disk
from postroom_ops.keeper import Keeper, StartFailed, bind, drop_rights, spawn
from postroom_ops.logs import BoundLog, Writer
from postroom_run.control import SUPERVISOR, Control, Json, NotRunning, Refused, forward

_RELOADED: Final = 120.0  # seconds new workers may take to come up
_GRACE: Final = 10.0  # seconds beyond the drain time before a worker is killed
Ready = Callable[[Json], None]


class Supervisor:
    """One site being served."""

    def __init__(self, root: Path, *, workers: int | None = None, on_ready: Ready = lambda told: None) -> None:
        self.root, self.on_ready, self.clock, self.disk = root.resolve(), on_ready, SystemClock(), Disk()
        self.settings = load(self.root)
        said = self.settings.log
        self._writer = Writer(self.root / "Logging", self.clock, self.disk, level=said.level, keep=said.keep)
        self.log = BoundLog(self._writer, {"worker": "supervisor"})
        self._asked = workers  # on the command line, which has the last word
        self.keeper = Keeper(self._command, self._places(self.settings), self.clock, self.log, self._fail)
        self._endpoints: dict[str, Endpoint] = {}
        self._stopping = asyncio.Event()
        self._reloading = asyncio.Lock()  # one reload at a time: each has a process of its own in spare
        self._failure: BaseException | None = None

    def _places(self, settings: Settings) -> int:
        """How many workers there are to be."""
        said = self._asked or settings.workers
        return len(os.sched_getaffinity(0)) if said == "auto" else said

    async def run(self) -> int:
        """Serve until told to stop; 0. ConfigError when the site cannot be served as it is."""
        owner = _account(self.settings)
        lock = self._lock(owner)
        try:
            await self._prepare(owner)
            drop_rights(owner)
            self._writer.start()
            await self._serve()
        except StartFailed as error:
            raise ConfigError(str(error), remedy="Logging/ has the details") from None
        finally:
            for bound in (one for some in self.keeper.sockets.values() for one in some):
                bound.close()
            self.disk.close(lock)
            self._writer.close()
        return 0

    def _lock(self, owner: pwd.struct_passwd | None) -> int:
        """Be the only one on this site."""
        folder = self.root / "run"
        self.disk.make_folders(folder)
        path = folder / "lock"
        fd = self.disk.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            number = os.pread(fd, 32, 0).decode(errors="replace").strip()
            self.disk.close(fd)
            remedy = "Stop that one first, or tell it to reload"
            raise ConfigError(f"{self.root} is already served by process {number}", remedy=remedy) from None
        self.disk.ftruncate(fd, 0)
        self.disk.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
        if owner is not None:
            for made in (folder, path):
                os.chown(made, owner.pw_uid, owner.pw_gid)
        return fd

    async def _prepare(self, owner: pwd.struct_passwd | None = None) -> None:
        """Ask a child which sockets the plugins want and bind them; that child then serves. ConfigError: nothing changed."""
        rights: dict[str, Any] = {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []} if owner else {}
        try:
            child = await spawn(lambda channel: [*self._command(channel), "--plan"], **rights)
        except PermissionError as error:
            who = owner.pw_name if owner else "this account"
            raise ConfigError(f"{who} may not run {error.filename}", remedy="Install postroom where that account can read it") from None
        try:
            told = await child.hear()
            if told["event"] == "refused":
                raise ConfigError(told["error"])
            self._bind([Endpoint(**one) for one in told["endpoints"]])
        except StartFailed as error:
            await child.dismiss()
            raise ConfigError(f"the plugins could not be looked at; {error}") from None
        except BaseException:
            await child.dismiss()
            raise
        self.keeper.spare = child

    def _bind(self, endpoints: Sequence[Endpoint]) -> None:
        """Bind what is not bound yet, then let go of what nobody wants any more. ConfigError: nothing changed."""
        made: dict[str, list[socket]] = {}
        for endpoint in endpoints:
            if self._endpoints.get(endpoint.label) != endpoint:
                try:
                    made[endpoint.label] = self._renamed(endpoint, endpoints) or bind(endpoint.host, endpoint.port, self.keeper.places)
                except OSError as error:
                    _close(made)
                    denied = isinstance(error, PermissionError)
                    remedy = "Start as root and set `user`, or choose a port above 1023" if denied else "Choose another port or address"
                    raise ConfigError(f"{endpoint.label} cannot listen on {endpoint}: {error.strerror}", remedy=remedy) from None
        self._endpoints = {endpoint.label: endpoint for endpoint in endpoints}
        old = {label: some for label, some in self.keeper.sockets.items() if label in made or label not in self._endpoints}
        self.keeper.sockets = {label: some for label, some in self.keeper.sockets.items() if label not in old} | made
        _close(old)

    def _renamed(self, endpoint: Endpoint, wanted: Sequence[Endpoint]) -> list[socket]:
        """The sockets that are bound to this place under a label that lets go of it; they cannot be bound a second time."""
        alone = sum((one.host, one.port) == (endpoint.host, endpoint.port) for one in wanted) == 1
        for label, old in self._endpoints.items():
            if endpoint.port and alone and (old.host, old.port) == (endpoint.host, endpoint.port):
                return [one.dup() for one in self.keeper.sockets[label]]
        return []

    def _command(self, channel: int) -> list[str]:
        return [sys.executable, "-m", "postroom_run.worker", str(self.root), "--channel", str(channel)]

    async def _serve(self) -> None:
        loop, control = asyncio.get_running_loop(), self._control()
        await control.open()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        reloads: set[asyncio.Task[None]] = set()
        loop.add_signal_handler(signal.SIGHUP, lambda: reloads.add(loop.create_task(self._reload_quietly())))
        starting = loop.create_task(self._start())
        try:
            await self._stopping.wait()
        finally:
            for task in (starting, *reloads):
                task.cancel()
            await asyncio.gather(starting, *reloads, return_exceptions=True)
            await self.keeper.stop(self.settings.limits.drain + _GRACE)
            await control.close()
        if self._failure is not None:
            raise self._failure

    async def _start(self) -> None:
        await self.keeper.start()
        self.on_ready(self._told())

    def stop(self) -> None:
        """Drain and end; asked a second time, kill."""
        if self._stopping.is_set():
            self.keeper.kill()
        self._stopping.set()

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or error
        self._stopping.set()

    # What people ask.

    def _told(self) -> Json:
        """The ready line: who serves, and where."""
        pids = [life.process.pid for _, life in sorted(self.keeper.lives.items())]
        ports = {label: some[0].getsockname()[1] for label, some in self.keeper.sockets.items()}
        shown = {label: str(Endpoint(label, one.host, ports[label])) for label, one in self._endpoints.items()}
        return {"ready": True, "site": str(self.root), "workers": pids, "endpoints": shown}

    def _control(self) -> Control:
        control = Control(self.root / "run", SUPERVISOR, self.disk, self.log, others=self._forward)
        for name in ("status", "health", "metrics", "reload"):
            control.serve(name, getattr(self, name))
        control.serve("plugin.list", self.plugins)
        control.serve("stop", self._stop)
        return control

    async def _each(self, request: str) -> list[Json]:
        """The answers of all workers that answer."""
        asked = (forward(self._socket(life.slot), request, {}) for life in self.keeper.lives.values())
        return [answer for answer in await asyncio.gather(*asked, return_exceptions=True) if isinstance(answer, dict)]

    async def _forward(self, request: str, args: Json) -> Json:
        """One worker answers for all: the first that can."""
        for _, life in sorted(self.keeper.lives.items()):
            with suppress(NotRunning):
                return await forward(self._socket(life.slot), request, args)
        raise Refused("no worker is up; look into Logging/")

    def _socket(self, slot: int) -> Path:
        return self.root / "run" / f"control-{slot}.sock"

    async def status(self) -> Json:
        return {"pid": os.getpid(), **self._told(), "each": await self._each("status")}

    async def health(self) -> Json:
        answers = await self._each("health")
        missing = self.keeper.places - len(answers)
        problems = [f"{missing} of {self.keeper.places} workers do not answer"] if missing else []
        problems = list(dict.fromkeys([*problems, *(problem for answer in answers for problem in answer["problems"])]))
        return {"ok": not problems, "problems": problems}

    async def metrics(self) -> Json:
        from postroom_ops.metrics import merge  # the supervisor counts nothing of its own; this is asked for seldom

        return {"text": merge(answer["text"] for answer in await self._each("metrics"))}

    async def plugins(self) -> Json:
        """What all workers counted, added up."""
        from postroom_run.tally import together

        answers = await self._each("plugin.list")
        if not answers:
            raise Refused("no worker is up; look into Logging/")
        return {"plugins": together(answer["plugins"] for answer in answers), "workers": len(answers)}

    def _stop(self) -> Json:
        self._stopping.set()
        return {"stopping": True}

    async def reload(self) -> Json:
        """New workers on the same sockets; returns when they serve. Refused leaves the old ones at work."""
        async with self._reloading:
            try:
                self.settings = load(self.root)
                await self._prepare()
            except ConfigError as error:
                raise Refused(str(error)) from None
            if not await self.keeper.renew(_RELOADED, self._places(self.settings)):
                raise Refused("the new workers do not come up, the old ones serve on; look into Logging/")
            return self._told()

    async def _reload_quietly(self) -> None:
        try:
            await self.reload()
        except Refused as error:
            self.log.error("reload.refused", why=str(error))


def _close(sockets: Mapping[str, Sequence[socket]]) -> None:
    for one in (one for some in sockets.values() for one in some):
        one.close()


def _account(settings: Settings) -> pwd.struct_passwd | None:
    """The account to run as; None where rights are to stay as they are."""
    if not settings.user or os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(settings.user)
    except KeyError:
        raise settings.error(f"there is no account {settings.user}", "user", remedy="Make it, or name another") from None


def serve(root: Path, *, workers: int | None = None, on_ready: Ready = lambda told: None) -> int:
    """Serve a site in this process until it is stopped; the exit code. ConfigError when it cannot be served."""

    async def run() -> int:
        return await Supervisor(root, workers=workers, on_ready=on_ready).run()

    return asyncio.run(run())
