"""Dates of mail: read the Date field leniently, write Date and INTERNALDATE.

`parse` gives None for what is no date; it never raises. RFC 5322 sections 3.3 and 4.3, RFC 9051 section 9 (date-time). Years from 1 to 9999.
"""

from __future__ import annotations

import re
from datetime import date
from functools import lru_cache
from typing import NamedTuple

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH = {name.lower().encode(): number for number, name in enumerate(_MONTHS, 1)}
_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_EPOCH = date(1970, 1, 1).toordinal()
_FIRST, _LAST = -62135596800, 253402300799  # unix seconds of the years 1 and 9999

_TIME = rb"(?:\s+(\d{1,2})\s*[:.]\s*(\d{1,2})(?:\s*[:.]\s*(\d{1,2})(?:\.\d{0,9})?)?)?"
_ZONE = rb"(?:\s*([+-]\d{4}|[A-Za-z]{1,5}))?"
_COMMON = re.compile(rb"[A-Z][a-z]{2}, (\d\d?) ([A-Z][a-z]{2}) (\d{4}) ([01]\d|2[0-3]):([0-5]\d):([0-5]\d) ([+-]\d{4})")
_DATE = re.compile(
    rb"\s*(?:[A-Za-z]{2,9}\s*[,.]?\s*)?(\d{1,2})(?:\s+|\s*-\s*)([A-Za-z]{3})[a-z]{0,6}[.,]?(?:\s+|\s*-\s*)(\d{2,4})" + _TIME + _ZONE
)
_ASCTIME = re.compile(rb"\s*[A-Za-z]{3},?\s+([A-Za-z]{3})\s+(\d{1,2})\s+(\d{1,2}):(\d{2}):(\d{2})(?:\s+([+-]\d{4}|[A-Z]{1,5}))?\s+(\d{4})")
_INTERNAL = re.compile(rb'"?( \d|\d{1,2})-([A-Za-z]{3})-(\d{4}) (\d{2}):(\d{2}):(\d{2}) ([+-])(\d{2})(\d{2})"?')
_ZONES = {  # RFC 5322 section 4.3, in minutes; others, military letters too, are "-0000"
    b"EDT": -240, b"EST": -300, b"CDT": -300, b"CST": -360, b"MDT": -360, b"MST": -420, b"PDT": -420, b"PST": -480,
}  # fmt: skip


_UTC = frozenset((b"+0000", b"-0000"))


class Moment(NamedTuple):
    """A point in time and where it was written."""

    seconds: float  # unix
    zone: int  # minutes east of UTC

    @property
    def day(self) -> int:
        """The written date, days since 1970, time and zone disregarded: what SENTBEFORE, SENTON and SENTSINCE compare."""
        return int((self.seconds + self.zone * 60) // 86400)


def parse(value: bytes) -> Moment | None:
    """A Date field's value. An impossible time counts as 00:00:00, an impossible zone as UTC (RFC 5256 section 2.2)."""
    if found := _COMMON.match(value):
        day, month, year, hour, minute, second, zone = found.groups()
        midnight = _midnight(year, month, day)
        offset = 0 if zone in _UTC else _zone(zone)
        return None if midnight is None else Moment(midnight + int(hour) * 3600.0 + int(minute) * 60 + int(second) - offset * 60, offset)
    value = _without_comments(value[:200])
    if found := _DATE.match(value):
        day, month, year, *rest = found.groups()
    elif found := _ASCTIME.match(value):
        month, day, *time, zone, year = found.groups()
        rest = [*time, zone]
    else:
        return None
    midnight = _midnight(year, month, day)
    return None if midnight is None else _at(midnight, *rest)


def _at(midnight: int, hour: bytes | None, minute: bytes | None, second: bytes | None, zone: bytes | None) -> Moment:
    h, m, s = int(hour or 0), int(minute or 0), int(second or 0)
    time = h * 3600 + m * 60 + min(s, 59) if h < 24 and m < 60 and s < 61 else 0
    offset = _zone(zone) if zone else 0
    return Moment(float(midnight + time - offset * 60), offset)


@lru_cache(maxsize=1024)
def _midnight(year: bytes, month: bytes, day: bytes) -> int | None:
    number = int(year)
    if len(year) == 2:  # RFC 5322 section 4.3
        number += 2000 if number < 50 else 1900
    elif len(year) == 3:
        number += 1900
    try:
        return (date(number, _MONTH[month.lower()], int(day)).toordinal() - _EPOCH) * 86400
    except (KeyError, ValueError):
        return None


@lru_cache(maxsize=256)
def _zone(zone: bytes) -> int:
    if zone[0] not in b"+-":
        return _ZONES.get(zone.upper(), 0)
    hours, minutes = int(zone[1:3]), int(zone[3:5])
    if hours > 24 or minutes > 59:
        return 0
    return (hours * 60 + minutes) * (-1 if zone[0] == 0x2D else 1)


def _without_comments(value: bytes) -> bytes:
    """RFC 5322 section 3.2.2: comments nest."""
    if 0x28 not in value:  # "("
        return value
    depth, kept = 0, []
    for piece in re.split(rb"([()])", value):
        if piece == b"(":
            depth += 1
        elif piece == b")":
            depth = max(depth - 1, 0)
        elif not depth:
            kept.append(piece)
    return b" ".join(kept)


def parse_internal(value: bytes) -> Moment | None:
    """The date-time of an APPEND command, with or without its quotes; None where it is none."""
    found = _INTERNAL.fullmatch(value)
    if found is None:
        return None
    midnight = _midnight(found[3], found[2], found[1])
    h, m, s, zone = int(found[4]), int(found[5]), int(found[6]), int(found[8]) * 60 + int(found[9])
    if midnight is None or h > 23 or m > 59 or s > 60 or zone > 24 * 60:
        return None
    zone = -zone if found[7] == b"-" else zone
    return Moment(float(midnight + h * 3600 + m * 60 + min(s, 59) - zone * 60), zone)


def internal(seconds: float, zone: int = 0) -> bytes:
    """INTERNALDATE as IMAP sends it, quotes included; `zone` in minutes east of UTC."""
    day, clock = _split(seconds, zone)
    return b'"%2d-%b-%04d %b %b"' % (day.day, _MONTHS[day.month - 1].encode(), day.year, clock, _offset(zone))


def field(seconds: float, zone: int = 0) -> bytes:
    """The value of a Date or Received field (RFC 5322 section 3.3)."""
    day, clock = _split(seconds, zone)
    names = _DAYS[day.weekday()].encode(), _MONTHS[day.month - 1].encode()
    return b"%b, %02d %b %04d %b %b" % (names[0], day.day, names[1], day.year, clock, _offset(zone))


def _split(seconds: float, zone: int) -> tuple[date, bytes]:
    local = min(max(int(seconds // 1) + zone * 60, _FIRST), _LAST)
    days, rest = divmod(local, 86400)
    return _date(days + _EPOCH), b"%02d:%02d:%02d" % (rest // 3600, rest // 60 % 60, rest % 60)


_date = lru_cache(maxsize=1024)(date.fromordinal)


def _offset(zone: int) -> bytes:
    return b"%b%02d%02d" % (b"-" if zone < 0 else b"+", abs(zone) // 60, abs(zone) % 60)
