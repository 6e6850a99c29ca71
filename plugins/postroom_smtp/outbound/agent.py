"""The outbound agent: `deliver` makes one attempt at an envelope, the agent's loop looks after connections between messages.

The envelope's recipients are one hop's as the kernel split them; where they go is decided anew at every attempt, by the rows, settings and
DNS of now. Each recipient gets one outcome whatever happens: what the world did wrong is Deferred with the reply that says so, and what we did
wrong on the way is logged and Deferred too, for somebody may have the message by then. Delivery by SMTP
cannot be idempotent: where a connection breaks after the last octet of a message and before the answer to it, the message is sent again,
and its recipient may get it twice (RFC 1047).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

from postroom.address import InternalAddress
from postroom.connectors import Endpoint
from postroom.envelope import Envelope, Recipient
from postroom.errors import DiskError
from postroom.message import Message
from postroom.outcome import Deferred, Delivered, Failed, Outcome, Reply
from postroom.site import Site
from postroom_net.resolver import Temporary
from postroom_smtp.outbound import letter as letters
from postroom_smtp.outbound.etrn import Asker, try_now
from postroom_smtp.outbound.finder import Finder, Ourselves
from postroom_smtp.outbound.letter import Letter
from postroom_smtp.outbound.octets import Octets, of_message
from postroom_smtp.outbound.pool import Dial, Pool
from postroom_smtp.outbound.route import Route
from postroom_smtp.outbound.sending import Addressee
from postroom_smtp.outbound.settings import OutboundSettings
from postroom_smtp.outbound.sts import is_local
from postroom_smtp.outbound.tlspolicy import Level, Opportunistic, TlsPolicy
from postroom_smtp.outbound.trip import Means, Trip

if TYPE_CHECKING:
    from prometheus_client import Counter

_LEVELS = {"may": Level.MAY, "required": Level.MUST, "verify": Level.NAMED, "none": Level.NONE}
_ROUND = 60.0  # seconds between two looks of the agent's loop, which has nothing to do but to be there


@dataclass
class _Group:
    """Recipients that share a transaction."""

    domain: str
    route: Route
    to: list[Addressee]


class OutboundAgent:
    """The agent of one worker."""

    name = "smtp.outbound"
    endpoints: Sequence[Endpoint] = ()

    def __init__(
        self,
        site: Site,
        settings: OutboundSettings,
        places: Collection[tuple[str, int]] = (),
        *,
        policy: TlsPolicy | None = None,
        trusts: bool | None = None,
        dial: Dial | None = None,
        seed: int | None = None,
    ) -> None:
        """`trusts`: whether the resolver's word on DNSSEC counts; None: where it is on this machine."""
        helo = settings.helo or site.settings.server
        self.clock, self._log, self._site, self._settings = site.clock, site.log, site, settings
        ourselves = Ourselves({helo, site.settings.server}, _Places(site, places))
        self._policy = policy = policy or of_settings(settings)
        attempts = site.metrics.counter("smtp_outbound_attempts_total", "Attempts to hand a message to a server")
        self.pool = Pool(settings, helo, site.clock, policy, site.metrics, dial)
        trusts = is_local(site.resolver.servers) if trusts is None else trusts
        self.finder = Finder(settings, site.resolver, site.providers.smtp.domains, ourselves, trusts=trusts)
        self._means = Means(self.finder, self.pool, policy, site.clock, site.log, Random(seed), settings.addresses, attempts)
        told = "Recipients of mail that went out, by what became of it"
        self._counts: dict[type[Outcome], Counter] = {
            kind: site.metrics.counter("smtp_outbound_recipients_total", told, outcome=kind.__name__.lower())
            for kind in (Delivered, Deferred, Failed)
        }
        site.bus.listen("retry", lambda payload: self.pool.try_again())
        self._asker: Asker | None = None
        if settings.etrn:
            self._asker = Asker(settings.etrn, settings.etrn_every, self.finder, self.pool, policy, site.clock, site.log)

    # ------------------------------------------------------------ the agent

    async def run(self) -> None:
        """Keep connections for the next message, until cancelled; then cut them."""
        self.pool.begin(keeps=bool(self._settings.idle))
        try:
            if self._asker is not None and not self._site.worker:  # one worker asks for all
                await self._asker.run()
            while True:
                await self.clock.sleep(_ROUND)
        finally:
            await self._policy.close()
            await self.pool.close()

    async def drain(self) -> None:
        """Keep no connection any more; messages under way end by themselves."""
        self.pool.let_go()

    async def try_now(self, node: str) -> int:
        """For ETRN of a peer that may ask: make due what waits for this domain ("@domain": and for all below it); how many. DiskError."""
        self._site.bus.send("retry", here=True)
        return await try_now(self._site.spool, self.clock, node)

    # ------------------------------------------------------------ one attempt

    def hop(self, address: InternalAddress) -> str:
        """See Connector.hop: a domain, or the smart host that takes all mail."""
        return self.finder.hop(address.domain)

    async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
        """See Connector.deliver."""
        outcomes = await self._delivered(envelope, message)
        for outcome in outcomes:
            self._counts[type(outcome)].inc()
        return outcomes

    async def _delivered(self, envelope: Envelope, message: Message) -> list[Outcome]:
        try:
            octets = await of_message(message, envelope.body)
        except (DiskError, OSError) as error:
            return _all(Deferred, envelope.recipients, Reply(451, "4.3.0", f"The message could not be read here: {error}"))
        ascii_header = not envelope.utf8 or octets.head.isascii()
        letter = letters.of_envelope(envelope, octets.size, octets.body, header_is_ascii=ascii_header)
        if letter is None:
            return _all(Failed, envelope.recipients, letters.NO_SENDER)
        groups, outcomes = await self._grouped(envelope)
        if len(groups) == 1:
            return outcomes + await self._trip(envelope, groups[0], letter, octets)
        for made in await asyncio.gather(*(self._trip(envelope, group, letter, octets) for group in groups)):
            outcomes += made
        return outcomes

    async def _trip(self, envelope: Envelope, group: _Group, letter: Letter, octets: Octets) -> list[Outcome]:
        trip = Trip(self._means, envelope, group.domain, group.route, letter, octets, group.to)
        try:
            return await trip.go()
        except Exception as error:  # whoever has it by now must not get it again for that
            self._log.error("smtp.trip_failed", id=envelope.message, to=group.domain, error=repr(error), exc_info=error)
            return trip.ended(Reply(451, "4.3.0", f"{type(error).__name__}: {error}"))

    async def _grouped(self, envelope: Envelope) -> tuple[list[_Group], list[Outcome]]:
        """The recipients by route, and outcomes for those that have none."""
        groups: dict[str, _Group] = {}
        outcomes: list[Outcome] = []
        routes: dict[str, Route | Reply] = {}
        for recipient in envelope.recipients:
            path = letters.path(recipient.address.detail)
            if path is None or b"@" not in path:
                outcomes.append(Failed(recipient, letters.NO_MAILBOX))
                continue
            domain = path.rpartition(b"@")[2].decode().lower()
            if (route := routes.get(domain)) is None:
                route = routes[domain] = await self._route(envelope, domain)
            if isinstance(route, Reply):
                outcomes.append(Deferred(recipient, route))
            else:
                groups.setdefault(route.key, _Group(domain, route, [])).to.append((recipient, path))
        return list(groups.values()), outcomes

    async def _route(self, envelope: Envelope, domain: str) -> Route | Reply:
        """The route, or why nobody can tell it now (features case 14)."""
        try:
            return await self.finder.route(envelope, domain)
        except Temporary as error:
            return Reply(451, "4.4.3", f"DNS cannot tell where mail for {domain} goes: {error}")
        except DiskError as error:
            return Reply(451, "4.3.0", f"The table of domains cannot be read: {error}")


def of_settings(settings: OutboundSettings) -> TlsPolicy:
    """What the operator asks of hosts that say nothing themselves."""
    return Opportunistic(_LEVELS[settings.tls])


class _Places:
    """The addresses and ports where this server takes mail; ports that were free-chosen are known once the sockets are bound."""

    def __init__(self, site: Site, said: Collection[tuple[str, int]]) -> None:
        self._site, self._said = site, frozenset(said)
        self._known: frozenset[tuple[str, int]] | None = None

    def __call__(self) -> frozenset[tuple[str, int]]:
        if self._known is None:
            bound = {sock.getsockname()[:2] for sockets in self._site.sockets.values() for sock in sockets if sock.fileno() >= 0}
            self._known = self._said | bound
        return self._known


def _all(kind: type[Deferred] | type[Failed], recipients: Sequence[Recipient], reply: Reply) -> list[Outcome]:
    return [kind(recipient, reply) for recipient in recipients]
