"""The mail transfer agent: one road, forward only.

accept → pickup events → address map → one envelope per connector and next hop → delivery events → hand over. What a
connector makes of it comes back as outcomes, and `outbound` decides what follows from them. A message stays claimed until every
part of it is settled, rests in a queue, or lies in Bad Mail; until then the journal or its pair has it.

The kernel's rule for what nobody foresaw: an exception while a message is carried puts that message to rest for a while and is
logged with its id. It never reaches another message.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, Protocol

from postroom.address import InternalAddress
from postroom.addressmap import Resolution, Router
from postroom.clock import Clock
from postroom.connectors import Connector
from postroom.dispatch import asking
from postroom.envelope import Envelope, Recipient
from postroom.errors import DiskError, PostroomError
from postroom.message import FileMessage, MemoryMessage, Message, derived_id, part_id
from postroom.outbound import Outbound
from postroom.outcome import Failed, Reply
from postroom.site import Log
from postroom.spool import Claim, Spool
from postroom.transfer import PASS, Defer, Pass, Reject, Replace, Stage, TransferEvent, Verdict

UNROUTABLE = "5.1.1"
DEEPEST = 10  # groups within groups, redirects of redirects


class Hooks(Protocol):
    """What the MTA asks of the host."""

    def has(self, name: str) -> bool: ...
    def pickup(self, event: TransferEvent) -> Awaitable[tuple[Verdict, TransferEvent]]: ...
    def delivery(self, event: TransferEvent) -> Awaitable[tuple[Verdict, TransferEvent]]: ...


class Part(NamedTuple):
    """The recipients of one connector and hop."""

    connector: str
    hop: str
    recipients: tuple[Recipient, ...]


class Plan(NamedTuple):
    """How an envelope splits, and who cannot be resolved."""

    parts: tuple[Part, ...]
    unresolved: tuple[tuple[Recipient, Resolution], ...]


def split(envelope: Envelope, resolve: Callable[[InternalAddress], Resolution], hop: Callable[[InternalAddress], str | None]) -> Plan:
    """One part per connector and next hop; a destination named twice is served once, one that has the message not at all. Pure."""
    parts: dict[tuple[str, str], dict[InternalAddress, Recipient]] = {}
    unresolved = []
    for recipient in envelope.recipients:
        resolution = resolve(recipient.address)
        if not resolution.to:
            unresolved.append((recipient, resolution))
        for destination in resolution.to:
            where = hop(destination)
            if where is None:
                why = f"no connector {destination.connector} is loaded"
                unresolved.append((recipient, Resolution(recipient.address, (), resolution.by, why)))
            elif destination not in envelope.settled:
                part = parts.setdefault((destination.connector, where), {})
                part.setdefault(destination, Recipient(destination, recipient.original, recipient.notify))
    told = tuple(one for one in unresolved if _as_told(one[0].address) not in envelope.settled)
    return Plan(tuple(Part(connector, where, tuple(part.values())) for (connector, where), part in parts.items()), told)


@dataclass
class Mta:
    """The MTA of one worker; also the `Intake` of its connectors."""

    spool: Spool
    router: Router
    hooks: Hooks
    outbound: Outbound
    clock: Clock
    log: Log
    reply_within: float = 30.0  # seconds an acceptance waits for the pickup verdict
    most_in_flight: int = 400  # messages carried at once; above it acceptance slows down
    express: bool = True
    connectors: Mapping[str, Connector] = field(default_factory=dict)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _waiting: deque[asyncio.Future[None]] = field(default_factory=deque)

    def __post_init__(self) -> None:
        self.outbound.again = self._expand

    # The intake.

    async def accept(self, envelope: Envelope, message: Message) -> Verdict:
        """See `site.Intake`."""
        if (asked := asking()) is not None:  # a hook's own mail: not shown to it, nor to those before it
            envelope = replace(envelope, skip=envelope.skip | asked[1] | {asked[0]})
        claim = await self.spool.accept(envelope, message)
        if not self.express:
            with suppress(DiskError):  # the journal has it, so it is accepted: what cannot rest goes on in memory
                claim.again(claim.envelope)
                return PASS
        if not self.hooks.has("mta_pickup"):
            self._start(self._carry(claim))
            return PASS
        told: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self._start(self._carry(claim, told))
        done, _ = await asyncio.wait([told], timeout=self.reply_within)
        if done:
            return told.result()
        told.cancel()  # from now on a Reject is the sender's to hear by notice
        return PASS

    def verify(self, address: InternalAddress) -> Reply | None:
        """See `site.Intake`: the road a message would take, without the message."""
        resolution = self.router.resolve(address)
        if not resolution.to:
            return Reply(550, UNROUTABLE, "No such recipient here")
        to = [(self.connectors.get(destination.connector), destination) for destination in resolution.to]
        refusals = [one.refuses(destination) if one else Reply(550, "5.3.5", "No connector for this address") for one, destination in to]
        return None if None in refusals else refusals[0]

    def overloaded(self) -> bool:
        """See `site.Intake`."""
        journal = self.spool.journal
        return len(self._tasks) > self.most_in_flight or not (
            journal.has_room or journal.is_stuck
        )  # on a full disk `accept` says so at once

    async def relieved(self) -> None:
        """See `site.Intake`."""
        while self.overloaded():
            if not self.spool.journal.has_room:
                await self.spool.journal.room()
                continue
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            await waiter

    def big(self, message_id: str, source: str) -> Path:
        """See `site.Intake`."""
        return self.spool.big(message_id, source)

    def take(self, claim: Claim) -> None:
        """Carry on with a pair that the caretaker claimed."""
        self._start(self._carry(claim) if claim.queue.name == "Inbound" else self._retry(claim))

    async def drain(self) -> None:
        """Returns when nothing is under way any more; cancelled, it gives up what is, as a death would."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, work: Coroutine[object, object, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        while self._waiting and len(self._tasks) <= self.most_in_flight // 2:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)

    # The road.

    async def _carry(self, claim: Claim, told: asyncio.Future[Verdict] | None = None) -> None:
        """From the claim to its end. `told` is the peer that still waits for the pickup verdict."""
        try:
            verdict: Verdict = PASS
            message = claim.message
            if self.hooks.has("mta_pickup"):
                verdict, message = await self._ask_pickup(claim)
            if told is not None and not told.done():
                told.set_result(verdict)
                claim.is_over = isinstance(verdict, Reject)  # said as 554: nobody hears of it again
            if not claim.is_over:
                await self._act(claim, message, verdict)
            claim.is_over = True
            claim.done()
        except _Rested:
            pass
        except asyncio.CancelledError:
            claim.drop()
            raise
        except Exception as error:
            self._stumbled(claim, error)
        finally:
            self.outbound.over.pop(claim.envelope.id, None)
            if told is not None and not told.done():
                told.set_result(PASS)

    async def _ask_pickup(self, claim: Claim) -> tuple[Verdict, Message]:
        """And the message to go on with. The claim keeps its own: should it rest, no journal has other octets, and it is asked about again."""
        event = TransferEvent(Stage.PICKUP, claim.left, claim.message, claim.envelope.source)
        verdict, event = await self.hooks.pickup(event)
        return verdict, _named(event.message, claim.message.id)

    async def _act(self, claim: Claim, message: Message, verdict: Verdict) -> None:
        """What a pickup verdict means, once no peer waits for it."""
        if claim.envelope.attempt.crashes > 1:  # whoever died holding it may have parted it, by roads that are others now
            remote = [one.acronym for one in self.connectors.values() if not one.is_local]
            claim.over |= await asyncio.to_thread(self.spool.parted, claim, remote)
        match verdict:
            case Pass() | Replace():
                await self._route(claim.left, message)
            case Defer(why=why) if self.outbound.later(claim.left, why) is not None:  # else it is given up, and its sender told
                self._rest(claim, why)
            case _:
                await self.outbound.act(claim.left, message, verdict, claim.queue)

    def _rest(self, claim: Claim, why: str) -> None:
        """Let the whole claim wait, where it is or in its Inbound queue."""
        self._put_off(claim, why)
        raise _Rested

    def _put_off(self, claim: Claim, why: str) -> None:
        """What is left of it waits, or is given up."""
        later = self.outbound.later(claim.left, why)
        claim.bad(why) if later is None else claim.again(later)

    async def _route(self, envelope: Envelope, message: Message) -> None:
        """Resolve, split, hand each part over."""
        plan = split(envelope, self.router.resolve, self._hop)
        if plan.unresolved:
            failures = [Failed(recipient, Reply(550, UNROUTABLE, found.why)) for recipient, found in plan.unresolved]
            await self.outbound.settle(envelope, message, failures)
            self.outbound.end(envelope, [_as_told(recipient.address) for recipient, _ in plan.unresolved])
        for part in plan.parts:
            if over := self.outbound.over.get(envelope.holder or envelope.id):  # by another group, or the message itself
                part = part._replace(recipients=tuple(one for one in part.recipients if one.address not in over))
            if part.recipients:
                await self._hand_over(envelope, message, part)
            if envelope.holder or len(plan.parts) > 1:
                self.outbound.end(envelope, [recipient.address for recipient in part.recipients])

    def _hop(self, address: InternalAddress) -> str | None:
        connector = self.connectors.get(address.connector)
        return None if connector is None else connector.hop(address)

    async def _hand_over(self, envelope: Envelope, message: Message, part: Part) -> None:
        """Delivery events, then the connector at once where it may, otherwise its Outgoing queue."""
        connector = self.connectors[part.connector]
        to = [str(recipient.address) for recipient in part.recipients]
        item = part_id(envelope.message, envelope.id, part.connector, part.hop, *to)
        child = envelope.part(item, part.recipients, part.hop)
        queue = self.spool[part.connector].outgoing
        if envelope.may_be_known and not connector.is_local and self.spool.has(queue, child, message):
            return  # a replay made it again: it rests already, or is done
        verdict, shown = await self._ask_delivery(child, message, part.connector)
        if not isinstance(verdict, Pass | Replace):
            await self.outbound.act(child, message, verdict, queue)
        elif connector.is_local or self.outbound.has_slot(part.connector, part.hop):
            await self.outbound.attempt(connector, child, shown, original=message)
        else:
            self.spool.rest(queue, child, message)

    async def _ask_delivery(self, envelope: Envelope, message: Message, target: str) -> tuple[Verdict, Message]:
        """The delivery events, at every attempt; and the message as they leave it for this attempt, which is never stored."""
        if not self.hooks.has("mta_delivery"):
            return PASS, message
        verdict, event = await self.hooks.delivery(TransferEvent(Stage.DELIVERY, envelope, message, envelope.source, target))
        return verdict, _named(event.message, message.id)

    async def _expand(
        self, envelope: Envelope, message: Message, recipient: Recipient, into: Sequence[Recipient], sender: InternalAddress | None
    ) -> None:
        """A group or redirect turned into recipients: they go in again, under the claim that holds the message."""
        path, item = (*envelope.expanded, recipient.address), derived_id(envelope.id, "expanded", str(recipient.address))
        holder = envelope.holder or envelope.id
        inner = replace(envelope, id=item, sender=sender, recipients=tuple(into), expanded=path, hop="", holder=holder)
        if len(path) > DEEPEST:
            why = f"groups or redirects lead through more than {DEEPEST} steps: {' '.join(map(str, path))}"
            await self.outbound.settle(envelope, message, [Failed(recipient, Reply(554, "5.4.6", why))])
            return
        await self._route(inner, message)

    async def _retry(self, claim: Claim) -> None:
        """One more attempt at an outgoing pair."""
        try:
            if not (envelope := claim.left).recipients:
                claim.done()  # only that was refused
                return
            connector = self.connectors.get(claim.queue.acronym)
            if connector is None:
                self._rest(claim, f"no connector {claim.queue.acronym} is loaded")
                return
            verdict, shown = await self._ask_delivery(envelope, claim.message, connector.acronym)
            rest: Envelope | None = None
            if isinstance(verdict, Defer) and self.outbound.later(envelope, verdict.why) is not None:
                self._rest(claim, verdict.why)
            elif isinstance(verdict, Pass | Replace):
                rest = await self.outbound.attempt(connector, envelope, shown, claim, original=claim.message)
            else:
                await self.outbound.act(envelope, claim.message, verdict, claim.queue)
            claim.is_over = rest is None
            claim.done() if rest is None else claim.again(rest)
        except _Rested:
            pass
        except asyncio.CancelledError:
            claim.drop()
            raise
        except Exception as error:
            self._stumbled(claim, error)
        finally:
            self.outbound.over.pop(claim.envelope.id, None)

    def _stumbled(self, claim: Claim, error: Exception) -> None:
        """Nobody foresaw this, or the disk refused: the message rests, the log has its id, the next message goes on."""
        ours = not isinstance(error, PostroomError | DiskError)
        self.log.error("mta.stumbled", id=claim.envelope.id, error=repr(error), exc_info=error if ours else None)
        claim.over |= self.outbound.over.get(claim.envelope.id, frozenset())
        try:
            claim.done() if claim.is_over or not claim.left.recipients else self._put_off(claim, f"{type(error).__name__}: {error}")
        except DiskError as refusal:  # not even that: the journal or the pair still has it
            self.log.error("mta.kept", id=claim.envelope.id, error=str(refusal))
            asyncio.get_running_loop().call_later(5.0, lambda: self._stumbled(claim, error) if claim.is_over else self.take(claim))


def _as_told(unresolved: InternalAddress) -> InternalAddress:
    """How a recipient stands among settled destinations whose sender was told that it leads nowhere. Another's road may end at its address."""
    return InternalAddress("NOWHERE", unresolved.detail)


def _named(message: Message, message_id: str) -> Message:
    """The message a hook put in another's place, under the other's id: a replay must make the same names."""
    if message.id == message_id:
        return message
    if isinstance(message, MemoryMessage | FileMessage):
        return replace(message, id=message_id)
    raise TypeError(f"a Replace must carry a MemoryMessage or a FileMessage, not {type(message).__name__}")


class _Rested(Exception):
    """The claim was put to rest: there is nothing left to settle."""
