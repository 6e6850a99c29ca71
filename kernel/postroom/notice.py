"""Notices: what a sender is told when a message failed, waits or arrived, and who is told at all. The text is `postroom_mime.report`'s.

Who is told (no backscatter, features case 41). A sender we know (authenticated, aligned, or of this house) is told all that RFC 3461
promises. Any other may be forged: it is told of failures only, because RFC 5321 section 6.1 asks for that, with the header of its message and
never the body; and not where a server refused the message for what it is (5.7.x), for that is what forged mail meets. What a hook rejected
is told to senders we know only. A null sender is told nothing, and a notice has one.

A notice is an ordinary message. Its id follows from the message, whom it tells and of what, however the message was parted: a replay that composes
it again makes the same one, and the mailbox takes it once.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from postroom.envelope import Envelope, Peer, Recipient
from postroom.message import SMALL, MemoryMessage, Message, derived_id
from postroom.outcome import Delivered, Expanded, Failed, Outcome, Reply
from postroom_mime.report import DONE, Action, DeliveryReport, Reported, owed


@dataclass(frozen=True, slots=True)
class GivenUp(Failed):
    """A failure for want of time; `last` is what the last attempt met."""

    last: Reply | None = None


def is_known(peer: Peer) -> bool:
    """Whether the sender is who it says it is. Without a client it came from within: a plugin, a program of this machine."""
    return peer.trusted or bool(peer.user) or not peer.ip


async def compose(
    envelope: Envelope, outcomes: Sequence[Outcome], original: Message, *, host: str, now: float, until: float = 0.0
) -> AsyncIterator[tuple[Envelope, MemoryMessage]]:
    """The notices that the sender of `envelope` is owed. DiskError: `original` cannot be read."""
    if (sender := envelope.sender) is None:
        return
    known, of = is_known(envelope.peer), envelope.message
    for action, pack in owed([_reported(outcome) for outcome in outcomes], known=known):
        start = await original.read(0, SMALL)
        whole = envelope.ret == "FULL" and known and len(start) == original.size
        name = derived_id(of, "notice", str(sender), action, str(envelope.attempt.told), *sorted(one.address for one in pack))
        to, sent, report = sender.detail, envelope.arrived, DeliveryReport
        data = report(action, name, host, to, of, sent, now, pack, start, whole, envelope.utf8, envelope.envid, until).compose()
        body = "7BIT" if data.isascii() else "8BITMIME"
        told = Envelope(name, name, envelope.source, None, (Recipient(sender),), now, body=body, utf8=not to.isascii())
        yield told, MemoryMessage(name, data)


def _reported(outcome: Outcome) -> Reported:
    """As plain values. A wish for success that goes on to whom a recipient stands for is theirs (RFC 3461 section 5.2.7)."""
    to, action = outcome.recipient, _action(outcome)
    notify = to.notify.difference(*(one.notify for one in outcome.into)) if isinstance(outcome, Expanded) else to.notify
    reply: Reply = getattr(outcome, "reply", Reply(*DONE[action]))
    last, remote = getattr(outcome, "last", None) or reply, getattr(outcome, "remote", "")
    return Reported(action, to.address.connector, to.address.detail, to.original, notify, reply.enhanced, str(reply), str(last), remote)


def _action(outcome: Outcome) -> Action:
    """RFC 3464 section 2.3.3: what SMTP took is now another system's, which will not tell of success."""
    if isinstance(outcome, Delivered):
        return "relayed" if outcome.recipient.address.connector == "SMTP" else "delivered"
    if isinstance(outcome, Expanded):
        return "delivered" if outcome.kept else "expanded"
    return "failed" if isinstance(outcome, Failed) else "delayed"
