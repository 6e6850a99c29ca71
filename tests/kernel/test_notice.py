"""Notices are valid multipart/report, and nothing from outside makes a line in them."""

import email
from dataclasses import replace
from email.message import Message

from postroom.envelope import Recipient
from postroom.notice import Report, compose
from postroom.outcome import Reply

from .house import TEXT, envelope


def parts_of(message: Message) -> list[Message]:
    return [part for part in message.get_payload() if isinstance(part, Message)]


def text_of(message: Message) -> str:
    return str(message.get_payload())


def composed(reply: Reply) -> Message:
    sent = replace(envelope(), envid="QQ314159")
    report = Report(Recipient(sent.recipients[0].address, "rfc822;bob@example.test"), reply)
    return email.message_from_bytes(compose("failed", sent, [report], TEXT, host="mail.example.test", now=1_000_000.0).data)


def test_a_notice_has_its_three_parts() -> None:
    notice = composed(Reply(550, "5.1.1", "no such mailbox"))
    assert notice.get_content_type() == "multipart/report"
    assert notice["Auto-Submitted"] == "auto-replied"
    text, status, headers = parts_of(notice)
    assert "no such mailbox" in text_of(text)
    assert status.get_content_type() == "message/delivery-status"
    per_message, per_recipient = parts_of(status)
    assert per_message["Original-Envelope-Id"] == "QQ314159"
    assert per_recipient["Final-Recipient"] == "rfc822; bob@example.test"
    assert per_recipient["Status"] == "5.1.1"
    assert headers.get_content_type() == "text/rfc822-headers"
    assert "Subject: hello" in text_of(headers)
    assert not notice.defects


def test_a_reply_with_line_ends_stays_one_line() -> None:
    """Case 38: a remote server's text cannot add a header or a status field."""
    notice = composed(Reply(550, "5.1.1", "no\r\nAction: delivered\r\n\r\n--=_x|Bcc: y"))
    _, per_recipient = parts_of(parts_of(notice)[1])
    assert per_recipient.get_all("Action") == ["failed"]
    assert notice["Bcc"] is None


def test_the_same_failure_makes_the_same_notice() -> None:
    """A replay composes it again; its mailbox takes it once because the id is the same."""
    sent = envelope()
    report = Report(sent.recipients[0], Reply(550, "5.1.1", "gone"))
    one, two = (compose("failed", sent, [report], TEXT, host="h.test", now=now) for now in (1.0, 2.0))
    assert one.id == two.id
