"""Invariant: whatever texts a report is made of, it has three parts, one block a recipient with each field at most once, and no line beyond 998 octets."""

from __future__ import annotations

import email
from email.message import Message

from hypothesis import given, settings
from hypothesis import strategies as st

from postroom_mime.report import MOST, DeliveryReport, Reported

WILD = st.text(max_size=60) | st.sampled_from(
    ["a\r\nAction: x", "--=_" + "A" * 32, "\r\n\r\n", "\x00", "\\x{0A}\\x{110000}", "x" * 2000, "ä" * 999]
)
RECIPIENTS = st.builds(Reported, st.just("failed"), st.just("SMTP"), WILD, WILD, st.just(frozenset()), st.just("5.0.0"), WILD, WILD, WILD)
ORIGINALS = st.binary(max_size=300) | st.just(b"Subject: a\r\n--=_" + b"B" * 32 + b"--\r\n\r\nx")


@settings(max_examples=150, deadline=None)
@given(WILD, WILD, st.lists(RECIPIENTS, min_size=1, max_size=3), ORIGINALS, st.booleans(), st.booleans())
def test_report(to: str, envid: str, recipients: list[Reported], original: bytes, whole: bool, utf8: bool) -> None:
    text = DeliveryReport("failed", "A" * 32, "h.test", to, "B" * 32, 1.0, 2.0, recipients, original, whole, utf8, envid).compose()
    assert len(text) <= MOST
    head, body = text.split(b"\r\n\r\n", 1)
    names = [line.split(b":")[0].lower() for line in head.split(b"\r\n")]
    assert len(names) == len(set(names)) == 10 and b"bcc" not in names
    assert body.count(b"\r\n--=_" + b"A" * 32 + b"\r\n") == 2 or b"--=_" + b"A" * 32 in original
    told = text if whole else text.partition(b"rfc822-headers")[0].partition(b"global-headers")[0]
    status = told.partition(b"delivery-status\r\n")[2].partition(b"\r\n\r\n")[2].partition(b"\r\n--=_")[0]
    blocks = [[line.split(b":")[0] for line in block.split(b"\r\n") if line] for block in status.split(b"\r\n\r\n")]
    assert len(blocks) == 1 + len(recipients)
    assert all(len(names) == len(set(names)) for names in blocks)
    assert all(len(line) <= 998 for line in status.split(b"\r\n"))
    assert isinstance(email.message_from_bytes(text), Message)
