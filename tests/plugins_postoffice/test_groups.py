"""Groups: nested, circular, double, broken, too large."""

from __future__ import annotations

import pytest

from postroom.envelope import Recipient
from postroom.records import GroupRecord
from postroom_postoffice.book import Book
from postroom_postoffice.groups import TooManyMembers, expand, in_place_of
from tests.plugins_postoffice.rows import PO, address, family, sf


def opened(
    groups: dict[str, list[str]], name: str, *, passed: tuple[str, ...] = (), limit: int = 10_000
) -> tuple[list[str], tuple[str, ...]]:
    book = Book(family(groups=groups))
    group = book.group(sf(name))
    assert group is not None
    expansion = expand(book, group, passed=[sf(each) for each in passed], limit=limit)
    return [str(member) for member in expansion.members], expansion.broken


CASES = {
    "plain, in file order": ({"g": ["[SMTP:b@x]", "[SF:Acme/a]"]}, ["[SMTP:b@x]", "[SF:Acme/a]"]),
    "nested in its place": (
        {"g": ["[SMTP:a@x]", "[SF:Acme/h]", "[SMTP:z@x]"], "h": ["[SMTP:m@x]"]},
        ["[SMTP:a@x]", "[SMTP:m@x]", "[SMTP:z@x]"],
    ),
    "within itself": ({"g": ["[SF:Acme/g]", "[SMTP:a@x]"]}, ["[SMTP:a@x]"]),
    "circle of two": ({"g": ["[SF:Acme/h]", "[SMTP:a@x]"], "h": ["[SF:Acme/g]", "[SMTP:b@x]"]}, ["[SMTP:b@x]", "[SMTP:a@x]"]),
    "in two groups, one copy": ({"g": ["[SMTP:a@x]", "[SF:Acme/h]"], "h": ["[SMTP:A@X]"]}, ["[SMTP:a@x]"]),
    "names without case": ({"g": ["[SF:ACME/H]"], "h": ["[SMTP:a@x]"]}, ["[SMTP:a@x]"]),
    "diamond": ({"g": ["[SF:Acme/h]", "[SF:Acme/i]"], "h": ["[SF:Acme/j]"], "i": ["[SF:Acme/j]"], "j": ["[SMTP:a@x]"]}, ["[SMTP:a@x]"]),
}


@pytest.mark.parametrize("case", CASES)
def test_members(case: str) -> None:
    groups, members = CASES[case]
    assert opened(groups, "g") == (members, ())


def test_a_group_passed_before_adds_nobody() -> None:
    assert opened({"g": ["[SF:Acme/h]", "[SMTP:a@x]"], "h": ["[SMTP:b@x]"]}, "g", passed=("h",))[0] == ["[SMTP:a@x]"]


def test_broken_lines_are_told_and_the_rest_is_served() -> None:
    assert opened({"g": ["alice", "[SMTP:a@x]"]}, "g") == (["[SMTP:a@x]"], ("alice",))


def test_the_limit_counts_nested_members_and_no_doubles() -> None:
    groups = {"g": [f"[SMTP:{n}@x]" for n in range(6)] + ["[SF:Acme/h]"], "h": [f"[SMTP:{n}@x]" for n in range(3, 10)]}
    assert len(opened(groups, "g", limit=10)[0]) == 10
    with pytest.raises(TooManyMembers):
        opened(groups, "g", limit=9)


def test_ten_thousand_groups_in_a_chain_need_no_deep_stack() -> None:
    groups = {f"g{n}": [f"[SF:Acme/g{n + 1}]"] for n in range(10_000)} | {"g10000": ["[SMTP:a@x]"]}
    assert opened(groups, "g0")[0] == ["[SMTP:a@x]"]


def test_an_smtp_group_address_still_answers_to_its_name() -> None:
    rows = family(groups={"sales": ["[SMTP:a@x]"]})
    rows.groups.rows = [GroupRecord(postoffice=PO, recipient="[SMTP:sales@example.test]", group="sales")]
    assert Book(rows).group(sf("SALES")) is rows.groups.rows[0]


@pytest.mark.parametrize(
    ("wishes", "several"),
    [(set(), set()), ({"SUCCESS"}, {"NEVER"}), ({"SUCCESS", "FAILURE"}, {"FAILURE"}), ({"NEVER"}, {"NEVER"}), ({"DELAY"}, {"DELAY"})],
)
def test_success_is_not_told_by_each_of_many(wishes: set[str], several: set[str]) -> None:
    recipient = Recipient(sf("g"), "rfc822;g@x", frozenset(wishes))
    one, *_ = in_place_of(recipient, [address("[SMTP:a@x]")])
    assert (one.original, one.notify) == ("rfc822;g@x", frozenset(wishes))
    assert [each.notify for each in in_place_of(recipient, [address("[SMTP:a@x]"), address("[SMTP:b@x]")])] == [several, several]
