"""Notices are valid multipart/report, and nothing from outside makes a line in them."""

import email
from dataclasses import replace
from email.message import Message

from postroom.envelope import Recipient
from postroom.notice import Report, compose
from postroom.outcome import Reply

from .house import TEXT, envelope


def composed(reply: Reply, **other: object) -> Message:
    sent = replace(envelope(), envid="QQ314159")
    report = Report(Recipient(sent.recipients[0].address, "rfc822;bob@example.test"), reply)
    return email.message_from_bytes(compose("failed", sent, [report], TEXT, host="mail.example.test", now=1_000_000.0).data)


def test_a_notice_has_its_three_parts() -> None:
    notice = composed(Reply(550, "5.1.1", "no such mailbox"))
    assert notice.get_content_type() == "multipart/report"
    assert notice["Auto-Submitted"] == "auto-replied"
    text, status, headers = notice.get_payload()
    assert "no such mailbox" in text.get_payload()
    assert status.get_content_type() == "message/delivery-status"
    per_message, per_recipient = status.get_payload()
    assert per_message["Original-Envelope-Id"] == "QQ314159"
    assert per_recipient["Final-Recipient"] == "rfc822; bob@example.test"
    assert per_recipient["Status"] == "5.1.1"
    assert headers.get_content_type() == "text/rfc822-headers"
    assert "Subject: hello" in headers.get_payload()
    assert not notice.defects


def test_a_reply_with_line_ends_stays_one_line() -> None:
    """Case 38: a remote server's text cannot add a header or a status field."""
    notice = composed(Reply(550, "5.1.1", "no\r\nAction: delivered\r\n\r\n--=_x|Bcc: y"))
    _, per_recipient = notice.get_payload()[1].get_payload()
    assert per_recipient.get_all("Action") == ["failed"]
    assert notice["Bcc"] is None


def test_the_same_failure_makes_the_same_notice() -> None:
    """A replay composes it again; its mailbox takes it once because the id is the same."""
    sent = envelope()
    report = Report(sent.recipients[0], Reply(550, "5.1.1", "gone"))
    one, two = (compose("failed", sent, [report], TEXT, host="h.test", now=now) for now in (1.0, 2.0))
    assert one.id == two.id
