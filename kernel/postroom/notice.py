"""Notices: what a sender is told when a message failed, waits or arrived. RFC 3464 inside RFC 6522 multipart/report.

A notice is an ordinary message with the null sender. Its id follows from the message and the purpose, so a replay that composes
it again makes the same one and the mailbox takes it once. Texts that came from outside lose their control characters here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from email.utils import formatdate

from postroom.envelope import Envelope, Recipient
from postroom.message import MemoryMessage, derived_id
from postroom.outcome import Reply

_UNSAFE = re.compile(rb"[\x00-\x1f\x7f]+")
_SUBJECT = {"failed": "Undelivered mail returned to sender", "delayed": "Delivery is delayed", "delivered": "Delivery report"}
_SAYS = {
    "failed": "Your message could not be delivered to the recipients below. It will not be tried again.",
    "delayed": "Your message has not been delivered to the recipients below yet. Nothing needs to be done: it will be tried again.",
    "delivered": "Your message was delivered to the recipients below.",
}
HEADER_MOST = 64 * 1024


@dataclass(frozen=True, slots=True)
class Report:
    """What happened to one recipient."""

    recipient: Recipient
    reply: Reply


def compose(
    action: str, envelope: Envelope, reports: Sequence[Report], original: bytes, *, host: str, now: float, until: float = 0.0
) -> MemoryMessage:
    """A notice (`failed`, `delayed` or `delivered`) to the sender of `envelope`; `original` is the message or the start of it."""
    sender = envelope.sender.detail if envelope.sender else ""
    what = (action, str(envelope.attempt.told), *sorted(str(report.recipient.address) for report in reports))
    notice_id = derived_id(envelope.id, "notice", *what)
    boundary = f"=_{notice_id}"
    head = _lines(
        "Return-Path: <>",
        f"From: Mail delivery <postmaster@{host}>",
        f"To: <{sender}>",
        f"Subject: {_SUBJECT[action]}",
        f"Date: {formatdate(now)}",
        f"Message-ID: <{notice_id}@{host}>",
        "Auto-Submitted: auto-replied",  # RFC 3834 section 5
        "MIME-Version: 1.0",
        f'Content-Type: multipart/report; report-type=delivery-status; boundary="{boundary}"',
    )
    parts = (
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + _text(action, envelope, reports, until),
        b"Content-Type: message/delivery-status\r\n\r\n" + _status(action, envelope, reports, host, until),
        b"Content-Type: text/rfc822-headers\r\n\r\n" + _header_of(original) + b"\r\n",  # RFC 6522 section 4
    )
    body = b"".join(b"--%b\r\n%b\r\n" % (boundary.encode(), part) for part in parts)
    return MemoryMessage(notice_id, head + b"\r\n" + body + b"--%b--\r\n" % boundary.encode())


def _header_of(original: bytes) -> bytes:
    """The original's header, cut at a line's end where it is huge."""
    header = original.partition(b"\r\n\r\n")[0]
    return header if len(header) <= HEADER_MOST else header[:HEADER_MOST].rpartition(b"\r\n")[0]


def _text(action: str, envelope: Envelope, reports: Sequence[Report], until: float) -> bytes:
    lines = [_SAYS[action], ""]
    for report in reports:
        lines += [f"Recipient: {report.recipient.address}", f"Reason: {report.reply}"]
    if until:
        lines += ["", f"It will be given up on {formatdate(until)}."]
    return _lines(*lines, "", f"Message: {envelope.message}")


def _status(action: str, envelope: Envelope, reports: Sequence[Report], host: str, until: float) -> bytes:
    """RFC 3464 section 2: per-message fields, then a block of fields a recipient."""
    message = [f"Reporting-MTA: dns; {host}", f"Arrival-Date: {formatdate(envelope.arrived)}"]
    if envelope.envid:
        message.insert(0, f"Original-Envelope-Id: {envelope.envid}")
    return b"\r\n".join(_lines(*block) for block in (message, *(_block(action, report, until) for report in reports)))


def _block(action: str, report: Report, until: float) -> list[str]:
    recipient, address = report.recipient, report.recipient.address
    kind = "rfc822" if address.connector == "SMTP" else f"x-postroom-{address.connector.lower()}"
    return [
        *([f"Original-Recipient: {recipient.original}"] if recipient.original else []),
        f"Final-Recipient: {kind}; {address.detail}",
        f"Action: {action}",
        f"Status: {report.reply.enhanced}",
        f"Diagnostic-Code: smtp; {report.reply}",
        *([f"Will-Retry-Until: {formatdate(until)}"] if action == "delayed" and until else []),
    ]


def _lines(*lines: str) -> bytes:
    """Lines with CRLF. No control character of a line survives, so no text from outside makes a line of its own."""
    return b"".join(_UNSAFE.sub(b" ", line.encode("utf-8", "replace")) + b"\r\n" for line in lines)
