"""Sequence sets: from what a client wrote to rows of a view, and from numbers back to text (RFC 9051 section 9, sequence-set). Pure.

Rows come as spans (first row, row after the last), ascending, apart from each other, within the view. `BadNumber` is the client's move: a
message number that does not exist. A UID that does not exist is no error, it is passed over (RFC 9051 section 6.4.9).
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

from postroom.mailstore import View
from postroom_imap4.commands import STAR, Numbers, Partial

Span: TypeAlias = tuple[int, int]

_SPARSE: Final = 16  # rows for each UID from which on looking up each UID is cheaper than one look at every row


class BadNumber(Exception):
    """A message number beyond the last message, or "*" where there is none: answer BAD (RFC 9051 section 9, seq-number)."""


def rows_of(numbers: Numbers, view: View, *, by_uid: bool, saved: Sequence[int] | None, strict: bool = True) -> list[Span]:
    """The rows that a set names in this view. `saved` are the UIDs that "$" stands for, ascending; None or none of them: no message
    (RFC 5182 section 2.1). A UID set with "*" always has the last message, if there is any (RFC 9051 section 9, seq-range). Unless it is `strict`,
    numbers beyond the last message are passed over."""
    spans = _saved_spans(saved or (), view.uids) if numbers.saved else []
    if by_uid:
        spans += _uid_spans(numbers.runs, view.uids)
    else:
        spans += _number_spans(numbers.runs, len(view), strict=strict)
    return merged(spans)


def _uid_spans(runs: Iterable[tuple[int, int]], uids: Sequence[int]) -> list[Span]:
    if not uids:
        return []
    last, spans = uids[-1], []
    for first, second in runs:
        first, second = first or last, second or last
        if first > second:
            first, second = second, first
        spans.append((bisect_left(uids, first), bisect_right(uids, second)))
    return spans


def _number_spans(runs: Iterable[tuple[int, int]], count: int, *, strict: bool) -> list[Span]:
    spans = []
    for first, second in runs:
        first, second = first or count, second or count
        if first > second:
            first, second = second, first
        if strict and (second > count or first == STAR):
            raise BadNumber(f"there is no message {second or '*'}: the folder has {count}")
        spans.append((max(first - 1, 0), min(second, count)))
    return spans


def _saved_spans(saved: Sequence[int], uids: Sequence[int]) -> list[Span]:
    if len(saved) * _SPARSE < len(uids):
        rows = [bisect_left(uids, uid) for uid in saved]
        return [(row, row + 1) for row, uid in zip(rows, saved) if row < len(uids) and uids[row] == uid]
    return spans_where(map(set(saved).__contains__, uids))


def spans_where(wanted: Iterable[bool]) -> list[Span]:
    """The spans of the rows for which this says yes; one answer a row. Its own work is a step a span, not a row."""
    mask = bytes(wanted)
    spans, after = [], 0
    while (first := mask.find(1, after)) >= 0:
        after = mask.find(0, first)
        after = len(mask) if after < 0 else after
        spans.append((first, after))
    return spans


def merged(spans: Iterable[Span]) -> list[Span]:
    """Spans in order, without empty ones; what touches or overlaps is one."""
    found: list[Span] = []
    for first, after in sorted(spans):
        if first >= after:
            continue
        if found and first <= found[-1][1]:
            found[-1] = found[-1][0], max(after, found[-1][1])
        else:
            found.append((first, after))
    return found


def count(spans: Iterable[Span]) -> int:
    """How many rows these are."""
    return sum(after - first for first, after in spans)


def rows_in(spans: Iterable[Span]) -> list[int]:
    """The rows one by one, ascending."""
    return [row for first, after in spans for row in range(first, after)]


def set_text(numbers: Sequence[int]) -> bytes:
    """Ascending numbers, none twice, as a sequence set: "1:3,7". None of them is an empty text, which no answer may contain."""
    if numbers and numbers[-1] - numbers[0] == len(numbers) - 1:
        return _run(numbers[0], numbers[-1])
    return listed(numbers)


def listed(numbers: Sequence[int]) -> bytes:
    """Numbers in their own order, where that says something (COPYUID beside another set, SORT by ESEARCH)."""
    if not numbers:
        return b""
    runs, first = [], numbers[0]
    for before, after in pairwise(numbers):
        if after != before + 1:
            runs.append(_run(first, before))
            first = after
    runs.append(_run(first, numbers[-1]))
    return b",".join(runs)


def _run(first: int, last: int) -> bytes:
    return b"%d" % first if first == last else b"%d:%d" % (first, last)


def window(partial: Partial, count: int) -> Span:
    """Which of `count` results a window shows (RFC 9394 section 3.1), as (first, after); the last ones for negative numbers. 500:400 is
    400:500 (RFC 5267 section 4.4)."""
    low, high = sorted((partial.first, partial.last))
    first, after = (low - 1, high) if low > 0 else (count + low, count + high + 1)
    first, after = max(first, 0), min(after, count)
    return (first, after) if first < after else (0, 0)
