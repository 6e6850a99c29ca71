"""What is done with a message: stripped of forged fields, judged by clamd, and the verdict that follows.

`ScannerError` leaves here for whatever clamd did not judge; the host applies the operator's `on_error`. A message too large to be scanned is
no error of clamd's: `too_large` is applied here, so that large mail, however much of it, never opens the breaker for all other mail.
"""

from __future__ import annotations

from postroom.message import Message
from postroom.settings import Policy
from postroom.site import Ground
from postroom.transfer import PASS, Defer, Discard, Quarantine, Reject, Replace, TransferEvent, Verdict
from postroom_clamav import header
from postroom_clamav.copies import Copies, head_of
from postroom_clamav.grammar import Found, TooLarge
from postroom_clamav.notices import Courier, Finding, subject_of
from postroom_clamav.pool import Address, Pool
from postroom_clamav.settings import Action, ClamavSettings, Rules


class Scanner:
    """The scanner of one worker and instance."""

    def __init__(self, settings: ClamavSettings, ground: Ground) -> None:
        self._settings, self._clock, self._log = settings, ground.clock, ground.log
        self._server = ground.settings.server
        entry = ground.settings.plugins.get(ground.name)
        self.on_error: Policy = entry.hooks.on_error if entry else "defer"
        self._is_shadow = entry is not None and entry.hooks.mode == "shadow"  # then nobody hears of it
        self._rules: dict[str, Rules] = {}
        metrics, name = ground.metrics, ground.name
        gauge = metrics.gauge("clamav_connections", "Open connections to clamd", scanner=name)
        self.address = address_of(settings, ground)
        self.pool = Pool(self.address, settings.connections, settings.connect_timeout, ground.clock, gauge)
        self.copies = Copies(ground.root / "run" / (name or "clamav") / str(ground.worker), ground.disk, ground.clock)
        self.courier = Courier(settings.operator)
        self._scanned = metrics.counter("clamav_scanned_total", "Messages that clamd judged", scanner=name)
        self._infected = metrics.counter("clamav_infected_total", "Messages in which it found something", scanner=name)
        self._errors = metrics.counter("clamav_errors_total", "Messages that it did not judge", scanner=name)
        self._too_large = metrics.counter("clamav_too_large_total", "Messages that were too large to be scanned", scanner=name)
        self._seconds = metrics.counter("clamav_seconds_total", "Seconds spent waiting for its judgement", scanner=name)

    async def pickup(self, event: TransferEvent) -> Verdict:
        """Strip mail from outside, and scan where this is the stage for it."""
        rules = self._rules_of(event.source)
        message, trusted = event.message, event.envelope.peer.trusted
        if rules.strip and not trusted:
            message = await self._stripped(message)
        if self._settings.stage == "pickup" and rules.scan and not (trusted and rules.only_untrusted):
            return await self._judge(event, message, rules)
        return _going_on(event, message)

    async def delivery(self, event: TransferEvent) -> Verdict:
        """Scan where this is the stage for it."""
        if self._settings.stage == "pickup":
            return PASS
        rules = self._rules_of(event.source)
        if not rules.scan or (rules.only_untrusted and event.envelope.peer.trusted):
            return PASS
        return await self._judge(event, event.message, rules)

    def _rules_of(self, source: str) -> Rules:
        rules = self._rules.get(source)
        if rules is None:
            rules = self._rules[source] = self._settings.rules_of(source)
        return rules

    async def _stripped(self, message: Message) -> Message:
        head = await head_of(message)
        if not header.is_forged(head):
            return message
        self._log.info("clamav.stripped", id=message.id)
        return await self.copies.changed(message, len(head), header.stripped(head))

    async def _judge(self, event: TransferEvent, message: Message, rules: Rules) -> Verdict:
        if message.size > rules.max_size:
            return self._not_scanned(event, message, rules)
        began = self._clock.monotonic()
        try:
            judged = await self.pool.scan(message)
        except BaseException:  # a missed deadline is one too
            self._errors.inc()
            raise
        finally:
            self._seconds.inc(self._clock.monotonic() - began)
        if isinstance(judged, TooLarge):
            return self._not_scanned(event, message, rules)
        self._scanned.inc()
        if isinstance(judged, Found):
            return await self._found(event, message, rules, judged.name)
        if rules.add_header:
            return await self._with(message, header.clean(self._server))
        return _going_on(event, message)

    async def _found(self, event: TransferEvent, message: Message, rules: Rules, virus: str) -> Verdict:
        self._infected.inc()
        envelope = event.envelope
        self._log.warning("clamav.found", id=envelope.message, virus=virus, action=rules.action, sender=str(envelope.sender or "<>"))
        if rules.notify and not self._is_shadow:
            self.courier.tell(Finding(virus, envelope, subject_of(await head_of(message)), rules.action), rules)
        if rules.action == "mark":
            return await self._with(message, header.found(virus))
        return _verdict(rules.action, f"the message contains the virus {virus}")

    async def _with(self, message: Message, fields: bytes) -> Verdict:
        head = await head_of(message)
        return Replace(await self.copies.changed(message, len(head), header.with_fields(head, fields)))

    def _not_scanned(self, event: TransferEvent, message: Message, rules: Rules) -> Verdict:
        """What the operator wants done with mail that is too large."""
        self._too_large.inc()
        what = self.on_error if rules.too_large == "on_error" else rules.too_large
        self._log.warning("clamav.too_large", id=event.envelope.message, size=message.size, then=what)
        why = f"the message has {message.size} octets, too many to be scanned for viruses"
        if what == "pass":
            return _going_on(event, message)
        return Defer(why) if what == "defer" else _verdict(what, why)


def _verdict(action: Action, why: str) -> Verdict:
    match action:
        case "quarantine":
            return Quarantine(why)
        case "discard":
            return Discard(why)
        case _:
            return Reject(why)


def _going_on(event: TransferEvent, message: Message) -> Verdict:
    return PASS if message is event.message else Replace(message)


def address_of(settings: ClamavSettings, ground: Ground) -> Address:
    """Where clamd listens; a relative socket lies in the site."""
    return Address(None, settings.host, settings.port) if settings.host else Address(ground.root / settings.socket)
