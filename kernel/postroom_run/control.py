"""What concerns a running site is asked of it here: one line of JSON to a socket in `run/`, one line back.

Each worker answers on `run/control-<slot>.sock`, the supervisor on `run/control.sock`. Only the site's own account may connect
(mode 0600 in a folder of 0700). A request that fails is answered with its reason; it never harms the worker.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from postroom.errors import PostroomError
from postroom.site import Log
from postroom_disk.disk import Disk
from postroom_ops.asks import near

Json = dict[str, Any]
Handler = Callable[..., Json | Awaitable[Json]]
SUPERVISOR: Final = "control.sock"
_REQUEST: Final = 1 << 20  # octets
_ANSWER: Final = 64 << 20


class NotRunning(PostroomError):
    """Nobody serves this site now."""


class Refused(PostroomError):
    """The running site said no; the text says why."""


class Control:
    """One socket and the requests it answers."""

    def __init__(self, folder: Path, name: str, disk: Disk, log: Log, others: Callable[[str, Json], Awaitable[Json]] | None = None) -> None:
        """`others` answers what nobody registered for."""
        self.path, self._others = folder / name, others
        self._disk, self._log = disk, log
        self._handlers: dict[str, Handler] = {}
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}

    def serve(self, request: str, handler: Handler) -> None:
        """Answer this request from now on. The handler gets the arguments by name and may be a coroutine function; a PostroomError
        it raises is the answer's `error`."""
        self._handlers[request] = handler

    async def open(self) -> None:
        """Listen. OSError when the folder refuses."""
        self._disk.make_folders(self.path.parent)
        with suppress(FileNotFoundError):
            self._disk.unlink(self.path)
        folder = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            listener.bind(near(folder, self.path.name))
            os.chmod(self.path, 0o600)
        finally:
            os.close(folder)
        self._server = await asyncio.start_unix_server(self._converse, sock=listener, limit=_REQUEST)

    async def close(self) -> None:
        """Stop listening and hang up."""
        if self._server is None:
            return
        self._server.close()
        for task, writer in self._open.items():
            writer.close()
            task.cancel()  # who waits for something long, a reload above all, hears no more of it
        if self._open:
            await asyncio.wait(tuple(self._open))
        with suppress(FileNotFoundError):
            self._disk.unlink(self.path)

    async def answer(self, line: bytes) -> Json:
        """The answer to one request."""
        try:
            asked = json.loads(line)
            return {"ok": True, "answer": await self._handle(asked["request"], asked.get("args", {}))}
        except PostroomError as error:
            return {"ok": False, "error": str(error)}
        except Exception as error:
            self._log.error("control.failed", error=f"{type(error).__name__}: {error}")
            return {"ok": False, "error": f"{type(error).__name__}: {error}"}

    async def _handle(self, request: str, args: Json) -> Json:
        """Let the one who registered for it answer."""
        handler = self._handlers.get(request)
        if handler is None and self._others is not None:
            return await self._others(request, args)
        if handler is None:
            raise Refused(f"no such request: {request}")
        said = handler(**args)
        return await said if inspect.isawaitable(said) else said

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[task] = writer
        try:
            while line := await reader.readline():
                writer.write(json.dumps(await self.answer(line), default=str).encode() + b"\n")
                await writer.drain()
        except (OSError, ValueError):  # gone, or a line beyond the limit
            pass
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()
            del self._open[task]


async def forward(path: Path, request: str, args: Json, within: float = 30.0) -> Json:
    """Ask another process's socket from within a loop, for at most so many seconds. NotRunning, or Refused with its reason."""
    return await asyncio.to_thread(_ask, path, request, args, within)


def ask(root: Path, request: str, *, timeout: float = 60.0, **args: object) -> Json:
    """Ask the running site; for the command line. NotRunning when nobody serves it, Refused with the reason when it says no."""
    return _ask(root / "run" / SUPERVISOR, request, args, timeout)


def _ask(path: Path, request: str, args: Json, timeout: float) -> Json:
    """One request, blocking."""
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise NotRunning(f"nobody serves {path.parent.parent}: {error.strerror}") from None
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as peer:
            peer.settimeout(timeout)
            peer.connect(near(folder, path.name))
            peer.sendall(json.dumps({"request": request, "args": args}, default=str).encode() + b"\n")
            with peer.makefile("rb") as lines:
                line = lines.readline(_ANSWER)
    except TimeoutError:
        raise Refused(f"no answer to {request} within {timeout:g} seconds") from None
    except OSError as error:
        raise NotRunning(f"nobody serves {path.parent.parent}: {error.strerror}") from None
    finally:
        os.close(folder)
    if not line.endswith(b"\n"):
        raise Refused(f"the server hung up on {request}")
    said = json.loads(line)
    if not said["ok"]:
        raise Refused(said["error"])
    return dict(said["answer"])
