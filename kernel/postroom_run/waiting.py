"""Who waits in the queues: when each item is due, and whose turn it is among those that are. Memory only, pure, O(1) a look.

Items that are due wait in a line per next hop; hops with a line stand in a ring. `next` takes one item of the first hop and puts that hop
last. A hop without a free place leaves the ring until it is `freed`, so a line of any length there costs the others nothing. What stands
here is a hint: who claims an item asks its file.
"""

from __future__ import annotations

import heapq
import itertools
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from postroom.spool import Queue
from postroom_ops.dues import HELD

_SAME = 0.001  # seconds that two times of one item may differ: a file system rounds


class Hop(NamedTuple):
    """Where items of a queue go next; all of an Inbound queue go the same way."""

    acronym: str
    name: str  # of the queue
    hop: str


@dataclass(eq=False, slots=True)
class Entry:
    """One item, as long as it is not handed out."""

    queue: Queue
    item: str
    due: float
    number: int
    hop: Hop | None  # None: nobody read its command file yet
    is_void: bool = False  # another entry has taken its place


class Waiting:
    """All items at rest that this process knows of."""

    def __init__(self) -> None:
        self._entries: dict[tuple[str, str, str], Entry] = {}
        self._later: list[tuple[float, int, Entry]] = []  # a heap; void ones are passed over
        self._unread: deque[Entry] = deque()
        self._lines: dict[Hop, deque[Entry]] = {}
        self._ring: deque[Hop] = deque()  # hops that have a line and are not parked
        self._parked: dict[Hop, None] = {}
        self._numbers = itertools.count()

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def mark(self) -> int:
        """For `forget_missing`: what is known now is older than this."""
        return next(self._numbers)

    def put(self, queue: Queue, item: str, due: float, hop: str | None = None, *, seen: int | None = None) -> None:
        """An item rests until then. Said again with the same time, it keeps its place; what was `seen` at a mark gives way to what came since."""
        key = (queue.acronym, queue.name, item)
        known = self._entries.get(key)
        way = Hop(*key[:2], hop or "") if hop is not None or queue.name == "Inbound" else None
        if known is not None:
            if abs(known.due - due) < _SAME or (seen is not None and known.number > seen):
                return
            known.is_void = True
            way = way or known.hop
        self._entries[key] = entry = Entry(queue, item, due, next(self._numbers), way)
        heapq.heappush(self._later, (due, entry.number, entry))

    def forget(self, queue: Queue, item: str) -> None:
        """An item is somebody's now, or gone."""
        entry = self._entries.pop((queue.acronym, queue.name, item), None)
        if entry is not None:
            entry.is_void = True

    def forget_missing(self, queue: Queue, there: Iterable[str], mark: int) -> None:
        """What was known of a queue at the mark and is not there: some other process ended it."""
        items = set(there)
        for (acronym, name, item), entry in list(self._entries.items()):
            if item not in items and entry.number < mark and (acronym, name) == (queue.acronym, queue.name):
                self.forget(queue, item)

    def ripen(self, now: float) -> None:
        """What is due joins its line, or those that must be read first."""
        while self._later and (self._later[0][0] <= now or self._later[0][2].is_void):
            self._ripe(heapq.heappop(self._later)[2])

    def hurry(self, since: float) -> None:
        """All that are not held are due since then, and every hop is looked at again."""
        later, self._later = self._later, []
        for due, number, entry in sorted(later):
            if due < HELD:
                entry.due = min(due, since)
                self._ripe(entry)
            else:
                self._later.append((due, number, entry))
        self.free_all()

    def _ripe(self, entry: Entry) -> None:
        if not entry.is_void:
            self.line_up(entry, entry.hop) if entry.hop is not None else self._unread.append(entry)

    def unread(self, most: int) -> Sequence[Entry]:
        """Items that are due and whose next hop nobody knows yet; who takes them lines them up."""
        return [entry for entry in (self._unread.popleft() for _ in range(min(most, len(self._unread)))) if not entry.is_void]

    def line_up(self, entry: Entry, hop: Hop) -> None:
        """An item that is due waits for its turn."""
        entry.hop = hop
        if hop not in self._lines:
            self._lines[hop] = deque()
            self._ring.append(hop)
        self._lines[hop].append(entry)

    def next(self, is_free: Callable[[Hop], bool]) -> Entry | None:
        """The item whose turn it is, which is forgotten here; None where every hop with a line is parked."""
        while self._ring:
            hop = self._ring.popleft()
            if not is_free(hop):
                self._parked[hop] = None
            elif (entry := self._first(hop)) is not None:
                return entry
        return None

    def _first(self, hop: Hop) -> Entry | None:
        line = self._lines[hop]
        while line:
            entry = line.popleft()
            if not entry.is_void:
                self._ring.append(hop) if line else self._lines.pop(hop)
                self.forget(entry.queue, entry.item)
                return entry
        del self._lines[hop]
        return None

    def freed(self, hop: Hop) -> bool:
        """This hop may have a place again; whether anybody waited for that."""
        if hop not in self._parked:
            return False
        del self._parked[hop]
        self._ring.append(hop)
        return True

    def free_all(self) -> None:
        """Look at every hop again: something may have been missed."""
        self._ring.extend(self._parked)
        self._parked.clear()

    @property
    def has_line(self) -> bool:
        """Whether anything is due and waits for its turn."""
        return bool(self._lines)
