"""Fields about viruses in a header: taken out, put in."""

from __future__ import annotations

import time

import pytest

from postroom_clamav import header

END = b"\r\n"


@pytest.mark.parametrize(
    ("head", "left"),
    [
        (b"X-Virus-Status: Clean\r\nFrom: a\r\n\r\n", b"From: a\r\n\r\n"),
        (b"From: a\r\nx-vIrUs: no\r\n\r\n", b"From: a\r\n\r\n"),
        (b"From: a\r\nX-Virus-Scanned: one\r\n\ttwo\r\n three\r\nTo: b\r\n\r\n", b"From: a\r\nTo: b\r\n\r\n"),
        (b"From: a\r\nX-VIRUS-Status : Clean\r\n\r\n", b"From: a\r\n\r\n"),
        (b"From: a\r\nX-Virus\r\nTo: b\r\n\r\n", b"From: a\r\nTo: b\r\n\r\n"),
        (b"X-Virus: 1\r\nX-Virus: 2\r\nX-Virus: 3\r\n\r\n", b"\r\n"),
        (b"From: a\nX-Virus: 1\n folded\nTo: b\n\n", b"From: a\nTo: b\n\n"),
        (b"From: a\r\nX-Virus: cut off", b"From: a\r\n"),
        (b"From: a\r\nX-Virus: folded\r\n and cut", b"From: a\r\n"),
    ],
)
def test_what_outsiders_wrote_is_taken_out(head: bytes, left: bytes) -> None:
    assert header.is_forged(head)
    assert header.stripped(head) == left


@pytest.mark.parametrize(
    "head",
    [b"", END, b"From: X-Virus: a\r\n\r\n", b"Subject: a\r\n X-Virus: in a fold\r\n\r\n", b"XX-Virus: a\r\n\r\n", b"X-Vir: a\r\n\r\n"],
)
def test_all_else_stays(head: bytes) -> None:
    assert not header.is_forged(head)
    assert header.stripped(head) == head


def test_stripping_is_linear() -> None:
    """Twenty times the octets in well under a hundred times the time."""

    def seconds(count: int) -> float:
        head = b"X-Virus: a\r\n" + b"\t" * count + b"X-Virus\r\n" * count + b"\r\n \r" * count
        began = time.process_time()
        header.stripped(head)
        return time.process_time() - began

    seconds(100)
    assert seconds(40_000) < 100 * max(seconds(2_000), 1e-3)


@pytest.mark.parametrize(
    ("head", "marked"),
    [
        (b"From: a\r\n\r\n", b"F: x\r\nFrom: a\r\n\r\n"),
        (b"Return-Path: <a@b>\r\nReceived: c\r\n\r\n", b"Return-Path: <a@b>\r\nF: x\r\nReceived: c\r\n\r\n"),
        (b"return-path:\r\n <a@b>\r\nReceived: c\r\n\r\n", b"return-path:\r\n <a@b>\r\nF: x\r\nReceived: c\r\n\r\n"),
        (b"", b"F: x\r\n"),
    ],
)
def test_our_fields_stand_on_top_below_the_return_path(head: bytes, marked: bytes) -> None:
    assert header.with_fields(head, b"F: x\r\n") == marked


def test_what_we_say() -> None:
    assert header.found("Eicar") == b"X-Virus-Status: Infected\r\nX-Virus: Eicar\r\n"
    assert header.clean("mx.example.test") == b"X-Virus-Scanned: ClamAV at mx.example.test\r\nX-Virus-Status: Clean\r\n"
