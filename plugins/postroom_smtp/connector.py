"""The connector SMTP as the MTA sees it: mail comes in by the inbound agent and goes out by the outbound agent.

`refuses` denies relaying to everybody: who may relay all the same depends on the peer, and is decided by the session (relay.py), which knows
these words. What a map row, a redirect, a group or a program in this house sends outside is asked of nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from postroom.address import InternalAddress
from postroom.connectors import Agent
from postroom.envelope import Envelope
from postroom.message import Message
from postroom.outcome import Outcome, Reply
from postroom.site import Site
from postroom_smtp.inbound import InboundAgent
from postroom_smtp.outbound.agent import OutboundAgent, of_settings
from postroom_smtp.outbound.sts import published
from postroom_smtp.replies import RELAYING_DENIED
from postroom_smtp.settings import SmtpSettings


class SmtpConnector:
    """`[SMTP:user@domain]`."""

    acronym = "SMTP"
    is_local = False

    def __init__(self, site: Site, settings: SmtpSettings) -> None:
        self._inbound = InboundAgent(site, settings)
        said, places = settings.outbound, [(listen.host, listen.port) for listen in settings.listen if listen.port]
        policy, self._reports = published(site, said, of_settings(said), said.tls_reports, dns_is_trusted=site.settings.dns.trusted)
        self.outbound = OutboundAgent(site, said, places, policy=policy, trusts=site.settings.dns.trusted)

    def hop(self, address: InternalAddress) -> str:
        """Recipients of one domain share an envelope (overview section 3.1.2), and all that one smart host takes."""
        return self.outbound.hop(address)

    def refuses(self, address: InternalAddress) -> Reply | None:
        return RELAYING_DENIED

    async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
        return await self.outbound.deliver(envelope, message)

    def agents(self) -> Iterable[Agent]:
        return (self._inbound, self.outbound, self._reports)
