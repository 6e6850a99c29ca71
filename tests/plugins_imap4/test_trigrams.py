"""Groups of the search index: whoever holds a text is named, and nothing damaged is believed."""

from __future__ import annotations

from collections.abc import Sequence
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from postroom_imap4 import trigrams
from postroom_imap4.trigrams import HEAD, MOST, Choice, Damaged, Gathering, Group, group, needed, places, rest_of_head, runs


def packed(texts: Sequence[bytes | None], first: int = 1) -> bytes:
    gathering = Gathering()
    for uid, text in enumerate(texts, first):
        gathering.add(uid, text)
    return gathering.packed()


def read(octets: bytes, at: int = 0) -> Group | None:
    start = octets[at : at + HEAD.size]
    told = rest_of_head(start)
    if told is None or at + told[0] > len(octets):
        return None
    return group(start, octets[at + HEAD.size : at + HEAD.size + told[1]], at)


def named(octets: bytes, text: bytes, at: int = 0) -> list[int]:
    """UIDs that may hold it."""
    one = read(octets, at)
    assert one is not None
    bits = (1 << len(one.uids)) - 1
    for run in needed(text):
        begin, end = one.block(run)
        bits &= one.having(octets[begin:end], run)
    return [one.uids[place] for place in places(bits | one.always)]


def test_a_run_is_told_the_same_on_every_machine() -> None:
    """The files of one machine may be read by another: these numbers are the format."""
    assert list(runs(b"")) == list(runs(b"ab")) == []
    assert list(runs(b"abcd ef")) == [runs(b"abc")[0], runs(b"bcd")[0], 0, 0, 0]
    low, high = ((table[0][97] ^ table[1][98] ^ table[2][99]) for table in trigrams._TABLES)
    assert list(runs(b"abc")) == [high << 8 | low] == [FORMAT]


FORMAT = 54999  # of "abc"


def test_who_holds_a_text_is_named_and_few_others() -> None:
    texts = [b"the quick brown fox %d\njumps n%dn" % (number, number) for number in range(100)]
    octets = packed([*texts, None, b""], first=7)
    assert named(octets, b"quick br") == named(octets, b"fox 42\njumps") == [*range(7, 108)]  # "42" is no run of three
    assert named(octets, b"jumps n42n") == [7 + 42, 107]
    assert named(octets, b"elephant") == [107]
    assert read(octets, 1) is None


def test_a_text_without_a_word_of_three_octets_tells_nothing() -> None:
    assert needed(b"") == needed(b"ab") == needed(b"to be or no") == needed(b" a\tb ") == []
    assert needed(b"to see\nsee") == list(runs(b"see"))
    assert needed("ßa".casefold().encode()) == list(runs(b"ssa"))


WORDS = st.binary(max_size=24) | st.text(st.sampled_from("abc \t\n\0éß"), max_size=24).map(str.encode)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(WORDS, min_size=1, max_size=40), data=st.data())
def test_no_text_is_missed(texts: list[bytes], data: st.DataObject) -> None:
    """Whatever stands in a text, its message is named."""
    octets = packed(texts)
    which = data.draw(st.integers(0, len(texts) - 1))
    begin, end = sorted((data.draw(st.integers(0, len(texts[which]))), data.draw(st.integers(0, len(texts[which])))))
    needle = texts[which][begin:end]
    assert {uid for uid, text in enumerate(texts, 1) if needle in text} <= set(named(octets, needle))


def test_nothing_damaged_is_believed() -> None:
    octets = packed([b"hay %d" % number for number in range(3)])
    whole = read(octets)
    assert whole is not None
    for at in range(0, len(octets), 5):
        bad = octets[:at] + bytes((octets[at] ^ 0x55,)) + octets[at + 1 :]
        found = read(bad)
        if found is None:
            continue
        assert at >= whole.begin and found == whole
        with pytest.raises(Damaged):
            for run in range(0, 1 << 16, 256):
                begin, end = found.block(run)
                found.having(bad[begin:end], run)
    for cut in range(0, len(octets), 7):
        assert read(octets[:cut]) is None


def test_a_block_of_another_group_is_not_believed() -> None:
    one, other = packed([b"aaa"]), packed([b"aaa"], first=2)
    first, second = read(one), read(other)
    assert first is not None and second is not None
    begin, end = second.block(runs(b"aaa")[0])
    assert second.having(other[begin:end], runs(b"aaa")[0]) == 1
    with pytest.raises(Damaged):
        first.having(other[begin:end], runs(b"aaa")[0])
    with pytest.raises(Damaged):
        first.having(b"", 0)


def test_octets_that_are_no_group_are_none() -> None:
    assert rest_of_head(b"") is None and rest_of_head(bytes(HEAD.size)) is None
    assert rest_of_head(HEAD.pack(trigrams._MAGIC, 100, 0, 0)) is None
    assert rest_of_head(HEAD.pack(trigrams._MAGIC, 100, MOST + 1, 0)) is None
    short = packed([b"abc"])
    start = HEAD.pack(trigrams._MAGIC, len(short) - 1, 1, HEAD.unpack_from(short)[3])
    assert read(start + short[HEAD.size :]) is None  # its blocks would end elsewhere


def test_a_group_ends_before_it_takes_all_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    gathering = Gathering()
    for uid in range(1, MOST + 1):
        assert not gathering.is_full
        gathering.add(uid, b"")
    assert gathering.is_full
    monkeypatch.setattr(trigrams, "WORDS", 100)
    hostile = Gathering()
    hostile.add(1, b" ".join(b"w%d" % number for number in range(100)))
    assert hostile.is_full


def test_what_was_gone_through_is_let_go_of_step_by_step() -> None:
    """All of it together was let go of in the loop, which took as long as ten steps."""
    gathering = Gathering()
    for uid in (1, 2):
        gathering.add(uid, b" ".join(b"w%d" % number for number in range(uid * 3_000, uid * 3_000 + 9_000)))
    packing, left = gathering.packing(), [len(gathering._words)]
    while left[-1]:
        next(packing)
        left.append(len(gathering._words))
    assert left == [12_000, 7_000, 2_000, 0]
    assert named(b"".join(packing), b"w3001") == [1]


GROUPS = st.lists(
    st.lists(st.sets(st.integers(0, MOST - 1), max_size=12).map(lambda own: sum(1 << place for place in own)), min_size=4, max_size=4)
)


@given(groups=GROUPS, ask_all=st.integers(1, 4))
def test_whoever_has_all_runs_is_named_whichever_are_looked_up(groups: list[list[int]], ask_all: int) -> None:
    with mock.patch.object(trigrams, "_ASK_ALL", ask_all):
        choice = Choice(range(4))
        for number, told in enumerate(groups):
            every = told[0] & told[1] & told[2] & told[3]
            bits, looked = choice.named(told.__getitem__)
            assert bits & every == every
            assert looked <= 8
            if number % ask_all == 0:
                assert (bits, looked) == (every, 4)


def test_a_run_that_names_everybody_is_hardly_looked_up() -> None:
    asked: list[int] = []

    def having(run: int) -> int:
        asked.append(run)
        return 0b1110000 if run == 3 else trigrams._ALL

    choice = Choice([1, 2, 3, 4])
    assert [choice.named(having)[0] for _ in range(32)] == [0b1110000] * 32
    assert [asked.count(run) for run in (1, 2, 3, 4)] == [2, 2, 32, 2]


def test_a_group_of_which_the_best_runs_name_many_is_asked_for_all() -> None:
    """Mail in another language came later: what was rare before is in all of it."""
    before, after = {1: 0b1, 2: trigrams._ALL, 3: trigrams._ALL}, {1: trigrams._ALL, 2: 0b10, 3: trigrams._ALL}
    choice = Choice([1, 2, 3])
    assert [choice.named(before.__getitem__) for _ in range(3)] == [(0b1, 3), (0b1, 1), (0b1, 1)]
    assert [choice.named(after.__getitem__) for _ in range(3)] == [(0b10, 4), (0b10, 1), (0b10, 1)]
