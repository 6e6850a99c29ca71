"""How rows are written: whatever is asked for together, each row is what plain formatting says."""

from __future__ import annotations

from array import array

import pytest

from postroom_imap4.commands import FetchItem, Macro, Section
from postroom_imap4.rows import FORMATS, LABELS, Alike, FlagTexts, Layout, Strands, date_times, is_alike, is_short, kept, literals, woven
from postroom_mime import dates

WHOLE = Section(b"BODY[]")
ODD = Section(b"BODY[HEADER.FIELDS (%d%%)]", b"HEADER", (b"%d%%",))
SHORT: dict[Macro, list[object]] = {Macro.UID: [7, 8, 11], Macro.FLAGS: [b"()", b"(\\Seen)", b"($100%)"], Macro.SIZE: [0, 10, 200]}
LONG: dict[FetchItem, Strands] = {
    Macro.ENVELOPE: ([b"(one)", b"(%d)", b"NIL"],),
    Macro.BODYSTRUCTURE: ([b"(a)", b"(b)", b"(c)"],),
    WHOLE: literals([b"first", b"", b"100% nul \0"]),
    ODD: literals([b"\r\n", b"%b\r\n", b"x\r\n"]),
}


def shown(item: FetchItem) -> bytes:
    if isinstance(item, Section):
        return item.label + b" "
    return FORMATS[item] if is_short(item) else LABELS[item]


@pytest.mark.parametrize(
    "items",
    [
        [Macro.UID],
        [Macro.UID, Macro.FLAGS, Macro.SIZE],
        [Macro.ENVELOPE],
        [WHOLE],
        [Macro.ENVELOPE, Macro.BODYSTRUCTURE],
        [Macro.UID, Macro.FLAGS, Macro.ENVELOPE, Macro.SIZE, WHOLE],
        [WHOLE, Macro.UID],
        [ODD, Macro.FLAGS, Macro.BODYSTRUCTURE, Macro.UID],
    ],
)
def test_a_row_is_its_items_in_their_order(items: list[FetchItem]) -> None:
    def one(item: FetchItem, row: int) -> bytes:
        if isinstance(item, Macro) and is_short(item):
            return FORMATS[item] % SHORT[item][row]
        return shown(item) + b"".join(strand[row] for strand in LONG[item])

    layout = Layout(b"FETCH", [(item, shown(item)) for item in items])
    short = {place: SHORT[item] for place, item in enumerate(items) if isinstance(item, Macro) and item in SHORT}
    long = {place: LONG[item] for place, item in enumerate(items) if item in LONG}
    expected = [b"* %d FETCH (%b)\r\n" % (name, b" ".join(one(item, row) for item in items)) for row, name in enumerate((3, 4, 9))]
    assert layout.render([3, 4, 9], short, long) == b"".join(expected)


@pytest.mark.parametrize(
    "items", [[Macro.FLAGS], [Macro.UID, Macro.FLAGS], [Macro.FLAGS, Macro.UID, Macro.SIZE], [ODD, Macro.SIZE, Macro.FLAGS, WHOLE]]
)
def test_what_is_alike_in_all_rows_is_written_as_if_it_were_not(items: list[FetchItem]) -> None:
    layout = Layout(b"FETCH", [(item, shown(item)) for item in items])
    alike: dict[FetchItem, Alike[object]] = {Macro.FLAGS: Alike(b"($100% %d)", 3), Macro.SIZE: Alike(10, 3)}
    long = {place: LONG[item] for place, item in enumerate(items) if item in LONG}
    columns = {place: alike.get(item) or SHORT[item] for place, item in enumerate(items) if isinstance(item, Macro)}
    plain = {place: list(column) for place, column in columns.items()}
    assert layout.render([3, 4, 9], columns, long) == layout.render([3, 4, 9], plain, long)


def test_a_column_that_is_alike() -> None:
    same = Alike(5, 4)
    assert (list(same), same[1], list(same[1:3]), len(same[4:]), kept(same, [True, False, True, False])) == ([5] * 4, 5, [5, 5], 0, [5, 5])
    with pytest.raises(IndexError):
        same[4]
    assert (
        is_alike(array("Q", [7, 7, 7])) and not is_alike(array("Q", [7, 7, 8])) and not is_alike(array("Q", [7])) and not is_alike([7, 7])
    )


def test_layouts_that_differ_have_other_rows() -> None:
    asked: list[list[FetchItem]] = [[Macro.UID], [Macro.UID, Macro.FLAGS], [Macro.ENVELOPE], [Macro.ENVELOPE, Macro.UID], [ODD], [WHOLE]]
    rows = [Layout(verb, [(item, shown(item)) for item in items]).row for items in asked for verb in (b"FETCH", b"UIDFETCH")]
    assert len(set(rows)) == len(rows)


def test_strands_are_woven_row_by_row() -> None:
    assert woven([[b"a", b"b"]]) == [b"a", b"b"]
    assert woven([[b"a", b"b"], [b"1", b"2"], [b"", b"-"]]) == [b"a", b"1", b"", b"b", b"2", b"-"]


def test_literals_hold_no_nul_and_nothing_is_quoted() -> None:
    heads, texts = literals([b"ab", b"", b"\0"])
    assert [head + text for head, text in zip(heads, texts)] == [b"{2}\r\nab", b'""', b"{1}\r\n?"]


def test_rows_that_are_gone_leave_a_column() -> None:
    assert kept([1, 2, 3], [True, False, True]) == [1, 3]


def test_flags_are_rendered_once() -> None:
    texts = FlagTexts(["$Work"])
    assert texts[1 | 32] == b"(\\Seen $Work)" and texts[1 | 32] is texts[33] and texts[0] == b"()"


def test_days_are_those_of_each_time() -> None:
    times = [0.0, 86399.9, 86400.0, 1.8e9 + 0.5]
    assert date_times(times) == [dates.internal(float(int(at))) for at in times]
