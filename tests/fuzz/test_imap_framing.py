"""Invariant: whatever octets arrive and however they are cut into packets, the framer says the same; it never raises, holds no more than its
limits, leaves no spill behind but those it gave away, and reads what follows a refused literal where the client believes it begins."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from postroom_imap4.commands import Wrong
from postroom_imap4.framing import _TAIL, Continue, Frame, Framer, Limits
from postroom_net.lines import TOO_LONG
from tests.plugins_imap4.wire import Said, Shelf

LIMITS = Limits(line=60, literal=12, literals=30, pieces=3, message=80, messages=100, drained=150)
PIECES = [
    b"a ",
    b"b2 ",
    b"UID ",
    b"APPEND ",
    b"replace 1 ",
    b"X ",
    b"\r\n",
    b"\n",
    b"\r",
    b"{0}",
    b"{3}",
    b"{3+}",
    b"~{3+}",
    b"{12+}",
    b"{13+}",
]
PIECES += [
    b"{13}",
    b"{40+}",
    b"{80+}",
    b"{81+}",
    b"{200+}",
    b"{-1}",
    b"{}",
    b"{99999999999999999999}",
    b"{99999999999999999999+}",
    b"}",
    b"{",
]
PIECES += [b"y" * 12, b"y" * 61, b"{5+}\r\nabcde", b"{14+}\r\n" + b"z" * 14, b"{0+}\r\n", b" " * 30, b"1" * 70 + b"}", b"1" * 70 + b"+}"]
OCTETS = st.lists(st.sampled_from(PIECES) | st.binary(max_size=6), max_size=25).map(b"".join)
PLACES = st.lists(st.integers(0, 4000), max_size=12)


def heard(data: bytes, places: list[int], shelf: Shelf) -> tuple[list[Said], Framer]:
    """What is said to these octets in packets cut at these places, asking after each."""
    framer, found = Framer(LIMITS, shelf), list[Said]()
    edges = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    for first, after in pairwise(edges):
        framer.feed(data[first:after])
        found += list(iter(framer.take, None))
        assert framer.held <= max(LIMITS.line + 1, _TAIL)
        frames = [piece for one in found if isinstance(one, Frame) for piece in one.pieces]
        given_away = sum(not isinstance(piece, bytes) and piece.peek() is None for piece in frames)
        assert len(shelf.left) - given_away <= LIMITS.pieces
    return found, framer


@settings(max_examples=800, deadline=None)
@given(OCTETS, PLACES, st.integers(-1, 12))
@example(b"t" * 70 + b" {99+}\r\n", [3], -1)
@example(b"1" * 70 + b"+}\r\na \r\n", [], -1)
@example(b"a " + b"y" * 130 + b" {5+}\r\nabcde {200+}\r\n", [1, 66, 67, 130], -1)
@example(b"a APPEND x {80+}\r\n" + b"z" * 80 + b"\r\n", [40], 2)
def test_packets_make_no_difference(data: bytes, places: list[int], fail_at: int) -> None:
    whole = Shelf()
    found, framer = heard(data, [], whole)
    for cuts in (places, list(range(len(data)))):
        shelf = Shelf()
        again, other = heard(data, cuts, shelf)
        assert [_plain(one) for one in again] == [_plain(one) for one in found]
        assert framer.is_lost == other.is_lost
        other.close()
        for one in again:
            if isinstance(one, Frame):
                one.close()
        assert not shelf.left
    failing = Shelf(fail_at)  # a disk that refuses at some call: still nothing is left, and every literal has its end
    found, framer = heard(data, places, failing)
    framer.close()
    for one in found:
        if isinstance(one, Frame):
            one.close()
    assert not failing.left


def _plain(one: Said) -> object:
    """A frame by its octets: spills are objects of their own."""
    if not isinstance(one, Frame):
        return one
    return [piece if isinstance(piece, bytes) else piece.data for piece in one.pieces]  # type: ignore[attr-defined]


@settings(max_examples=400, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 30), st.booleans()), max_size=8), PLACES)
def test_a_client_that_keeps_to_the_protocol_is_never_out_of_step(literals: list[tuple[int, bool]], places: list[int]) -> None:
    """It sends a literal only when it has leave, or wants none: then its next command is the next that is read."""
    data = b"a X"
    for size, waits in literals:
        octets = (b"\r\nb NOOP\r\n" * 4)[:size]  # what would be a command, were it read as one
        data += b" {%d%b}\r\n" % (size, b"" if waits else b"+")
        told, _ = heard(data, [], Shelf())
        if waits and not isinstance(told[-1], Continue):
            break  # no leave: it has its answer
        data += octets
    else:
        data += b"\r\n"
    found, framer = heard(data + b"c NOOP\r\n", places, Shelf())
    answers = [one for one in found if not isinstance(one, Continue)]
    if not framer.is_lost:
        assert answers[-1] == Frame((b"c NOOP",)) and len(answers) == 2
    assert isinstance(answers[0], Wrong) == (not _fits(literals))


def _fits(literals: list[tuple[int, bool]]) -> bool:
    sizes = [size for size, _ in literals]
    text = 3 + sum(len(b" {%d%b}" % (size, b"" if waits else b"+")) for size, waits in literals)
    return max(sizes, default=0) <= LIMITS.literal and sum(sizes) <= LIMITS.literals and len(sizes) <= LIMITS.pieces and text <= LIMITS.line


@settings(max_examples=300, deadline=None)
@given(OCTETS, PLACES)
def test_lines_for_others_do_not_depend_on_packets(data: bytes, places: list[int]) -> None:
    def lines(edges: list[int]) -> list[bytes]:
        framer, found = Framer(LIMITS, Shelf()), list[bytes]()
        for first, after in pairwise(edges):
            framer.feed(data[first:after])
            found += list(iter(framer.take_line, None))
        assert TOO_LONG not in found
        return found

    expected = [line.removesuffix(b"\r") for line in data.split(b"\n")[:-1]]
    assert lines([0, len(data)]) == expected
    assert lines(sorted({0, len(data), *(place % (len(data) + 1) for place in places)})) == expected
