"""A delivery report: its fields, its forms for internationalised mail, and its size. Python's own parser reads them back."""

from __future__ import annotations

import email
from collections.abc import Mapping
from dataclasses import replace
from email.message import Message
from typing import Any

import pytest

from postroom_mime.report import DONE, HEADER_MOST, MOST, DeliveryReport, Reported, owed

TEXT = b"From: a@example.com\r\nSubject: hello\r\n\r\nbody\r\n"
ONE = Reported(
    "failed",
    "SMTP",
    "bob@example.test",
    "rfc822;Bob+x@example.org",
    frozenset(),
    "5.1.1",
    "550 5.1.1 mx.example.test [192.0.2.1] said: no such user",
    "550 5.1.1 mx.example.test [192.0.2.1] said: no such user",
    "mx.example.test [192.0.2.1]",
)
REPORT = DeliveryReport("failed", "A1" * 16, "mail.example.com", "a@example.com", "B2" * 16, 1000.0, 2000.0, [ONE], TEXT)


def parts(report: DeliveryReport) -> tuple[Message, Message, Message]:
    parsed = email.message_from_bytes(report.compose())
    assert not parsed.defects and parsed.get_content_type() == "multipart/report"
    assert parsed.get_param("report-type") == "delivery-status"
    payload = parsed.get_payload()
    assert isinstance(payload, list) and len(payload) == 3
    text, status, returned = (part for part in payload if isinstance(part, Message))
    return text, status, returned


def blocks(report: DeliveryReport) -> list[Mapping[str, str]]:
    status = parts(report)[1]
    if status.get_content_type() == "message/delivery-status":
        return [dict(block.items()) for block in status.get_payload()]  # type: ignore[union-attr]
    octets = report.compose().partition(b"global-delivery-status")[2].partition(b"\r\n\r\n")[2].partition(b"\r\n--=_")[0]
    return [dict(line.split(": ", 1) for line in block.splitlines()) for block in octets.decode().split("\r\n\r\n")]


def test_a_failure_has_the_fields_of_rfc_3464() -> None:
    assert blocks(replace(REPORT, envid="QQ314159")) == [
        {
            "Original-Envelope-Id": "QQ314159",
            "Reporting-MTA": "dns; mail.example.com",
            "Arrival-Date": "Thu, 01 Jan 1970 00:16:40 -0000",
        },
        {
            "Original-Recipient": "rfc822;Bob+x@example.org",
            "Final-Recipient": "rfc822; bob@example.test",
            "Action": "failed",
            "Status": "5.1.1",
            "Remote-MTA": "dns; mx.example.test [192.0.2.1]",
            "Diagnostic-Code": "smtp; 550 5.1.1 no such user",
            "Last-Attempt-Date": "Thu, 01 Jan 1970 00:33:20 -0000",
            "Final-Log-ID": "B2" * 16,
        },
    ]


def test_a_delay_says_when_it_ends_and_a_success_has_no_attempts() -> None:
    (_, late) = blocks(replace(REPORT, action="delayed", until=3600.0))
    assert (late["Action"], late["Will-Retry-Until"]) == ("delayed", "Thu, 01 Jan 1970 01:00:00 -0000")
    (_, done) = blocks(replace(REPORT, action="expanded", recipients=[replace(ONE, remote="")]))
    assert done["Action"] == "expanded" and not {"Last-Attempt-Date", "Diagnostic-Code", "Remote-MTA"} & set(done)


def test_people_read_the_address_they_wrote() -> None:
    text = str(parts(REPORT)[0].get_payload())
    assert "Recipient: Bob+x@example.org" in text and "no such user" in text
    unsaid = replace(ONE, connector="SF", address="PO/bob", original="")
    assert "Recipient: [SF:PO/bob]" in str(parts(replace(REPORT, recipients=[unsaid]))[0].get_payload())
    assert blocks(replace(REPORT, recipients=[unsaid]))[1]["Final-Recipient"] == "x-postroom-sf; PO/bob"


GREEK = replace(ONE, address="δοκ=ή@example.test", original=r"utf-8;\x{3B4}\x{2B}\x{D800}@x")


def test_rfc_6533_its_sender_reads_utf_8() -> None:
    report = replace(REPORT, recipients=[GREEK], utf8=True, original=TEXT.replace(b"hello", "γειά".encode()))
    _, status, returned = parts(report)
    assert status.get_content_type() == "message/global-delivery-status" and status["Content-Transfer-Encoding"] == "8bit"
    assert returned.get_content_type() == "message/global-headers"
    found = blocks(report)[1]
    assert (found["Final-Recipient"], found["Original-Recipient"]) == ("utf-8; δοκ=ή@example.test", r"utf-8; δ+\x{D800}@x")
    assert parts(replace(report, whole=True))[2].get_content_type() == "message/global"


def test_rfc_6533_its_sender_may_not_read_utf_8() -> None:
    report = replace(REPORT, recipients=[replace(GREEK, last="550 5.1.1 κανείς")])
    assert parts(report)[1].get_content_type() == "message/delivery-status"
    found = blocks(report)[1]
    assert found["Final-Recipient"] == r"utf-8; \x{3B4}\x{3BF}\x{3BA}\x{3D}\x{3AE}@example.test"
    assert found["Original-Recipient"] == r"utf-8; \x{3B4}\x{2B}\x{D800}@x"
    assert found["Diagnostic-Code"] == "smtp; 550 5.1.1 ??????"


def test_mail_in_ascii_needs_none_of_it() -> None:
    assert [part.get_content_type() for part in parts(replace(REPORT, utf8=True))][1:] == ["message/delivery-status", "text/rfc822-headers"]
    assert email.message_from_bytes(REPORT.compose())["Content-Transfer-Encoding"] == "7bit"


LARGE = TEXT + (b"x" * 998 + b"\r\n") * 100


@pytest.mark.parametrize(
    ("changed", "kind"),
    [
        ({}, "message/rfc822"),
        ({"original": LARGE}, "message/rfc822"),
        ({"original": LARGE * 3}, "text/rfc822-headers"),  # beyond the bound
        ({"whole": False}, "text/rfc822-headers"),
        ({"action": "delayed"}, "text/rfc822-headers"),  # RFC 3461 section 4.3: the whole of what failed only
        ({"original": TEXT + b"a\0b\r\n"}, "text/rfc822-headers"),  # BINARYMIME is no text part
        ({"original": TEXT + b"a\nb\r\n"}, "text/rfc822-headers"),
    ],
)
def test_what_is_returned(changed: dict[str, Any], kind: str) -> None:
    report = replace(REPORT, **{"whole": True} | changed)
    assert parts(report)[2].get_content_type() == kind
    assert (report.original in report.compose()) is (kind == "message/rfc822")
    assert len(report.compose()) <= MOST


def test_a_huge_header_is_cut_at_a_lines_end() -> None:
    header = b"".join(b"X-%d: y\r\n" % n for n in range(20_000))
    returned = REPORT.compose() if header.endswith(b"\n\n") else replace(REPORT, original=header + b"\r\nbody").compose()
    assert len(returned) < HEADER_MOST + 4096 and b"body" not in returned
    lines = returned.partition(b"rfc822-headers")[2].partition(b"\r\n\r\n")[2].split(b"\r\n--")[0].rstrip().split(b"\r\n")
    assert lines == [b"X-%d: y" % n for n in range(len(lines))] and len(lines) > 5000


def test_no_line_is_too_long_to_be_sent_and_a_cut_leaves_whole_characters() -> None:
    """RFC 5322 section 2.1.1: a peer may answer with a hundred lines."""
    said = "550 5.1.1 " + "ä" * 60_000
    text = replace(REPORT, recipients=[replace(ONE, reason=said, last=said)], utf8=True).compose()
    assert max(map(len, text.split(b"\r\n"))) <= 998
    assert "�" not in text.decode()


@pytest.mark.long
def test_ten_thousand_recipients_come_in_reports_of_bounded_size() -> None:
    """Each in one of them, in their order, once."""
    many = [replace(ONE, address=f"p{n}@example.test", original="", reason=f"550 {'x' * (n % 1200)}") for n in range(10_000)]
    packs = [pack for _, pack in owed([*many, *many], known=True)]
    assert [one.address for pack in packs for one in pack] == [one.address for one in many]
    assert 1 < len(packs) < 200
    assert max(len(replace(REPORT, recipients=pack, original=LARGE, whole=True).compose()) for pack in packs) <= MOST


def test_the_worst_recipients_still_fit() -> None:
    worst = replace(ONE, address="δ" * 400 + "@x", original="utf-8;" + "δ" * 400 + "@x", reason="ä" * 900, last="ä" * 900, remote="m" * 900)
    packs = [pack for _, pack in owed([replace(worst, address=f"{n}{worst.address}") for n in range(200)], known=True)]
    header = b"X: " + b"y" * (HEADER_MOST - 100) + b"\r\n\r\n"
    assert max(len(replace(REPORT, recipients=pack, original=header).compose()) for pack in packs) <= MOST


def test_reports_are_of_one_action_each() -> None:
    mixed = [replace(ONE, action=action, address=f"{action}@x", notify=frozenset({"SUCCESS", "FAILURE", "DELAY"})) for action in DONE]
    assert [(action, [one.address for one in pack]) for action, pack in owed(mixed, known=True)] == [(a, [f"{a}@x"]) for a in DONE]
