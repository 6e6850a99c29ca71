"""postroom_smtp.content: memory that does not grow, a file that is whole or gone."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from postroom.errors import DiskError
from postroom.message import SMALL, FileMessage, MemoryMessage
from postroom_disk.disk import Disk
from postroom_smtp.content import Content
from tests.plugins_smtp.desk import run

LINE = b"x" * 998 + b"\r\n"


class Refusing(Disk):
    """Fails at one named call."""

    def __init__(self, call: str, number: int, after: int = 0) -> None:
        def fail(*args: object, **kwargs: object) -> int:
            self.left -= 1
            if self.left < 0:
                raise OSError(number, os.strerror(number))
            return real(*args, **kwargs)  # type: ignore[no-any-return]

        self.left = after
        real = getattr(Disk, call)
        setattr(self, call, fail)


def content(folder: Path, disk: Disk | None = None) -> Content:
    return Content("ID", b"Trace: x\r\n", disk or Disk(), lambda name: folder / f"{name}.MAI")


def test_a_small_message_stays_in_memory(tmp_path: Path) -> None:
    one = content(tmp_path)
    for block in (b"", b"a", b"b" * 1000, b""):
        one.add(block)
    message = one.finish()
    assert isinstance(message, MemoryMessage)
    assert message.data == b"Trace: x\r\na" + b"b" * 1000 and message.size == one.size
    assert list(tmp_path.iterdir()) == []


def test_many_tiny_blocks_are_joined_now_and_then(tmp_path: Path) -> None:
    one = content(tmp_path)
    for _ in range(50_000):
        one.add(b"x")
        assert len(one._blocks) <= 129
    assert one.finish().size == 50_010


@pytest.mark.parametrize("block", [LINE, LINE * 64, LINE * 300, b"\r\n" * 20_000])
def test_a_large_message_streams_into_its_file(tmp_path: Path, block: bytes) -> None:
    one = content(tmp_path)
    wanted = [b"Trace: x\r\n"]
    while one.size <= 2 * SMALL:
        one.add(block)
        wanted.append(block)
        assert sum(map(len, one._blocks)) <= SMALL + len(block)
    assert one.head() is None
    message = one.finish()
    assert isinstance(message, FileMessage)
    assert message.path.read_bytes() == b"".join(wanted)
    assert message.size == one.size
    assert message.path.stat().st_mode & 0o777 == 0o600


def test_no_write_is_larger_than_the_limit(tmp_path: Path) -> None:
    sizes = []

    class Watching(Disk):
        def write(self, fd: int, data: bytes) -> int:  # type: ignore[override]
            sizes.append(len(data))
            return os.write(fd, data)

    one = content(tmp_path, Watching())
    one.add(b"x" * (3 * SMALL + 1))
    one.finish()
    assert max(sizes) <= SMALL and sum(sizes) == one.size


def test_a_short_write_goes_on(tmp_path: Path) -> None:
    class Short(Disk):
        def write(self, fd: int, data: bytes) -> int:  # type: ignore[override]
            return os.write(fd, data[:1000])

    one = content(tmp_path, Short())
    one.add(LINE * 300)
    message = one.finish()
    assert run(message.read()) == b"Trace: x\r\n" + LINE * 300


@pytest.mark.parametrize("how", ["small", "large", "begun"])
def test_discard_leaves_nothing(tmp_path: Path, how: str) -> None:
    one = content(tmp_path)
    one.add(LINE * (1 if how == "small" else 300))
    if how == "large":
        one.finish()
    one.discard()
    one.discard()
    one.add(b"more")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(DiskError):
        one.finish()


@pytest.mark.parametrize("call", ["open", "write", "close"])
@pytest.mark.parametrize(("number", "full"), [(errno.ENOSPC, True), (errno.EDQUOT, True), (errno.EIO, False)])
def test_a_disk_that_refuses_is_told_at_the_end(tmp_path: Path, call: str, number: int, full: bool) -> None:
    """Case 5: no partial file is left, and the peer is listened to until it has finished."""
    one = content(tmp_path, Refusing(call, number))
    for _ in range(600):
        one.add(LINE)
    with pytest.raises(DiskError) as caught:
        one.finish()
    assert caught.value.full is full
    one.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fills_up_on_the_way(tmp_path: Path) -> None:
    one = content(tmp_path, Refusing("write", errno.ENOSPC, after=3))
    for _ in range(2000):
        one.add(LINE)
        assert sum(map(len, one._blocks)) <= SMALL + len(LINE)
    with pytest.raises(DiskError):
        one.finish()
    one.discard()
    assert list(tmp_path.iterdir()) == []


def test_a_name_that_is_taken_is_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "ID.MAI").write_bytes(b"somebody else's")
    one = content(tmp_path)
    one.add(LINE * 300)
    with pytest.raises(DiskError):
        one.finish()
    one.discard()
    assert (tmp_path / "ID.MAI").read_bytes() == b"somebody else's"
