"""Whole files: every octet kept, rows in force, edits that touch nothing else."""

from __future__ import annotations

import pytest

from postroom.errors import RecordError
from postroom.records import AddressMapRecord, GroupRecord, MailboxRecord
from postroom_tab import shapes
from postroom_tab.document import MOST_PROBLEMS, Document, decode

PO = ("po",)


def mailboxes(data: bytes) -> Document[MailboxRecord]:
    return decode(shapes.MAILBOXES, data, "MAILBOX.TAB", PO)


def names(document: Document[MailboxRecord]) -> list[str]:
    return [row.mailbox for row in document.records]


def lines(document: Document[MailboxRecord]) -> list[int]:
    return [row.origin.line for row in document.records if row.origin]


FILE = (
    b"# made by hand\r\n"
    b"bob\t1\t-1\t0\t\tpanel's own\r\n"
    b"\r\n"
    b"  \t\r\n"
    b"broken\tyes\r\n"
    b"J\xf6rg\t1\r\n"  # latin-1
    b"ann\t0\n"  # another line end
    b"BOB\t0\r\n"  # again
    b"last\t1"  # no line end
)


def test_rows_comments_broken_and_repeated_lines_are_told_apart() -> None:
    found = mailboxes(FILE)
    assert names(found) == ["bob", "Jörg", "ann", "last"]
    assert lines(found) == [2, 6, 7, 9]
    assert [(problem.origin.line, problem.key) for problem in found.problems if problem.origin] == [(5, "status"), (8, "mailbox")]
    assert "line 2" in found.problems[1].what
    assert found.get("bob") == MailboxRecord("po", "bob", extra=("panel's own",))


@pytest.mark.parametrize("data", [FILE, b"", b"\n", b"\xef\xbb\xbfbob\t1\r\n", b"\xef\xbb\xbf", b"a\r\r\nb\n\n\r", b"a\0b\n\xff\xfe"])
def test_every_octet_is_kept(data: bytes) -> None:
    assert mailboxes(data).encode() == data


def test_an_edit_touches_its_own_line_only() -> None:
    found = mailboxes(FILE).put([MailboxRecord("po", "ann", 1, 5)])
    assert found.encode() == FILE.replace(b"ann\t0\n", b"ann\t1\t5\t0\t\n")
    assert found.get("ann") == MailboxRecord("po", "ann", 1, 5)
    assert lines(found) == [2, 6, 7, 9]


def test_new_rows_come_last_with_the_files_line_end() -> None:
    found = mailboxes(FILE).put([MailboxRecord("po", "new"), MailboxRecord("po", "Ümit")])
    assert found.encode() == FILE + "\r\nnew\t1\t-1\t0\t\r\nÜmit\t1\t-1\t0\t\r\n".encode()
    assert names(found)[-2:] == ["new", "Ümit"]
    assert lines(found)[-2:] == [10, 11]


@pytest.mark.parametrize(("data", "end"), [(b"", b"\r\n"), (b"a\t1\n", b"\n"), (b"# x\r\na\t1\n", b"\r\n"), (b"a\t1", b"\r\n")])
def test_the_line_end_of_a_new_row(data: bytes, end: bytes) -> None:
    assert mailboxes(data).put([MailboxRecord("po", "b")]).encode().endswith(b"b\t1\t-1\t0\t" + end)


@pytest.mark.parametrize("data", [FILE, b"x\t1\r\nann\t0\r\nbob\t1\r\n"], ids=["with problems", "clean"])
def test_an_edit_in_the_middle_renumbers_what_follows_as_reading_would(data: bytes) -> None:
    before = mailboxes(data).get("ann")
    found = mailboxes(data).put([MailboxRecord("po", "n1"), MailboxRecord("po", "n2")], before)
    again = mailboxes(found.encode())
    assert found.encode() == data.replace(b"ann\t0", b"n1\t1\t-1\t0\t\r\nn2\t1\t-1\t0\t\r\nann\t0")
    assert [(row, row.origin) for row in found.records] == [(row, row.origin) for row in again.records]
    assert (found.index, found.problems and len(found.problems)) == (again.index, again.problems and len(again.problems))
    less, count = found.delete(["n1", "bob", "nobody"])
    assert count == 2
    assert [(row, row.origin) for row in less.records] == [(row, row.origin) for row in mailboxes(less.encode()).records]
    assert less.index == mailboxes(less.encode()).index


def test_deleting_a_repeated_key_brings_no_older_row_to_light() -> None:
    found, count = mailboxes(FILE).delete(["bob"])
    assert (count, found.get("bob")) == (1, None)
    assert b"BOB" not in found.encode()
    assert b"broken" in found.encode()


def test_an_edit_that_changes_nothing_is_the_same_document() -> None:
    found = mailboxes(FILE)
    assert found.put([MailboxRecord("po", "ann", 0)]) is found
    assert found.put([]) is found
    assert found.delete(["nobody"]) == (found, 0)


def test_a_batch_may_name_a_row_twice_and_the_last_counts() -> None:
    found = mailboxes(b"a\t1\r\n").put(
        [MailboxRecord("po", "a", 0), MailboxRecord("po", "b", 0), MailboxRecord("po", "A", 5), MailboxRecord("po", "b", 7)]
    )
    assert [(row.mailbox, row.status) for row in found.records] == [("A", 5), ("b", 7)]


def test_a_batch_with_one_bad_row_changes_nothing() -> None:
    found = mailboxes(FILE)
    with pytest.raises(RecordError):
        found.put([MailboxRecord("po", "new"), MailboxRecord("po", "bad\n")])
    assert found.encode() == FILE


def test_several_addresses_of_a_group_are_all_in_force() -> None:
    found = decode(shapes.GROUPS, b"[SMTP:a@x]\tsales\r\n[SMTP:b@x]\tSales\r\n", "GROUP-MAP.TAB", PO)
    assert [row.recipient for row in found.records] == ["[SMTP:a@x]", "[SMTP:b@x]"]
    assert found.problems == ()
    assert found.get("sales") == GroupRecord("po", "[SMTP:a@x]", "sales")
    assert found.delete(["sales"])[1] == 2


def test_the_order_of_the_address_map_is_the_files() -> None:
    rows = [AddressMapRecord(f"[SMTP:*@{name}]", "[SF:po/x]") for name in "zab"]
    found = decode(shapes.ADDRESS_MAP, b"", "ADDRESS-MAP.TAB").put(rows)
    first = AddressMapRecord("[SMTP:*@*]", "[SMTP:*]", account="SYSTEM")
    assert list(found.put([first], rows[0]).records) == [first, *rows]


@pytest.mark.parametrize("data", [b"\xff\xfeb\0o\0b\0\t\x001\0\r\0\n\0", b"\0" * 4096, b"a\tb\nc\td\n", b"\x89PNG\r\n\x1a\n\0\0"])
def test_a_file_of_another_kind_is_not_readable(data: bytes) -> None:
    assert not mailboxes(data).is_readable


@pytest.mark.parametrize("data", [b"", b"# all off\r\n#bob\t1\r\n", b"bob\t1\nx\ty\n"])
def test_no_rows_or_one_good_row_is_readable(data: bytes) -> None:
    assert mailboxes(data).is_readable


def test_a_thousand_broken_lines_are_told_of_in_a_hundred() -> None:
    found = mailboxes(b"x\tno\n" * 1000)
    assert len(found.problems) == MOST_PROBLEMS + 1
    assert f"{1000 - MOST_PROBLEMS} more lines" in str(found.problems[-1])
    assert found.broken == 1000


def test_a_mark_at_the_start_is_kept_when_the_first_row_changes() -> None:
    found = mailboxes(b"\xef\xbb\xbfbob\t1\r\n").put([MailboxRecord("po", "bob", 0)])
    assert found.encode() == b"\xef\xbb\xbfbob\t0\t-1\t0\t\r\n"
