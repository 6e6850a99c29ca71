"""Any octets as a TAB file: decoding never raises, encoding what was decoded keeps every octet, and each problem names a line of the file.

And any record either is refused by RecordError or reads back as it was given, with every other line kept.
"""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.errors import RecordError
from postroom.records import Record
from postroom_tab.document import Document, decode
from postroom_tab.shapes import SHAPES
from postroom_tab.table import Shape

PIECES = [
    b"\t",
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"#",
    b";",
    b" ",
    b"1",
    b"-1",
    b"bob",
    b"BOB",
    b"[SMTP:a@b]",
    b"CONNECT",
    b"\xef\xbb\xbf",
    b"\xff",
    "ß".encode(),
    b"=",
    b"%3B",
]
FILES = st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=60).map(b"".join)
TEXT = st.text(st.sampled_from("ab B#;=%\t\n\r\0[]:@*ßé\ufeff\ud800\u2028\x85") | st.characters(), max_size=8)


def row_of(shape: Shape[Any], draw: st.DataObject) -> Record:
    """Any record of this shape, fit to be kept or not."""
    values: dict[str, object] = dict.fromkeys(shape.given, "po")
    for name in shape.columns:
        kind = {field.name: field.type for field in fields(shape.record)}[name]
        pairs = st.lists(st.tuples(TEXT, TEXT), max_size=3).map(tuple)
        values[name] = draw.draw(st.integers() if kind == "int" else TEXT if kind == "str" else pairs)
    made: Record = shape.record(**values, extra=tuple(draw.draw(st.lists(TEXT, max_size=2))))
    return made


def decoded(shape: Shape[Any], data: bytes) -> Document[Any]:
    return decode(shape, data, "X.TAB", ("po",) * len(shape.given))


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@given(data=FILES)
def test_any_octets_are_kept_and_problems_name_a_line(shape: Shape[Any], data: bytes) -> None:
    found = decoded(shape, data)
    assert found.encode() == data
    assert len(found.lines) == len(found.rows)
    for problem in found.problems:
        assert problem.origin is not None
        assert 1 <= problem.origin.line <= data.count(b"\n") + 1
        assert problem.remedy
    for key, at in found.index.items():
        assert shape.key_of(found.rows[at]) == key


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
@given(data=FILES, draw=st.data())
def test_any_record_is_refused_or_reads_back(shape: Shape[Any], data: bytes, draw: st.DataObject) -> None:
    old, record = decoded(shape, data), row_of(shape, draw)
    before = draw.draw(st.sampled_from([None, *old.records]))
    try:
        new = old.put([record], before)
    except RecordError:
        return
    again = decoded(shape, new.encode())
    assert new.get(shape.key_of(record)) == again.get(shape.key_of(record)) == record
    assert [(row, row.origin) for row in new.records] == [(row, row.origin) for row in again.records]
    assert again.broken == old.broken
    gone, count = new.delete([shape.key_of(record)])
    assert count >= 1
    assert decoded(shape, gone.encode()).get(shape.key_of(record)) is None
