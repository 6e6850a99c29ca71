"""Patterns and trees: what a LIST names."""

from __future__ import annotations

from time import perf_counter

import pytest

from postroom_imap4.commands import List
from postroom_imap4.listing import Pattern, Tree

FOLDERS = ["Inbox", "Inbox/Sub", "Archive", "Work", "Work/Old", "Work/Old/2020", "Lost/Child"]  # "Lost" was deleted


@pytest.mark.parametrize(
    ("pattern", "name", "fits"),
    [
        ("*", "Work/Old", True),
        ("%", "Work", True),
        ("%", "Work/Old", False),
        ("%/%", "Work/Old", True),
        ("Work/%", "Work/Old", True),
        ("Work/%", "Work/Old/2020", False),
        ("Work/*", "Work/Old/2020", True),
        ("Work*", "Work", True),
        ("W%k", "Work", True),
        ("W%k", "Wo/k", False),
        ("W*k", "Wo/k", True),
        ("*/Old", "Work/Old", True),
        ("*/Old", "Old", False),
        ("work", "Work", False),
        ("inbox", "Inbox", True),
        ("INBOX/%", "Inbox/Sub", True),
        ("inboxes", "Inboxes", False),
        ("", "Work", False),
        ("%%", "Work", True),
        ("**", "a/b", True),
        ("*a*b", "xaxb", True),
        ("*a*b", "xbxa", False),
    ],
)
def test_a_pattern(pattern: str, name: str, fits: bool) -> None:
    assert Pattern(pattern).matches(name) is fits


def test_no_pattern_makes_matching_slow() -> None:
    """Case 34: a pattern of many wildcards over a long name is a step for each character, not for each way to place the wildcards."""
    begin = perf_counter()
    assert not Pattern("%a" * 400 + "b").matches("a" * 1000)
    assert not Pattern("*a" * 400 + "b").matches("a" * 1000)
    assert perf_counter() - begin < 1


def names(asked: List, subscribed: tuple[str, ...] = ()) -> dict[str, tuple[bytes, ...]]:
    return {one.name: one.attributes for one in Tree(FOLDERS, subscribed).listed(asked)}


def test_a_level_without_a_folder_is_told_where_something_lies_below_it() -> None:
    assert names(List("", ("%",)))["Lost"] == (b"\\NonExistent", b"\\Noselect", b"\\HasChildren")


def test_children_and_uses_are_told() -> None:
    found = names(List("", ("*",)))
    assert found["Work"] == (b"\\HasChildren",) and found["Work/Old/2020"] == (b"\\HasNoChildren",)
    assert found["Archive"] == (b"\\HasNoChildren", b"\\Archive")
    assert list(names(List("", ("*",), select=frozenset({"SPECIAL-USE"}), is_extended=True))) == ["Archive"]


def test_the_reference_stands_before_the_pattern() -> None:
    assert list(names(List("Work/", ("%",)))) == ["Work/Old"]


def test_subscribed_folders_and_those_above_them() -> None:
    asked = List("", ("%",), select=frozenset({"SUBSCRIBED", "RECURSIVEMATCH"}), is_extended=True)
    found = {one.name: one for one in Tree(FOLDERS, ("work/old", "Gone", "Archive")).listed(asked)}
    assert set(found) == {"Work", "Gone", "Archive"}
    assert found["Work"].by_child and not found["Archive"].by_child
    assert b"\\NonExistent" in found["Gone"].attributes and b"\\Subscribed" in found["Archive"].attributes


def test_lsub_tells_the_level_above() -> None:
    """RFC 3501 section 6.3.9."""
    found = names(List("", ("%",), is_lsub=True), ("Work/Old", "Archive"))
    assert found == {"Work": (b"\\Noselect",), "Archive": ()}
    assert set(names(List("", ("*",), is_lsub=True), ("Work/Old", "Archive"))) == {"Work/Old", "Archive"}
