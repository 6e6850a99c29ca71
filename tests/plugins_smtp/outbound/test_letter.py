"""postroom_smtp.outbound.letter: commands by table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postroom.address import InternalAddress, smtp
from postroom.envelope import Recipient
from postroom_smtp.outbound import letter as letters
from postroom_smtp.outbound.letter import Letter
from postroom_smtp.outbound.reply import Offers

ALL = Offers("mx", True, True, True, True, True, True, True, True, True, True, 1000, frozenset(), 0, 0, 0)
NONE = Offers("mx")
PLAIN = Letter(b"a@a.test", 100)


@pytest.mark.parametrize(
    ("letter", "offers", "utf8", "wanted"),
    [
        (PLAIN, NONE, False, "MAIL FROM:<a@a.test>"),
        (PLAIN, ALL, False, "MAIL FROM:<a@a.test> SIZE=100"),
        (replace(PLAIN, sender=b""), NONE, False, "MAIL FROM:<>"),
        (replace(PLAIN, body="8BITMIME"), ALL, True, "MAIL FROM:<a@a.test> SIZE=100 BODY=8BITMIME SMTPUTF8"),
        (replace(PLAIN, ret="FULL", envid="q+=\x7fü"), ALL, False, "MAIL FROM:<a@a.test> SIZE=100 RET=FULL ENVID=q+2B+3D+7F?"),
        (replace(PLAIN, ret="FULL", envid="x"), NONE, False, "MAIL FROM:<a@a.test>"),
        (replace(PLAIN, require_tls=True), ALL, False, "MAIL FROM:<a@a.test> SIZE=100 REQUIRETLS"),
    ],
)
def test_mail(letter: Letter, offers: Offers, utf8: bool, wanted: str) -> None:
    assert letters.mail(letter, offers, utf8=utf8) == wanted.encode() + b"\r\n"


@pytest.mark.parametrize(
    ("recipient", "utf8", "wanted"),
    [
        (Recipient(smtp("b@b.test")), False, ""),
        (Recipient(smtp("b@b.test"), notify=frozenset({"NEVER"})), False, " NOTIFY=NEVER"),
        (Recipient(smtp("b@b.test"), notify=frozenset({"SUCCESS", "DELAY"})), False, " NOTIFY=DELAY,SUCCESS"),
        (Recipient(smtp("b@b.test"), "rfc822;o r=ig@x.test"), False, " ORCPT=rfc822;o+20r+3Dig@x.test"),
        (Recipient(smtp("b@b.test"), "utf-8;ö@x.test"), True, " ORCPT=utf-8;ö@x.test"),
        (Recipient(smtp("b@b.test"), "utf-8;ö+=@x.test"), False, " ORCPT=utf-8;\\x{F6}\\x{2B}\\x{3D}@x.test"),
    ],
)
def test_rcpt(recipient: Recipient, utf8: bool, wanted: str) -> None:
    assert letters.rcpt(b"b@b.test", recipient, ALL, utf8=utf8) == f"RCPT TO:<b@b.test>{wanted}\r\n".encode()
    assert letters.rcpt(b"b@b.test", recipient, NONE, utf8=utf8) == b"RCPT TO:<b@b.test>\r\n"


@pytest.mark.parametrize(
    ("detail", "wanted"),
    [
        ("bob@Example.test", b"bob@Example.test"),
        ('"b o b"@b.test', b'"b o b"@b.test'),
        ("b@bücher.test", b"b@xn--bcher-kva.test"),
        ("bö@b.test", "bö@b.test".encode()),
        ("b@[192.0.2.1]", b"b@[192.0.2.1]"),
        ("b@[IPv6:2001:DB8::1]", b"b@[IPv6:2001:db8::1]"),
        ("b@b.test>\r\nRSET", None),
        ('"b\r\n"@b.test', None),
        ("b@[300.0.2.1]", None),
        ("b", None),
        ("", None),
        ("\ud800@b.test", None),
        ("a" * 65 + "@b.test", None),
        ("b\u2028c@b.test", None),
    ],
)
def test_paths(detail: str, wanted: bytes | None) -> None:
    assert letters.path(detail) == wanted


def test_a_sender_of_another_connector_cannot_be_written() -> None:
    assert letters.sender_path(InternalAddress("SF", "PO/BOX")) is None
    assert letters.sender_path(None) == b""


def test_obstacles() -> None:
    assert letters.obstacle(PLAIN, NONE, sealed=False) is None
    assert letters.obstacle(replace(PLAIN, size=1001), ALL, sealed=False) is not None
    assert letters.obstacle(replace(PLAIN, size=1001), NONE, sealed=False) is None
    assert letters.obstacle(replace(PLAIN, utf8=True), NONE, sealed=False) is letters.NEEDS_UTF8
    tls = replace(PLAIN, require_tls=True)
    assert letters.obstacle(tls, ALL, sealed=False) is letters.NEEDS_REQUIRETLS
    assert letters.obstacle(tls, NONE, sealed=True) is letters.NEEDS_REQUIRETLS
    assert letters.obstacle(tls, ALL, sealed=True) is None
