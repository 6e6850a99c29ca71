"""What rests and is due, for tests that take mail up themselves."""

from __future__ import annotations

from collections.abc import Iterator

from postroom.spool import Queue, Spool


def due_items(spool: Spool, now: float) -> Iterator[tuple[Queue, str]]:
    """Every pair whose time has come, oldest due first within a queue."""
    for queue in spool.queues():
        for item, _ in sorted((pair for pair in queue.items() if pair[1] <= now), key=lambda pair: pair[1]):
            yield queue, item
