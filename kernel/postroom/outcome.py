"""What became of each recipient. Whether to try again belongs to the outcome, not to the caller's guess."""

from __future__ import annotations

from dataclasses import dataclass

from postroom.envelope import Recipient


@dataclass(frozen=True, slots=True)
class Reply:
    """An SMTP reply that explains an outcome (RFC 5321 section 4.2, RFC 3463)."""

    code: int
    enhanced: str  # "5.1.1"
    text: str

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}"


@dataclass(frozen=True, slots=True)
class Delivered:
    """Done: the recipient's system has it."""

    recipient: Recipient
    where: str = ""  # for the log and for success notices
    remote: str = ""  # "name [address]" of the server that answered, empty where it was ours


@dataclass(frozen=True, slots=True)
class Deferred:
    """The world was wrong; try again later."""

    recipient: Recipient
    reply: Reply
    remote: str = ""


@dataclass(frozen=True, slots=True)
class Failed:
    """It will not get better by trying again."""

    recipient: Recipient
    reply: Reply
    remote: str = ""


@dataclass(frozen=True, slots=True)
class Expanded:
    """The recipient stands for others (a group, a redirect): they go into inbound as an envelope of their own."""

    recipient: Recipient
    into: tuple[Recipient, ...]
    sender_kept: bool = True  # a list remails under its own name and says so with False and `sender`
    sender: str = ""  # bracket form, when not kept; empty means the null sender
    kept: bool = False  # a copy also went to the mailbox


Outcome = Delivered | Deferred | Failed | Expanded
