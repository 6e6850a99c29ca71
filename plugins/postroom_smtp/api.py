"""What other plugins may hook into a conversation: four hooks of this plugin's own, asked before it answers the peer.

Each hook answers None (no objection) or a Reply, which the peer gets in place of ours; the first plugin that answers decides, in the order
of the YAML file. A code of 4xx asks the peer to try again, 5xx refuses for good, and 421 also ends the connection. A deadline missed or an error
becomes what the operator's `hooks:` policy says. Events are frozen and hold plain values, so nothing in a conversation can be edited by a hook.
aiosmtpd's Session and Envelope would be known to many, but both are there to be edited; what they tell is all here.
"""

from __future__ import annotations

from dataclasses import dataclass

from postroom import hookspec
from postroom.address import InternalAddress
from postroom.envelope import Envelope, Peer, Recipient
from postroom.message import Message
from postroom.outcome import Reply


@dataclass(frozen=True, slots=True)
class ConnectEvent:
    """A peer connected; nothing was said yet."""

    peer: Peer
    listener: str  # the label of the endpoint it came in by


@dataclass(frozen=True, slots=True)
class MailEvent:
    """MAIL was said and is in order."""

    peer: Peer
    sender: InternalAddress | None  # none: the null reverse-path
    size: int  # octets as declared, zero where not
    body: str
    utf8: bool


@dataclass(frozen=True, slots=True)
class RcptEvent:
    """RCPT was said and the recipient can be delivered to."""

    peer: Peer
    sender: InternalAddress | None
    recipient: Recipient
    already: int  # recipients taken before in this transaction


@dataclass(frozen=True, slots=True)
class DataEvent:
    """The whole message is here, with its trace lines; nothing was promised yet."""

    envelope: Envelope
    message: Message


class SmtpHooks:
    """Hook specifications of the SMTP plugin."""

    @hookspec(firstresult=True)
    async def smtp_connect(self, event: ConnectEvent) -> Reply | None:
        """First answer: keep a peer out before the greeting. Any reply ends the connection."""
        raise AssertionError

    @hookspec(firstresult=True)
    async def smtp_mail(self, event: MailEvent) -> Reply | None:
        """First answer: refuse a sender."""
        raise AssertionError

    @hookspec(firstresult=True)
    async def smtp_rcpt(self, event: RcptEvent) -> Reply | None:
        """First answer: refuse a recipient, for example for a while (greylisting)."""
        raise AssertionError

    @hookspec(firstresult=True)
    async def smtp_data(self, event: DataEvent) -> Reply | None:
        """First answer: refuse a message before the final dot is answered."""
        raise AssertionError
