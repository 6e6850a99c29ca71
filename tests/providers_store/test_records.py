from __future__ import annotations

import struct

import pytest

from postroom_mime.scan import scan
from postroom_store import notes, records
from postroom_store.notes import ArrivalNote, MoveNote, Where, WithdrawnNote
from postroom_store.records import (
    ARRIVE,
    FLAGS,
    HEAD,
    LENGTHS,
    TAIL,
    TRAIL,
    Arrival,
    Tail,
    encode,
    read_runs,
    read_tail,
    runs,
    salvage,
    walk,
    whole,
)

TAILS = [Tail(number + 2, number + 2, 7, 1, number * 100, number) for number in range(4)]
PAYLOADS = [b"first", b"", b"x" * 5000, b"last"]


def log() -> bytes:
    data = b""
    for tail, payload in zip(TAILS, PAYLOADS, strict=True):
        data += encode(FLAGS, len(data), tail, payload)
    return data


def test_records_follow_each_other_and_come_back() -> None:
    data = log()
    assert [data[start:stop] for _, kind, start, stop in walk(data) if kind == FLAGS] == PAYLOADS
    found, intact = salvage(data)
    assert [record.tail for record in found] == TAILS and [record.payload for record in found] == PAYLOADS
    assert intact == len(data)


def test_the_last_octets_say_all_a_writer_needs() -> None:
    data = log()
    assert read_tail(data[-TAIL:], len(data)) == TAILS[-1]
    for wrong in (data[-TAIL - 1 : -1], data[-TAIL + 1 :], b"", bytes(TAIL)):
        assert read_tail(wrong, len(data)) is None
    assert read_tail(data[-TAIL:], len(data) + 8) is None, "the same octets elsewhere are not the end of this log"


@pytest.mark.parametrize("cut", [1, 7, TAIL, 100, 5000])
def test_a_torn_end_is_found(cut: int) -> None:
    data = log()[:-cut]
    assert read_tail(data[-TAIL:], len(data)) is None
    found, intact = salvage(data)
    assert 0 < len(found) < 4 and intact == found[-1].at + records.OVERHEAD + len(found[-1].payload)


def test_records_behind_a_hole_are_saved() -> None:
    data = bytearray(log())
    _, _, start, _ = list(walk(bytes(data)))[2]
    data[start + 100 : start + 4096] = bytes(3996)
    found, intact = salvage(bytes(data))
    assert [record.payload for record in found] == [b"first", b"", b"last"]
    assert intact == start - HEAD.size


def test_every_flipped_octet_is_noticed() -> None:
    data = bytearray(encode(FLAGS, 0, TAILS[0], b"payload"))
    for place in range(len(data)):
        if 9 <= place < HEAD.size:
            continue  # padding is under the CRC as well, but packs as zero; flipped below with the rest
        data[place] ^= 0x40
        assert whole(bytes(data), 0) == 0, place
        data[place] ^= 0x40
    assert whole(bytes(data), 0) == len(data)


def test_runs_span_rows_that_lie_side_by_side() -> None:
    uids = [3, 5, 9, 10, 40, 41, 90]
    for rows, expected in [
        ([], []),
        ([0], [(3, 3)]),
        ([0, 1, 2], [(3, 9)]),
        ([0, 2, 3, 6], [(3, 3), (9, 10), (90, 90)]),
        ([4, 5, 6], [(40, 90)]),
    ]:
        assert read_runs(runs(rows, uids)) == expected


def test_a_message_id_is_two_numbers_and_back() -> None:
    text = "00000000000000FFFEDCBA9876543210"
    assert records.id_text(*records.id_halves(text)) == text
    for wrong in ("", "xyz", "F" * 31, "../" * 10 + "ab"):
        with pytest.raises(ValueError, match=r"."):
            records.id_halves(wrong)


def test_a_description_holds_what_the_scan_found() -> None:
    found = scan(b"Subject: Re: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\nDate: Mon, 2 Mar 2026 10:00:00 -0130\r\n\r\ntext\r\n")
    described = records.describe(found)
    plain, zone, *lengths = LENGTHS.unpack_from(described)
    assert (plain, zone, sum(lengths) + LENGTHS.size) == (found.is_plain_7bit, -90, len(described))
    assert described.endswith(found.subject + found.base_subject)


def test_the_form_on_disk_does_not_change_unnoticed() -> None:
    """A log written today must be read tomorrow: whoever changes this gives VERSION a new number and reads the old one too."""
    assert (records.VERSION, HEAD.size, TAIL, records.ARRIVAL.size, LENGTHS.size, records.BIRTH.size) == (1, 12, 44, 68, 27, 30)
    assert encode(ARRIVE, 0, (2, 1, 1, 1, 0, 0), b"").hex() == (
        "f57072ff38000000020000000200000001000000000000000100000001000000"
        + "000000000000000000000000"
        + struct.pack("<I", _crc()).hex()
        + "38000000"
        + _check()
    )


def _crc() -> int:
    from zlib import crc32

    return crc32(bytes.fromhex("f57072ff38000000020000000200000001000000000000000100000001000000000000000000000000000000"))


def _check() -> str:
    from zlib import crc32

    fields = bytes.fromhex("0200000001000000000000000100000001000000000000000000000000000000")
    return struct.pack("<I", crc32(fields + struct.pack("<II", _crc(), 56))).hex()


def test_notes_of_a_move_and_of_an_upload_are_read_as_they_were_written() -> None:
    source, target = (Where(bytes([number]) * 8, number, "example", "älice", name) for number, name in ((1, "Inbox"), (2, "Else/Where")))
    arrival = Arrival(7, 0, 9, 100, 1.0, 2.0, 3.0, 4, 5)
    trail = TRAIL.pack(b"t" * 16, 3, 7)
    uids = runs([0, 1, 3], [1, 3, 4, 9])
    record = (
        notes.moving(target.pack(), b"t" * 16, 7, source.pack(), uids)
        + notes.arrived(target.pack(), arrival, trail)
        + notes.arrived(target.pack(), arrival)
        + notes.begun(target.pack(), arrival, b"octets")
        + notes.withdrawn(target.pack(), arrival)
    )
    assert list(notes.read(record)) == [
        MoveNote(target, b"t" * 16, 7, source, uids),
        ArrivalNote(target, arrival, None, trail),
        ArrivalNote(target, arrival),
        ArrivalNote(target, arrival, b"octets", begun=True),
        WithdrawnNote(target, arrival),
    ]
    assert read_runs(uids) == [(1, 3), (9, 9)]
