"""What a worker answers on its control socket: how it is, what its plugins did, what waits in the queues and what is held in quarantine."""

from __future__ import annotations

import asyncio
import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from math import inf
from typing import Final

from postroom.address import InternalAddress
from postroom.envelope import Attempt, Envelope
from postroom.errors import CommandFileError, DiskError
from postroom.mailstore import EXPUNGED
from postroom.outbound import ANSWERS
from postroom.spool import PRIVATE, Queue
from postroom_disk.disk import refused
from postroom_disk.keyed import unquote
from postroom_ops.dues import HELD, make_all_due
from postroom_ops.files import retime
from postroom_run.assembly import Assembled
from postroom_run.control import Control, Json, Refused
from postroom_run.health import look
from postroom_run.listing import listing
from postroom_run.quarantine import Held, Shelf

_ID = re.compile(r"[0-9A-F]{32}")
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
    mailboxes = MailboxRequests(parts)
    control.serve("mailbox.expunged", mailboxes.expunged)
    control.serve("mailbox.undelete", mailboxes.undelete)
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


def is_wanted(row: Json, *, domain: str = "", sender: str = "", held: bool = False) -> bool:
    """Whether an item of the queues is one that was asked for: one that goes to this domain (as its next hop or a recipient's), is from this
    sender (an address, a domain, or `<>`), is held. What is not said does not matter."""
    domain, sender = domain.lower(), sender.lower()
    to = {row["hop"].lower(), *(_mail(one).rpartition("@")[2] for one in row["recipients"])}
    by = _mail(row["sender"])
    return (not domain or domain in to) and (not sender or sender in (by, by.rpartition("@")[2])) and (not held or row["held"])


def _mail(address: str) -> str:
    """An internal address as the mail world writes it, in lower case."""
    return (address[1:-1].partition(":")[2] if address.startswith("[") else address).lower()


class MailboxRequests:
    """What an operator does for the owner of a mailbox."""

    def __init__(self, parts: Assembled) -> None:
        self._parts = parts

    async def expunged(self, postoffice: str, mailbox: str) -> Json:
        """The expunged messages that can be brought back, the latest first."""
        if not self._parts.has_store:
            raise Refused("this site loads no mail store, so nothing is kept")
        box = await self._parts.site.store.mailbox(postoffice, mailbox)
        return {"messages": [json.loads(line) for line in (await box.expunged()).splitlines()]}

    async def undelete(self, postoffice: str, mailbox: str, ids: Sequence[str]) -> Json:
        """Bring these back; Refused where one of them cannot be, and then none is."""
        told = {row["id"] for row in (await self.expunged(postoffice, mailbox))["messages"]}
        if unknown := [one for one in ids if one not in told]:
            raise Refused(f"no expunged message {unknown[0]} is kept for {mailbox}")
        await (await self._parts.site.store.mailbox(postoffice, mailbox)).annotate("", {EXPUNGED: " ".join(ids).encode()})
        return {"count": len(ids)}


class QueueRequests:
    """The queue commands. An item another process works on is left to it: Refused says so. What only reads writes nothing."""

    def __init__(self, parts: Assembled) -> None:
        self._spool, self._clock, self._bus = parts.site.spool, parts.site.clock, parts.site.bus

    async def listing(self, domain: str = "", sender: str = "", held: bool = False) -> Json:
        """Who waits, the soonest first; `count` is how many there are, however many are told."""
        rows, count = await asyncio.to_thread(self._rows, domain, sender, held)
        return {"items": rows, "count": count}

    def show(self, id: str) -> Json:
        queue, envelope = self._find(id)
        return _row(queue, envelope, envelope.attempt.due)

    async def retry(self, id: str = "", domain: str = "", sender: str = "") -> Json:
        """One item, or all that are not held, at once; of all those that go to a domain or are from a sender, where that is said. Whoever
        rests after failures is told that somebody knows better."""
        if not id and not domain and not sender:
            return {"count": await self._retry_all()}
        self._bus.send("retry", here=True)
        if id:
            return {"count": self._time(*self._find(id), self._clock.now())}
        count = await asyncio.to_thread(self._make_due, domain, sender)
        self._bus.send("retry", here=True)  # whoever hands out may be another worker: he looks again
        return {"count": count}

    async def _retry_all(self) -> int:
        """How many wait and are not held. Those under way end as they do. DiskError."""
        now = self._clock.now()
        count = await asyncio.to_thread(self._count)
        try:
            for queue in self._spool.queues():
                if queue.folder.is_dir():
                    make_all_due(self._spool.disk, queue.folder, now)
        except OSError as error:
            raise refused(error, "making all due") from error
        self._bus.send("retry", repr(now).encode(), here=True)
        return count

    def _count(self) -> int:
        return sum(due < HELD for queue in self._spool.queues() for _, due in queue.items())

    def hold(self, id: str) -> Json:
        return {"count": self._time(*self._find(id), HELD, must=True)}

    def release(self, id: str) -> Json:
        return {"count": self._time(*self._find(id), self._clock.now(), must=True)}

    def delete(self, id: str) -> Json:
        queue, _ = self._find(id)
        claim = self._spool.claim(queue, id)
        if claim is None:
            raise Refused(f"{id} is being delivered right now")
        claim.done()
        return {"count": 1}

    def _time(self, queue: Queue, envelope: Envelope, due: float, *, must: bool = False) -> int:
        """Give a pair another time. Refused where that cannot be now, and it must be."""
        is_done = self._retime(queue, envelope.id, due, envelope.hop)
        if must and not is_done:
            raise Refused(f"{envelope.id} is being delivered right now")
        return int(is_done)

    def _retime(self, queue: Queue, item: str, due: float, hop: str = "", *, before: float = inf) -> bool:
        """Its command file's mtime is the time a pair is due; nothing else of it changes. A program's private copy is none of ours."""
        try:
            is_done = not self._spool.is_private(item) and retime(self._spool.disk, queue.command_path(item), due, before=before)
        except OSError as error:
            raise refused(error, f"setting the time of {item}") from error
        if is_done:
            self._spool.rested(queue, item, hop, due)
        return is_done

    def _make_due(self, domain: str, sender: str) -> int:
        """Those that are chosen; how many."""
        count, now = 0, self._clock.now()
        for queue, item in self._chosen(domain, sender):
            with suppress(DiskError):  # this pair's trouble is not the others'
                count += self._retime(queue, item, now, before=HELD)
        return count

    def _rows(self, domain: str, sender: str, held: bool) -> tuple[list[Json], int]:
        rows, count = list[Json](), 0
        for row in self._all(limit=0 if domain or sender or held else _LISTED):
            if row is None or is_wanted(row, domain=domain, sender=sender, held=held):
                count += 1
                if row is not None and len(rows) < _LISTED:
                    rows.append(row)
        return sorted(rows, key=lambda row: float(row["due"])), count

    def _chosen(self, domain: str, sender: str) -> list[tuple[Queue, str]]:
        """Those that are not held."""
        pairs = ((queue, item, due) for queue in self._spool.queues() for item, due in queue.items() if due < HELD)
        return [(queue, item) for queue, item, due in pairs if self._is_chosen(queue, item, due, domain, sender)]

    def _is_chosen(self, queue: Queue, item: str, due: float, domain: str, sender: str) -> bool:
        row = self._look(queue, item, due)
        return row is not None and is_wanted(row, domain=domain, sender=sender)

    def _all(self, *, limit: int) -> Iterator[Json | None]:
        """Every item; beyond the limit None for each, unread."""
        count = 0
        for queue in self._spool.queues():
            for item, due in queue.items():
                if limit and count >= limit:
                    yield None
                elif (row := self._look(queue, item, due)) is not None:
                    count += 1
                    yield row

    def _look(self, queue: Queue, item: str, due: float) -> Json | None:
        """One pair; None where it is gone meanwhile, or is a program's private copy."""
        try:
            envelope = None if self._spool.is_private(item) else queue.look(item)
        except (CommandFileError, OSError) as error:  # claiming it will move it to Bad Mail
            return _row(queue, Envelope(item, item, queue.acronym, None, (), due, attempt=Attempt(error=str(error))), due)
        return None if envelope is None or envelope.extra.get(PRIVATE) == item else _row(queue, envelope, due)

    def _find(self, id: str) -> tuple[Queue, Envelope]:
        found = self._spool.find(id) if _ID.fullmatch(id) else None  # it names a file
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
    errors = [unquote(one) for one in envelope.extra.get(ANSWERS, "").split(";")]
    told = errors if len(errors) == len(envelope.recipients) else [envelope.attempt.error] * len(envelope.recipients)
    return {
        "id": envelope.id,
        "queue": f"{queue.acronym}/{queue.name}",
        "hop": envelope.hop,
        "sender": str(envelope.sender or "<>"),
        "recipients": [str(recipient.address) for recipient in envelope.recipients],
        "answers": told,
        "subject": envelope.subject,
        "arrived": envelope.arrived,
        "due": due,
        "held": due >= HELD,
        "attempts": envelope.attempt.count,
        "error": envelope.attempt.error,
    }
