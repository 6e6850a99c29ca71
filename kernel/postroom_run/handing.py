"""The queue road: mail at rest is handed out as soon as it is due and its next hop has a place. docs/decisions/0006.

The worker with the lease knows in memory what rests; what this worker and, on the bus, the others put to rest it hears of, and a look at
the folders finds the rest. A lost hint, or a wrong one, costs time and never mail: `Spool.claim` asks the file, under its lock, whether it
is there and due. A worker without the lease asks for work when it has room. A pair whose last holder died is taken up after that one's
journal was read, which may say who has it already. One pair's trouble is not the others'.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from math import inf

from postroom.errors import CommandFileError, DiskError
from postroom.spool import Claim, Queue
from postroom_ops.dues import HELD
from postroom_ops.files import retime
from postroom_run.assembly import Assembled
from postroom_run.sweeping import Segments
from postroom_run.waiting import Entry, Hop, Waiting

_SEEN_AFTER = 5.0  # seconds after which a folder is looked at again that seems not to have changed
_SHARE = 50  # of this many seconds, one may go into looking
_READ = 500  # command files read in one go
_STARTED = 8  # items started before the loop gets its turn
_TURN = 64  # items started before others are heard and given to
_GIVEN = 50  # items given to another worker at a time
_ANSWER = 5.0  # seconds after which an item that was given away, or refused, is tried here
_SET_BACK = 60.0  # seconds; a clock that is put right by less makes no difference to a retry
_HOP = re.compile(rb"(?m)^DomainName=([^\r\n]*)")

Pairs = list[tuple[str, float]]


class Handing:
    """One worker's part of it. `replay` reads what dead workers left, and says whether it could."""

    def __init__(self, parts: Assembled, replay: Callable[[], Awaitable[bool]]) -> None:
        self._site, self._spool, self._mta, self._outbound = parts.site, parts.site.spool, parts.mta, parts.mta.outbound
        self._replay = replay
        self._waiting: Waiting | None = None  # with the lease
        self._loop: asyncio.AbstractEventLoop  # once there is something to wait for
        self._news: deque[tuple[Queue, str, float, str]] = deque()  # put to rest by this worker, in any thread
        self._out: dict[tuple[str, str, str], Hop] = {}  # items that we carry
        self._places: Counter[Hop] = Counter()  # and how many of each hop
        self._wake, self._turn, self._thread = asyncio.Event(), asyncio.Lock(), threading.get_ident()
        self._is_quiet = self._is_stopping = False
        self._refused: set[str] = set()  # items whose trouble was told
        self._suspects: list[Entry] = []  # whose holder died
        self._cleared: set[str] = set()  # of them, those whose holder's journal was read
        self._asked: dict[int, int] = {}  # workers that said they have room, for how many, and were given nothing since
        self._looked = self._took = self._aged = 0.0
        self._eras: deque[tuple[int, Segments]] = deque()  # marks of `Waiting`, and which segments held something after each
        self._old = 0  # what waits since before this mark no journal has any more
        self._hurry = inf  # all that rests is due since then
        self._ahead = -inf  # wall clock over monotonic, at the last round
        self._ended: set[str] = set()  # items let go since the last look began: what it saw of them is old
        self._changed: dict[str, int] = {}  # folders' mtimes at the last look
        self._spool.rested, self._spool.let_go, self._outbound.freed = self._rested, self._let_go, self._freed
        topics = {"rested": self._told_rested, "room": self._told_room, "due": self._told_due, "retry": self._told_retry}
        for topic, told in topics.items():
            self._site.bus.listen(topic, told)

    # What the caretaker calls.

    async def run(self) -> None:
        """Hand out whenever a place becomes free, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self.hand_out()

    async def round(self) -> None:
        """With the lease: look at the folders where that is worth it, and hand out."""
        if self._waiting is None:
            self._loop = asyncio.get_running_loop()
            self._waiting = Waiting()
            self._changed.clear()
            self._looked = 0.0
        async with self._turn:
            self._waiting.free_all()
            await self._follow_clock()
            await self._look(self._waiting)
            await self._age(self._waiting)
        await self.hand_out()

    def ask(self) -> None:
        """Without the lease: tell that there is room."""
        if not self._is_stopping and not self._mta.overloaded() and (room := min(_GIVEN, self._room())) > 0:
            self._site.bus.send("room", b"%d\0%d" % (self._site.worker, room))

    def stop(self) -> None:
        """Start nothing more: the worker drains."""
        self._is_stopping = True

    async def hand_out(self) -> None:
        """Start what is due and has a place; what others have room for is theirs."""
        async with self._turn:
            if (waiting := self._waiting) is None:
                return
            await self._start_all(waiting)
            if self._suspects and await self._clear(waiting):
                await self._start_all(waiting)
            self._give(waiting)

    async def _start_all(self, waiting: Waiting) -> None:
        self._hear(waiting)
        if self._hurry < inf:
            waiting.hurry(self._hurry)
            self._hurry = inf
        waiting.ripen(self._site.clock.now())
        while unread := waiting.unread(_READ):
            for read, hop in zip(unread, await asyncio.to_thread(_hops, unread), strict=True):
                waiting.line_up(read, hop)
        started = 0
        while not self._is_stopping and not self._mta.overloaded() and (entry := waiting.next(self._has_place)) is not None:
            self._start(entry)
            started += 1
            if started % _STARTED == 0:
                await asyncio.sleep(0)
            if started == _TURN:  # as places become free all the time, this might not end before the line does
                self._wake.set()
                return

    # One item.

    def _start(self, entry: Entry) -> None:
        try:
            claim = self._spool.claim(entry.queue, entry.item, self._site.clock.now())
        except (DiskError, OSError) as error:
            if entry.item not in self._refused:
                self._refused.add(entry.item)
                where = f"{entry.queue.acronym}/{entry.queue.name}"
                self._site.log.error("caretaker.not_taken", id=entry.item, queue=where, error=str(error))
            self._try_later(entry)
            return
        self._refused.discard(entry.item)
        if claim is None:
            return  # another process has it, it is gone, or not due: a look at the folder tells
        if claim.envelope.attempt.crashes > 1 and entry.item not in self._cleared:
            self._suspect(entry, claim)
            return
        self._cleared.discard(entry.item)
        claim.is_old = entry.number < self._old
        self._carry(claim, entry.hop or Hop(entry.queue.acronym, entry.queue.name, claim.envelope.hop))

    def _carry(self, claim: Claim, hop: Hop) -> None:
        self._out[hop.acronym, hop.name, claim.envelope.id] = hop
        self._places[hop] += 1
        self._mta.take(claim)

    def _try_later(self, entry: Entry) -> None:
        if self._waiting is not None:
            self._waiting.put(entry.queue, entry.item, self._site.clock.now() + _ANSWER, entry.hop.hop if entry.hop else None)

    def _suspect(self, entry: Entry, claim: Claim) -> None:
        """Somebody died holding it: it rests as it was until his journal was read."""
        self._put_back(claim)
        self._suspects.append(entry)

    def _put_back(self, claim: Claim) -> None:
        self._is_quiet = True
        try:
            claim.again(claim.found)
        except DiskError:  # the count stays one too high; the pair is whole
            claim.drop()
        finally:
            self._is_quiet = False

    async def _clear(self, waiting: Waiting) -> bool:
        """The journals of the dead are read, and those they held may go; whether they could be read."""
        suspects, self._suspects = self._suspects, []
        if not await self._replay():
            for entry in suspects:
                self._try_later(entry)
            return False
        self._cleared |= {entry.item for entry in suspects}
        for entry in suspects:
            waiting.put(entry.queue, entry.item, self._site.clock.now(), entry.hop.hop if entry.hop else None)
        return True

    def _room(self) -> int:
        return self._mta.most_in_flight - len(self._out)

    def _has_place(self, hop: Hop) -> bool:
        """A hop may have what the settings say, and a quarter of what is left: some slow ones together leave room for the others."""
        if self._places[hop] >= max(1, min(self._room() // 4, self._outbound.most_per_hop)):
            return False
        return hop.name == "Inbound" or self._outbound.has_slot(hop.acronym, hop.hop)

    # What others tell.

    def _rested(self, queue: Queue, item: str, hop: str, due: float) -> None:
        """This worker put a pair to rest; in any thread."""
        if self._is_quiet:
            return
        now = self._site.clock.now()
        due, is_ours = due or now, threading.get_ident() == self._thread
        if self._waiting is not None:
            self._news.append((queue, item, due, hop))
            if due <= now and not self._wake.is_set():
                self._wake.set() if is_ours else self._loop.call_soon_threadsafe(self._wake.set)
        elif is_ours:
            self._site.bus.send("rested", "\0".join((queue.acronym, queue.name, item, repr(due), hop)).encode())

    def _told_rested(self, payload: bytes) -> None:
        """Another worker put a pair to rest."""
        acronym, name, item, due, hop = payload.decode().split("\0")
        if self._waiting is not None:
            self._news.append((self._queue(acronym, name), item, float(due), hop))

    def _told_retry(self, payload: bytes) -> None:
        """Somebody knows better than the times that were set: all are due since then, or perhaps another worker set some anew."""
        if not payload:
            self._looked = -inf
        elif self._waiting is not None:
            self._hurry = float(payload)
            self._wake.set()

    def _hear(self, waiting: Waiting) -> None:
        while self._news:
            queue, item, due, hop = self._news.popleft()
            waiting.put(queue, item, due, hop or None)

    def _let_go(self, queue: Queue, item: str) -> None:
        """A pair that this worker held is done, or rests again."""
        self._ended.add(item)
        hop = self._out.pop((queue.acronym, queue.name, item), None)
        if hop is None:
            return
        self._places[hop] -= 1
        if not self._places[hop]:
            del self._places[hop]
        if self._waiting is None:
            if len(self._out) in (0, _GIVEN // 2):
                self.ask()
        elif self._waiting.freed(hop) or self._waiting.has_line:
            self._wake.set()

    def _freed(self, connector: str, hop: str) -> None:
        """An attempt ended, of mail at rest or not."""
        if self._waiting is not None and self._waiting.freed(Hop(connector, "Outgoing", hop)):
            self._wake.set()

    # Between workers.

    def _told_room(self, payload: bytes) -> None:
        """Another worker could do more."""
        worker, room = map(int, payload.split(b"\0"))
        self._asked[worker] = room
        if self._waiting is not None and self._waiting.has_line:
            self._wake.set()

    def _give(self, waiting: Waiting) -> None:
        """What has no place here, or not yet, is offered to those who asked, and tried again later if they do not take it."""
        for worker, room in list(self._asked.items()):
            given = list[str]()
            waiting.free_all()
            while len(given) < room and (entry := waiting.next(lambda hop: True)) is not None:
                is_old = "old" if entry.number < self._old else ""
                given += [entry.queue.acronym, entry.queue.name, entry.item, entry.hop.hop if entry.hop else "", is_old]
                self._try_later(entry)
            if given:
                del self._asked[worker]
                self._site.bus.send("due", "\0".join((str(worker), *given)).encode())

    def _told_due(self, payload: bytes) -> None:
        """The caretaker has too much to do."""
        worker, *given = payload.decode().split("\0")
        if int(worker) != self._site.worker or self._is_stopping:
            return
        for acronym, name, item, hop, is_old in zip(*[iter(given)] * 5, strict=True):
            if self._mta.overloaded():
                return
            if self._has_place(way := Hop(acronym, name, hop)):
                with suppress(DiskError, OSError):  # the caretaker meets it too, and tells
                    if (claim := self._spool.claim(self._queue(acronym, name), item, self._site.clock.now())) is None:
                        continue
                    if claim.envelope.attempt.crashes > 1:  # somebody died holding it: who has the lease reads his journal first
                        self._put_back(claim)
                        continue
                    claim.is_old = bool(is_old)
                    self._carry(claim, way)

    def _queue(self, acronym: str, name: str) -> Queue:
        queues = self._spool[acronym]
        return queues.inbound if name == "Inbound" else queues.outgoing

    # The folders.

    async def _follow_clock(self) -> None:
        """A clock that was set back takes with it what was to be tried again by the old one: else that waits until the new one is there
        (features case 11)."""
        clock = self._site.clock
        before, self._ahead = self._ahead, clock.now() - clock.monotonic()
        if (back := before - self._ahead) > _SET_BACK:
            self._site.log.warning("caretaker.clock_set_back", seconds=round(back))
            await asyncio.to_thread(self._set_back, back)

    def _set_back(self, seconds: float) -> None:
        """What was never tried waits for a time that its sender named."""
        for queue in self._spool.queues():
            for item, due in list(queue.items()):
                with suppress(CommandFileError, OSError):  # it is tried later than it could be
                    if (found := queue.look(item)) is None or not found.attempt.count or self._spool.is_private(item):
                        continue
                    if retime(self._spool.disk, queue.command_path(item), due - seconds, before=HELD):
                        self._rested(queue, item, found.hop, due - seconds)

    async def _age(self, waiting: Waiting) -> None:
        """What rests since before all was cut that journals hold now needs no mark at its end."""
        if not len(waiting) or self._site.clock.monotonic() - self._aged < _SEEN_AFTER:
            return
        self._aged, mark = self._site.clock.monotonic(), waiting.mark
        live = await asyncio.to_thread(self._site.journal.holding)  # asked after: what made a pair was written before it rested
        if self._eras and self._eras[-1][1] == live:
            self._eras.pop()
        self._eras.append((mark, live))
        while self._eras and not self._eras[0][1] & live:
            self._old, _ = self._eras.popleft()

    async def _look(self, waiting: Waiting) -> None:
        """All that rests, compared with what is known; in a thread."""
        clock = self._site.clock
        queues = list(self._spool.queues())
        changed = {str(queue.folder): _changed(queue) for queue in queues}
        passed = clock.monotonic() - self._looked
        if self._changed and passed < max(self._took * _SHARE, 0.0 if changed != self._changed else _SEEN_AFTER):
            return
        self._hear(waiting)
        mark, self._looked, self._changed = waiting.mark, clock.monotonic(), changed
        self._ended.clear()
        for queue in queues:
            pairs = await asyncio.to_thread(_pairs, queue)
            self._hear(waiting)
            for at in range(0, len(pairs), 2000):
                for item, due in pairs[at : at + 2000]:
                    if item not in self._ended and (queue.acronym, queue.name, item) not in self._out:
                        waiting.put(queue, item, due, seen=mark)
                await asyncio.sleep(0)
            waiting.forget_missing(queue, [item for item, _ in pairs], mark)
        self._took = clock.monotonic() - self._looked


def _changed(queue: Queue) -> int:
    """When names in this folder changed last; zero where it is missing."""
    try:
        return queue.folder.stat().st_mtime_ns
    except OSError:
        return 0


def _pairs(queue: Queue) -> Pairs:
    return list(queue.items())


def _hops(entries: Sequence[Entry]) -> list[Hop]:
    return [Hop(entry.queue.acronym, entry.queue.name, _hop(entry)) for entry in entries]


def _hop(entry: Entry) -> str:
    """The next hop a command file names; nothing where it cannot be read, which claiming it will tell."""
    try:
        found = _HOP.findall(entry.queue.command_path(entry.item).read_bytes())
    except OSError:
        return ""
    return found[-1].decode("utf-8", "surrogateescape") if found else ""
