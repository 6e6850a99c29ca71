"""Notices: what a sender is told when a message failed, waits or arrived. The text is `postroom_mime.report`'s, RFC 3464.

A notice is an ordinary message with the null sender. Its id follows from the message and the purpose, so a replay that composes
it again makes the same one and the mailbox takes it once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from postroom.envelope import Envelope, Recipient
from postroom.message import MemoryMessage, derived_id
from postroom.outcome import Reply
from postroom_mime.report import Action, DeliveryReport, Reported


@dataclass(frozen=True, slots=True)
class Report:
    """What happened to one recipient."""

    recipient: Recipient
    reply: Reply


def compose(
    action: Action, envelope: Envelope, reports: Sequence[Report], original: bytes, *, host: str, now: float, until: float = 0.0
) -> MemoryMessage:
    """A notice to the sender of `envelope`; `original` is the message or the start of it."""
    to = envelope.sender.detail if envelope.sender else ""
    what = (action, str(envelope.attempt.told), *sorted(str(report.recipient.address) for report in reports))
    name = derived_id(envelope.id, "notice", *what)
    recipients = [_reported(report) for report in reports]
    text = DeliveryReport(
        action, name, host, to, envelope.message, envelope.arrived, now, recipients, original, envelope.envid, until
    ).compose()
    return MemoryMessage(name, text)


def _reported(report: Report) -> Reported:
    address = report.recipient.address
    kind = "rfc822" if address.connector == "SMTP" else f"x-postroom-{address.connector.lower()}"
    return Reported(str(address), f"{kind}; {address.detail}", report.recipient.original, report.reply.enhanced, str(report.reply))
