"""A worker: everything a site does, in one process and one loop. The supervisor runs as many as the settings say.

It replays what dead workers left, opens what was assembled, runs every agent, and tells the supervisor when all listeners listen.
An agent that fails is logged and started again after a while; the others go on. SIGTERM, or the end of the supervisor, drains:
no new sessions, what is under way ends, what is accepted is settled or rests, exit 0. ConfigError: exit 3, with the text on the
channel. Whatever else ends it loses nothing: the journal has what was promised.

It waits for an order on its channel, which says its slot and hands over its sockets. With `--plan` it first tells which sockets the
site wants, for the supervisor runs no plugin code; when its order comes its modules are in memory already.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import resource
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from postroom.clock import SystemClock
from postroom.connectors import Agent
from postroom.errors import ConfigError, DiskError, SpoolError
from postroom.journal import Journal
from postroom.settings import Settings, load
from postroom.site import Ground, Site
from postroom_disk.disk import Disk
from postroom_net.ledger import Ledger
from postroom_net.throttle import PAGES
from postroom_ops.bus import LocalBus
from postroom_ops.child import Channel, Order, Sockets
from postroom_ops.growth import Growth
from postroom_ops.keeper import REFUSED
from postroom_ops.logs import BoundLog, Writer
from postroom_ops.metrics import Metrics
from postroom_ops.watchdog import Watchdog
from postroom_run.assembly import Asleep, Assembled, assemble, awake
from postroom_run.caretaker import Caretaker, make_queues
from postroom_run.control import Control
from postroom_run.requests import serve_requests

BEAT = 1.0  # seconds between two signs of life
_LONGEST_PAUSE = 30.0  # seconds before a failed agent is started again
_VERDICT = 1.0  # seconds a sender waits for the pickup verdict once the worker drains; agents that end answer those who still wait
_LAST_WORDS = 5.0  # seconds to settle what was delivered when the agents ended


class Worker:
    """One life of a worker."""

    def __init__(self, root: Path, slot: int, channel: Channel, sockets: Sockets) -> None:
        self.root, self.slot, self.channel, self.sockets = root, slot, channel, sockets
        self.clock, self.disk, self.metrics = SystemClock(), Disk(), Metrics()
        self.stopping = asyncio.Event()
        self.failing: dict[str, str] = {}  # agents that are down, and why
        self._listening: set[int] = set()

    async def run(self) -> None:
        """From start to drained."""
        settings = load(self.root)
        writer = Writer(self.root / "Logging", self.clock, self.disk, level=settings.log.level, keep=settings.log.keep)
        self.log = BoundLog(writer, {"worker": self.slot})
        writer.start()
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stopping.set)
        self.channel.on_end(self.stopping.set)
        try:
            await self._live(settings)
        except (ConfigError, DiskError) as error:
            self.log.error("worker.refused", error=str(error))
            raise
        except Exception as error:
            self.log.error("worker.failed", error=error)
            raise
        finally:
            writer.close()
            self.sockets.close()

    async def _live(self, settings: Settings) -> None:
        journal = Journal(self.root / "Journal", self.disk, settings.spool.segment)
        await self._take_slot(journal, settings.limits.drain)
        bus = LocalBus(self.root / "run" / "bus", self.slot, self.disk, self.log)
        control = Control(self.root / "run", f"control-{self.slot}.sock", self.disk, self.log)
        ground = Ground(self.root, settings, self.clock, self.disk, journal, self.metrics, self.log, bus, self.slot)
        self._parts = parts = assemble(ground, control, sockets=self.sockets, ready=self._ready)
        async with AsyncExitStack() as opened:
            self.log.info("worker.recovered", records=await opened.enter_async_context(awake(parts)))
            make_queues(parts)
            bus.open()
            opened.callback(bus.close)
            opened.enter_context(shared_throttle(parts.site))
            caretaker = Caretaker(parts)
            opened.callback(caretaker.close)
            serve_requests(control, parts, self.failing)
            await control.open()
            opened.push_async_callback(control.close)
            watchdog = Watchdog(self.clock, self._blocked, parts.host.knows)
            opened.callback(watchdog.stop)
            watchdog.start()
            _settle_memory()
            await self._serve(parts, caretaker, settings.limits.drain)

    async def _take_slot(self, journal: Journal, patience: float) -> None:
        """An orphan that drains, or the caretaker who replays, may hold the slot for a while yet."""
        until = self.clock.monotonic() + patience
        while True:
            try:
                journal.open(self.slot)
                return
            except SpoolError:
                if self.clock.monotonic() > until:
                    raise
            await self.clock.sleep(0.1)

    async def _serve(self, parts: Assembled, caretaker: Caretaker, drain: float) -> None:
        """Until told to stop, and drained."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in (caretaker.run(), self._beat(), self._growth(parts).run())]
            tasks += [group.create_task(self._keep_running(name, agent)) for name, agent in parts.agents]
            self._tell_ready()
            await self.stopping.wait()
            self.log.info("worker.draining")
            caretaker.stop()  # what rests is for those who stay
            await self._drain(parts, drain)
            for task in tasks:
                task.cancel()
        with suppress(TimeoutError):  # the agents' connections are cut: who had a message by then must not get it again from the journal
            async with asyncio.timeout(_LAST_WORDS):
                await parts.mta.drain()

    def _ready(self, agent: Agent) -> None:
        """An agent's listeners listen."""
        self._listening.add(id(agent))
        self._tell_ready()

    def _tell_ready(self) -> None:
        """Once all that have endpoints listen; said again after every restart of an agent, which does no harm."""
        if all(id(agent) in self._listening for _, agent in self._parts.agents if agent.endpoints):
            self.channel.tell("ready")

    async def _beat(self) -> None:
        while True:
            self.channel.tell("beat")
            await self.clock.sleep(BEAT)

    async def _keep_running(self, name: str, agent: Agent) -> None:
        """Run an agent; when it fails, or ends though nobody told it to, again after a pause that grows."""
        pause = 0.5
        while not self.stopping.is_set():
            try:
                await agent.run()
                if self.stopping.is_set():
                    return
                self.failing[agent.name] = "it ended by itself"
                self.log.error("agent.failed", plugin=name, agent=agent.name, error=self.failing[agent.name], pause=pause)
            except Exception as error:
                self.failing[agent.name] = f"{type(error).__name__}: {error}"
                self.log.error("agent.failed", plugin=name, agent=agent.name, error=error, pause=pause)
            await self.clock.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
            self.failing.pop(agent.name, None)

    async def _drain(self, parts: Assembled, seconds: float) -> None:
        """Stop accepting, let sessions end, settle what was accepted; after so many seconds, the rest is for the journal."""
        parts.mta.reply_within = min(parts.mta.reply_within, _VERDICT)  # who is cut before the answer sends again what we have
        try:
            async with asyncio.timeout(seconds):
                for told in await asyncio.gather(*(agent.drain() for _, agent in parts.agents), return_exceptions=True):
                    if isinstance(told, Exception):
                        self.log.error("agent.drain_failed", error=told)
                await asyncio.shield(parts.mta.drain())  # what ends when the agents do may still tell how
        except TimeoutError:
            self.log.warning("worker.drain_cut_short", seconds=seconds)

    def _growth(self, parts: Assembled) -> Growth:
        return Growth(self.clock, parts.host.owner, self._grew, limit=parts.site.settings.limits.memory << 20, full=self._full)

    def _grew(self, what: str, plugin: str, place: str, amount: int) -> None:
        facts = {"threads": amount} if what == "threads" else {"mib": amount >> 20}
        self.log.warning(f"{what}.growing", plugin=plugin or "kernel", place=place, **facts)
        self.metrics.counter("growing_total", "Times threads or memory were found growing", plugin=plugin or "kernel", what=what).inc()

    def _full(self, octets: int) -> None:
        """Another worker takes this one's sockets; this one drains when that one serves, and nobody is refused meanwhile."""
        self.log.error("memory.full", mib=octets >> 20, limit=self._parts.site.settings.limits.memory)
        self.channel.tell("renew")

    def _blocked(self, module: str, place: str, seconds: float) -> None:
        plugin = self._parts.host.blame(module) or "kernel"
        self.log.warning("loop.blocked", plugin=plugin, place=place, seconds=round(seconds, 3))
        self.metrics.counter("loop_blocked_total", "Times the loop was blocked for over 50 ms", plugin=plugin).inc()


@contextmanager
def shared_throttle(site: Site) -> Iterator[None]:
    """Inside the block wrong passwords are counted with all workers of the site; by this one alone where the disk refuses."""
    throttle = site.login.throttle
    with ExitStack() as opened:
        try:
            ledger = Ledger.open(site.root / "run" / "throttle", site.disk, pages=PAGES, size=throttle.policy.size)
        except OSError as error:
            site.log.warning("throttle.not_shared", error=str(error))
        else:
            opened.callback(ledger.close)
            throttle.share(ledger)
        yield


def _settle_memory() -> None:
    """What is here now stays: the collector need not walk it again. Messages come and go without cycles, so it may look less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def plan(root: Path) -> dict[str, Any]:
    """Which sockets the site wants; nothing is opened. ConfigError with all that is wrong."""

    async def look() -> dict[str, Any]:
        writer = Writer(root / "Logging", SystemClock(), Disk())
        log = BoundLog(writer, {})
        settings, disk = load(root), Disk()
        bus, control = LocalBus(root / "run" / "bus", -1, disk, log), Control(root / "run", "none", disk, log)
        ground = Ground(root, settings, SystemClock(), disk, Asleep(root / "Journal", disk), Metrics(), log, bus)
        parts = assemble(ground, control)
        endpoints = [(endpoint, name) for name, agent in parts.agents for endpoint in agent.endpoints]
        labels = [endpoint.label for endpoint, _ in endpoints]
        for label, name in ((label, name) for (_, name), label in zip(endpoints, labels, strict=True) if labels.count(label) > 1):
            raise settings.error(f"the endpoint {label} is there twice", "plugins", name, remedy="Give each instance a name of its own")
        parts.host.close()
        parts.site.login.close()
        await parts.site.resolver.close()
        return {"endpoints": [{"label": one.label, "host": one.host, "port": one.port} for one, _ in endpoints]}

    return asyncio.run(look())


def main(arguments: Sequence[str] | None = None) -> int:
    """The process's entry."""
    parser = argparse.ArgumentParser(prog="postroom_run.worker")
    parser.add_argument("site", type=Path)
    parser.add_argument("--plan", action="store_true")
    parser.add_argument("--channel", type=int, default=-1)
    said = parser.parse_args(arguments)
    may_open_files()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the supervisor says what it means
    channel = Channel(said.channel)
    try:
        if said.plan:
            channel.tell("planned", **plan(said.site))
        if (order := channel.order()) is None:
            return 0
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            runner.run(_live(said.site, order, channel))
    except (ConfigError, DiskError) as error:
        channel.tell("refused", error=str(error))
        if said.channel < 0:  # else the parent says it, once
            print(error, file=sys.stderr)
        return REFUSED
    finally:
        channel.close()
    return 0


def may_open_files() -> None:
    """As many as the system lets this process: what it starts a service with is less than a few thousand connections need."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def _live(root: Path, order: Order, channel: Channel) -> None:
    await Worker(root, order.slot, channel, Sockets(order.descriptors)).run()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's where there is one."""
    try:
        import uvloop
    except ImportError:
        return None
    return uvloop.new_event_loop


if __name__ == "__main__":
    os.umask(0o077)
    sys.exit(main())
