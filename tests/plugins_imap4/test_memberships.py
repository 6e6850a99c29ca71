"""Which groups a mailbox is in, for "$group" in a list of rights."""

from __future__ import annotations

from postroom.records import GroupRecord, MemberRecord
from postroom_imap4.circles import closure, memberships

GROUPS = [
    GroupRecord("po", "[SF:po/staff]", "staff"),
    GroupRecord("po", "[SF:po/all-of-us]", "Everybody"),
    GroupRecord("po", "[SMTP:x@po]", "odd"),
    GroupRecord("other", "[SF:other/staff]", "staff"),
]
MEMBERS = [
    MemberRecord("po", "staff", "[SF:PO/Bob]"),
    MemberRecord("po", "staff", "[SMTP:ann@po]"),
    MemberRecord("po", "staff", "nonsense"),
    MemberRecord("po", "Everybody", "[SF:po/staff]"),
    MemberRecord("po", "staff", "[SF:po/all-of-us]"),  # a circle
    MemberRecord("other", "staff", "[SF:po/zoe]"),  # another tenant's group
    MemberRecord("po", "odd", "[SF:po/odd]"),
]


def test_groups_count_through_groups() -> None:
    direct = memberships(GROUPS, MEMBERS)
    assert closure(direct, "PO", "bob") == {"staff", "everybody"}
    assert closure(direct, "po", "ann") == frozenset()  # who that reaches is the address map's affair
    assert closure(direct, "po", "zoe") == frozenset()
    assert closure(direct, "other", "zoe") == frozenset()
