"""Rows: what a line means, what a record is written as, and whose mistake is which."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from postroom.errors import ConfigError, Origin, RecordError
from postroom.records import (
    AccessRecord,
    AddressMapRecord,
    AuthRecord,
    BlacklistRecord,
    DirectoryRecord,
    DomainRecord,
    GroupRecord,
    ListMemberRecord,
    ListRecord,
    MailboxRecord,
    MemberRecord,
    PostofficeRecord,
    Record,
)
from postroom_tab import shapes
from postroom_tab.table import Shape

HERE = Origin("X.TAB", 7)

# Shape, names on the path, line, record. Lines as the original writes them (facts, section 2.1) and as hands do.
ROWS: list[tuple[Shape[Any], tuple[str, ...], str, Record]] = [
    (shapes.DENY, (), "203.0.113.*\t1\tCONNECT\tSYSTEM", AccessRecord("203.0.113.*", 1, "CONNECT", "SYSTEM")),
    (shapes.DENY, (), "203.0.113.*\t0", AccessRecord("203.0.113.*", 0)),
    (shapes.ACCESS, (), "10.0.0.*\t1\t1\tRELAY\tSYSTEM", AccessRecord("10.0.0.*", 1, "RELAY", "SYSTEM")),
    (shapes.ACCESS, (), "10.0.0.*\t1\t\tRelay", AccessRecord("10.0.0.*", 1, "Relay", "SYSTEM")),
    (shapes.ACCESS, (), "10.0.0.*\t1\tRELAY\tSYSTEM\tx", AccessRecord("10.0.0.*", 1, "RELAY", "SYSTEM", extra=("x",))),
    (shapes.BLACKLIST, (), "example.com\t*.example.org", BlacklistRecord("example.com", "*.example.org")),
    (shapes.DOMAINS, (), "example.com\t1\t0\t\texample.com", DomainRecord("example.com", 1, 0, "", "example.com")),
    (shapes.DOMAINS, (), "example.com", DomainRecord("example.com")),
    (shapes.POSTOFFICES, (), "example.com\t1\texample.com", PostofficeRecord("example.com", 1, "example.com")),
    (shapes.LOGINS, (), "bob@example.com\t1\tsecret\texample.com\tUSER\t", AuthRecord("bob@example.com", 1, "secret", "example.com")),
    (shapes.LOGINS, (), " bob@x \t\t pass word ", AuthRecord("bob@x", 1, " pass word ")),
    (
        shapes.ADDRESS_MAP,
        (),
        "[SMTP:bob@example.com]\t[SF:example.com/bob]\t0\texample.com",
        AddressMapRecord("[SMTP:bob@example.com]", "[SF:example.com/bob]", "0", "example.com"),
    ),
    (shapes.ADDRESS_MAP, (), "[SMTP:*@*]\t[SMTP:*]", AddressMapRecord("[SMTP:*@*]", "[SMTP:*]")),
    (
        shapes.MAILBOXES,
        ("po",),
        "bob\t1\t10240\t2\t[SMTP:a@b];[SMTP:c@d]",
        MailboxRecord("po", "bob", 1, 10240, 2, "[SMTP:a@b];[SMTP:c@d]"),
    ),
    (shapes.MAILBOXES, ("po",), "bob\t 1 \t\t 0", MailboxRecord("po", "bob")),
    (shapes.MAILBOXES, ("po",), "bob\t1\t-1\t0\t\tnew\t", MailboxRecord("po", "bob", extra=("new", ""))),
    (shapes.GROUPS, ("po",), "[SF:po/sales]\tsales", GroupRecord("po", "[SF:po/sales]", "sales")),
    (shapes.MEMBERS, ("po", "sales"), "[SMTP:ann@example.org]", MemberRecord("po", "sales", "[SMTP:ann@example.org]")),
    (
        shapes.LISTS,
        ("po",),
        "news\t1\t1\t[SMTP:m@x]\t[SMTP:news@x]\t3\tNews\tprefix=[news];password=a%3Bb%25;bare",
        ListRecord(
            "po", "news", 1, 1, "[SMTP:m@x]", "[SMTP:news@x]", 3, "News", (("prefix", "[news]"), ("password", "a;b%"), ("bare", ""))
        ),
    ),
    (shapes.LIST_MEMBERS, ("po", "news"), "[SMTP:ann@x]\t1", ListMemberRecord("po", "news", "[SMTP:ann@x]", 1)),
    (shapes.DIRECTORY, ("po",), "ann@x\tAnn\t+1 555\tSales", DirectoryRecord("po", "ann@x", "Ann", "+1 555", "Sales")),
]


@pytest.mark.parametrize(("shape", "given", "line", "record"), ROWS)
def test_a_line_is_this_record(shape: Shape[Any], given: tuple[str, ...], line: str, record: Record) -> None:
    found = shape.read(line, given, HERE)
    assert found == record
    assert found.origin == HERE


@pytest.mark.parametrize(("shape", "given", "line", "record"), ROWS)
def test_what_is_written_reads_back(shape: Shape[Any], given: tuple[str, ...], line: str, record: Record) -> None:
    assert shape.read(shape.write(record), given, HERE) == record


@pytest.mark.parametrize(
    ("shape", "line"),
    [
        (shapes.DENY, "203.0.113.*\t1\tCONNECT\tSYSTEM"),
        (shapes.LOGINS, "bob@example.com\t1\tsecret\texample.com\tUSER\t"),
        (shapes.DOMAINS, "example.com\t1\t0\t\texample.com"),
        (shapes.ADDRESS_MAP, "[SMTP:bob@example.com]\t[SF:example.com/bob]\t0\texample.com"),
    ],
)
def test_lines_of_the_original_are_written_as_it_writes_them(shape: Shape[Any], line: str) -> None:
    assert shape.write(shape.read(line, (), HERE)) == line


@pytest.mark.parametrize("line", ["", " ", "\t", " \t ", "# off", ";x", "#bob\t1\t-1\t0\t", ";[SMTP:a@b]"])
def test_what_is_no_row(line: str) -> None:
    assert shapes.MAILBOXES.read(line, ("po",), HERE) is None


@pytest.mark.parametrize(
    ("shape", "line", "key", "said"),
    [
        (shapes.MAILBOXES, "bob\tyes", "status", "not a number: 'yes'"),
        (shapes.MAILBOXES, "bob\t1\t1_000", "limit", "not a number"),
        (shapes.MAILBOXES, "bob\t1\t٣", "limit", "not a number"),
        (shapes.MAILBOXES, "bob\t1\t" + "9" * 5000, "limit", "not a number"),
        (shapes.MAILBOXES, "bob\t--1", "status", "not a number"),
        (shapes.MAILBOXES, "\t1\t-1", "mailbox", "empty"),
        (shapes.ADDRESS_MAP, "[SMTP:bob@example.com] [SF:example.com/bob]", "destination", "ends before"),
        (shapes.GROUPS, "[SF:po/sales]", "group", "ends before"),
        (shapes.MAILBOXES, "bo\0b\t1", "", "NUL"),
        (shapes.MAILBOXES, "bob\t1\rann\t1", "", "carriage return"),
    ],
)
def test_a_broken_line_names_file_line_column_and_remedy(shape: Shape[Any], line: str, key: str, said: str) -> None:
    given = ("po",) * len(shape.given)
    with pytest.raises(ConfigError, match=said) as told:
        shape.read(line, given, HERE)
    assert (told.value.origin, told.value.key) == (HERE, key)
    assert told.value.remedy
    assert str(told.value).startswith("X.TAB:7: ")
    assert len(str(told.value)) < 400


def test_a_password_in_the_wrong_column_is_not_told() -> None:
    with pytest.raises(ConfigError) as told:
        shapes.LOGINS.read("bob@x\thunter2", (), HERE)
    assert "hunter2" not in str(told.value)


@pytest.mark.parametrize(
    ("shape", "record"),
    [
        (shapes.MAILBOXES, MailboxRecord("po", "#bob")),
        (shapes.MAILBOXES, MailboxRecord("po", ";bob")),
        (shapes.MAILBOXES, MailboxRecord("po", "\ufeffbob")),
        (shapes.MAILBOXES, MailboxRecord("po", " bob")),
        (shapes.MAILBOXES, MailboxRecord("po", " ")),
        (shapes.MAILBOXES, MailboxRecord("po", "b\ud800b")),
        (shapes.MAILBOXES, MailboxRecord("po", "bob", True)),
        (shapes.MAILBOXES, MailboxRecord("po", "bob", "1")),  # type: ignore[arg-type]
        (shapes.MAILBOXES, MailboxRecord("po", "bob", 10**20)),
        (shapes.MAILBOXES, PostofficeRecord("po")),
        (shapes.DENY, AccessRecord("10.*", 1, "SUBMIT", "SYSTEM", extra=("x",))),
        (shapes.GROUPS, GroupRecord("po", "#x", "g")),
        (shapes.GROUPS, GroupRecord("po", "", "")),
        (shapes.LISTS, ListRecord("po", "news", options=(("a", "b\tc"),))),
    ],
)
def test_what_a_file_cannot_hold_is_refused(shape: Shape[Any], record: Record) -> None:
    with pytest.raises(RecordError):
        shape.write(record)


def test_the_fifth_column_of_access_rows_is_kept_and_taken_over() -> None:
    cells = ["10.0.0.*", "1", "7", "RELAY", "SYSTEM"]
    assert shapes.ACCESS.write(AccessRecord("10.0.0.*", 0, "RELAY"), cells) == "10.0.0.*\t0\t7\tRELAY\tSYSTEM"
    assert shapes.ACCESS.write(AccessRecord("10.1.0.*", 1, "CONNECT"), cells) == "10.1.0.*\t1\t7\tCONNECT\tSYSTEM"
    assert shapes.ACCESS.write(AccessRecord("10.1.0.*"), ["10.0.0.*", "1", "CONNECT", "x"]) == "10.1.0.*\t1\tCONNECT\tSYSTEM"


@pytest.mark.parametrize("options", [(), (("", ""),), (("a", "b"), ("a", "b")), (("=;%", "%3B=;%25"),), (("ü", "%"),)])
def test_options_text_undoes_options_of(options: tuple[tuple[str, str], ...]) -> None:
    assert shapes.options_of(shapes.options_text(options)) == options


def test_a_record_read_at_another_place_differs_in_its_origin_only() -> None:
    row = shapes.LISTS.read("news\t1\t1\t\t\t0\t\ta=b\textra", ("po",), HERE)
    assert row is not None
    moved = shapes.LISTS.moved(row, Origin("X.TAB", 8))
    assert moved == row == replace(row)
    assert moved.origin == Origin("X.TAB", 8)
