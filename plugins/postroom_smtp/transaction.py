"""One mail transaction: from MAIL to the answer to its last octet, RSET or the end (RFC 5321 section 3.3)."""

from __future__ import annotations

from postroom.envelope import Envelope, Peer, Recipient
from postroom_smtp.content import Content
from postroom_smtp.grammar import Mail


class Transaction:
    """What was said so far. Owned by its session."""

    __slots__ = ("bare", "began", "content", "fault", "head_seen", "held", "mail", "recipients", "refused", "taken")

    def __init__(self, mail: Mail, began: float) -> None:
        self.mail = mail
        self.began = began  # monotonic seconds
        self.recipients: dict[tuple[str, str], Recipient] = {}  # by their addresses' keys
        self.refused = 0  # recipients beyond the limit
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
            arrived=now,
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
