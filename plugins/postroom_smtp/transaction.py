"""One mail transaction: from MAIL to the answer to its last octet, RSET or the end (RFC 5321 section 3.3)."""

from __future__ import annotations

from postroom.envelope import FIRST, Attempt, Envelope, Peer, Recipient
from postroom_smtp.content import Content
from postroom_smtp.grammar import Mail
from postroom_smtp.header import Letterhead


class Transaction:
    """What was said so far. Owned by its session."""

    __slots__ = ("bare", "began", "content", "due", "fault", "head_seen", "held", "letterhead", "mail", "recipients", "refused", "taken")

    def __init__(self, mail: Mail, began: float, due: float = 0.0) -> None:
        self.mail = mail
        self.due = due  # unix seconds of the release its sender asked for; zero: now
        self.began = began  # monotonic seconds
        self.recipients: dict[tuple[str, str], Recipient] = {}  # by their addresses' keys
        self.refused = 0  # recipients beyond the limit
        self.letterhead: Letterhead | None = None  # of a submitted message: its header until it has ended
        self.content: Content | None = None
        self.fault: bytes | None = None  # why the message is refused; its octets are read and dropped
        self.head_seen = False
        self.bare = False  # a bare CR or LF was mended
        self.held = b""  # the CR a chunk ended with
        self.taken = 0  # octets of the message read, dropped ones included

    def envelope(self, content: Content, peer: Peer, now: float) -> Envelope:
        """What travels beside the bytes."""
        mail = self.mail
        return Envelope(
            id=content.id,
            message=content.id,
            source="SMTP",
            sender=mail.sender,
            recipients=tuple(self.recipients.values()),
            arrived=max(now, self.due),  # it grows old from its release on (RFC 4865 section 3)
            attempt=Attempt(due=self.due) if self.due else FIRST,
            peer=peer,
            body=mail.body,
            utf8=mail.utf8,
            ret=mail.ret,
            envid=mail.envid,
        )

    def refuse(self, fault: bytes) -> None:
        """Drop the message: what came and what is still to come."""
        self.fault = fault
        if self.content is not None:
            self.content.discard()

    def end(self) -> None:
        """Leave nothing behind."""
        if self.content is not None:
            self.content.discard()
