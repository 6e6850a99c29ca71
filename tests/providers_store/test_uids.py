"""UIDs kept as runs are the list they stand for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom_store.uids import Uids, gaps, joined

NUMBERS = st.lists(st.integers(1, 60), unique=True).map(sorted)


@given(NUMBERS, st.integers(1, 70))
def test_gaps_and_numbers_are_all_there_is(uids: list[int], beyond: int) -> None:
    uidnext = max([beyond, *(uid + 1 for uid in uids)])
    assert list(gaps(uids, uidnext)) == sorted(set(range(1, uidnext)).difference(uids))


@given(NUMBERS, st.integers(-70, 70), st.integers(-70, 70))
def test_runs_read_like_a_list(uids: list[int], first: int, last: int) -> None:
    found = joined(uids)
    assert list(found) == [found[place] for place in range(len(found))] == uids
    assert found[first:last] == uids[first:last] and found[::-1] == uids[::-1]
    assert [number in found for number in range(62)] == [number in uids for number in range(62)]
    assert all(one.stop < other.start for one, other in zip(found.runs, found.runs[1:], strict=False)), "as few as possible"


def test_nothing_is_nothing() -> None:
    assert len(Uids([])) == 0 and list(gaps([], 1)) == [] and 1 not in Uids([])
    with pytest.raises(IndexError):
        _ = Uids([])[0]
