"""Base subjects, step by step as RFC 5256 section 2.1 has them."""

from __future__ import annotations

import time

import pytest

from postroom_mime.subjects import MAX_SUBJECT, base_subject, folded_subject


@pytest.mark.parametrize(
    ("subject", "base"),
    [
        (b"hello", b"hello"),
        (b"re: hello", b"hello"),
        (b"re: re: fw: fwd: hello", b"hello"),
        (b"re[2]: hello", b"hello"),
        (b"re [2] : hello", b"hello"),
        (b"re:hello", b"hello"),
        (b"[list] hello", b"hello"),
        (b"[list] re: [list] hello", b"hello"),
        (b"[a][b] [c] hello", b"hello"),
        (b"re: [list]", b"[list]"),
        (b"[a] [b]", b"[b]"),
        (b"[a] (fwd)", b"[a]"),
        (b"hello (fwd) (fwd) ", b"hello"),
        (b"hello(fwd)", b"hello"),
        (b"[fwd: hello]", b"hello"),
        (b"[fwd: re: [x] hello (fwd)]", b"hello"),
        (b"[fwd: [fwd: hello]]", b"hello"),
        (b"re: [fwd: hello]", b"hello"),
        (b"  a\t b   c ", b"a b c"),
        (b"", b""),
        (b"re:", b""),
        (b"re: ", b""),
        (b"(fwd)", b""),
        (b"return of the king", b"return of the king"),
        (b"fwx: a", b"fwx: a"),
        (b"[unclosed hello", b"[unclosed hello"),
        (b"[a[b] hello", b"[a[b] hello"),
        (b"[]x", b"x"),
        ("re: grüße".encode(), "grüße".encode()),
        (b"[fwd:]", b""),
    ],
)
def test_a_subject_has_this_base(subject: bytes, base: bytes) -> None:
    assert base_subject(subject) == base
    assert base_subject(base) == base


def test_a_subject_is_decoded_and_folded() -> None:
    assert folded_subject(b"RE: Hello") == b"re: hello"
    assert folded_subject(b"=?iso-8859-1?Q?STRA=DFE?= =?utf-8?b?w5w=?=") == "strasseü".encode()
    assert folded_subject("ÜBER".encode()) == "über".encode()
    assert folded_subject(b"\xdcBER") == "über".encode()  # raw 8-bit that is no UTF-8
    assert len(folded_subject(b"x" * 99_999)) == MAX_SUBJECT


@pytest.mark.parametrize("piece", [b"re: ", b"[a]", b"[fwd:", b"[", b"(fwd)", b"re [", b" ", b"[a] re:", b"re:"])
def test_no_subject_takes_long(piece: bytes) -> None:
    hostile = (piece * MAX_SUBJECT)[:MAX_SUBJECT]
    start = time.process_time()
    base_subject(hostile + b"x")
    base_subject(hostile)
    assert time.process_time() - start < 0.02
