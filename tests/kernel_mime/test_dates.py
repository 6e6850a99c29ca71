"""Dates: the standard's, the obsolete, the wrong; and writing them."""

from __future__ import annotations

import pytest

from postroom_mime.dates import Moment, field, internal, parse, parse_internal


@pytest.mark.parametrize(
    ("value", "seconds", "zone"),
    [
        (b"Wed, 17 Jul 1996 02:23:25 -0700 (PDT)", 837595405, -420),
        (b"17 Jul 1996 09:23:25 +0000", 837595405, 0),
        (b"Wed, 17 Jul 1996 09:23 GMT", 837595380, 0),
        (b"Fri, 21 Nov 97 09:55:06 -0600", 880127706, -360),
        (b"21 Nov 1997(comment) 09(comment):55 : 06 -0600", 880127706, -360),  # RFC 5322 appendix A.6.3
        (b"Fri, 21 Nov 1997 (a (nested) comment) 09:55:06 -0600", 880127706, -360),
        (b"(leading) 21 Nov 1997 09:55:06 EST", 880124106, -300),
        (b"1 Jan 70 00:00:00 +0000", 0, 0),
        (b"1 Jan 49 00:00:00 +0000", 2493072000, 0),
        (b"1 Jan 104 00:00:00 +0000", 1072915200, 0),
        (b"31 Dec 1969 23:59:59 +0000", -1, 0),
        (b"Mon, 1 January 2024 00:00:60 +0530", 1704047459, 330),
        (b"Thu Nov 18 14:22:01 2004", 1100787721, 0),
        (b"Thu Nov 18 14:22:01 EST 2004", 1100805721, -300),
        (b"1-Feb-2024 12:00:00 +0100", 1706785200, 60),
        (b"1 Feb 2024", 1706745600, 0),
        (b"1 Feb 2024 25:00:00 +0100", 1706742000, 60),  # RFC 5256 section 2.2: an impossible time is 00:00:00
        (b"1 Feb 2024 12:00:00 +9999", 1706788800, 0),  # and an impossible zone is UTC
        (b"1 Feb 2024 12:00:00 A", 1706788800, 0),
        (b"Thu, 1 Feb 2024 99:00:00 +0000", 1706745600, 0),
    ],
)
def test_a_date_is_read(value: bytes, seconds: float, zone: int) -> None:
    assert parse(value) == Moment(seconds, zone)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"yesterday",
        b"32 Jan 2024",
        b"30 Feb 2024",
        b"1 Foo 2024",
        b"1 Jan 0",
        b"1 Jan 0000",
        b"Wed, 0 Jul 1996 02:23:25 -0700",
        b"(" * 90,
        b"\xff",
    ],
)
def test_what_is_no_date_is_none(value: bytes) -> None:
    assert parse(value) is None


def test_the_written_day_disregards_the_zone() -> None:
    late, early = parse(b"1 Feb 2024 23:30:00 -0800"), parse(b"1 Feb 2024 00:10:00 +0900")
    assert late is not None and early is not None
    assert late.day == early.day == 19754


def test_internaldate_is_written() -> None:
    assert internal(837595405, -420) == b'"17-Jul-1996 02:23:25 -0700"'
    assert internal(0) == b'" 1-Jan-1970 00:00:00 +0000"'
    assert internal(1e18) == b'"31-Dec-9999 23:59:59 +0000"'
    assert internal(-1e18) == b'" 1-Jan-0001 00:00:00 +0000"'


def test_a_date_field_is_written() -> None:
    assert field(837595405.9, -420) == b"Wed, 17 Jul 1996 02:23:25 -0700"
    assert field(0, 345) == b"Thu, 01 Jan 1970 05:45:00 +0545"


def test_the_date_time_of_append_is_read() -> None:
    assert parse_internal(b'"17-Jul-1996 02:23:25 -0700"') == Moment(837595405, -420)
    assert parse_internal(b" 1-Jan-1970 00:00:00 +0000") == Moment(0, 0)


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"1-Jan-1970",
        b"17-Jul-1996 24:23:25 -0700",
        b"17-Foo-1996 02:23:25 -0700",
        b"31-Feb-1996 02:23:25 -0700",
        b"17-Jul-1996 02:23:25 -9900",
        b"17-Jul-1996 02:60:25 +0000",
    ],
)
def test_the_date_time_of_append_is_strict(value: bytes) -> None:
    assert parse_internal(value) is None
