"""What must be done now and then. Every worker looks after itself; the one that holds the lease looks after the site.

The lease is a lock on `run/locks/caretaker`: it passes on when its holder dies. Only the holder scans the queues; what it cannot
carry itself it tells the others through the bus, and the pair's own lock decides who gets it. A pair whose last holder died is taken up
after that one's journal was read, which may say who has it already. A round that fails is logged, and the next one starts as if nothing
had happened. What reads or syncs much is done in a thread.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable
from itertools import islice

from postroom.errors import CommandFileError, DiskError
from postroom.spool import Queue
from postroom_run.assembly import Assembled, Rehashing
from postroom_run.sweeping import Segments, sweep

ROUND = 1.0  # seconds between two looks at the queues
_SELDOM = 30  # rounds between two looks at everything else
_BATCH = 500  # due items taken up in one round


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
        self._parts, self._site, self._mta = parts, parts.site, parts.mta
        self._lease = -1
        self._rounds = 0
        self._seen: dict[str, Segments] = {}  # the memory of `sweep`
        self._refused: frozenset[str] = frozenset()  # pairs that could not be taken up in the last round
        self._rehashing = Rehashing(self._site)
        self._site.bus.listen("due", self._told_due)

    async def run(self) -> None:
        """Round after round, until cancelled."""
        while True:
            await self._safely(self.round)
            await self._site.clock.sleep(ROUND)

    async def round(self) -> None:
        """One look at everything that is this worker's now."""
        seldom, self._rounds = self._rounds % _SELDOM == 0, self._rounds + 1
        if seldom:
            await self._safely(self._own_duties)
        if self.holds_lease():
            await self._safely(self._hand_out)
            if seldom:
                await self._safely(self._site_duties)

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

    async def _hand_out(self) -> None:
        """Take up what is due; what is too much for us is the others' to claim."""
        due = await asyncio.to_thread(lambda: list(islice(self._site.spool.due(self._site.clock.now()), _BATCH)))
        held = await asyncio.to_thread(lambda: {item for queue, item in due if _was_held(queue, item)})
        if held and not await self._safely(self._replay_the_dead):
            due = [(queue, item) for queue, item in due if item not in held]
        refused = set()
        for queue, item in due:
            try:
                if self._mta.overloaded():
                    self._site.bus.send("due", "\0".join((queue.acronym, queue.name, item)).encode())
                else:
                    self._take(queue, item)
            except (DiskError, OSError) as error:  # this pair's trouble is not the others'
                refused.add(item)
                if item not in self._refused:
                    self._site.log.error("caretaker.not_taken", id=item, queue=f"{queue.acronym}/{queue.name}", error=str(error))
            await asyncio.sleep(0)
        self._refused = frozenset(refused)

    def _take(self, queue: Queue, item: str) -> None:
        if queue.name == "Outgoing" and self._is_busy(queue, item):
            return  # a slow destination takes no more places than it may; the next round asks again
        if (claim := self._site.spool.claim(queue, item)) is not None:
            self._mta.take(claim)

    def _is_busy(self, queue: Queue, item: str) -> bool:
        """Whether as many attempts as may be are under way to this item's next hop."""
        try:
            envelope = queue.look(item)
        except CommandFileError:
            return False  # the claim sets it aside
        return envelope is not None and not self._mta.outbound.has_slot(queue.acronym, envelope.hop)

    def _told_due(self, payload: bytes) -> None:
        """The caretaker has too much to do."""
        acronym, name, item = payload.decode().split("\0")
        queues = self._site.spool[acronym]
        if not self._mta.overloaded():
            self._take(queues.inbound if name == "Inbound" else queues.outgoing, item)

    async def _own_duties(self) -> None:
        self._site.journal.rotate()
        for problem in self._site.tls.reload():
            self._site.log.error("tls.kept_old", why=problem)
        await self._rehashing.write()

    async def _site_duties(self) -> None:
        """Replay slots whose workers died and were not replaced, and let the store tidy up."""
        await self._replay_the_dead()
        await asyncio.to_thread(sweep, self._site.spool, self._site.journal.live(), self._seen)
        if self._parts.has_store:
            await self._site.store.tend()

    async def _replay_the_dead(self) -> None:
        """In a thread: to the files it changes this is another process, as it is when a worker replays at its start beside us."""
        if slots := {slot for slot, _ in self._site.journal.live()} - {self._site.worker}:
            await asyncio.to_thread(self._site.journal.recover, slots)

    async def _safely(self, duty: Callable[[], Awaitable[None]]) -> bool:
        """Whether it was done."""
        try:
            await duty()
        except Exception as error:
            self._site.log.error("caretaker.failed", duty=duty.__name__, error=error)
            return False
        return True


def _was_held(queue: Queue, item: str) -> bool:
    """Whether somebody holds this pair, or died holding it."""
    try:
        envelope = queue.look(item)
    except (CommandFileError, OSError):  # claiming it will tell
        return False
    return envelope is not None and envelope.attempt.crashes > 0
