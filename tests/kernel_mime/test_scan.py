"""A whole scan: what SEARCH, SORT and THREAD are told, and what hostile shapes come to."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroom_mime import tree
from postroom_mime.content import Media
from postroom_mime.onfile import FileOctets
from postroom_mime.parts import Parts
from postroom_mime.scan import scan

from .imaplist import parse
from .shape import check


def test_what_sort_and_thread_are_told() -> None:
    answer = scan(
        b"Date: Mon, 1 Jan 2024 01:00:00 +0100\r\nSubject: Re: [x] =?utf-8?q?Gr=C3=9C=C3=9Fe?=\r\n"
        b"Message-ID: <a@b>\r\nReferences: <one@x>\r\n <two@x>\r\nIn-Reply-To: <two@x>\r\n\r\n"
    )
    assert (answer.sent, answer.sent_zone) == (1704067200.0, 60)
    assert answer.subject == "re: [x] grüsse".encode()
    assert answer.base_subject == "grüsse".encode()
    assert answer.message_id == b"a@b"
    assert answer.references == (b"one@x", b"two@x")


@pytest.mark.parametrize(
    ("header", "references"),
    [
        (b"In-Reply-To: Your message of today <a@b> and <c@d>", (b"a@b",)),
        (b"References: no ids\r\nIn-Reply-To: <a@b>", (b"a@b",)),
        (b"References: <a@b><c@d>,<e@f>", (b"a@b", b"c@d", b"e@f")),
        (b"References: <a b> <> <c@d", ()),
        (b"X: y", ()),
    ],
)
def test_references(header: bytes, references: tuple[bytes, ...]) -> None:
    assert scan(header + b"\r\n\r\n").references == references


def test_of_many_references_the_first_and_the_latest_are_kept() -> None:
    found = scan(b"References: " + b" ".join(b"<%d@x>" % n for n in range(500)) + b"\r\n\r\n").references
    assert len(found) == 100
    assert found[0] == b"0@x" and found[1] == b"401@x" and found[-1] == b"499@x"


def test_a_message_without_anything() -> None:
    answer = scan(b"")
    assert (answer.sent, answer.sent_zone, answer.message_id, answer.references, answer.subject, answer.base_subject) == (
        None,
        0,
        b"",
        (),
        b"",
        b"",
    )
    assert answer.is_plain_7bit


@pytest.mark.parametrize(
    ("data", "is_plain"),
    [
        (b"Subject: s\r\n\r\ntext", True),
        (b"Subject: s\r\n\r\nt\xc3\xa9xt", False),
        (b"X-Any: =?utf-8?q?x?=\r\n\r\ntext", False),
        (b"Subject: s\r\n\r\n=?utf-8?q?in a body this is text?=", True),
        (b"Content-Transfer-Encoding: base64\r\n\r\nQQ==", False),
        (b"Content-Type: text/plain; charset=iso-2022-jp\r\n\r\n$B", False),
        (b"Content-Type: message/rfc822\r\n\r\nSubject: =?utf-8?q?x?=\r\n\r\ntext", False),
        (b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png; name==?x?q?x?=\r\n\r\n\r\n--b--", False),
        (
            b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\nQQ==\r\n--b--",
            True,
        ),
    ],
)
def test_whether_a_raw_search_may_say_no(data: bytes, is_plain: bool) -> None:
    assert scan(data).is_plain_7bit is is_plain


def test_a_file_is_scanned_where_it_lies(tmp_path: Path) -> None:
    path = tmp_path / "x.MAI"
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + b"line\r\n" * 500_000 + b"--b\r\n\r\nlast\r\n--b--\r\n"
    path.write_bytes(data)
    with path.open("rb") as file:
        answer = scan(FileOctets(file.fileno(), len(data)))
    assert answer == scan(data)
    assert Parts.load(answer.parts).rows[1].lines == 499_999


def test_the_first_of_two_fields_counts_and_recipients_add_up() -> None:
    """Features case 33: filter, store and web mail must all see the same From."""
    data = b"From: a@x\r\nFrom: b@x\r\nSubject: one\r\nSubject: two\r\nTo: c@x\r\nTo: d@x\r\nDate: 1 Jan 2024\r\nDate: 2 Jan 2024\r\n\r\n"
    answer = scan(data)
    assert b'((NIL NIL "a" "x"))' in answer.envelope and b'"b"' not in answer.envelope
    assert b'((NIL NIL "c" "x")(NIL NIL "d" "x"))' in answer.envelope
    assert (answer.subject, answer.sent) == (b"one", 1704067200)


def multipart(boundary: bytes, *parts: bytes) -> bytes:
    head = b'Content-Type: multipart/mixed; boundary="%b"\r\n\r\n' % boundary
    return head + b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


def test_nesting_ends_at_a_depth() -> None:
    """Features case 31: depth 100 and more; what is deeper stays octets of the last part."""
    data = b"\r\nthe end"
    for level in range(300):
        data = multipart(b"b%d" % level, data)
    answer = scan(data)
    table = check(data, answer)
    assert max(part.depth for part in table.rows) == tree.MAX_DEPTH - 1
    assert b'"APPLICATION" "OCTET-STREAM"' in answer.bodystructure
    deepest = table.rows[-1]
    assert data[deepest.body : deepest.end].count(b"Content-Type: multipart/mixed") == 300 - tree.MAX_DEPTH


def test_messages_within_messages_end_at_a_depth() -> None:
    """Features case 31: a message that seems to hold itself (CVE-2026-26312)."""
    data = b"Content-Type: message/rfc822\r\n\r\n" * 5_000
    table = check(data, scan(data))
    assert [part.media for part in table.rows] == [Media.MESSAGE] * (tree.MAX_DEPTH - 1) + [Media.OTHER]


def test_parts_end_at_a_number() -> None:
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 20_000
    table = Parts.load(scan(data).parts)
    assert len(table.rows) == tree.MAX_PARTS
    assert table.rows[-1].end == len(data)


def test_stray_lines_end_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MAX_STRAY", 10)
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--bb\r\n" * 11 + b"--b\r\n\r\nx\r\n--b--"
    assert [part.end for part in check(data, scan(data)).rows] == [len(data)] * 2
    data = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--bb\r\n" * 10 + b"--b\r\n\r\nx\r\n--b--"
    assert [len(data), len(data) - 7] == [part.end for part in check(data, scan(data)).rows]


@pytest.mark.parametrize(
    ("outer", "inner"),
    [(b"a", b"ab"), (b"ab", b"a"), (b"a", b"a--"), (b"a--", b"a"), (b"a b", b"a"), (b"-", b"--"), (b"--", b"-"), (b"a", b"a ")],
)
def test_a_boundary_that_begins_another_one(outer: bytes, inner: bytes) -> None:
    data = multipart(outer, multipart(inner, b"\r\none", b"\r\ntwo"), b"\r\nthree")
    table = check(data, scan(data))
    if inner.rstrip() in (outer, outer + b"--") or outer == inner + b"--":  # the outer one ends it: nobody could tell them apart
        assert table.section(b"1") is not None
        return
    found = [table.section(section) for section in (b"1.1", b"1.2", b"2")]
    assert [data[slice(*where)] if where else None for where in found] == [b"one", b"two", b"three"]


def test_the_outer_boundary_ends_the_inner_multipart() -> None:
    inner = b"Content-Type: multipart/mixed; boundary=in\r\n\r\n--in\r\n\r\none\r\n--in\r\n\r\ntwo"
    data = multipart(b"out", inner, b"\r\nthree")
    table = check(data, scan(data))
    assert [data[slice(*(table.section(s) or (0, 0)))] for s in (b"1.2", b"2")] == [b"two", b"three"]


def test_a_boundary_seen_again_after_its_end_is_text() -> None:
    data = multipart(b"b", b"\r\none") + b"--b\r\n\r\nnot a part\r\n--b--\r\n"
    assert len(check(data, scan(data)).rows) == 2


def test_a_header_ends_at_a_delimiter() -> None:
    data = multipart(b"b", b"Content-Type: text/html", b"Content-Type: text/csv\r\n\r\nx")
    table = check(data, scan(data))
    one = table.part(b"1")
    assert one is not None and one.media == Media.HTML and one.body == one.end
    assert data[one.header : one.body] == b"Content-Type: text/html\r\n"


def test_line_ends_may_be_lf() -> None:
    data = multipart(b"b", b"Content-Type: text/html\r\n\r\none\r\n", b"\r\ntwo").replace(b"\r\n", b"\n")
    table = check(data, scan(data))
    assert [data[slice(*(table.section(s) or (0, 0)))] for s in (b"1", b"2")] == [b"one\n", b"two"]


def test_huge_headers_are_read_in_part() -> None:
    """Features case 31, CVE-2024-23185: a header larger than MAX_HEADER keeps its offsets, and what is asked of it stays small."""
    data = b"Subject: first\r\n" + b"X-Filler: " + b"x" * (3 << 20) + b"\r\nTo: late@x\r\n\r\nbody"
    answer = scan(data)
    assert Parts.load(answer.parts).section(b"TEXT") == (len(data) - 4, len(data))
    assert b"first" in answer.envelope and b"late" not in answer.envelope
    many = scan(b"To: a@b, c@d\r\n" * 100_000 + b"\r\n")
    assert len(many.envelope) < 100_000 and parse(many.envelope)
