"""What is read back: line ends and sizes. How long its file lives is told in tests/kernel/test_kept.py."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.message import SMALL, FileMessage, MemoryMessage
from postroom_command.readback import digest, mended, taken
from postroom_disk.disk import Disk
from postroom_testing.faults import FaultDisk

PIECES = st.lists(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"a", b"\0"]), max_size=6).map(b"".join), max_size=6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", b""),
        (b"a\r\nb\r\n", b"a\r\nb\r\n"),
        (b"a\nb\n", b"a\r\nb\r\n"),
        (b"a\rb\r", b"a\r\nb\r\n"),
        (b"\n\r", b"\r\n\r\n"),
        (b"\r\r\n", b"\r\n\r\n"),
        (b"no end", b"no end"),
    ],
)
def test_line_ends(text: bytes, expected: bytes) -> None:
    assert b"".join(mended([text])) == expected


@given(PIECES)
def test_how_a_text_is_cut_makes_no_difference_and_every_line_end_is_whole(pieces: list[bytes]) -> None:
    whole = b"".join(mended([b"".join(pieces)]))
    assert b"".join(mended(pieces)) == whole == b"".join(mended([whole]))
    assert whole.count(b"\r") == whole.count(b"\n") == whole.count(b"\r\n")
    assert digest(mended(pieces)) == digest([whole])


@pytest.mark.parametrize(
    ("octets", "kind"), [(0, MemoryMessage), (SMALL, MemoryMessage), (SMALL + 1, FileMessage), (3 * SMALL + 17, FileMessage)]
)
def test_small_ones_stay_in_memory_and_large_ones_do_not(tmp_path: Path, octets: int, kind: type) -> None:
    text = (b"0123456789abcd\r\n" * (octets // 16 + 1))[:octets]
    (tmp_path / "left").write_bytes(text)
    fd = os.open(tmp_path / "left", os.O_RDONLY)
    message = taken(fd, "A" * 32, tmp_path / "kept", Disk(), binary=True)
    os.close(fd)
    assert isinstance(message, kind) and message.size == octets
    if isinstance(message, FileMessage):
        assert message.path.read_bytes() == text


def test_a_text_that_grows_beyond_the_bound_by_mending_is_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "left").write_bytes(b"\n" * SMALL)
    fd = os.open(tmp_path / "left", os.O_RDONLY)
    message = taken(fd, "A" * 32, tmp_path, Disk(), binary=False)
    os.close(fd)
    assert isinstance(message, FileMessage) and message.size == 2 * SMALL and message.path.read_bytes() == b"\r\n" * SMALL


def test_a_large_one_goes_with_its_last_handle(tmp_path: Path) -> None:
    (tmp_path / "left").write_bytes(b"a" * (SMALL + 1))
    fd = os.open(tmp_path / "left", os.O_RDONLY)
    message = taken(fd, "A" * 32, tmp_path / "kept", Disk(), binary=True)
    os.close(fd)
    assert len(list(tmp_path.glob("kept/*.MAI"))) == 1
    del message
    assert not list(tmp_path.glob("kept/*"))


def test_a_disk_that_is_full_leaves_no_half_file(tmp_path: Path) -> None:
    (tmp_path / "left").write_bytes(b"a" * (2 * SMALL))
    for at in (1, 2, 3, 4):
        fd = os.open(tmp_path / "left", os.O_RDONLY)
        with pytest.raises(OSError):
            taken(fd, "A" * 32, tmp_path / "kept", FaultDisk(at, "full"), binary=True)
        os.close(fd)
        assert not list(tmp_path.glob("kept/*"))
