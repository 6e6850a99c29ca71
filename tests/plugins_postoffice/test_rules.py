"""What a row makes of a message: a table of cases."""

from __future__ import annotations

import pytest

from postroom_postoffice import rules
from postroom_postoffice.book import Book
from postroom_postoffice.rules import Plan
from tests.plugins_postoffice.rows import box, envelope, family, sf

ROWS = family(
    [
        box("alice"),
        box("off", status=0),
        box("away", redirect=1, to="[SMTP:away@example.org]"),
        box("both", redirect=2, to="[SMTP:x@example.org]; [SF:Acme/alice]"),
        box("self", redirect=1, to="[SF:acme/SELF];[SMTP:x@example.org]"),
        box("nobody", redirect=1, to=""),
        box("broken", redirect=1, to="not an address;[SMTP:x@example.org]"),
        box("odd", redirect=7, to="[SMTP:x@example.org]"),
        box("twice", redirect=1, to="[SMTP:x@example.org];[SMTP:X@EXAMPLE.org]"),
        box("sales"),
    ],
    {"sales": ["[SF:Acme/alice]", "[SMTP:b@example.org]"], "empty": [], "unreadable": ["alice"], "ring": ["[SF:Acme/ring]"]},
)


def planned(name: str, *passed: str, max_members: int = 10) -> Plan:
    each = envelope(name, passed=passed)
    return rules.plan(Book(ROWS), each, each.recipients[0], max_members=max_members)


# name, groups and redirects passed -> kept here, sent on to, refused with
CASES = [
    ("alice", (), "alice", [], None),
    ("ALICE", (), "alice", [], None),
    ("unknown", (), None, [], rules.UNKNOWN),
    ("off", (), None, [], rules.DISABLED),
    ("away", (), None, ["[SMTP:away@example.org]"], None),
    ("away", ("away",), "away", [], None),
    ("both", (), "both", ["[SMTP:x@example.org]", "[SF:Acme/alice]"], None),
    ("both", ("both",), "both", [], None),
    ("self", (), "self", ["[SMTP:x@example.org]"], None),
    ("nobody", (), "nobody", [], None),
    ("broken", (), None, ["[SMTP:x@example.org]"], None),
    ("odd", (), "odd", [], None),
    ("twice", (), None, ["[SMTP:x@example.org]"], None),
    ("sales", (), None, ["[SF:Acme/alice]", "[SMTP:b@example.org]"], None),
    ("sales", ("sales",), None, [], None),
    ("empty", (), None, [], rules.EMPTY),
    ("unreadable", (), None, [], rules.EMPTY),
    ("ring", (), None, [], rules.EMPTY),
]


@pytest.mark.parametrize(("name", "passed", "keep", "into", "refusal"), CASES)
def test_plan(name: str, passed: tuple[str, ...], keep: str | None, into: list[str], refusal: object) -> None:
    plan = planned(name, *passed)
    assert (plan.keep and plan.keep.mailbox, [str(each.address) for each in plan.into], plan.refusal) == (keep, into, refusal)


def test_more_members_than_allowed() -> None:
    assert planned("sales", max_members=1).refusal == rules.TOO_MANY


def test_a_disabled_post_office_disables_all() -> None:
    assert rules.refusal(Book(family([box("alice")], status=0)), sf("alice")) == rules.DISABLED


def test_an_unknown_post_office_and_an_address_without_a_name() -> None:
    book = Book(family([box("alice")]))
    assert rules.refusal(book, type(sf("a"))("SF", "Other/alice")) == rules.UNKNOWN
    assert rules.refusal(book, type(sf("a"))("SF", "Acme")) == rules.UNKNOWN


def test_what_is_unreadable_in_a_redirect_is_told() -> None:
    assert list(rules.unreadable(box("x", redirect=1, to="[SMTP:a@b]; bob ;;[SF:x"))) == ["bob", "[SF:x"]
