"""Flags of many at once are what they would be one by one."""

from __future__ import annotations

import random
from array import array

import pytest

from postroom_store import flagging
from postroom_store.uids import Marks

FULL = (1 << 64) - 1


@pytest.mark.parametrize("most", [1, 32, 256, 257, 1 << 40, 1 << 64])
@pytest.mark.parametrize("count", [0, 1, 7, 500])
def test_many_are_changed_as_one_is(most: int, count: int) -> None:
    chance = random.Random(most * 1000 + count)
    values = [chance.randrange(most) for _ in range(5)]
    column = array("Q", [chance.choice(values) for _ in range(count + 20)])
    for _ in range(30):
        begin = chance.choice([0, 3, 20])
        before = column[begin : begin + count]
        keep, add = chance.choice([0, FULL, FULL ^ 8, chance.randrange(1 << 64)]), chance.choice([0, 1, 9, 256, chance.randrange(1 << 64)])
        expected = [flags & keep | add for flags in before]
        piece = flagging.Piece(column, begin, begin + count, flagging.ever(column) | chance.choice([0, 0, 1 << 30]))
        for bit in (1, 8, 128):
            assert piece.count(bit) == sum(bool(flags & bit) for flags in before)
        assert piece.after(keep, add).tolist() == expected
        assert list(piece.differing(keep, add)) == [int(one != other) for one, other in zip(before, expected, strict=True)]
        for wanted in (1, 9, 256, chance.randrange(1 << 64)):
            assert list(piece.having(wanted)) == [int(flags & wanted == wanted) for flags in before]
    column.append(0)  # nothing holds the column


def test_spans_of_masks_and_rows() -> None:
    chance = random.Random(5)
    for length in range(40):
        mask = bytes(chance.random() < 0.6 for _ in range(length))
        rows = [100 + place for place, one in enumerate(mask) if one]
        spans = list(flagging.spans(mask, 100))
        assert flagging.spans_of(rows) == spans
        assert [row for begin, end in spans for row in range(begin, end)] == rows
        assert all(begin < end for begin, end in spans)


def test_marks_are_a_set() -> None:
    chance = random.Random(6)
    marks, known = Marks(), set[int]()
    assert not marks.has_all(5, 5)
    for _ in range(200):
        first = chance.randrange(1, 300)
        last = first + chance.randrange(10)
        marks.add(first, last)
        known |= set(range(first, last + 1))
        first = chance.randrange(1, 320)
        last = first + chance.randrange(6)
        assert marks.has_all(first, last) == known.issuperset(range(first, last + 1))
