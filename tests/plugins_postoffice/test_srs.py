"""The sender rewriting scheme: there and back, and nothing back that was not made here."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom.address import smtp
from postroom.envelope import Recipient
from postroom_postoffice.srs import Srs, is_marked
from postroom_smtp.grammar import Mail, Rcpt, parse
from postroom_smtp.outbound.letter import path

NOW, DAY = 1_700_000_000.0, 86_400.0
OURS = Srs("ours.test", [b"a secret of thirty-two octets...."], 21)
OTHER = Srs("other.test", [b"another one"], 21)
THIRD = Srs("third.test", [b"a third one"], 21)


def made(sender: str, by: Srs = OURS) -> str:
    name = by.rewrite(sender, NOW)
    assert name is not None
    return name


def back(address: str, at: float = NOW, by: Srs = OURS) -> str | None:
    return by.restore(address.rpartition("@")[0], at)


@pytest.mark.parametrize("sender", ["eve@example.org", "a=b+c-d@example.org", "SRS0@example.org", "δ@example.org", "srs0.x@example.org"])
def test_there_and_back(sender: str) -> None:
    name = made(sender)
    assert name.startswith("SRS0=") and name.endswith("@ours.test") and is_marked(name)
    assert back(name) == sender


def test_what_is_made_is_what_smtp_can_carry() -> None:
    """A name too long for the outbound agent made a failure of the mail that was to be forwarded."""
    made_of = {n: OURS.rewrite("x" * n + "@example.org", NOW) for n in range(1, 300)}
    assert all(name is None or path(name) is not None for name in made_of.values())
    assert [n for n, name in made_of.items() if name is None] == list(range(216, 300))


def test_a_sender_of_the_longest_local_part_is_rewritten_and_found_again() -> None:
    """Local parts above 64 octets: what was not rewritten for that failed the SPF of its domain."""
    for sender in ("x" * 64 + "@mail.example.org", "SRS0=" + "x" * 100 + "@first.example.org"):
        name = made(sender)
        assert len(name.rpartition("@")[0]) > 64 and back(name) == sender
        assert parse(f"MAIL FROM:<{name}>".encode()) == Mail(smtp(name)) and parse(f"RCPT TO:<{name}>".encode()) == Rcpt(
            Recipient(smtp(name))
        )


def test_a_name_that_lost_its_case_still_finds_back() -> None:
    assert back(made("Eve@Example.org").lower()) == "eve@example.org"
    assert back(made("Eve@Example.org").upper()) == "EVE@EXAMPLE.ORG"


def test_a_chain_of_forwarders_goes_back_to_the_first_only() -> None:
    first = made("eve@example.org", OTHER)
    second = made(first, THIRD)
    third = made(second)
    assert second.startswith("SRS1=") and third.startswith("SRS1=") and "third" not in third
    assert back(third) == back(second, by=THIRD) == first
    assert back(first, by=OTHER) == "eve@example.org"


def test_another_forwarders_sign_between_the_parts_is_kept() -> None:
    assert back(made("SRS0+abcd=XY=example.org=eve@other.test")) == "SRS0+abcd=XY=example.org=eve@other.test"


def test_it_is_good_for_its_days() -> None:
    name = made("eve@example.org")
    assert [back(name, NOW + days * DAY) for days in (0, 21, 22, 500)] == ["eve@example.org"] * 2 + [None] * 2
    assert back(name, NOW - 2 * DAY) is None  # made in the future: its clock or its maker is wrong


def test_a_new_secret_signs_and_the_old_one_is_still_believed() -> None:
    old = made("eve@example.org")
    both = Srs("ours.test", [b"a newer secret, first in its file", *OURS.secrets], 21)
    assert back(old, by=both) == "eve@example.org"
    assert back(made("eve@example.org", both)) is None


@pytest.mark.parametrize(
    "local",
    [
        "SRS0=AAAAAAAA=AA=example.org=eve",
        "SRS0=AAAAAAAA=AA=example.org=",
        "SRS0=",
        "SRS0",
        "SRS0====",
        "SRS0=AAAAAAAA=é1=example.org=eve",
        "SRS1=AAAAAAAA=other.test==x=y=z=a",
        "SRS1=AAAAAAAA==",
        "SRS1=ää=other.test==x",
        "eve",
    ],
)
def test_what_was_not_made_here_is_nobodys(local: str) -> None:
    """Nobody sends through us by a name he made up."""
    assert OURS.restore(local, NOW) is None


@pytest.mark.parametrize("part", [5, 15, 20, -1])
def test_a_name_that_was_changed_is_nobodys(part: int) -> None:
    local = made("eve@example.org").rpartition("@")[0]
    changed = local[:part] + ("B" if local[part] != "B" else "C") + (local[part + 1 :] if part != -1 else "")
    assert changed != local and OURS.restore(changed, NOW) is None


@pytest.mark.parametrize(
    "sender",
    [
        "x" * 240 + "@example.org",
        '"a b"@example.org',
        "a\r\nb@example.org",
        "nobody",
        "@example.org",
        "a@",
        "a<b@example.org",
        "SRS1=x@y.test",
    ],
)
def test_what_cannot_be_rewritten_stays(sender: str) -> None:
    """Case 38: no control character and no bracket gets into a name of ours."""
    assert OURS.rewrite(sender, NOW) is None


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_is_answered(one: str, two: str) -> None:
    """Whatever is rewritten comes back as it was; whatever is not ours comes back as nobody."""
    assert OURS.restore(one, NOW) is None and OURS.restore(f"SRS0={one}={two}", NOW) is None
    if (name := OURS.rewrite(f"{one}@{two}", NOW)) is not None and not is_marked(one):
        assert back(name) == f"{one}@{two}"
