"""Whatever became of the octets of a search index, reading it never fails but by `Damaged`, and who holds a text is named or nothing is said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postroom_imap4.trigrams import HEAD, Damaged, Gathering, group, needed, places, rest_of_head

TEXTS = st.lists(st.binary(max_size=40) | st.text(st.sampled_from("abc \n"), max_size=40).map(str.encode), min_size=1, max_size=20)
DAMAGE = st.lists(st.tuples(st.integers(0, 3000), st.binary(max_size=20)), max_size=3)


def named(octets: bytes, text: bytes) -> list[int] | None:
    """UIDs; None where the index says nothing."""
    start = octets[: HEAD.size]
    told = rest_of_head(start)
    if told is None or told[0] > len(octets):
        return None
    one = group(start, octets[HEAD.size : HEAD.size + told[1]], 0)
    if one is None:
        return None
    bits = (1 << len(one.uids)) - 1
    for run in needed(text):
        begin, end = one.block(run)
        bits &= one.having(octets[begin:end], run)
    return [one.uids[place] for place in places(bits)]


@given(texts=TEXTS, needle=st.text(st.sampled_from("abc \n"), max_size=6).map(str.encode), damage=DAMAGE, cut=st.integers(0, 5000))
def test_a_damaged_index(texts: list[bytes], needle: bytes, damage: list[tuple[int, bytes]], cut: int) -> None:
    gathering = Gathering()
    for uid, text in enumerate(texts, 1):
        gathering.add(uid, text)
    octets = gathering.packed()
    for at, wrong in damage:
        octets = octets[:at] + wrong + octets[at + len(wrong) :]
    try:
        found = named(octets[:cut] if damage else octets, needle)
    except Damaged:
        assert damage
        return
    assert found is not None or damage
    assert found is None or {uid for uid, text in enumerate(texts, 1) if needle in text} <= set(found)


@given(octets=st.binary(max_size=2000) | st.binary(max_size=2000).map(b"\xfeg3\xff\x40\0\0\0\1\0".__add__))
def test_octets_that_nobody_wrote(octets: bytes) -> None:
    assert named(octets, b"abc") is None
