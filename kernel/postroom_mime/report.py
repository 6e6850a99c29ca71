"""A delivery report as text: multipart/report (RFC 6522) with the fields of RFC 3464, from plain values.

Pure. Texts that came from outside lose their control characters here, so none of them makes a line of its own; a huge header is
cut at a line's end.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate
from typing import Final, Literal

Action = Literal["failed", "delayed", "delivered"]
_UNSAFE = re.compile(rb"[\x00-\x1f\x7f]+")
_SUBJECT: Final = {
    "failed": "Undelivered mail returned to sender",
    "delayed": "Delivery is delayed",
    "delivered": "Delivery report",
}
_SAYS: Final = {
    "failed": "Your message could not be delivered to the recipients below. It will not be tried again.",
    "delayed": "Your message has not been delivered to the recipients below yet. Nothing needs to be done: it will be tried again.",
    "delivered": "Your message was delivered to the recipients below.",
}
HEADER_MOST: Final = 64 * 1024  # octets of the original's header that are returned


@dataclass(frozen=True, slots=True)
class Reported:
    """What happened to one recipient."""

    shown: str  # the address as people know it
    final: str  # RFC 3464 section 2.3.2: type; address
    original: str  # RFC 3464 section 2.3.1: type; address, empty when the sender gave none
    status: str  # RFC 3463
    reply: str  # the last answer


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """Everything a report says. `name` makes its Message-ID and boundary."""

    action: Action
    name: str
    host: str  # who reports
    to: str  # the original's sender
    message: str  # the original's id, for people
    arrived: float  # unix seconds
    now: float
    recipients: Sequence[Reported]
    original: bytes  # the original, or the start of it
    envid: str = ""  # RFC 3461 section 4.4
    until: float = 0.0  # when it is given up, unix seconds; zero where that is not said

    def compose(self) -> bytes:
        """The report as an RFC 5322 message."""
        boundary = f"=_{self.name}".encode()
        parts = (
            b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + self._text(),
            b"Content-Type: message/delivery-status\r\n\r\n" + self._status(),
            b"Content-Type: text/rfc822-headers\r\n\r\n" + _header_of(self.original) + b"\r\n",  # RFC 6522 section 4
        )
        body = b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts)
        return self._head() + b"\r\n" + body + b"--%b--\r\n" % boundary

    def _head(self) -> bytes:
        return _lines(
            "Return-Path: <>",
            f"From: Mail delivery <postmaster@{self.host}>",
            f"To: <{self.to}>",
            f"Subject: {_SUBJECT[self.action]}",
            f"Date: {formatdate(self.now)}",
            f"Message-ID: <{self.name}@{self.host}>",
            "Auto-Submitted: auto-replied",  # RFC 3834 section 5
            "MIME-Version: 1.0",
            f'Content-Type: multipart/report; report-type=delivery-status; boundary="=_{self.name}"',
        )

    def _text(self) -> bytes:
        lines = [_SAYS[self.action], ""]
        for recipient in self.recipients:
            lines += [f"Recipient: {recipient.shown}", f"Reason: {recipient.reply}"]
        if self.until:
            lines += ["", f"It will be given up on {formatdate(self.until)}."]
        return _lines(*lines, "", f"Message: {self.message}")

    def _status(self) -> bytes:
        """RFC 3464 section 2: per-message fields, then a block of fields a recipient."""
        message = [f"Reporting-MTA: dns; {self.host}", f"Arrival-Date: {formatdate(self.arrived)}"]
        if self.envid:
            message.insert(0, f"Original-Envelope-Id: {self.envid}")
        return b"\r\n".join(_lines(*block) for block in (message, *map(self._block, self.recipients)))

    def _block(self, recipient: Reported) -> list[str]:
        return [
            *([f"Original-Recipient: {recipient.original}"] if recipient.original else []),
            f"Final-Recipient: {recipient.final}",
            f"Action: {self.action}",
            f"Status: {recipient.status}",
            f"Diagnostic-Code: smtp; {recipient.reply}",
            *([f"Will-Retry-Until: {formatdate(self.until)}"] if self.action == "delayed" and self.until else []),
        ]


def _header_of(original: bytes) -> bytes:
    """The original's header, cut at a line's end where it is huge."""
    header = original.partition(b"\r\n\r\n")[0]
    return header if len(header) <= HEADER_MOST else header[:HEADER_MOST].rpartition(b"\r\n")[0]


def _lines(*lines: str) -> bytes:
    """Lines with CRLF. No control character of a line survives, so no text from outside makes a line of its own."""
    return b"".join(_UNSAFE.sub(b" ", line.encode("utf-8", "replace")) + b"\r\n" for line in lines)
