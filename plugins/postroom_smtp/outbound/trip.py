"""One attempt at one destination: host after host, address after address, until every recipient has an outcome.

A host that cannot be reached, turns us away or asks us to wait is left for the next one; what a host refuses for good is refused. Where
the message may have arrived already, nobody else gets it now. Nothing here raises for what the world did.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import TYPE_CHECKING

from postroom.clock import Clock
from postroom.envelope import Envelope, Recipient
from postroom.errors import DiskError
from postroom.outcome import Deferred, Delivered, Failed, Outcome, Reply
from postroom.site import Log
from postroom_net.resolver import Temporary
from postroom_smtp.outbound import letter as letters
from postroom_smtp.outbound import sending
from postroom_smtp.outbound.channel import Channel
from postroom_smtp.outbound.finder import Finder
from postroom_smtp.outbound.lane import NoWay
from postroom_smtp.outbound.letter import Letter
from postroom_smtp.outbound.octets import Octets
from postroom_smtp.outbound.pool import Loops, Pool
from postroom_smtp.outbound.reply import Answer, explained, printable
from postroom_smtp.outbound.route import NO_HOST, OURSELVES, Host, Route, ordered
from postroom_smtp.outbound.sending import Addressee, Word
from postroom_smtp.outbound.sevenbit import CannotConvert, fitting
from postroom_smtp.outbound.tlspolicy import Level, TlsPolicy, Unfit, Wanted

if TYPE_CHECKING:
    from prometheus_client import Counter

SESSIONS = 2  # hosts that hear the envelope in one attempt; a third will hardly say anything else


@dataclass(frozen=True)
class Means:
    """What every trip goes by."""

    finder: Finder
    pool: Pool
    policy: TlsPolicy
    clock: Clock
    log: Log
    chance: Random
    addresses: int  # tried in one attempt
    attempts: Counter


@dataclass(eq=False)
class Trip:
    """The recipients that one route serves. `go` fills `outcomes`."""

    means: Means
    envelope: Envelope
    domain: str
    route: Route
    letter: Letter
    octets: Octets
    left: list[Addressee]
    outcomes: list[Outcome] = field(default_factory=list)
    trouble: list[tuple[Reply, bool]] = field(default_factory=list)  # what stood in the way, and whether trying again cannot help
    said: dict[Recipient, Deferred] = field(default_factory=dict)  # the last word on those that are left
    sessions: int = 0
    tried: int = 0

    async def go(self) -> list[Outcome]:
        """An outcome for each."""
        if self.route.refusal is not None:
            return self.ended(self.route.refusal, final=self.route.refusal.code >= 500)
        for host in ordered(self.route.hosts, self.means.chance):
            await self._try(host)
            if not self.left or self.sessions >= SESSIONS or self.tried >= self.means.addresses:
                break
        if not self.left:
            return self.outcomes
        waits = [reply for reply, final in self.trouble if not final]
        return self.ended(waits[-1] if waits else self.trouble[-1][0], final=not waits)

    def ended(self, reply: Reply, *, final: bool = False) -> list[Outcome]:
        """The outcomes; whoever is left gets its own last word, or this."""
        for recipient, _ in self.left:
            self.outcomes.append(self.said.get(recipient) or (Failed if final else Deferred)(recipient, reply))
        self.left = []
        return self.outcomes

    async def _try(self, host: Host) -> None:
        """The addresses of one host."""
        means = self.means
        try:
            where = await means.finder.where(host)
            wanted = await self._wanted(host)
        except Temporary as error:
            return self._stopped(Reply(451, "4.4.3", f"DNS cannot tell where {host.name} is: {error}"))
        except Unfit as error:
            return self._stopped(Reply(451, "4.7.5", f"{host.name} must not be used: {error}"))
        if wanted is None:
            return self._stopped(letters.NEEDS_REQUIRETLS, final=True)
        if not where.ips:
            return self._stopped(Reply(NO_HOST.code, NO_HOST.enhanced, f"The host {host.name} has no address"), final=True)
        for ip in where.ips:
            if not self.left or self.sessions >= SESSIONS or self.tried >= means.addresses:
                return None
            if means.finder.ourselves.is_at(ip, host.port):
                self._stopped(OURSELVES, final=True)
                continue
            self.tried += 1
            await self._visit(host, ip, wanted)
        return None

    def _stopped(self, reply: Reply, *, final: bool = False) -> None:
        self.trouble.append((reply, final))

    async def _wanted(self, host: Host) -> Wanted | None:
        """What TLS to ask for; None where the sender's REQUIRETLS cannot be kept there (RFC 8689 section 4.2.1)."""
        wanted, policy = host.wanted, self.means.policy
        if wanted is None:
            # RFC 8461 section 4.1: a domain speaks of its MX hosts; one the operator named instead speaks for itself.
            asks = policy.least if not self.letter.require_tls and _waives_tls(self.octets.head) else policy.wanted
            wanted = await asks(host.name if self.route.by == "redirect" else self.domain, host.name, host.port, host.secure)
        if not self.letter.require_tls:
            return wanted
        if not host.secure and wanted.by not in ("dane", "sts"):  # a certificate proves a name; somebody must have said whose host it is
            return None
        return wanted if wanted.level >= Level.NAMED else Wanted(Level.NAMED, (host.name,), by="requiretls")

    async def _visit(self, host: Host, ip: str, wanted: Wanted) -> None:
        """One address: a connection, and the message by it."""
        means, began = self.means, self.means.clock.monotonic()
        try:
            channel = await means.pool.connection(host, ip, wanted, self.domain)
            if await self._sent(channel, host, ip, wanted, began) is None:
                channel = await means.pool.connection(host, ip, wanted, self.domain, fresh=True)
                await self._sent(channel, host, ip, wanted, began)
        except NoWay as no:
            self._stopped(no.reply, final=isinstance(no, Loops))
            if no.is_down:
                self.tried -= 1  # it cost nothing, and the address behind it may be well
            else:
                self._log(host, ip, None, wanted, str(no.reply), began, ())

    async def _sent(self, channel: Channel, host: Host, ip: str, wanted: Wanted, began: float) -> bool | None:
        """Send, and take in what was said. None where the connection had ended while it was kept, and nothing was heard."""
        means, dialogue, since = self.means, channel.dialogue, self.means.clock.monotonic()
        before = dialogue.letters
        try:
            letter, octets = await self._fitting(channel)
            words = await sending.send(channel, letter, octets, self.left)
        except CannotConvert as why:
            words = [Reply(554, "5.6.3", str(why))] * len(self.left)
        except (DiskError, OSError) as error:
            words = [Reply(451, "4.3.0", f"The message could not be read here: {error}")] * len(self.left)
        except BaseException:  # it is cancelled: nothing is known of the server by that
            channel.give_up(sending.ENDED)
            means.pool.release(channel, was_stale=True)
            raise
        is_stale = channel.was_used and dialogue.has_nothing_of(before)
        means.pool.release(channel, was_stale=is_stale, seconds=means.clock.monotonic() - since)
        if is_stale:
            return None
        self.sessions += 1
        made = self._take_in(channel, words, host, ip)
        self._log(host, ip, channel, wanted, _told(words), began, made)
        await means.pool.parted(channel)
        return True

    async def _fitting(self, channel: Channel) -> tuple[Letter, Octets]:
        """The message as this server can take it. CannotConvert."""
        offers = channel.dialogue.offers
        octets = await fitting(self.octets, wide=offers.eight_bit, binary=offers.binary)
        return self.letter if octets is self.octets else replace(self.letter, body=octets.body, size=octets.size), octets

    def _take_in(self, channel: Channel, words: Sequence[Word], host: Host, ip: str) -> list[Outcome]:
        """Outcomes for all whose case is closed here; the others are left for the next host."""
        dialogue, by, where = channel.dialogue, f"{host.name} [{ip}]", ""
        made: list[Outcome] = []
        left = []
        for (recipient, path), word in zip(self.left, words, strict=True):
            if isinstance(word, Answer) and word.is_good:
                where = where or f"{by}: {word.code} {printable(b' '.join(word.lines))[:200]}"
                made.append(Delivered(_told_by(recipient, dialogue.offers.dsn), where, by))
                continue
            if word is letters.NEEDS_REQUIRETLS:  # RFC 8689 section 4.2.1: the next host may offer it
                left.append((recipient, path))
                continue
            outcome = _outcome(recipient, word, by)
            if isinstance(outcome, Failed) or dialogue.may_have_it:
                made.append(outcome)
            else:
                self.said[recipient] = outcome
                left.append((recipient, path))
        self.left = left
        self.outcomes += made
        if left:
            said = self.said.get(left[0][0])
            self._stopped(said.reply if said is not None else letters.NEEDS_REQUIRETLS, final=said is None)
        return made

    def _log(self, host: Host, ip: str, channel: Channel | None, wanted: Wanted, reply: str, began: float, made: Sequence[Outcome]) -> None:
        """The attempt's line, for operators."""
        self.means.attempts.inc()
        self.means.log.info(
            "smtp.sent" if channel is not None else "smtp.not_sent",
            id=self.envelope.message,
            to=self.domain,
            host=host.name,
            ip=ip,
            port=host.port,
            tls=channel.dialogue.sealed if channel is not None else "",
            verified=channel.verified if channel is not None else "",
            asked=f"{wanted.level.name.lower()} by {wanted.by}",
            kept=channel.was_used if channel is not None else False,
            reply=reply,
            recipients=len(made) + len(self.left),
            delivered=sum(type(one) is Delivered for one in made),
            seconds=round(self.means.clock.monotonic() - began, 4),
        )


def _told_by(recipient: Recipient, dsn: bool) -> Recipient:
    """RFC 3461 section 5.2.1: where the server took the wish for a success report with it, the report is its to send and not ours."""
    return replace(recipient, notify=recipient.notify - {"SUCCESS"}) if dsn and "SUCCESS" in recipient.notify else recipient


def _outcome(recipient: Recipient, word: Word, by: str) -> Deferred | Failed:
    """What was said against a recipient. A reply that rests in a queue names its server, for it is all that the queue shows."""
    if not isinstance(word, Answer):  # ours
        return (Failed if 500 <= word.code < 600 else Deferred)(recipient, Reply(word.code, word.enhanced, f"{by}: {word.text}"))
    reply = explained(word)
    if 500 <= reply.code < 600:
        return Failed(recipient, reply, by)
    if reply.code < 400:
        return Deferred(recipient, Reply(451, "4.5.0", f"{by} is out of step: {reply}"))
    return Deferred(recipient, Reply(reply.code, reply.enhanced, f"{by} said: {reply.text}"), by)


def _told(words: Sequence[Word]) -> str:
    """What the log line quotes: the first refusal, or the last word."""
    chosen = next((word for word in words if not (isinstance(word, Answer) and word.is_good)), words[-1])
    if isinstance(chosen, Answer):
        return f"{chosen.code} {printable(b' '.join(chosen.lines))[:200]}"
    return str(chosen)


def _waives_tls(head: bytes) -> bool:
    """`TLS-Required: No` (RFC 8689 section 3): the sender would have it go rather than be safe."""
    at = (b"\n" + head.lower()).find(b"\ntls-required:")
    return at >= 0 and head[at + 13 : head.find(b"\n", at + 13)].strip().lower() == b"no"
