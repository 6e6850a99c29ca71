"""The process of an isolated plugin: `python -m postroom_isolation.child SOCKET ORDER PARENT NAME`, started by a worker and by nobody else.

It imports the plugin, validates its table, makes it, says which hooks it has, and then answers one event after the other. It ends with its
parent, also while it is busy. What a hook raises is an answer; what kills the process is the worker's to find out.
"""

from __future__ import annotations

import asyncio
import ctypes
import inspect
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Final, NoReturn, cast

from postroom.clock import SystemClock
from postroom.dispatch import Nonsense
from postroom.errors import ConfigError, Origin, PostroomError
from postroom.host import GROUP
from postroom.settings import ConfigErrors, Section, Settings, parse
from postroom.site import Ground
from postroom.transfer import Replace, Verdict
from postroom_disk.disk import Disk
from postroom_isolation import crossing, line
from postroom_isolation.line import Broken, Frame, Line
from postroom_isolation.loops import loop_factory
from postroom_isolation.octets import lend, taken
from postroom_isolation.telling import PipedLog
from postroom_ops.metrics import Metrics

_PR_SET_PDEATHSIG: Final = 1
_HOOK: Final = "postroom_impl"  # where `hookimpl` leaves its mark


class Withheld:
    """Stands where a plugin in a process of its own has nothing; the first use says so."""

    def __init__(self, what: str) -> None:
        object.__setattr__(self, "_what", what)

    def __getattr__(self, name: str) -> NoReturn:
        raise PostroomError(f"a plugin in a process of its own has no {self._what}; write hooks: {{isolation: inline}}")


def construct(order: Mapping[str, Any], log: PipedLog) -> object:
    """The plugin's instance. ConfigErrors, or whatever its import or constructor raised."""
    settings = parse(order["text"], order["where"])
    entry, name = settings.plugins[order["name"]], order["name"]
    plugin = EntryPoint(entry.plugin, order["value"], GROUP).load()
    if getattr(plugin, "hookspecs", None) is not None:
        raise settings.error("brings hooks of its own, which others ask", "plugins", name, "hooks", "isolation", remedy="Write inline")
    return plugin(settings.table_of(entry, getattr(plugin, "Settings", Section)), ground(order, settings, log))


def ground(order: Mapping[str, Any], settings: Settings, log: PipedLog) -> Ground:
    """What it is handed: no journal and no bus, and metrics that nobody collects."""
    journal, bus = cast(Any, Withheld("journal")), cast(Any, Withheld("bus"))
    root = Path(order["root"])
    return Ground(root, settings, SystemClock(), Disk(), journal, Metrics(), log, bus, order["worker"], name=order["name"])


def offers(plugin: object) -> Iterable[dict[str, Any]]:
    """Its hooks as they are marked."""
    for attribute in dir(plugin):
        method = getattr(plugin, attribute, None)
        marked = getattr(method, _HOOK, None)
        if inspect.isroutine(method) and isinstance(marked, dict):
            yield {
                "method": attribute,
                "hook": marked.get("specname") or attribute,
                "wants": list(inspect.signature(method).parameters),
                "waits": inspect.iscoroutinefunction(method),
                "wraps": bool(marked.get("wrapper") or marked.get("hookwrapper")),
                "optional": bool(marked.get("optionalhook")),
            }


class Answering:
    """The plugin at work."""

    def __init__(self, talk: Line, plugin: object, found: Iterable[Mapping[str, Any]]) -> None:
        self._line, self._tasks = talk, set[asyncio.Task[None]]()
        self._hooks = {one["hook"]: (getattr(plugin, one["method"]), bool(one["wants"])) for one in found}

    def told(self, frame: Frame) -> None:
        """An event came: answer it in a task, so that what the plugin has running goes on meanwhile."""
        task = asyncio.get_running_loop().create_task(self._answer(frame))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, frame: Frame) -> None:
        try:
            said, descriptor = await self._ask(frame)
        except BaseException as error:  # SystemExit too: it would end the loop and tell nobody why
            said, descriptor = crossing.write_error(error), -1
        try:
            self._line.send(line.VERDICT, said, descriptor)
        except (OSError, Broken):
            os._exit(1)

    async def _ask(self, frame: Frame) -> tuple[bytes, int]:
        hook, event = crossing.read_event(frame.data, lambda message_id, size: taken(message_id, size, frame.descriptor))
        function, wants = self._hooks[hook]
        verdict: Verdict = await (function(event) if wants else function())
        if not isinstance(verdict, Replace):
            return crossing.write_verdict(verdict), -1
        message = verdict.message
        if not isinstance(getattr(message, "id", None), str) or not isinstance(getattr(message, "size", None), int):
            raise Nonsense(f"answered a Replace of {type(message).__name__}, which is no message")
        return crossing.write_replaced(message.id, message.size), await lend(message)


def main(arguments: list[str]) -> int:
    """The process's entry."""
    end, told, parent = map(int, arguments[:3])
    die_with(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the supervisor's to understand
    os.umask(0o077)
    order = json.loads(os.pread(told, os.fstat(told).st_size, 0))
    os.close(told)
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        return runner.run(live(Line(socket.socket(fileno=end)), order))


async def live(talk: Line, order: Mapping[str, Any]) -> int:
    """From the order to the parent's end."""
    try:
        plugin = construct(order, PipedLog(talk))
        found = list(offers(plugin))
    except Exception as error:
        talk.send(line.HELLO, json.dumps({"refused": [refusal(one) for one in mistakes(error, order)]}).encode())
        return 0
    bound_memory(order["memory"])
    answering = Answering(talk, plugin, found)
    talk.attach(asyncio.get_running_loop(), answering.told, lambda why: os._exit(0))
    talk.send(line.HELLO, json.dumps({"hooks": found}).encode())
    await asyncio.Event().wait()
    return 0


def mistakes(error: Exception, order: Mapping[str, Any]) -> Iterable[ConfigError]:
    """What the operator is to read."""
    if isinstance(error, ConfigErrors):
        return error.errors
    if isinstance(error, ConfigError):
        return [error]
    what = f"{order['value']} cannot be loaded: {type(error).__name__}: {error}"
    settings = parse(order["text"], order["where"])
    return [settings.error(what, "plugins", order["name"], remedy="Reinstall the plugin, or take it out")]


def refusal(error: ConfigError) -> dict[str, Any]:
    """A mistake as it crosses."""
    origin = error.origin or Origin("")
    return {"what": error.what, "where": origin.where, "line": origin.line, "key": error.key, "remedy": error.remedy}


def die_with(parent: int) -> None:
    """Be killed when the worker dies, however busy we are."""
    prctl: Callable[..., int] = ctypes.CDLL(None).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(0)


def bound_memory(mib: int) -> None:
    """Take no more than so much beyond what is taken now: the next allocation then fails. Reserved and untouched address space is free, which
    RLIMIT_AS would count."""
    if mib:
        text = Path("/proc/self/status").read_text()
        taken_now = int(text.partition("VmData:")[2].split()[0]) * 1024
        _, hard = resource.getrlimit(resource.RLIMIT_DATA)
        resource.setrlimit(
            resource.RLIMIT_DATA, (taken_now + (mib << 20), hard)
        )  # programs it starts may lift it again: their bounds are their own


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
