"""The SF connector: one attempt ends in mailboxes, in new recipients, or in a reply that says why not.

Every mailbox of an envelope is stored by one call, so that the message's file is made once. An answer follows only after the store's; what the disk
refused is Deferred, and the same envelope may come again at any time: the store knows what it has. Nothing here raises for bad rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from postroom.address import InternalAddress
from postroom.connectors import Agent
from postroom.envelope import Envelope, Recipient
from postroom.errors import DiskError, NoSuchMailbox, OverQuota
from postroom.mailstore import INBOX, Placed, Target
from postroom.message import Message, derived_id
from postroom.outcome import Deferred, Delivered, Expanded, Failed, Outcome, Reply
from postroom.records import MailboxRecord
from postroom.site import Site
from postroom.transfer import Quarantine
from postroom_postoffice import events, rules
from postroom_postoffice.api import HOOK, Foreseen
from postroom_postoffice.book import Book, Key, folded
from postroom_postoffice.circles import has_come_back
from postroom_postoffice.forwarding import Forwarding
from postroom_postoffice.junk import is_junk
from postroom_postoffice.settings import PostofficeSettings

KIB = 1024
FULL_LATER = Reply(452, "4.2.2", "this mailbox is full; try again later")
FULL_FOR_GOOD = Reply(552, "5.2.2", "this mailbox is full")
DISK = Reply(451, "4.3.0", "the mailbox cannot be reached just now; try again later")
DISK_FULL = Reply(452, "4.3.1", "this system's disk is full; try again later")
GONE = Reply(550, "5.1.1", "no such mailbox here")
OURS = Reply(451, "4.3.0", "an error of this server; the operator can read of it in the log")


class PostofficeConnector:
    """`[SF:PO/name]`: mailboxes and groups of this site."""

    acronym = "SF"
    is_local = True

    def __init__(self, settings: PostofficeSettings, site: Site) -> None:
        self._settings, self._site = settings, site
        self.book = Book(site.providers.postoffice)
        self._forwarding = Forwarding(settings.srs, site)
        self._full: dict[Key, float] = {}  # mailbox: monotonic second until which it is taken to be full

    def hop(self, address: InternalAddress) -> str:
        return ""

    def agents(self) -> Iterable[Agent]:
        return ()

    def refuses(self, address: InternalAddress) -> Reply | None:
        returned = self._forwarding.returned(Recipient(address))
        if returned is not None:
            return returned if isinstance(returned, Reply) else None
        if reply := rules.refusal(self.book, address):
            return reply
        until = self._full.get(address.key[1]) if self._full else None
        return None if until is None or self._site.clock.monotonic() >= until else self._full_reply

    async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
        await self.book.refresh()
        plans = [self._plan(envelope, recipient) for recipient in envelope.recipients]
        if any(plan.into for plan in plans):
            try:
                plans = await self._without_circles(plans, message)
            except DiskError as error:
                return [Deferred(recipient, self._disk_reply(error)) for recipient in envelope.recipients]
        kept: dict[Key, MailboxRecord] = {_key(plan.keep): plan.keep for plan in plans if plan.keep}
        stored = await self._store(envelope, message, kept) if kept else {}
        return [outcome for plan in plans for outcome in self._outcomes(plan, stored, envelope)]

    async def foresee(self, envelope: Envelope, message: Message | None) -> Sequence[Foreseen]:
        """What `deliver` would answer if nothing fails, by the same decisions; stores nothing, asks no hook."""
        await self.book.refresh()
        folder = self._settings.junk_folder if message and self._settings.junk and await is_junk(message) else INBOX
        plans = [self._plan(envelope, recipient) for recipient in envelope.recipients]
        plans = await self._without_circles(plans, message) if message else plans
        stored: dict[Key, str | Reply] = {
            _key(plan.keep): f"{plan.keep.postoffice}/{plan.keep.mailbox}/{folder}" for plan in plans if plan.keep
        }
        return [Foreseen(outcome, plan.by) for plan in plans for outcome in self._outcomes(plan, stored, envelope)]

    def _plan(self, envelope: Envelope, recipient: Recipient) -> rules.Plan:
        returned = self._forwarding.returned(recipient)
        if returned is not None:
            return rules.Plan(recipient, refusal=returned) if isinstance(returned, Reply) else rules.Plan(recipient, into=returned)
        return rules.plan(self.book, envelope, recipient, max_members=self._settings.max_members, resolve=self._resolved)

    def _resolved(self, address: InternalAddress) -> Sequence[InternalAddress]:
        return self._site.router.resolve(address).to

    async def _without_circles(self, plans: Sequence[rules.Plan], message: Message) -> list[rules.Plan]:
        """Nothing is sent outside again that came back from there. DiskError."""
        away = [plan for plan in plans if plan.by and any(one.address.connector == "SMTP" for one in plan.into)]
        if not away or not await has_come_back(message, self._site.settings.server):
            return list(plans)
        return [rules.come_back(plan) if plan in away else plan for plan in plans]

    async def _store(self, envelope: Envelope, message: Message, kept: dict[Key, MailboxRecord]) -> dict[Key, str | Reply]:
        """Put the message into these mailboxes: where it lies now, or the reply that says why not."""
        try:
            folder = self._settings.junk_folder if self._settings.junk and await is_junk(message) else INBOX
            targets = {key: _target(row, folder) for key, row in kept.items()}
            if not self._site.ask.has(HOOK):
                return await self._place(envelope, message, targets)
            return await self._ask_and_place(envelope, message, targets)
        except DiskError as error:
            return dict.fromkeys(kept, self._disk_reply(error))

    async def _ask_and_place(self, envelope: Envelope, message: Message, targets: dict[Key, Target]) -> dict[Key, str | Reply]:
        """Each mailbox's copy by the hook's word; those that stay as they came are stored by one call."""
        answers: dict[Key, str | Reply] = {}
        unchanged: dict[Key, Target] = {}
        for key, target in targets.items():
            try:
                copy = await self._asked(envelope, message, target)
            except DiskError as error:  # that of one mailbox: the others may have theirs already
                copy = self._disk_reply(error)
            if isinstance(copy, (str, Reply)):
                answers[key] = copy
            elif copy is message:
                unchanged[key] = target
            else:
                answers |= await self._place(envelope, copy, {key: target}, own=True)
        return answers | await self._place(envelope, message, unchanged) if unchanged else answers

    async def _asked(self, envelope: Envelope, message: Message, target: Target) -> Message | str | Reply:
        """What the hook made of one mailbox's copy: the copy, where it went instead, or the reply that keeps it out."""
        verdict, copy = await events.ask(self._site.ask, envelope, message, target)
        if isinstance(verdict, Quarantine):
            self._set_aside(envelope, copy, target, verdict)
        return events.refusal(verdict) or events.elsewhere(verdict) or copy

    def _set_aside(self, envelope: Envelope, copy: Message, target: Target, verdict: Quarantine) -> None:
        """One mailbox's copy into quarantine, as an item of its own; a second attempt writes the same item again. DiskError."""
        here = folded(target.postoffice, target.mailbox)
        own = tuple(each for each in envelope.recipients if each.address.key[1] == here)
        item = replace(envelope, id=derived_id(envelope.id, HOOK, here), recipients=own)
        self._site.spool.set_aside("Quarantine", item, copy, verdict.why, verdict.by, HOOK)

    async def _place(
        self, envelope: Envelope, message: Message, targets: dict[Key, Target], *, own: bool = False
    ) -> dict[Key, str | Reply]:
        """One call of the store."""
        wanted = list(targets.values())
        placed = await self._site.store.deliver(message, wanted, arrived=envelope.arrived, again=envelope.may_be_known, own=own)
        return {key: self._answer(key, target, answer, envelope) for key, target, answer in zip(targets, wanted, placed)}

    def _answer(self, key: Key, target: Target, answer: Placed | Exception, envelope: Envelope) -> str | Reply:
        """What the store said, as a place or a reply."""
        match answer:
            case Placed():
                if self._full:
                    self._full.pop(key, None)
                return f"{target.postoffice}/{target.mailbox}/{answer.folder}"
            case OverQuota():
                self._remember_full(key)
                return self._full_reply
            case DiskError():
                return self._disk_reply(answer)
            case NoSuchMailbox():
                return GONE
        self._site.log.error(
            "delivery failed", message=envelope.message, mailbox=f"{target.postoffice}/{target.mailbox}", error=repr(answer)
        )
        return OURS

    def _outcomes(self, plan: rules.Plan, stored: dict[Key, str | Reply], envelope: Envelope) -> Sequence[Outcome]:
        """The outcome of a recipient; two where those who stand for it get the message under different senders."""
        outcome = self._outcome(plan, stored)
        return self._forwarding.parted(outcome, envelope.sender) if isinstance(outcome, Expanded) else [outcome]

    def _outcome(self, plan: rules.Plan, stored: dict[Key, str | Reply]) -> Outcome:
        if plan.refusal:
            return Failed(plan.recipient, plan.refusal)
        place = stored[_key(plan.keep)] if plan.keep else None
        if isinstance(place, Reply) and not (plan.into and place.enhanced.endswith(".2.2")):  # a full mailbox does not hold up its redirect
            return Deferred(plan.recipient, place) if place.code < 500 else Failed(plan.recipient, place)
        if plan.into:
            return Expanded(plan.recipient, plan.into, kept=isinstance(place, str))
        return Delivered(plan.recipient, place if isinstance(place, str) else "every member has it")

    @property
    def _full_reply(self) -> Reply:
        return FULL_LATER if self._settings.when_full == "defer" else FULL_FOR_GOOD

    def _remember_full(self, key: Key) -> None:
        if len(self._full) >= 10_000:
            self._full.clear()
        self._full[key] = self._site.clock.monotonic() + self._settings.full_memory

    def _disk_reply(self, error: DiskError) -> Reply:
        return DISK_FULL if error.full else DISK


def _key(row: MailboxRecord) -> Key:
    return folded(row.postoffice, row.mailbox)


def _target(row: MailboxRecord, folder: str) -> Target:
    return Target(row.postoffice, row.mailbox, folder, limit=None if row.limit < 0 else row.limit * KIB)
