"""Which messages of a group may hold a text: those whose words have all the runs of three octets that its words have. Pure.

A text that stands in a message has its words, or what is left of them at its ends, within words of the message; words are what ASCII white space
parts. So the runs of three octets within words tell which messages can be left unread; where a text has no word of three octets they tell nothing.
A run is known by sixteen bits that are made of it, and two may share them: messages that are named here have to be read, the others need not.

A group packed, integers little-endian, is a head and 256 blocks, one for each upper half of those sixteen bits:

    head: magic, octets of the group, messages, CRC-32 of what follows of the head; a bit for each message that is always named; UIDs; ends of the blocks
    block: CRC-32, begun with the head's; count; lower halves; sizes; for each the places of its messages, an octet each, or a bit each if there are 32
"""

from __future__ import annotations

import hashlib
import sys
from array import array
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import reduce
from itertools import accumulate, islice
from operator import and_, xor
from struct import Struct
from typing import Final, NamedTuple, TypeVar
from zlib import crc32

T = TypeVar("T")

MOST: Final = 256  # messages of a group: a place in it is an octet
WORDS: Final = (
    80_000  # words of a group, about: hostile mail must not take all memory, and a dictionary of more holds everybody while it grows
)
_RUN: Final = 3
_BITS: Final = 32  # octets of a bit for each message
_BLOCKS: Final = 256
_WORDS: Final = 500  # words gone through in a step
_BODIES: Final = 8  # blocks made in a step
_ALL: Final = (1 << MOST) - 1  # bits of all messages of a group
_ASK_ALL: Final = 16  # of so many groups one is asked for all runs
_PRICE: Final = 0.2  # of reading a message, which looking up a run costs, about
_MAGIC: Final = b"\xfeg3\xff"
HEAD: Final = Struct("<4sIHI")
_COUNT: Final = Struct("<IH")


class Damaged(Exception):
    """These octets are not what was written."""


def _table(name: str) -> bytes:
    return hashlib.shake_256(f"postroom trigrams {name}".encode()).digest(256)


_TABLES: Final = tuple(tuple(_table(f"{half} {place}") for place in range(_RUN)) for half in ("low", "high"))
_IN_WORD: Final = bytes(0 if bytes((octet,)).isspace() else 0xFF for octet in range(256))
_HALVES: Final = (0, 1) if sys.byteorder == "little" else (1, 0)


def runs(octets: bytes) -> Sequence[int]:
    """Sixteen bits for each run of three octets, in order; 0, which is never asked for, where one of them is white space. All of it is done by
    a few calls, however many octets there are: their tables looked up by place in the run, the results put together by "xor"."""
    count = len(octets) - _RUN + 1
    if count <= 0:
        return ()
    told = bytearray(2 * count)
    in_word = reduce(and_, _looked_up(octets, [_IN_WORD] * _RUN))
    for half, tables in zip(_HALVES, _TABLES):
        told[half::2] = (reduce(xor, _looked_up(octets, tables)) & in_word).to_bytes(count, "little")
    return memoryview(told).cast("H")


def _looked_up(octets: bytes, tables: Sequence[bytes]) -> Iterator[int]:
    """For each place in a run what its table says of each octet there, as one number."""
    count = len(octets) - _RUN + 1
    for place, table in enumerate(tables):
        yield int.from_bytes(octets[place : place + count].translate(table), "little")


def needed(text: bytes) -> list[int]:
    """The runs that a message must have to hold this text; empty where nothing can be said."""
    return [run for run in dict.fromkeys(runs(text)) if run]


class Choice:
    """Which of a text's runs are looked up in groups one behind the other. A run of common words names most of a group, and some name whom others
    named already; so a group now and then is asked for all of them, and those after it only for the few that told most there, best first. Where
    these name many more than they did there, all are asked. That may name messages that others of the runs would have left out, never fewer."""

    def __init__(self, runs: Sequence[int]) -> None:
        self._runs = runs
        self._few: Sequence[int] = runs
        self._most = 0.0  # messages that these may name
        self._groups = 0

    def named(self, having: Callable[[int], int]) -> tuple[int, int]:
        """Bits of messages of the next group, which tells for a run which of its messages have it: all that have all runs, and hardly others. And
        how many runs it was asked for."""
        is_asked_all = self._groups % _ASK_ALL == 0
        self._groups += 1
        looked = 0
        if not is_asked_all:
            bits = _ALL
            for run in self._few:
                bits &= having(run)
                looked += 1
                if not bits:
                    break
            if bits.bit_count() <= self._most:
                return bits, looked
        return self._chosen({run: having(run) for run in self._runs}), looked + len(self._runs)

    def _chosen(self, told: dict[int, int]) -> int:
        few: list[int] = []
        bits = _ALL
        while told:
            best = min(told, key=lambda run: (bits & told[run]).bit_count())
            left = bits & told.pop(best)
            if few and left == bits:
                break
            few.append(best)
            bits = left
        self._few = few
        self._most = 2 * bits.bit_count() + (len(self._runs) - len(few)) * _PRICE
        return bits


class Gathering:
    """A group while it is made."""

    def __init__(self) -> None:
        self.uids = array("I")
        self._always = 0
        self._words: defaultdict[bytes, int] = defaultdict(int)  # bits of the messages that have it

    @property
    def is_full(self) -> bool:
        return len(self.uids) >= MOST or len(self._words) >= WORDS

    def add(self, uid: int, text: bytes | None) -> None:
        """UIDs ascend. A message without text is one that always has to be read."""
        bit = 1 << len(self.uids)
        self.uids.append(uid)
        if text is None:
            self._always |= bit
            return
        words = self._words
        for word in set(text.split()):
            words[word] |= bit

    def packed(self) -> bytes:
        """The group as it is written; nothing is left of it here."""
        return b"".join(self.packing())

    def packing(self) -> Iterator[bytes]:
        """The same in steps of about a millisecond, none of which but the last says anything. What was gone through is let go of at once: to let go of
        all of it together takes as long as ten steps."""
        alone: defaultdict[int, list[bytes]] = defaultdict(list)
        several: list[tuple[bytes, int]] = []
        while self._words:
            for _ in range(min(10 * _WORDS, len(self._words))):
                word, bits = self._words.popitem()
                if bits & (bits - 1):
                    several.append((word, bits))
                else:
                    alone[bits].append(word)
            yield b""
        listed: defaultdict[int, bytearray] = defaultdict(bytearray)  # places of the messages that have a run in a word of theirs alone
        gone_through = 0
        for bit in sorted(alone):
            place = bit.bit_length() - 1
            for words in batched(alone.pop(bit), _WORDS):
                for run in set(runs(b" ".join(words))):
                    if not (found := listed[run]) or found[-1] != place:
                        found.append(place)
                gone_through += len(words)
                if gone_through >= _WORDS:
                    gone_through = 0
                    yield b""
        shared: defaultdict[int, int] = defaultdict(int)  # bits of those that have it in a word of several, which is gone through once
        while several:
            _share(several[-_WORDS:], shared)
            del several[-_WORDS:]
            yield b""
        ordered = array("H", sorted(listed.keys() | shared.keys()))
        bodies: list[bytes] = []
        for number in range(_BLOCKS):
            block = ordered[bisect_left(ordered, number << 8) : bisect_left(ordered, (number + 1) << 8)]
            entries = [_written(listed.pop(run, b""), shared.pop(run, 0)) for run in block]
            lows = bytes([run & 0xFF for run in block])
            bodies.append(len(block).to_bytes(2, "little") + lows + bytes(map(len, entries)) + b"".join(entries))
            if number % _BODIES == 0:
                yield b""
        yield self._whole(bodies)

    def _whole(self, bodies: Sequence[bytes]) -> bytes:
        ends = array("I", accumulate(len(body) + 4 for body in bodies))
        rest = self._always.to_bytes(_BITS, "little") + _octets(self.uids) + _octets(ends)
        check = crc32(rest)
        head = HEAD.pack(_MAGIC, HEAD.size + len(rest) + ends[-1], len(self.uids), check)
        return head + rest + b"".join([crc32(body, check).to_bytes(4, "little") + body for body in bodies])


def _share(words: Sequence[tuple[bytes, int]], shared: defaultdict[int, int]) -> None:
    """Enter the runs of these words for the messages that have them."""
    told = list(runs(b" ".join([word for word, _ in words])))
    at = 0
    for word, bits in words:
        after = at + len(word) + 1
        for run in told[at : max(after - _RUN, at)]:
            shared[run] |= bits
        at = after


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """In order, at most `size` at a time."""
    left = iter(items)
    while some := list(islice(left, size)):
        yield some


def _written(listed: bytes | bytearray, shared: int) -> bytes:
    """What is written of a run."""
    if not shared and len(listed) < _BITS:
        return bytes(listed)
    return _entry(shared | _sum(listed))


def _entry(bits: int) -> bytes:
    return bits.to_bytes(_BITS, "little") if bits.bit_count() >= _BITS else bytes(places(bits))


def places(bits: int) -> Iterator[int]:
    """The bits that are set, as numbers, ascending."""
    while bits:
        lowest = bits & -bits
        yield lowest.bit_length() - 1
        bits ^= lowest


def _octets(numbers: array[int]) -> bytes:
    if sys.byteorder == "little":
        return numbers.tobytes()
    swapped = numbers[:]
    swapped.byteswap()
    return swapped.tobytes()


class Group(NamedTuple):
    """The head of a group, read."""

    uids: Sequence[int]
    always: int
    check: int
    begin: int  # of its blocks, in the file
    ends: Sequence[int]

    @property
    def after(self) -> int:
        """Where the next group begins."""
        return self.begin + self.ends[-1]

    def block(self, run: int) -> tuple[int, int]:
        """Where the block of a run lies in the file."""
        number = run >> 8
        return self.begin + (self.ends[number - 1] if number else 0), self.begin + self.ends[number]

    def having(self, block: bytes, run: int) -> int:
        """Bits of the messages that have this run, as its block says. Damaged."""
        if len(block) < _COUNT.size:
            raise Damaged
        check, count = _COUNT.unpack_from(block)
        if crc32(memoryview(block)[4:], self.check) != check:
            raise Damaged
        first = _COUNT.size
        place = block.find(run & 0xFF, first, first + count) - first
        if place < 0:
            return 0
        sizes = block[first + count : first + 2 * count]
        begin = first + 2 * count + sum(sizes[:place])
        return _bits(block[begin : begin + sizes[place]])


def _bits(entry: bytes) -> int:
    return int.from_bytes(entry, "little") if len(entry) == _BITS else _sum(entry)


def _sum(numbers: Iterable[int]) -> int:
    bits = 0
    for number in numbers:
        bits |= 1 << number
    return bits


def rest_of_head(start: bytes) -> tuple[int, int] | None:
    """How many octets a group has that begins so, and how many of them its head has behind these; None where it is no group."""
    if len(start) < HEAD.size:
        return None
    magic, octets, messages, _ = HEAD.unpack_from(start)
    return (octets, _BITS + 4 * messages + 4 * _BLOCKS) if magic == _MAGIC and 0 < messages <= MOST else None


def group(start: bytes, rest: bytes, at: int) -> Group | None:
    """The group whose head this is and which begins there; None where that is not whole."""
    _, octets, messages, check = HEAD.unpack_from(start)
    if crc32(rest) != check:
        return None
    uids, ends = (_numbers(rest[begin:end]) for begin, end in ((_BITS, _BITS + 4 * messages), (_BITS + 4 * messages, len(rest))))
    begin = at + HEAD.size + len(rest)
    if len(ends) != _BLOCKS or begin + ends[-1] != at + octets:
        return None
    return Group(uids, int.from_bytes(rest[:_BITS], "little"), check, begin, ends)


def _numbers(octets: bytes) -> array[int]:
    numbers = array("I")
    numbers.frombytes(octets)
    if sys.byteorder != "little":
        numbers.byteswap()
    return numbers
