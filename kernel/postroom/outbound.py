"""What follows from an outcome: retry, notice, Bad Mail, or nothing more. Connectors know none of it.

One for all connectors of a worker. `attempt` makes one delivery attempt and settles what came back; what must be tried again is
put to rest in the connector's Outgoing queue, or returned to the claim that rests there already.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

from postroom import notice
from postroom.address import InternalAddress
from postroom.clock import Clock
from postroom.connectors import Connector
from postroom.envelope import Envelope, Recipient
from postroom.errors import SpoolError
from postroom.message import Message, derived_id
from postroom.outcome import Deferred, Delivered, Expanded, Failed, Outcome, Reply
from postroom.retry import RetryPolicy
from postroom.site import Log
from postroom.spool import Claim, Queue, Spool
from postroom.transfer import Defer, Discard, Quarantine, Reject, Verdict
from postroom_disk.keyed import quote

ANSWERS = "Answers"  # key of a command file: what each recipient met at the last attempt, where they differ
Again = Callable[[Envelope, Message, Recipient, Sequence[Recipient], InternalAddress | None], Awaitable[None]]


@dataclass
class Outbound:
    """Attempts, and what follows from them."""

    spool: Spool
    clock: Clock
    log: Log
    host: str  # our name in notices
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    accept: Callable[[Envelope, Message], Awaitable[object]] | None = None  # the intake, for notices
    again: Again | None = None  # the MTA's, for what expands
    observe: Callable[[Envelope, Sequence[Outcome]], None] = lambda envelope, outcomes: None
    freed: Callable[[str, str], None] = lambda connector, hop: None  # told when one more attempt to this hop may start
    most_per_hop: int = 20
    over: dict[str, frozenset[InternalAddress]] = field(default_factory=dict)  # by the item that is carried: see Claim.over
    _busy: Counter[tuple[str, str]] = field(default_factory=Counter)

    def has_slot(self, connector: str, hop: str) -> bool:
        """Whether one more attempt to this hop may start now."""
        return self._busy[connector, hop] < self.most_per_hop

    async def attempt(
        self, connector: Connector, envelope: Envelope, message: Message, claim: Claim | None = None, original: Message | None = None
    ) -> Envelope | None:
        """Deliver once and settle. What is left waits: returned for a claim to rest with, else put into the Outgoing queue, with the
        octets of `original` where delivery events changed them for this attempt."""
        key = (connector.acronym, envelope.hop)
        self._busy[key] += 1
        try:
            outcomes = await connector.deliver(envelope, message)
        finally:
            self._busy[key] -= 1
            if not self._busy[key]:
                del self._busy[key]
            self.freed(*key)
        done = [outcome.recipient.address for outcome in outcomes if type(outcome) is Delivered]
        is_plain = len(outcomes) == len(done) == 1 and "SUCCESS" not in outcomes[0].recipient.notify
        # A server that has it must not get it twice. Who failed is asked again after a crash, and then told.
        if done and not connector.is_local:
            self.end(envelope, done)
            with suppress(SpoolError):  # they have it, whatever our disk says: only a crash could send it again
                await self.spool.settle(envelope, done)
                if claim is not None:
                    claim.is_settled = len(done) == len(outcomes)
            envelope = envelope if is_plain else replace(envelope, settled=envelope.settled.union(done))  # what waits says who has it
        if is_plain:
            self._settled(envelope, outcomes)  # the common case, and nothing follows from it
            return None
        return await self.settle(envelope, original or message, outcomes, self.spool[connector.acronym].outgoing, claim)

    def end(self, envelope: Envelope, destinations: Iterable[InternalAddress]) -> None:
        """These need nothing more: should what follows go wrong, the rest is tried again without them."""
        held = envelope.holder or envelope.id
        self.over[held] = self.over.get(held, frozenset()).union(destinations)

    async def settle(
        self, envelope: Envelope, message: Message, outcomes: Sequence[Outcome], queue: Queue | None = None, claim: Claim | None = None
    ) -> Envelope | None:
        """Act on outcomes; what remains to be tried rests in `queue`, or is returned when `claim` rests there. Without a queue they are not of
        destinations, and nothing is over by them."""
        self._settled(envelope, outcomes)
        failed = [outcome for outcome in outcomes if isinstance(outcome, Failed)]
        deferred = [outcome for outcome in outcomes if isinstance(outcome, Deferred)]
        for outcome in outcomes:
            if isinstance(outcome, Expanded) and self.again is not None:
                sender = envelope.sender if outcome.sender_kept else InternalAddress.parse(outcome.sender) if outcome.sender else None
                await self.again(envelope, message, outcome.recipient, outcome.into, sender)
        await self._tell(envelope, message, [outcome for outcome in outcomes if isinstance(outcome, Delivered | Expanded)])
        later = None
        if deferred:
            later = self.later(_left(envelope, deferred), str(deferred[0].reply))
            if later is None:
                failed += [notice.GivenUp(one.recipient, _given_up(one.reply), one.remote, one.reply) for one in deferred]
        if failed:
            await self._fail(envelope, message, failed)
        if queue is not None:
            self.end(envelope, [outcome.recipient.address for outcome in outcomes if later is None or type(outcome) is not Deferred])
        if later is None:
            return None
        later = await self._tell_delay(later, message, deferred)
        if claim is None and queue is not None:
            self.spool.rest(queue, later, message)
        return later if claim is not None else None

    def later(self, envelope: Envelope, why: str) -> Envelope | None:
        """The envelope after one more failed attempt, with its next time; None when it is given up."""
        attempt = replace(envelope.attempt, count=envelope.attempt.count + 1, error=why, crashes=0)
        due = self.retry.of(envelope.hop).next(attempt, envelope.arrived, self.clock.now())
        return None if due is None else replace(envelope, attempt=replace(attempt, due=due))

    async def act(self, envelope: Envelope, message: Message, verdict: Verdict, queue: Queue) -> None:
        """What a final verdict means for this message or part of it."""
        match verdict:
            case Reject(why=why):
                reply = Reply(554, "5.7.1", why)  # a status that a sender we do not know is not told of
                await self.settle(envelope, message, [Failed(recipient, reply) for recipient in envelope.recipients])
            case Quarantine(why=why, by=by):
                self.spool.set_aside("Quarantine", envelope, message, why, by, "mta_pickup" if queue.name == "Inbound" else "mta_delivery")
                self.log.info("mta.quarantined", id=envelope.id, why=why, by=by)
            case Defer(why=why):
                reply = Reply(451, "4.7.1", why)
                await self.settle(envelope, message, [Deferred(recipient, reply) for recipient in envelope.recipients], queue)
            case Discard(why=why, by=by):
                self.log.info("mta.discarded", id=envelope.id, why=why, by=by)
            case _:
                raise AssertionError(verdict)

    async def _fail(self, envelope: Envelope, message: Message, failed: Sequence[Failed]) -> None:
        """Bad Mail keeps the message; its sender gets a notice, unless it is one itself."""
        recipients = tuple(outcome.recipient for outcome in failed)
        bad = replace(envelope, id=derived_id(envelope.message, "bad", *(str(one.address) for one in recipients)), recipients=recipients)
        self.spool.set_aside("Bad Mail", bad, message, str(failed[0].reply), is_told=True)
        await self._tell(envelope, message, failed)

    async def _tell_delay(self, later: Envelope, message: Message, deferred: Sequence[Deferred]) -> Envelope:
        retry = self.retry.of(later.hop)
        if not retry.tells(later.attempt, later.arrived, self.clock.now()):
            return later
        await self._tell(later, message, deferred, until=later.arrived + retry.lifetime)
        return replace(later, attempt=replace(later.attempt, told=later.attempt.told + 1))

    async def _tell(self, envelope: Envelope, message: Message, outcomes: Sequence[Outcome], until: float = 0.0) -> None:
        if self.accept is not None and outcomes:
            async for told, text in notice.compose(envelope, outcomes, message, host=self.host, now=self.clock.now(), until=until):
                if isinstance(verdict := await self.accept(told, text), Reject):  # nobody can be told of it but the operator
                    self.spool.set_aside("Bad Mail", told, text, verdict.why)

    def _settled(self, envelope: Envelope, outcomes: Sequence[Outcome]) -> None:
        """One line a transaction, and the observers."""
        told, seconds = [_told(outcome) for outcome in outcomes], round(self.clock.now() - envelope.arrived, 3)
        self.log.info("mta.settled", id=envelope.message, sender=str(envelope.sender or "<>"), outcomes=told, seconds=seconds)
        self.observe(envelope, outcomes)


def _left(envelope: Envelope, deferred: Sequence[Deferred]) -> Envelope:
    """The envelope of those that are tried again, with the answer each of them met."""
    answers = [quote(str(outcome.reply)) for outcome in deferred]
    extra = {**envelope.extra, ANSWERS: ";".join(answers) if len({*answers}) > 1 else ""}
    return replace(envelope, recipients=tuple(outcome.recipient for outcome in deferred), extra=extra)


def _told(outcome: Outcome) -> str:
    """An outcome in a log line."""
    reply = f" {outcome.reply}" if isinstance(outcome, Deferred | Failed) else ""
    return f"{type(outcome).__name__.lower()} {outcome.recipient.address}{reply}"


def _given_up(reply: Reply) -> Reply:
    """The last reply as a final one."""
    return Reply(554, "5.4.7", f"Given up after trying for too long; the last answer was: {reply}")
