"""The command file: what other programs wrote, and what we write."""

import pytest

from postroom import commandfile
from postroom.address import smtp
from postroom.envelope import Attempt, Envelope, Peer, Recipient
from postroom.errors import CommandFileError

ITEM = "AB" * 16


def test_the_overviews_own_example_is_read() -> None:
    text = (
        b"DomainName=MailEnable.com\r\nRecipients=@C:AndrewSproul@MailEnable.com.au\r\nSender=@MailEnable.com:Andrew@Activemedia.com.au\r\n"
        b"Retries=2\r\nMessageID=F6BFAD9F27248428AD32C87D65E8.MAI\r\nPriority=Normal\r\nStatus=Unsent\r\n"
    )
    found = commandfile.decode(text, item=ITEM, source="SMTP")
    assert found.recipients == (Recipient(smtp("andrewsproul@mailenable.com.au")),)
    assert found.sender == smtp("andrew@activemedia.com.au")
    assert found.attempt.count == 2
    assert found.hop == "MailEnable.com"


def test_a_real_inbound_sample_is_read_and_its_unknown_keys_are_kept() -> None:
    text = (
        b"Recipients=[SMTP:bob@example.com]\r\nServer=Z\r\nSender=[SMTP:alice@example.org]\r\nTimeAcquired=1673752669\r\nClientIP=192.0.2.10\r\n"
        b"AuthenticationStatus=0\r\nUser=\r\nAccount=z\r\nStatus=Delivering\r\nCommandType=\r\nSubject=Hello\r\n"
    )
    found = commandfile.decode(text, item=ITEM, source="SMTP")
    assert found.extra == {"Server": "Z"}
    assert found.peer == Peer(ip="192.0.2.10", account="z")
    assert b"Server=Z\r\n" in commandfile.encode(found)


def test_everything_of_an_envelope_comes_back() -> None:
    envelope = Envelope(
        id=ITEM,
        message="CD" * 16,
        source="SMTP",
        sender=smtp('"a;b%"@x.test'),
        recipients=(Recipient(smtp("c%d@e.test"), "rfc822;c%d@e.test", frozenset({"NEVER"})), Recipient(smtp('"];[SF:PO/admin"@d.test'))),
        arrived=1234.5,
        peer=Peer("192.0.2.1", "helo", "bob@PO", "PO", "TLSv1.3", True),
        attempt=Attempt(3, 99.25, 1, "451 busy", 2),
        priority="Bulk",
        hop="e.test",
        body="8BITMIME",
        utf8=True,
        ret="HDRS",
        envid="x+y",
        require_tls=True,
        subject="grüße",
        expanded=(smtp("g@x.test"),),
        settled=frozenset({smtp("s@x.test")}),
        skip=frozenset({"clamav"}),
    )
    assert commandfile.decode(commandfile.encode(envelope), item=ITEM, source="POP") == envelope


@pytest.mark.parametrize("end", ["\r\n", "\n", "\r", "\x0b", "\x1e", "\x85", "\u2028"])
def test_a_line_end_in_a_value_never_makes_a_key(end: str) -> None:
    envelope = Envelope(
        id=ITEM,
        message=ITEM,
        source="SMTP",
        sender=None,
        recipients=(Recipient(smtp("a@b.test")),),
        arrived=0,
        subject=f"x{end}Settled=[SMTP:a@b.test]",
    )
    assert commandfile.decode(commandfile.encode(envelope), item=ITEM, source="SMTP").settled == frozenset()


@pytest.mark.parametrize(
    "text", [b"Recipients=nobody\r\n", b"Retries=two\r\n", b"Sender=[SMTP\r\n", b"Message=../../etc/passwd\r\n", b"TimeAcquired=yesterday"]
)
def test_what_cannot_be_read_is_an_error_that_names_the_item(text: bytes) -> None:
    with pytest.raises(CommandFileError, match=ITEM):
        commandfile.decode(text, item=ITEM, source="SMTP")
