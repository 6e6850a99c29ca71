from __future__ import annotations

import random
from array import array
from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.mailstore import View
from postroom_imap4 import numbers
from postroom_imap4.commands import STAR, Numbers, Partial
from postroom_imap4.numbers import BadNumber


class Rows:
    """As much of a view as numbers look at."""

    def __init__(self, uids: list[int]) -> None:
        self.uids = array("I", uids)

    def __len__(self) -> int:
        return len(self.uids)


def rows_of(given: Numbers, uids: list[int], *, by_uid: bool = False, saved: list[int] | None = None) -> list[tuple[int, int]]:
    return numbers.rows_of(given, cast(View, Rows(uids)), by_uid=by_uid, saved=saved)


FIVE = [2, 3, 7, 8, 20]


@pytest.mark.parametrize(
    ("runs", "spans"),
    [
        (((1, 1),), [(0, 1)]),
        (((1, 5),), [(0, 5)]),
        (((5, 1),), [(0, 5)]),
        (((STAR, STAR),), [(4, 5)]),
        (((2, STAR),), [(1, 5)]),
        (((STAR, 2),), [(1, 5)]),
        (((4, 5), (1, 2)), [(0, 2), (3, 5)]),
        (((1, 2), (3, 4)), [(0, 4)]),
        (((1, 4), (2, 3)), [(0, 4)]),
        (((3, 3), (3, 3), (3, 3)), [(2, 3)]),
    ],
)
def test_message_numbers(runs: tuple[tuple[int, int], ...], spans: list[tuple[int, int]]) -> None:
    assert rows_of(Numbers(runs), FIVE) == spans


@pytest.mark.parametrize("runs", [((6, 6),), ((1, 6),), ((6, STAR),), ((1, 2), (4294967295, 4294967295))])
def test_a_message_number_beyond_the_end_is_the_clients_mistake(runs: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(BadNumber, match="the folder has 5"):
        rows_of(Numbers(runs), FIVE)


@pytest.mark.parametrize("runs", [((1, 1),), ((STAR, STAR),), ((1, STAR),), ((STAR, 1),)])
def test_an_empty_folder_has_no_message_number_and_no_star(runs: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(BadNumber):
        rows_of(Numbers(runs), [])


@pytest.mark.parametrize(
    ("runs", "spans"),
    [
        (((2, 2),), [(0, 1)]),
        (((1, 1),), []),
        (((1, 7),), [(0, 3)]),
        (((9, 19),), []),
        (((4, 30),), [(2, 5)]),
        (((30, 40),), []),
        (((STAR, STAR),), [(4, 5)]),
        (((100, STAR),), [(4, 5)]),  # RFC 9051 section 9: "*" is the last message, whatever stands beside it
        (((STAR, 100),), [(4, 5)]),
        (((8, STAR),), [(3, 5)]),
        (((20, 20), (2, 2), (3, 3)), [(0, 2), (4, 5)]),
    ],
)
def test_uids(runs: tuple[tuple[int, int], ...], spans: list[tuple[int, int]]) -> None:
    assert rows_of(Numbers(runs), FIVE, by_uid=True) == spans


def test_no_uid_is_wrong_in_an_empty_folder() -> None:
    assert rows_of(Numbers(((1, STAR), (STAR, STAR))), [], by_uid=True) == []


@pytest.mark.parametrize("by_uid", [True, False])
@pytest.mark.parametrize("uids", [FIVE, list(range(1, 200)), [*FIVE, *range(30, 200, 2)]])
def test_what_was_saved_is_the_same_messages_by_uid_and_by_number(by_uid: bool, uids: list[int]) -> None:
    for saved in ([], [3], [2, 3, 20], [4, 9, 20, 1000], uids, uids[1::2]):
        rows = [row for row, uid in enumerate(uids) if uid in saved]
        assert numbers.rows_in(rows_of(Numbers(saved=True), uids, by_uid=by_uid, saved=saved)) == rows
    assert rows_of(Numbers(saved=True), uids, by_uid=by_uid) == []  # RFC 5182 section 2.1: nothing was saved yet


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ([], b""),
        ([1], b"1"),
        ([1, 2, 3], b"1:3"),
        ([1, 2, 3, 7], b"1:3,7"),
        ([1, 3, 4], b"1,3:4"),
        ([1, 3, 5], b"1,3,5"),
        ([4294967294, 4294967295], b"4294967294:4294967295"),
    ],
)
def test_text_of_a_set(given: list[int], text: bytes) -> None:
    assert numbers.set_text(given) == text
    assert numbers.set_text(array("I", given)) == text


@pytest.mark.parametrize(("given", "text"), [([], b""), ([1, 3, 2, 4], b"1,3,2,4"), ([3, 2, 1], b"3,2,1"), ([5, 6, 1, 2], b"5:6,1:2")])
def test_text_of_numbers_in_an_order_of_their_own(given: list[int], text: bytes) -> None:
    assert numbers.listed(given) == text


@pytest.mark.parametrize(
    ("partial", "count", "window"),
    [
        (Partial(1, 10), 100, (0, 10)),
        (Partial(10, 1), 100, (0, 10)),
        (Partial(91, 200), 100, (90, 100)),
        (Partial(101, 200), 100, (0, 0)),
        (Partial(1, 1), 0, (0, 0)),
        (Partial(-1, -10), 100, (90, 100)),
        (Partial(-10, -1), 100, (90, 100)),
        (Partial(-1, -1), 100, (99, 100)),
        (Partial(-91, -200), 100, (0, 10)),
        (Partial(-101, -200), 100, (0, 0)),
    ],
)
def test_windows(partial: Partial, count: int, window: tuple[int, int]) -> None:
    assert numbers.window(partial, count) == window


SETS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=6).map(lambda runs: Numbers(tuple(runs)))
UIDS = st.sets(st.integers(1, 40), min_size=1).map(sorted)


@given(SETS, UIDS)
def test_rows_are_those_of_a_slow_reading(given: Numbers, uids: list[int]) -> None:
    last = uids[-1]
    wanted = {uid for a, b in given.runs for uid in range(min(a or last, b or last), max(a or last, b or last) + 1)}
    spans = rows_of(given, uids, by_uid=True)
    assert numbers.rows_in(spans) == [row for row, uid in enumerate(uids) if uid in wanted]
    assert numbers.count(spans) == len(numbers.rows_in(spans))
    assert all(a[1] < b[0] for a, b in pairwise(spans))


@given(st.sets(st.integers(1, 60), min_size=1).map(sorted))
def test_the_text_of_a_set_says_the_same_set(uids: list[int]) -> None:
    pairs = [run.split(b":") for run in numbers.set_text(uids).split(b",")]
    assert [n for pair in pairs for n in range(int(pair[0]), int(pair[-1]) + 1)] == uids


def test_large_sets_take_as_many_steps_as_they_have_runs() -> None:
    """10,000 single UIDs out of order over a folder of 100,000: found, and told back in one go."""
    uids = list(range(1, 200_001, 2))
    wanted = random.Random(5).sample(uids, 10_000)
    spans = rows_of(Numbers(tuple((uid, uid) for uid in wanted)), uids, by_uid=True)
    assert [uids[row] for row in numbers.rows_in(spans)] == sorted(wanted)
