"""postroom_mime.onfile: a file's octets answer as `bytes` would, with two windows in memory and each octet read about once."""

from __future__ import annotations

import itertools
import os
import random
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postroom_mime import onfile
from postroom_mime.onfile import FileOctets, count_even
from postroom_mime.scan import scan
from tests.kernel_mime.test_linear import SHAPES


@contextmanager
def on_file(path: Path, data: bytes) -> Iterator[FileOctets]:
    path.write_bytes(data)
    fd = os.open(path, os.O_RDONLY)
    try:
        yield FileOctets(fd, len(data))
    finally:
        os.close(fd)


@pytest.mark.parametrize("window", [1, 2, 3, 5, 8, 64])
def test_every_question_is_answered_as_bytes_answer_it(tmp_path: Path, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onfile, "WINDOW", window)
    chance = random.Random(window)
    for size in (0, 1, 2, 7, 16, 24):
        data = bytes(chance.choices(b"ab\n\xff", k=size))
        with on_file(tmp_path / "x", data) as octets:
            assert len(octets) == size
            for start, stop in itertools.combinations_with_replacement(range(size + 1), 2):
                assert octets[start:stop] == data[start:stop]
                assert octets.count(b"\n", start, stop) == data.count(b"\n", start, stop)
                for what in (b"a", b"\n", b"ab", b"\nab", data[start : start + 9] or b"b"):
                    assert octets.find(what, start, stop) == data.find(what, start, stop)
                    assert octets.find(what, start) == data.find(what, start)
            assert [octets[at] for at in range(size)] == list(data)
            assert octets[: size + 9] == octets[:] == octets[0:] == data
            assert octets.isascii() == data.isascii()


def test_every_block_is_counted_right() -> None:
    for size in range(10):
        for block in (bytes(each) for each in itertools.product(b"\n.", repeat=size)):
            assert count_even(block, b"\n") == block.count(b"\n")
    for block in (b"x" * 76 + b"\r\n", b"\n" + b"x" * 20, b"\0" * 9 + b"\n", b"x" * 8 + b"\n"):
        for changed in (block * 50, block * 50 + b"\n", b"\n" + block * 50, (block * 20 + b"a\nb") * 3, block * 9 + b"a" + block * 9):
            for what in (b"\n", b"x", b"\0"):
                assert count_even(changed, what) == changed.count(what)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("window", [61, 4096])
def test_a_scan_gives_the_same_from_a_file(tmp_path: Path, shape: str, window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onfile, "WINDOW", window)
    data = SHAPES[shape](12_000)
    with on_file(tmp_path / "x", data) as octets:
        assert scan(octets) == scan(data)


def test_a_large_file_is_read_once_and_memory_does_not_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    pread = os.pread

    def reading(fd: int, size: int, offset: int) -> bytes:
        read.append(size)
        return pread(fd, size, offset)

    monkeypatch.setattr(os, "pread", reading)
    head = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n"
    data = head + (b"x" * 76 + b"\r\n") * 60_000 + b"--b\r\n\r\n" + b"irregular\r\nlines\r\n" * 60_000 + b"--b--\r\n"
    with on_file(tmp_path / "x", data) as octets:
        wanted = scan(data)
        tracemalloc.start()
        try:
            found = scan(octets)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert found == wanted
    assert sum(read) < 2.5 * len(data)  # once to look for delimiters, once to count the lines of each text
    assert peak < 4 * onfile.WINDOW < len(data)


def test_messages_within_messages_are_not_counted_again_for_each_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Features case 31: a hundred levels asked a hundred times for the lines of the same octets."""
    monkeypatch.setattr(onfile, "WINDOW", 4096)
    counted = []

    def counting(block: bytes, what: bytes) -> int:
        counted.append(len(block))
        return block.count(what)

    monkeypatch.setattr(onfile, "count_even", counting)
    data = b"Content-Type: message/rfc822\r\n\r\n" * 20_000
    with on_file(tmp_path / "x", data) as octets:
        assert scan(octets) == scan(data)
    assert 0 < sum(counted) <= len(data)


def test_a_file_that_became_shorter_is_the_disks_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onfile, "WINDOW", 1024)
    with on_file(tmp_path / "x", b"line\r\n" * 1000) as octets:
        os.truncate(tmp_path / "x", 3000)
        with pytest.raises(OSError, match="shorter"):
            scan(octets)
