"""Whatever octets a folder log is made of, reading it never fails, and every record that is found is one that was written, where it was written."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from postroom_store import columns, notes
from postroom_store.columns import Columns
from postroom_store.notes import ArrivalNote, Where
from postroom_store.records import (
    ARRIVAL,
    ARRIVE,
    BIRTH,
    EXPUNGE,
    FLAGS,
    HEADER,
    KEYWORD,
    NOTHING,
    TAIL,
    VERSION,
    Arrival,
    Tail,
    encode,
    read_tail,
    salvage,
    walk,
)

RECORDS = st.lists(st.tuples(st.sampled_from([FLAGS, EXPUNGE, KEYWORD, ARRIVE]), st.integers(1, 9), st.integers(1, 9)), max_size=12)
DAMAGE = st.lists(st.tuples(st.integers(0, 4000), st.binary(max_size=60)), max_size=4)


def log(deeds: list[tuple[int, int, int]]) -> tuple[bytes, list[tuple[int, int]]]:
    """A folder's life, and place and type of each record."""
    data = encode(HEADER, 0, Tail(1, 1, 1, 1, 0, 0), BIRTH.pack(VERSION, b"identity", 7, 1, 1))
    places = [(0, HEADER)]
    uid = 0
    for modseq, (kind, first, last) in enumerate(deeds, 2):
        pair = b"".join(number.to_bytes(4, "little") for number in (first, max(first, last)))
        uid += kind == ARRIVE
        payload = {
            FLAGS: bytes(7) + b"\1" + first.to_bytes(8, "little") + pair,
            EXPUNGE: pair,
            KEYWORD: b"word",
            ARRIVE: ARRIVAL.pack(uid, 0, modseq, 10, 1.0, 2.0, 3.0, uid, last) + NOTHING,
        }[kind]
        places.append((len(data), kind))
        data += encode(kind, len(data), Tail(uid + 1, modseq, 1, 1, 0, 0), payload)
    return data, places


@given(RECORDS, DAMAGE, st.integers(0, 4000))
def test_a_damaged_log_yields_only_what_was_written(deeds: list[tuple[int, int, int]], damage: list[tuple[int, bytes]], cut: int) -> None:
    data, places = log(deeds)
    broken = bytearray(data)
    for at, octets in damage:
        broken[at % len(broken) : at % len(broken) + len(octets)] = octets
    hurt = bytes(broken[: max(len(broken) - cut, 0)]) if cut < 2000 else bytes(broken)
    found, intact = salvage(hurt)
    assert {(record.at, record.kind) for record in found} <= set(places)
    assert intact <= len(hurt)
    assert [(at, kind) for at, kind, _, _ in walk(hurt)] == [(record.at, record.kind) for record in found if record.at < intact]
    read = Columns()
    read.apply(hurt)
    assert read.covered == intact
    assert list(read.uids) == sorted(set(read.uids))
    assert columns.load(read.save(), read.epoch) is not None
    if hurt == data:
        assert read_tail(data[-TAIL:], len(data)) == found[-1].tail


@given(st.binary(max_size=2000))
def test_rubbish_is_no_log_and_no_view(data: bytes) -> None:
    assert salvage(data)[1] <= len(data)
    assert columns.load(data, 1) is None
    Columns().apply(data)


@given(
    st.lists(
        st.tuples(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")), st.binary(max_size=40) | st.none()),
        max_size=5,
    )
)
def test_notes_come_back(parts: list[tuple[str, bytes | None]]) -> None:
    record = b""
    expected = []
    for number, (name, data) in enumerate(parts):
        where = Where(b"identity", number, "po", "box", name)
        arrival = Arrival(number, 1, 2, 3, 4.0, 5.0, 6.0, 7, 8)
        packed = where.pack()
        record += notes.arrived(packed, arrival) if data is None else notes.brought(packed, arrival, data)
        expected.append(ArrivalNote(where, arrival, data))
    assert list(notes.read(record)) == expected
