"""What the inbound agent's conversations share: limits, tables, and the way into the kernel.

Everything a conversation asks while it parses is answered here from memory. What waits (hooks, acceptance) is async and never
raises: whatever goes wrong comes back as the reply for the peer, and the log has the message id.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from postroom.address import InternalAddress
from postroom.clock import Clock
from postroom.envelope import Envelope, Peer
from postroom.errors import DiskError
from postroom.message import Message
from postroom.outcome import Reply
from postroom.site import Asking, HookFailed, Intake, Log, Site
from postroom.transfer import Defer, Reject
from postroom_disk.disk import Disk
from postroom_net import offered
from postroom_net.authentication import Authenticator, Verdict
from postroom_net.limits import ConnectionLimits, RateLimit
from postroom_net.login import Principal, Refused
from postroom_net.sasl import Challenge
from postroom_net.sealed import Host
from postroom_net.tls import TlsContexts
from postroom_net.wheel import TimerWheel
from postroom_smtp import extensions, replies
from postroom_smtp.access import Decision, address_of, plain_ip
from postroom_smtp.api import DataEvent
from postroom_smtp.content import Content
from postroom_smtp.data import BareLines
from postroom_smtp.gate import Gate
from postroom_smtp.outbound import etrn
from postroom_smtp.rates import SendingRates
from postroom_smtp.relay import Relay, Routes, SeenAddresses
from postroom_smtp.settings import Limits, SmtpSettings
from postroom_smtp.wants import Ask, Commit, Prove, Start

if TYPE_CHECKING:
    from postroom.spool import Spool
    from postroom_ops.metrics import Metrics
    from postroom_smtp.connection import Connection

SOURCE = "SMTP"


@dataclass(eq=False)
class House:
    """One per worker and instance."""

    server: str
    settings: SmtpSettings
    clock: Clock
    disk: Disk
    intake: Intake
    asking: Asking
    tls: TlsContexts
    gate: Gate
    log: Log
    metrics: Metrics
    routes: Routes
    authenticator: Authenticator
    seen: SeenAddresses
    spool: Spool
    connections: set[Connection] = field(default_factory=set)
    empty: asyncio.Event = field(default_factory=asyncio.Event)  # set by the last connection that leaves
    draining: bool = False

    def __post_init__(self) -> None:
        settings = self.settings
        self.limits: Limits = settings.limits
        self.bare = BareLines(settings.bare_lines)
        self.banner = f"220 {self.server} {settings.banner}\r\n".encode()
        self.offers = {starttls: self._make_offers(starttls, "", "", False) for starttls in (False, True)}
        self.wheel = TimerWheel(self.clock)
        self.sealing = Host(settings.handshake_seconds, self._admits_sealed, self._release_sealed, self.handshake_failed, self.clock.sleep)
        self.patience = min(self.limits.command_seconds, self.limits.data_seconds)  # what a peer earns lasts for so many seconds at least
        exempt = [str(network) for network in settings.exempt]
        self._live = ConnectionLimits(settings.connections, settings.connections_per_ip, settings.connections_per_network, exempt)
        self._is_exempt = lru_cache(maxsize=4096)(lambda ip: any(address_of(ip) in network for network in settings.exempt))
        self._rate = RateLimit(settings.connect_rate, settings.connect_burst)
        told = "Messages whose last octet came, by what was said"
        self._connected = self.metrics.counter("smtp_connections_total", "Connections that were served")
        self._accepted = self.metrics.counter("smtp_messages_total", told, outcome="accepted")
        self._refused = self.metrics.counter("smtp_messages_total", told, outcome="refused")
        logged = "Logins, by what was said"
        self._logged_in = self.metrics.counter("smtp_logins_total", logged, outcome="ok")
        self._turned_away = self.metrics.counter("smtp_logins_total", logged, outcome="refused")
        self._where = partial(self.intake.big, source=SOURCE)
        self.rates = SendingRates(settings.rates)
        self.relay = Relay(settings.relay, self.routes, self.gate, self.seen, self.intake.verify)
        self.refuses, self.may_relay = self.relay.refuses, self.relay.may_relay
        self.owns, self.poses = self.relay.owns, self.relay.poses
        self.now, self.monotonic = self.clock.now, self.clock.monotonic
        self.is_overloaded, self.asks = self.intake.overloaded, self.asking.has
        self._offered = lru_cache(maxsize=64)(self._make_offers)

    @classmethod
    def of(cls, site: Site, settings: SmtpSettings) -> House:
        """The house of one plugin instance in a running site."""
        gate = Gate(site.providers.smtp, site.log, listed_only=settings.admit == "listed")
        return cls(
            site.settings.server,
            settings,
            site.clock,
            site.disk,
            site.intake,
            site.ask,
            site.tls,
            gate,
            site.log,
            site.metrics,
            site.router,
            offered.authenticator(site, settings.auth, "smtp"),
            SeenAddresses(site.clock, settings.relay.pop_before_smtp * 60, site.bus),
            site.spool,
        )

    # What is offered.

    def offers_to(self, *, starttls: bool, mechanisms: tuple[str, ...], holds: bool, etrn: bool) -> bytes:
        """See `wants.House`. The latest time of FUTURERELEASE moves with the clock, by the minute."""
        most = int(self.settings.hold_days * 86400) if holds else 0
        until = datetime.fromtimestamp((self.now() + most) // 60 * 60, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if most else ""
        return self._offered(starttls, " ".join(mechanisms), f"{most} {until}" if most else "", etrn)

    def _make_offers(self, starttls: bool, mechanisms: str, hold: str, etrn: bool) -> bytes:
        limits = self.limits
        return extensions.lines(
            extensions.offered(
                size=limits.message,
                recipients=limits.recipients,
                messages=limits.messages,
                starttls=starttls,
                mechanisms=mechanisms,
                hold=hold,
                etrn=etrn,
            )
        )

    # Who may come in.

    def admit(self, ip: str) -> bytes | None:
        """Count one more connection from there: the reply that turns it away, or None. Each None needs its `release`."""
        if self.draining:
            return replies.SHUTTING_DOWN
        is_too_fast = not self._is_exempt(ip) and not self._rate.take(ip, self.monotonic())
        if is_too_fast or not self._live.admit(ip):
            return replies.TOO_MANY_CONNECTIONS
        self._connected.inc()
        return None

    def release(self, ip: str) -> None:
        self._live.release(ip)

    @property
    def live(self) -> int:
        """Connections that are counted now, handshakes included."""
        return self._live.count

    def _admits_sealed(self, ip: str) -> bool:
        """The same for a peer that begins with TLS, to whom nothing can be said yet."""
        if (refusal := self.admit(plain := plain_ip(ip))) is not None:
            self.log.info("smtp.turned_away", peer=plain, reply=refusal.decode().rstrip())
        return refusal is None

    def _release_sealed(self, ip: str) -> None:
        self.release(plain_ip(ip))

    def handshake_failed(self, ip: str, error: Exception) -> None:
        self.log.info("smtp.handshake_failed", peer=plain_ip(ip), error=f"{type(error).__name__}: {error}")

    def decide(self, ip: str) -> Decision:
        return self.gate.access.decide(ip)

    def is_privileged(self, ip: str) -> bool:
        """Whether this address may relay by itself; notices to its senders are no backscatter."""
        return self.decide(ip).may_relay or ip in self.seen

    def is_banned(self, sender: InternalAddress, recipient: InternalAddress) -> bool:
        access = self.gate.access
        return access.has_bans and access.banned(sender.domain, recipient.domain) is not None

    def postmaster(self) -> str:
        """RFC 5321 section 4.1.1.3: `postmaster` alone is the postmaster of this server, here of its first domain."""
        first = next((row.domain for row in self.gate.domains if row.status == 1), self.server)
        return f"postmaster@{first}"

    def content(self, message_id: str, trace_lines: bytes) -> Content:
        return Content(message_id, trace_lines, self.disk, self._where)

    # What waits.

    async def ask(self, ask: Ask) -> bytes | None:
        return await self._reply(ask.hook, ask.event)

    async def _reply(self, hook: str, event: object, message_id: str = "") -> bytes | None:
        """What the hook's plugins want said, or None. A failure says what the operator's policy says; nonsense is a failure."""
        try:
            reply = await self.asking(hook, event=event)
        except HookFailed as failure:
            return replies.wire(_policy(failure))
        except Exception as error:
            self.log.error("smtp.hook_failed", hook=hook, id=message_id, error=f"{type(error).__name__}: {error}")
            return replies.LOCAL_ERROR
        if reply is None or (isinstance(reply, Reply) and 400 <= reply.code <= 599):
            return None if reply is None else replies.wire(reply)
        self.log.error("smtp.hook_nonsense", hook=hook, id=message_id, answer=repr(reply)[:200])
        return replies.LOCAL_ERROR

    async def prove(self, prove: Prove, peer: Peer) -> Verdict:
        """Carry a step of a login out, and tell the log where one ended."""
        verdict = await prove.trial.go(prove.step)
        if isinstance(verdict, Principal):
            self._logged_in.inc()
            self.log.info("smtp.logged_in", login=verdict.username, peer=peer.ip, mechanism=prove.trial.mechanism.name)
        elif not isinstance(verdict, Challenge):
            self._turned_away.inc()
            reason = verdict.reason if isinstance(verdict, Refused) else verdict.value
            facts = {"login": prove.trial.name[:100], "peer": peer.ip, "mechanism": prove.trial.mechanism.name}
            self.log.warning("smtp.login_refused", reason=reason, **facts)
        return verdict

    async def start(self, start: Start) -> bytes:
        """ETRN: make due what waits for a node."""
        try:
            count = await etrn.try_now(self.spool, self.clock, start.node)
        except DiskError as error:
            self.log.warning("smtp.etrn_failed", node=start.node, error=str(error))
            return replies.cannot_try(start.node)
        self.log.info("smtp.etrn", node=start.node, messages=count)
        return replies.trying(start.node, count)

    async def _rest(self, envelope: Envelope, message: Message) -> None:
        """Put a message that its sender wants held to rest in the Inbound queue, where it is listed and due when he said."""
        claim = await self.spool.accept(envelope, message)
        try:
            claim.again(envelope)
        except DiskError:
            await self.spool.settle(envelope, ())  # before the sender is told to try again: the journal must not bring it back
            claim.is_settled = True
            claim.done()
            raise

    async def take(self, commit: Commit) -> bytes:
        """Hand a message to the kernel: what its sender is told. 250 means that it is durable."""
        content, envelope = commit.content, commit.envelope
        refusal, verdict = None, None
        try:
            message = content.finish()
            if self.asks("smtp_data"):
                refusal = await self._reply("smtp_data", DataEvent(envelope, message), content.id)
            if refusal is None and envelope.attempt.due > self.now():
                await self._rest(envelope, message)
            elif refusal is None:
                verdict = await self.intake.accept(envelope, message)
            else:
                content.discard()
        except DiskError as error:
            content.discard()
            self.log.warning("smtp.disk_refused", id=content.id, full=error.full, error=str(error))
            refusal = replies.DISK_FULL if error.full else replies.LOCAL_ERROR
        except Exception as error:  # what it left behind may be named by the journal: the caretaker knows, we do not
            self.log.error("smtp.accept_failed", id=content.id, error=f"{type(error).__name__}: {error}")
            refusal = replies.LOCAL_ERROR
        if isinstance(verdict, Reject):
            refusal = replies.wire(Reply(554, "5.7.1", verdict.why or "Message refused"))
        self._note(commit, refusal)
        return refusal or replies.queued(content.id)  # any other verdict is carried out by the MTA, which has the message

    def _note(self, commit: Commit, refusal: bytes | None) -> None:
        """The message's line in the log, and its count."""
        (self._accepted if refusal is None else self._refused).inc()
        envelope = commit.envelope
        facts: dict[str, object] = {} if refusal is None else {"reply": refusal.decode().rstrip()}
        if envelope.peer.user:
            facts["login"] = envelope.peer.user
        if envelope.attempt.due:
            facts["due"] = envelope.attempt.due
        if commit.bare and self.bare is BareLines.NOTE:
            facts["bare_lines"] = True
        self.log.info(
            "smtp.accepted" if refusal is None else "smtp.refused",
            id=envelope.id,
            peer=envelope.peer.ip,
            sender=envelope.sender.detail if envelope.sender else "",
            recipients=len(envelope.recipients),
            size=commit.content.size,
            seconds=round(self.monotonic() - commit.began, 4),
            **facts,
        )


def _policy(failure: HookFailed) -> Reply:
    verdict = failure.verdict
    if isinstance(verdict, Reject):
        return Reply(550, "5.7.1", verdict.why)
    why = verdict.why if isinstance(verdict, Defer) else "Cannot be checked now"  # nothing is there to put into quarantine yet
    return Reply(451, "4.7.1", why)
