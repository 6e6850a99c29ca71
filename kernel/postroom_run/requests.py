"""What a worker answers on its control socket: how it is, what its plugins did, what waits in the queues and what is held in quarantine."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Final

from postroom.address import InternalAddress
from postroom.envelope import Envelope
from postroom.errors import DiskError
from postroom.spool import PRIVATE, Queue
from postroom_run.assembly import Assembled
from postroom_run.control import Control, Json, Refused
from postroom_run.health import look
from postroom_run.listing import listing
from postroom_run.quarantine import Held, Shelf

HELD: Final = 4102444800.0  # the time an item is due that waits for `release`: the year 2100
_LISTED: Final = 10_000  # items told at once


def serve_requests(control: Control, parts: Assembled, failing: Mapping[str, str], *, carries: bool = True) -> None:
    """Register everything a worker answers. `failing` names agents that are down, and why; one that does not carry mail only moves files."""
    site, host = parts.site, parts.host

    def status() -> Json:
        return {"worker": site.worker, "pid": os.getpid(), "overloaded": parts.mta.overloaded(), "journal_octets": site.journal.octets}

    def health() -> Json:
        down = [f"{agent} is down and will be started again: {why}" for agent, why in failing.items()]
        problems = [*down, *look(parts).problems]
        return {"ok": not problems, "problems": problems}

    control.serve("status", status)
    control.serve("health", health)
    control.serve("metrics", lambda: {"text": site.metrics.exposition()})
    control.serve("plugin.list", lambda: {"plugins": listing(host)})
    control.serve("plugin.order", lambda hook: {"hook": hook, "plugins": host.order(hook)})
    control.serve("why", lambda recipient: _why(parts, recipient))
    queues = QueueRequests(parts)
    control.serve("queue.list", queues.listing)
    for name in ("show", "retry", "hold", "release", "delete"):
        control.serve(f"queue.{name}", getattr(queues, name))
    held = QuarantineRequests(parts, carries)
    control.serve("quarantine.list", held.listing)
    for name in ("show", "release", "delete"):
        control.serve(f"quarantine.{name}", getattr(held, name))


def _address(text: str) -> InternalAddress:
    """What people write: an internal address, or one of the mail world."""
    return InternalAddress.parse(text if text.startswith("[") else f"[SMTP:{text}]")


def _why(parts: Assembled, recipient: str) -> Json:
    """Where an address goes, by which rows, and what a sender would be told now."""
    address = _address(recipient)
    found = parts.site.router.resolve(address)
    refusal = parts.mta.verify(address)
    rows = [{"row": repr(row), "origin": str(row.origin or "")} for row in found.by]
    return {"address": str(address), "to": [str(one) for one in found.to], "by": rows, "why": found.why, "refusal": str(refusal or "")}


class QueueRequests:
    """The queue commands. An item another process works on is left to it: Refused says so."""

    def __init__(self, parts: Assembled) -> None:
        self._spool, self._mta, self._clock = parts.site.spool, parts.mta, parts.site.clock

    def listing(self) -> Json:
        items = [(queue, item, due) for queue in self._spool.queues() for item, due in queue.items()]
        found = [(queue, queue.look(item), due) for queue, item, due in items[:_LISTED] if not self._spool.is_private(item)]
        rows = [
            _row(queue, envelope, due)
            for queue, envelope, due in found
            if envelope is not None and envelope.extra.get(PRIVATE) != envelope.id
        ]
        return {"items": rows, "count": len(items)}

    def show(self, id: str) -> Json:
        queue, envelope = self._find(id)
        return _row(queue, envelope, envelope.attempt.due)

    def retry(self, id: str = "") -> Json:
        """One item, or all that are not held, at once."""
        chosen = [self._find(id)] if id else [(queue, envelope) for queue, envelope in self._all() if envelope.attempt.due < HELD]
        return {"count": sum(self._rest(queue, envelope, self._clock.now()) for queue, envelope in chosen)}

    def hold(self, id: str) -> Json:
        return {"count": self._rest(*self._find(id), HELD, must=True)}

    def release(self, id: str) -> Json:
        return {"count": self._rest(*self._find(id), self._clock.now(), must=True)}

    def delete(self, id: str) -> Json:
        queue, _ = self._find(id)
        claim = self._spool.claim(queue, id)
        if claim is None:
            raise Refused(f"{id} is being delivered right now")
        claim.done()
        return {"count": 1}

    def _rest(self, queue: Queue, envelope: Envelope, due: float, *, must: bool = False) -> int:
        claim = self._spool.claim(queue, envelope.id)
        if claim is None and must:
            raise Refused(f"{envelope.id} is being delivered right now")
        if claim is not None:
            claim.again(replace(envelope, attempt=replace(envelope.attempt, due=due)))
        return claim is not None

    def _all(self) -> list[tuple[Queue, Envelope]]:
        found = [(queue, queue.look(item)) for queue in self._spool.queues() for item, _ in queue.items()]
        return [(queue, envelope) for queue, envelope in found if envelope is not None]

    def _find(self, id: str) -> tuple[Queue, Envelope]:
        found = self._spool.find(id)
        if found is None:
            raise Refused(f"nothing named {id} waits in a queue")
        return found


class QuarantineRequests:
    """The quarantine commands. What is let go is carried at once, where mail is carried at all."""

    def __init__(self, parts: Assembled, carries: bool) -> None:
        self._shelf, self._spool, self._mta, self._carries = Shelf(parts.site.spool), parts.site.spool, parts.mta, carries

    async def listing(self) -> Json:
        held = await asyncio.to_thread(lambda: [*islice(self._shelf.items(), _LISTED + 1)])
        return {"items": [_held(one) for one in held[:_LISTED]], "more": len(held) > _LISTED}

    async def show(self, id: str) -> Json:
        held = await asyncio.to_thread(self._shelf.find, id)
        return _held(held) | {"header": held.header().decode("utf-8", "replace"), "path": str(held.message)}

    async def release(self, id: str, to: Sequence[str] = ()) -> Json:
        recipients = [_address(one) for one in to]
        queue, item = await asyncio.to_thread(self._shelf.release, id, recipients)
        with suppress(DiskError):  # it is in the queue: the caretaker tries again
            if self._carries and (claim := self._spool.claim(queue, item)) is not None:
                self._mta.take(claim)
        return {"id": item}

    async def delete(self, id: str) -> Json:
        await asyncio.to_thread(self._shelf.delete, id)
        return {"id": id}


def _held(held: Held) -> Json:
    envelope = held.envelope
    return {
        "id": held.name,
        "held": held.held,
        "by": held.by,
        "at": envelope.extra.get("HeldAt", "") if envelope else "",
        "why": held.problem or (envelope.attempt.error if envelope else ""),
        "sender": str(envelope.sender or "<>") if envelope else "",
        "recipients": [str(recipient.address) for recipient in envelope.recipients] if envelope else [],
        "source": envelope.source if envelope else "",
        "client": envelope.peer.ip if envelope else "",
        "subject": held.subject(),
        "size": held.size,
        "message": envelope.message if envelope else "",
    }


def _row(queue: Queue, envelope: Envelope, due: float) -> Json:
    return {
        "id": envelope.id,
        "queue": f"{queue.acronym}/{queue.name}",
        "sender": str(envelope.sender or "<>"),
        "recipients": [str(recipient.address) for recipient in envelope.recipients],
        "subject": envelope.subject,
        "arrived": envelope.arrived,
        "due": due,
        "held": due >= HELD,
        "attempts": envelope.attempt.count,
        "error": envelope.attempt.error,
    }
