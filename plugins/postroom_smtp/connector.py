"""The connector SMTP as the MTA sees it. In this release mail comes in by it and none goes out.

So an address that leads outside is refused when it is named (RCPT hears 550 5.7.1), and a message that got as far as here by a map row or
a redirect fails at once with 5.4.4 and its sender gets a notice; nothing waits in a queue for an agent that is not there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from postroom.address import InternalAddress
from postroom.connectors import Agent
from postroom.envelope import Envelope
from postroom.message import Message
from postroom.outcome import Failed, Outcome, Reply
from postroom.site import Site
from postroom_smtp.inbound import InboundAgent
from postroom_smtp.settings import SmtpSettings

RELAYING_DENIED = Reply(550, "5.7.1", "Relaying denied")
NO_OUTBOUND = Reply(550, "5.4.4", "This server has no outbound agent in this release")


class SmtpConnector:
    """`[SMTP:user@domain]`."""

    acronym = "SMTP"
    is_local = False

    def __init__(self, site: Site, settings: SmtpSettings) -> None:
        self._inbound = InboundAgent(site, settings)

    def hop(self, address: InternalAddress) -> str:
        """Recipients of one domain share an envelope (overview section 3.1.2)."""
        return address.domain

    def refuses(self, address: InternalAddress) -> Reply | None:
        return RELAYING_DENIED

    async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
        return [Failed(recipient, NO_OUTBOUND) for recipient in envelope.recipients]

    def agents(self) -> Iterable[Agent]:
        return (self._inbound,)
