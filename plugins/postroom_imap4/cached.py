"""The header fields that the store keeps of every message, cut out for many messages at once.

A pack (postroom_mime.fields says how it is laid out) begins with the slots of its fields, and most mail has them in a few orders: what to cut out is
found once for each. So a field costs about a microsecond a message. Pure; None stands for what has to be read from the message itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import accumulate, repeat
from operator import add
from struct import Struct
from typing import Final, TypeAlias

from postroom_mime import fields

Plan: TypeAlias = "tuple[Callable[[bytes, int], tuple[int, ...]], int, int, tuple[tuple[int, int], ...]]"
_SLOT: Final = {name.lower(): slot for slot, name in enumerate(fields.NAMES)}


def are_kept(names: tuple[bytes, ...]) -> bool:
    """Whether the store keeps all fields of these names, in lower case."""
    return all(name in _SLOT for name in names)


def header_fields(packs: Sequence[bytes], names: tuple[bytes, ...]) -> list[bytes | None]:
    """What BODY[HEADER.FIELDS (names)] sends of each of these, as postroom_mime.fields.header_fields."""
    wanted = _wanted(names)
    if wanted is None:
        return [None] * len(packs)
    alike: dict[bytes, list[int]] = {}  # rows, by how their packs begin
    for row, packed in enumerate(packs):
        head = packed[: 2 + packed[0]]
        if head in alike:
            alike[head].append(row)
        else:
            alike[head] = [row]
    found: list[bytes | None] = [None] * len(packs)
    for head, rows in alike.items():
        if (plan := _plan(head, wanted)) is not None:
            for row, text in zip(rows, _cut([packs[row] for row in rows], plan)):
                found[row] = text
    return found


def _cut(packs: Sequence[bytes], plan: Plan) -> Iterable[bytes]:
    """Of packs that begin alike, column by column: where each field ends, then the runs, then each message's together."""
    unpack, begin, text, runs = plan
    ends = [[text] * len(packs)]
    for lengths in zip(*map(unpack, packs, repeat(begin))):
        ends.append(list(map(add, ends[-1], lengths)))
    columns = [[pack[first:after] for pack, first, after in zip(packs, ends[one], ends[other])] for one, other in runs]
    columns.append([b"\r\n"] * len(packs))
    return map(b"".join, zip(*columns))


def each_field(packs: Sequence[bytes], name: bytes) -> Iterator[list[bytes] | None]:
    """The fields of this name, in lower case, of each of these: as they stood, names and folds and all."""
    wanted = _wanted((name,))
    for packed in packs:
        plan = None if wanted is None else _plan(packed[: 2 + packed[0]], wanted)
        if plan is None:
            yield None
            continue
        unpack, begin, text, runs = plan
        ends = tuple(accumulate(unpack(packed, begin), initial=text))
        yield [packed[ends[place] : ends[place + 1]] for first, after in runs for place in range(first, after)]


def first_fields(packs: Sequence[bytes], names: tuple[bytes, ...]) -> Iterator[list[bytes | None] | None]:
    """Of each of these the first field of each name, as it stood; None in its place where it has none."""
    wanted = tuple(_SLOT[name] for name in names)
    for packed in packs:
        places = _places(packed[: 2 + packed[0]], wanted)
        if places is None:
            yield None
            continue
        begin = 2 + packed[0]
        ends = tuple(accumulate(_lengths(packed[0])(packed, begin), initial=begin + 2 * packed[0]))
        yield [None if place < 0 else packed[ends[place] : ends[place + 1]] for place in places]


@lru_cache(maxsize=4096)
def _places(head: bytes, wanted: tuple[int, ...]) -> tuple[int, ...] | None:
    """Where these fields come in a pack that begins so."""
    return None if head[1] else tuple(head.find(slot, 2) - 2 if slot in head[2:] else -1 for slot in wanted)


@lru_cache(maxsize=256)
def _lengths(count: int) -> Callable[[bytes, int], tuple[int, ...]]:
    return Struct(f"<{count}H").unpack_from


@lru_cache(maxsize=256)
def _wanted(names: tuple[bytes, ...]) -> frozenset[int] | None:
    return frozenset(_SLOT[name] for name in names) if are_kept(names) else None


@lru_cache(maxsize=4096)
def _plan(head: bytes, wanted: frozenset[int]) -> Plan | None:
    """None where some are missing. For a pack that begins so: how its lengths are read, up to the last field that is wanted, where they begin, where the fields begin, and
    which runs of them are wanted."""
    count, is_partial = head[0], head[1]
    if is_partial:
        return None
    runs: list[tuple[int, int]] = []
    for place, slot in enumerate(head[2:]):
        if slot not in wanted:
            continue
        if runs and runs[-1][1] == place:
            runs[-1] = runs[-1][0], place + 1
        else:
            runs.append((place, place + 1))
    return _lengths(runs[-1][1] if runs else 0), 2 + count, 2 + 3 * count, tuple(runs)
