"""postroom_smtp.access: rows in, a decision and the row that made it out."""

from __future__ import annotations

import pytest

from postroom.errors import Origin
from postroom.records import AccessRecord, BlacklistRecord
from postroom_smtp.access import Access, Masks, address_of


def row(mask: str, right: str = "CONNECT", status: int = 1) -> AccessRecord:
    return AccessRecord(mask=mask, right=right, status=status)


@pytest.mark.parametrize(
    ("mask", "inside", "outside"),
    [
        ("203.0.113.*", ["203.0.113.0", "203.0.113.255"], ["203.0.114.1", "::1"]),
        ("203.0.*.*", ["203.0.1.2"], ["203.1.1.2"]),
        ("203.0.*", ["203.0.1.2"], ["203.1.1.2"]),
        ("10.*", ["10.255.0.1"], ["11.0.0.1"]),
        ("203.*.113.7", ["203.0.113.7", "203.99.113.7"], ["203.0.113.8", "203.0.114.7"]),
        ("203.0.113.7", ["203.0.113.7", "::ffff:203.0.113.7"], ["203.0.113.70"]),
        ("203.0.113.0/25", ["203.0.113.127"], ["203.0.113.128"]),
        ("203.0.113.9/24", ["203.0.113.1"], ["203.0.112.1"]),  # host bits do no harm
        ("2001:db8::/32", ["2001:db8:1::1"], ["2001:db9::1", "32.1.13.184"]),
        ("2001:db8:*", ["2001:db8:ffff::1"], ["2001:db9::1"]),
        ("2001:db8::1", ["2001:db8::1", "2001:db8:0:0::1"], ["2001:db8::2"]),
        (" * ", ["192.0.2.1", "2001:db8::1"], []),
        ("*.*.*.*", ["192.0.2.1"], []),
    ],
)
def test_masks(mask: str, inside: list[str], outside: list[str]) -> None:
    masks = Masks([row(mask)])
    assert masks.problems == []
    assert [masks.find(address_of(ip)) is not None for ip in inside] == [True] * len(inside)
    assert [masks.find(address_of(ip)) is not None for ip in outside] == [False] * len(outside)


@pytest.mark.parametrize("mask", ["", "203.0.113", "203.0.113.256", "x.*", "203.0.113.*.*", "example.test", "203.0.113.0/33", "2001:zz:*"])
def test_a_mask_that_is_none_is_told_and_matches_nobody(mask: str) -> None:
    masks = Masks([AccessRecord(mask=mask, origin=Origin("SMTP-DENY.TAB", 3))])
    assert len(masks.problems) == 1 and masks.problems[0].startswith("SMTP-DENY.TAB:3: ") and repr(mask) in masks.problems[0]
    assert masks.find(address_of("203.0.113.1")) is None


def test_the_first_row_of_those_that_match_decides() -> None:
    first, second = row("203.0.113.0/24"), row("203.0.113.7")
    assert Masks([first, second]).find(address_of("203.0.113.7")) is first
    assert Masks([second, first]).find(address_of("203.0.113.7")) is second


@pytest.mark.parametrize(
    ("access", "deny", "listed_only", "may_connect", "may_relay"),
    [
        ([], [], False, True, False),
        ([], [row("203.0.113.*")], False, False, False),
        ([], [row("203.0.113.*", status=0)], False, True, False),
        ([], [row("203.0.113.*", "RELAY")], False, True, False),
        ([row("203.0.113.7")], [row("203.0.113.*")], False, True, False),  # an ACCESS row lets in, whatever DENY says
        ([row("203.0.113.8")], [row("203.0.113.*")], False, False, False),
        ([row("203.0.113.7", "relay ")], [], False, True, True),
        ([row("203.0.113.7", "RELAY")], [row("203.0.*", "RELAY")], False, True, False),
        ([row("203.0.113.7", "RELAY")], [row("203.0.113.7")], False, False, False),
        ([], [], True, False, False),
        ([row("203.0.113.7")], [], True, True, False),
        ([row("203.0.113.7", "RELAY")], [], True, False, False),
        ([row("203.0.113.7"), row("203.0.113.7", "RELAY")], [], True, True, True),
    ],
)
def test_decisions(access: list[AccessRecord], deny: list[AccessRecord], listed_only: bool, may_connect: bool, may_relay: bool) -> None:
    decision = Access(access, deny, listed_only=listed_only).decide("203.0.113.7")
    assert (decision.may_connect, decision.may_relay) == (may_connect, may_relay)


def test_the_row_that_decided_is_named() -> None:
    allowed, denied = row("203.0.113.7"), row("203.0.113.*")
    access = Access([allowed], [denied])
    assert access.decide("203.0.113.7").row is allowed
    assert access.decide("203.0.113.8").row is denied
    assert access.decide("198.51.100.1").row is None


def test_a_long_table_and_many_askers_stay_quick_and_bounded() -> None:
    access = Access([], [row(f"10.{n >> 8}.{n & 255}.*") for n in range(20_000)])
    for n in range(10_000):
        assert access.decide(f"11.0.{n >> 8}.{n & 255}").may_connect
    assert not access.decide("10.78.31.9").may_connect
    assert len(access._known) <= 4096


@pytest.mark.parametrize(
    ("banned", "sender", "target", "refused"),
    [
        ("spam.test", "spam.test", "example.test", True),
        ("Spam.Test", "sPAM.tEST", "EXAMPLE.test", True),
        ("spam.test", "sub.spam.test", "example.test", False),
        ("*.spam.test", "sub.spam.test", "example.test", True),
        ("*.spam.test", "spam.test", "example.test", False),
        ("*.com.au", "shop.com.au", "example.test", True),
        ("*", "any.test", "example.test", True),
        ("spam.test", "spam.test", "other.test", False),
        ("spam.*", "spamxtest", "example.test", False),
    ],
)
def test_blacklist(banned: str, sender: str, target: str, refused: bool) -> None:
    access = Access(blacklist=[BlacklistRecord(target="example.test", banned=banned)])
    assert (access.banned(sender, target) is not None) == refused
    assert access.has_bans
    assert not Access(blacklist=[BlacklistRecord(target="example.test", banned=banned, status=0)]).has_bans
