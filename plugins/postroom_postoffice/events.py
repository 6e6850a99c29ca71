"""The mailbox delivery event: asks whoever hooked it about one mailbox's copy, and turns the verdict into a copy, a place or a reply.

Order, deadline and failure policy are the host's. Without a hook nothing is asked and nothing is spent.
"""

from __future__ import annotations

from dataclasses import replace

from postroom.envelope import Envelope
from postroom.mailstore import Target
from postroom.message import FileMessage, MemoryMessage, Message
from postroom.outcome import Reply
from postroom.site import Asking
from postroom.transfer import Defer, Discard, Quarantine, Reject, Stage, Verdict
from postroom_postoffice.api import HOOK, MailboxDelivery


async def ask(asking: Asking, envelope: Envelope, message: Message, target: Target) -> tuple[Verdict, Message]:
    """What is to become of this mailbox's copy, and its text: the message as it came, or as a hook changed it."""
    event = MailboxDelivery(
        Stage.DELIVERY,
        envelope,
        message,
        envelope.source,
        "SF",
        postoffice=target.postoffice,
        mailbox=target.mailbox,
        folder=target.folder,
    )
    verdict, asked = await asking.transfer(HOOK, event)
    if asked.message is message:
        return verdict, message
    return verdict, renamed(asked.message, message.id)


def refusal(verdict: Verdict) -> Reply | None:
    """The reply of a verdict that keeps the message out and is told to the sender; None for the others."""
    match verdict:
        case Defer(why):
            return Reply(451, "4.7.1", why or "delivery deferred by a filter")
        case Reject(why):
            return Reply(554, "5.7.1", why or "refused by a filter")
    return None


def elsewhere(verdict: Verdict) -> str | None:
    """Where a message went whose sender is told nothing; None for the others."""
    match verdict:
        case Quarantine(why):
            return f"quarantined: {why}"
        case Discard(why):
            return f"discarded: {why}"
    return None


def renamed(message: Message, name: str) -> Message:
    """The message under another id: that of what it was made of, so that the store knows a second delivery when it sees it, also one that a
    hook left as it was."""
    return replace(message, id=name) if isinstance(message, (MemoryMessage, FileMessage)) else message
