"""postroom.envelope: a part of an envelope keeps all but what makes it a part."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace

import pytest

from postroom.address import mailbox, smtp
from postroom.envelope import Attempt, Envelope, Peer, Recipient

WHOLE = Envelope(
    id="A" * 32,
    message="B" * 32,
    source="SMTP",
    sender=smtp("carol@sender.test"),
    recipients=(Recipient(smtp("alice@example.test")), Recipient(smtp("bob@example.test"))),
    arrived=1e9,
    peer=Peer(ip="192.0.2.25", helo="peer.test", user="carol", account="example", tls="TLSv1.3", trusted=True),
    attempt=Attempt(count=2, due=1e9, told=1, error="busy", crashes=1),
    priority="High",
    hop="a hop",
    body="8BITMIME",
    utf8=True,
    ret="HDRS",
    envid="envelope",
    require_tls=True,
    subject="a subject",
    expanded=(mailbox("PO", "sales"),),
    settled=frozenset({mailbox("PO", "bob")}),
    holder="C" * 32,
    skip=frozenset({"clamav"}),
    extra={"X-Other": "kept"},
)
BLANK = Envelope("", "", "", None, (), 0.0)


def test_the_example_says_something_in_every_field() -> None:
    assert [one.name for one in fields(Envelope) if getattr(WHOLE, one.name) == getattr(BLANK, one.name)] == []


@pytest.mark.parametrize("holder", ["", "C" * 32])
def test_a_part_is_what_replace_makes(holder: str) -> None:
    whole, some = replace(WHOLE, holder=holder), (WHOLE.recipients[1],)
    part = whole.part("D" * 32, some, "there")
    assert part == replace(whole, id="D" * 32, recipients=some, hop="there", holder=holder or whole.id)
    assert type(part) is Envelope and hash(part.sender) == hash(WHOLE.sender)


def test_a_part_is_frozen_and_can_be_replaced() -> None:
    part = WHOLE.part("D" * 32, WHOLE.recipients, "")
    with pytest.raises(FrozenInstanceError):
        part.hop = "elsewhere"  # type: ignore[misc]
    assert replace(part, hop="elsewhere").part("E" * 32, (), "").message == WHOLE.message
