"""SORT (RFC 5256, RFC 5957): rows in the order of sort keys, equal ones in the order of the folder.

The order of a whole folder is kept until a message comes or goes; a sort of some of its messages is picked out of it. No step holds the loop: values are
taken by slices, slices are sorted, and sorted runs are merged two at a time. A message that is gone sorts as if it said nothing.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from itertools import compress
from typing import Final, TypeAlias

from postroom.errors import NoSuchMessage
from postroom.mailstore import Folder, View
from postroom_imap4 import cached
from postroom_imap4.commands import SortKey
from postroom_imap4.pace import FILE, LOOK, ROW, TEXT, Pace
from postroom_imap4.remembered import REMEMBERED
from postroom_mime.addresses import Address, mailboxes
from postroom_mime.headers import MAX_HEADER, header_end, unfold, values
from postroom_mime.subjects import folded
from postroom_mime.words import decode_words

SLICE: Final = 8192  # rows sorted at once
_LOOKS: Final = 500  # rows whose cached fields are taken apart between two counts
_USUAL: Final = 16 * 1024  # octets that hold most headers
_FEW: Final = 8  # where fewer than one in so many messages are sorted, the others are not looked at

Values: TypeAlias = "Sequence[float] | Sequence[bytes]"
Value: TypeAlias = "Callable[[int], float | bytes]"


async def sort(folder: Folder, view: View, rows: Sequence[int], keys: Sequence[SortKey]) -> list[int]:
    """These rows, ascending, in the order of the keys."""
    pace = Pace()
    kept = REMEMBERED.now(folder, view, tuple(keys))
    if isinstance(kept, array):
        return _picked(kept, rows, len(view))
    if len(rows) * _FEW < len(view):
        return [rows[place] for place in await _order(folder, view, rows, keys, pace)]
    order = array("I", await _order(folder, view, range(len(view)), keys, pace))
    REMEMBERED.keep(folder, view, tuple(keys), order, 4 * len(order))
    return _picked(order, rows, len(view))


def _picked(order: Sequence[int], rows: Sequence[int], count: int) -> list[int]:
    """Those of an order of all rows that are wanted."""
    if len(rows) == count:
        return list(order)
    wanted = bytearray(count)
    for row in rows:
        wanted[row] = 1
    return list(compress(order, map(wanted.__getitem__, order)))


async def _order(folder: Folder, view: View, rows: Sequence[int], keys: Sequence[SortKey], pace: Pace) -> list[int]:
    """Places of the rows in the order of the keys. Sorting is stable: the last key is sorted by first."""
    order: list[int] | None = None
    for key in reversed(keys):
        order = await ordered(await _values(folder, view, rows, key.by, pace), pace, order, reverse=key.reverse)
    return list(range(len(rows))) if order is None else order


async def ordered(values: Values, pace: Pace, before: Sequence[int] | None = None, *, reverse: bool = False) -> list[int]:
    """Places of the values in ascending order, equal ones as they were `before` (as they lie, unless said)."""
    places = range(len(values)) if before is None else before
    value: Value = values.__getitem__
    runs = []
    for first in range(0, len(places), SLICE):
        runs.append(sorted(places[first : first + SLICE], key=value, reverse=reverse))
        await pace.did(SLICE * ROW)
    while len(runs) > 1:
        merged = []
        for one, other in zip(runs[::2], runs[1::2]):
            both: list[int] = []
            for some in _together(one, other, value, reverse=reverse):
                both += sorted(some, key=value, reverse=reverse)  # two runs: it merges them
                await pace.did(len(some) * ROW)
            merged.append(both)
        runs = merged + runs[len(merged) * 2 :]
    return runs[0] if runs else []


def _together(one: list[int], other: list[int], value: Value, *, reverse: bool) -> Iterator[list[int]]:
    """Two runs cut at the same values, a piece of each beside one of the other, none larger than a slice: all of a piece comes before all of the
    next one. Where values are equal `one` comes first."""
    left = [(one, other)]
    while left:
        first, second = left.pop()
        if len(first) + len(second) <= SLICE:
            yield first + second
        elif len(first) >= len(second):
            middle = len(first) // 2
            cut = _before(second, value(first[middle]), value, reverse=reverse, equal=False)
            left += [(first[middle:], second[cut:]), (first[:middle], second[:cut])]
        else:
            middle = len(second) // 2
            cut = _before(first, value(second[middle]), value, reverse=reverse, equal=True)
            left += [(first[cut:], second[middle:]), (first[:cut], second[:middle])]


def _before(run: Sequence[int], limit: float | bytes, value: Value, *, reverse: bool, equal: bool) -> int:
    """How many of a run come before this value, those that are `equal` to it among them or not."""
    low, high = 0, len(run)
    while low < high:
        middle = (low + high) // 2
        here = value(run[middle])
        is_before = here == limit if equal else False
        if is_before or (here > limit if reverse else here < limit):  # type: ignore[operator]  # both are of the same column
            low = middle + 1
        else:
            high = middle
    return low


async def sent_order(view: View, rows: Sequence[int], pace: Pace) -> list[int]:
    """Places of the rows by sent date (RFC 5256 section 2.2)."""
    return await ordered(await _numbers(view, rows, "sent", pace), pace)


# What each key compares.


async def _values(folder: Folder, view: View, rows: Sequence[int], by: str, pace: Pace) -> Values:
    match by:
        case "ARRIVAL":
            return await _numbers(view, rows, "arrived", pace)
        case "DATE":
            return await _numbers(view, rows, "sent", pace)
        case "SIZE":
            return list(map(view.octets.__getitem__, rows))
        case "SUBJECT":
            return await texts(view, rows, "base_subject", pace)
        case "CC" | "FROM" | "TO":
            return await _addresses(folder, view, rows, by.lower().encode(), _mailbox, pace)
        case "DISPLAYFROM" | "DISPLAYTO":
            return await _addresses(folder, view, rows, by[len("DISPLAY") :].lower().encode(), _display, pace)
    raise ValueError(f"there is no sort key {by}")


async def _numbers(view: View, rows: Sequence[int], what: str, pace: Pace) -> Sequence[float]:
    if isinstance(rows, range) or len(rows) * _FEW > len(view):
        column = view.numbers(what, 0, len(view))
        await pace.did(len(view) * ROW)
        return list(column) if len(rows) == len(view) else list(map(column.__getitem__, rows))
    return [view.numbers(what, row, row + 1)[0] for row in rows]


async def texts(view: View, rows: Sequence[int], what: str, pace: Pace) -> list[bytes]:
    """A text of each of these rows; empty where the message is gone."""
    found: list[bytes] = []
    for first in range(0, len(rows), _LOOKS):
        found += texts_of(view, rows[first : first + _LOOKS], what)
        await pace.did(_LOOKS * TEXT)
    return found


def texts_of(view: View, rows: Sequence[int], what: str) -> Sequence[bytes]:
    """The same of a few rows; `header` of one that is gone is a pack without fields."""
    try:
        if rows and rows[-1] - rows[0] == len(rows) - 1:
            return view.texts(what, rows[0], rows[-1] + 1)
        return [view.texts(what, row, row + 1)[0] for row in rows]
    except NoSuchMessage:
        return [_text(view, row, what) for row in rows]


def _text(view: View, row: int, what: str) -> bytes:
    try:
        return view.texts(what, row, row + 1)[0]
    except NoSuchMessage:
        return NO_FIELDS if what == "header" else b""


NO_FIELDS: Final = b"\0\0"


async def _addresses(
    folder: Folder, view: View, rows: Sequence[int], name: bytes, shown: Callable[[Address], str], pace: Pace
) -> list[bytes]:
    """What the first address of a field says."""
    found: list[bytes] = []
    for first in range(0, len(rows), _LOOKS):
        some = rows[first : first + _LOOKS]
        for row, items in zip(some, cached.each_field(texts_of(view, some, "header"), name)):
            if items is None:
                items = await _from_file(folder, view, row, name, pace)
            found.append(_first(items, shown) if items else b"")
            await pace.did(LOOK * 2)
    return found


def _first(items: Sequence[bytes], shown: Callable[[Address], str]) -> bytes:
    value = b", ".join([unfold(item.partition(b":")[2].replace(b"\n", b"\0")) for item in items])
    for address in mailboxes(value):
        return folded(shown(address))
    return b""


def _mailbox(address: Address) -> str:
    """addr-mailbox of the ENVELOPE: the local part (RFC 5256 section 3)."""
    return (address.mailbox or b"").decode("utf-8", "replace")


def _display(address: Address) -> str:
    """RFC 5957 section 3: the display name decoded, else the whole address."""
    if address.name and (name := decode_words(address.name)):
        return name
    return f"{_mailbox(address)}@{(address.host or b'').decode('utf-8', 'replace')}"


async def _from_file(folder: Folder, view: View, row: int, name: bytes, pace: Pace) -> list[bytes]:
    """The fields of this name from the message's own header, for the few that have more than the store keeps."""
    block = await header_block(folder, view, row, pace)
    return [b":" + value for value in values(block, name)]


async def header_block(folder: Folder, view: View, row: int, pace: Pace) -> bytes:
    """A message's header out of its file, as much of it as is read for fields; empty where it is gone."""
    await pace.did(FILE)
    try:
        block = await folder.read(view.uids[row], 0, min(_USUAL, view.octets[row]))
        end = header_end(block)
        if end == _USUAL:
            await pace.did(FILE)
            block = await folder.read(view.uids[row], 0, min(MAX_HEADER, view.octets[row]))
            end = header_end(block)
    except NoSuchMessage:
        return b""
    return block[:end]
