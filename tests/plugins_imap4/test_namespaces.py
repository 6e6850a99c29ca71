"""Whose a name is (RFC 2342)."""

from __future__ import annotations

import pytest

from postroom_imap4.namespaces import Kind, Named, Namespaces, may_match, shown

NAMES = Namespaces("Other Users", "Public Folders")


@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("Work", Named(Kind.OWN, "", "Work")),
        ("Inbox", Named(Kind.OWN, "", "Inbox")),
        ("Other Users2/ann", Named(Kind.OWN, "", "Other Users2/ann")),
        ("Other Users", Named(Kind.OTHERS, "", "Inbox")),
        ("Other Users/ann@po.test", Named(Kind.OTHERS, "ann@po.test", "Inbox")),
        ("OTHER users/ann@po.test/Work/2", Named(Kind.OTHERS, "ann@po.test", "Work/2")),
        ("Public Folders/Board", Named(Kind.PUBLIC, "Board", "Inbox")),
        ("Public Folders/Board/Old", Named(Kind.PUBLIC, "Board", "Old")),
    ],
)
def test_names(name: str, named: Named) -> None:
    assert NAMES.read(name) == named
    assert NAMES.is_own(name) == (named.kind is Kind.OWN)


def test_without_a_name_there_is_no_namespace() -> None:
    assert Namespaces().read("Other Users/ann").kind is Kind.OWN
    assert Namespaces().read("/x").kind is Kind.OWN


def test_names_are_told_as_they_are_read() -> None:
    prefix = NAMES.prefix(Kind.OTHERS, "ann@po.test")
    for folder in ("Inbox", "Work", "Inbox/Sub"):
        told = shown(prefix, folder)
        assert NAMES.read(told) == Named(Kind.OTHERS, "ann@po.test", folder)
    assert shown("", "Work") == "Work"


@pytest.mark.parametrize(
    ("pattern", "matches"),
    [
        ("*", True),
        ("%", True),
        ("", True),
        ("Work/*", False),
        ("Inbox", False),
        ("Other Users", True),
        ("other users/%", True),
        ("Other Users/ann@po.test/W*", True),
        ("Other Users/bob*", False),
        ("Oth%", True),
        ("Otter*", False),
    ],
)
def test_a_mailbox_is_looked_into_only_where_a_pattern_could_match(pattern: str, matches: bool) -> None:
    assert may_match(["nothing", pattern], "Other Users/ann@po.test") == matches
