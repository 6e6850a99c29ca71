"""What must be done now and then. Every worker looks after itself; the one that holds the lease looks after the site.

The lease is a lock on `run/locks/caretaker`: it passes on when its holder dies. Only the holder looks at the queues (`handing`). A duty
that fails is logged, and the next round starts as if nothing had happened. What reads or syncs much is done in a thread.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable

from postroom_run.assembly import Assembled, Rehashing
from postroom_run.handing import Handing
from postroom_run.sweeping import Segments, sweep

ROUND = 1.0  # seconds between two looks at the queues
_SELDOM = 30  # rounds between two looks at everything else


def make_queues(parts: Assembled) -> None:
    """The queue folders of every connector, so that another program can drop a pair. A disk that refuses is told: mail goes on without."""
    for acronym in parts.connectors:
        queues = parts.site.spool[acronym]
        for queue in (queues.inbound, queues.outgoing):
            try:
                parts.site.disk.make_folders(queue.folder / "Messages")
            except OSError as error:
                parts.site.log.warning("queues.not_made", queue=f"{acronym}/{queue.name}", why=str(error))


class Caretaker:
    """One worker's housekeeping."""

    def __init__(self, parts: Assembled) -> None:
        self._parts, self._site = parts, parts.site
        self._lease = -1
        self._rounds = 0
        self._seen: dict[str, Segments] = {}  # the memory of `sweep`
        self._rehashing = Rehashing(self._site)
        self._handing = Handing(parts, self._are_read)

    async def run(self) -> None:
        """Round after round, and whatever is due in between, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep(self._handing.run))
            group.create_task(self._keep(self._next_round))

    async def _next_round(self) -> None:
        await self.round()
        await self._site.clock.sleep(ROUND)

    async def _keep(self, duty: Callable[[], Awaitable[None]]) -> None:
        while True:
            if not await self._safely(duty):
                await self._site.clock.sleep(ROUND)

    async def round(self) -> None:
        """One look at everything that is this worker's now."""
        seldom, self._rounds = self._rounds % _SELDOM == 0, self._rounds + 1
        if seldom:
            await self._safely(self._own_duties)
        if self.holds_lease():
            await self._safely(self._handing.round)
            if seldom:
                await self._safely(self._site_duties)
        else:
            self._handing.ask()

    def stop(self) -> None:
        """Take up nothing more from the queues: the worker drains."""
        self._handing.stop()

    def close(self) -> None:
        """Let the lease go."""
        if self._lease >= 0:
            self._site.disk.close(self._lease)
            self._lease = -1

    def holds_lease(self) -> bool:
        """Whether this worker is the site's caretaker; tries to become it."""
        if self._lease < 0:
            folder = self._site.root / "run" / "locks"
            self._site.disk.make_folders(folder)
            fd = self._site.disk.open(folder / "caretaker", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                self._site.disk.close(fd)
                if isinstance(error, BlockingIOError):
                    return False
                raise
            self._lease = fd
            self._site.log.info("caretaker.lease")
        return True

    async def _own_duties(self) -> None:
        self._site.journal.rotate()
        for problem in self._site.tls.reload():
            self._site.log.error("tls.kept_old", why=problem)
        await self._rehashing.write()

    async def _site_duties(self) -> None:
        """Replay slots whose workers died and were not replaced, and let the store tidy up."""
        await self._replay_the_dead()
        await asyncio.to_thread(sweep, self._site.spool, self._seen)
        if self._parts.has_store:
            await self._site.store.tend()

    async def _replay_the_dead(self) -> None:
        """In a thread: to the files it changes this is another process, as it is when a worker replays at its start beside us."""
        if slots := {slot for slot, _ in self._site.journal.live()} - {self._site.worker}:
            await asyncio.to_thread(self._site.journal.recover, slots)

    async def _are_read(self) -> bool:
        """Whether the journals of all who died are read, by us or by who has their slots now."""
        try:
            return await self._safely(self._replay_the_dead) and await asyncio.to_thread(self._site.journal.are_read)
        except OSError:  # asked again
            return False

    async def _safely(self, duty: Callable[[], Awaitable[None]]) -> bool:
        """Whether it was done."""
        try:
            await duty()
        except Exception as error:
            self._site.log.error("caretaker.failed", duty=duty.__name__, error=error)
            return False
        return True
