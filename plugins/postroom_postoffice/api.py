"""What other plugins may import of the post office: its own hook, and the event that hook is handed.

`mailbox_delivery` is the overview's event of a single mailbox: asked after the mailbox's rules (status, junk, redirect) and before
the message gets a UID. Answers are the verdicts of `postroom.transfer`, and mean for this mailbox what they mean there.
"""

from __future__ import annotations

from dataclasses import dataclass

from postroom.hookspecs import hookspec
from postroom.outcome import Outcome
from postroom.records import Record
from postroom.transfer import TransferEvent, Verdict

HOOK = "mailbox_delivery"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailboxDelivery(TransferEvent):
    """One copy of a message on its way into one mailbox; `target` is SF."""

    postoffice: str
    mailbox: str
    folder: str  # where it will lie: "Inbox", or "Junk E-Mail"


class PostofficeHooks:
    """The hook that this plugin brings."""

    @hookspec
    async def mailbox_delivery(self, event: MailboxDelivery) -> Verdict:
        """In order until final: a message is about to be stored in a mailbox. Replace changes this mailbox's copy only."""
        raise AssertionError


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What a delivery would answer for one recipient if nothing fails, and the rows that decide it; for `postroom why`."""

    outcome: Outcome
    by: tuple[Record, ...] = ()
