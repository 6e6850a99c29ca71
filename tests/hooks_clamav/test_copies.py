"""Changed messages: in memory, and in files that go with their last handle."""

from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from postroom.errors import DiskError
from postroom.message import FileMessage, MemoryMessage
from postroom_clamav.copies import Copies, head_of
from postroom_disk.disk import Disk
from postroom_mime.headers import MAX_HEADER
from postroom_testing.clock import HandClock
from tests.hooks_clamav.house import TEXT, large, small

HEAD = TEXT.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def copies_in(folder: Path, disk: Disk | None = None) -> Copies:
    return Copies(folder / "run" / "clamav" / "0", disk or Disk(), HandClock())


def test_a_small_message_stays_in_memory(tmp_path: Path) -> None:
    message = small()
    changed = asyncio.run(copies_in(tmp_path).changed(message, len(HEAD), b"New: head\r\n\r\n"))
    assert isinstance(changed, MemoryMessage) and changed.id == message.id
    assert changed.data == b"New: head\r\n\r\nbody\r\n" and message.data == TEXT
    assert not (tmp_path / "run").exists()


def test_a_large_message_is_copied_and_goes_with_its_last_handle(tmp_path: Path) -> None:
    message = large(tmp_path, octets=1_000_000)
    before = message.path.read_bytes()
    changed = asyncio.run(copies_in(tmp_path).changed(message, len(HEAD), b"New: head\r\n\r\n"))
    assert isinstance(changed, FileMessage) and changed.id == message.id
    assert changed.path.read_bytes() == b"New: head\r\n\r\n" + before[len(HEAD) :]
    assert changed.size == changed.path.stat().st_size
    assert message.path.read_bytes() == before
    assert changed.path.stat().st_mode & 0o777 == 0o600
    kept = tmp_path / "kept"
    os.link(changed.path, kept)
    path = Path(changed.path)
    del changed
    assert not path.exists() and kept.exists()


def test_a_disk_that_refuses_leaves_nothing_behind(tmp_path: Path) -> None:
    class Full(Disk):
        def write_all(self, fd: int, data: bytes) -> None:
            if data.startswith(b"0123"):
                raise OSError(errno.ENOSPC, "No space left on device")
            super().write_all(fd, data)

    message = large(tmp_path, head=b"")
    with pytest.raises(DiskError, match="No space left") as told:
        asyncio.run(copies_in(tmp_path, Full()).changed(message, 0, b"New: head\r\n"))
    assert told.value.full
    assert not list((tmp_path / "run" / "clamav" / "0").iterdir())


def test_the_next_start_sweeps_what_was_left_and_nothing_in_use(tmp_path: Path) -> None:
    copies = copies_in(tmp_path)
    copies.sweep()  # there is no folder yet
    changed = asyncio.run(copies.changed(large(tmp_path), 0, b""))
    assert isinstance(changed, FileMessage)
    left = changed.path.with_name("LEFT")
    left.write_bytes(b"x")
    copies.sweep()
    assert changed.path.exists() and not left.exists()
    copies_in(tmp_path).sweep()  # another life, in which nobody uses it
    assert not changed.path.exists()


@pytest.mark.parametrize("octets", [0, 15_000, 17_000, 300_000])
def test_the_header_is_found_however_long_it_is(tmp_path: Path, octets: int) -> None:
    head = b"From: a\r\n" + b"X-Long: " + b"x" * octets + b"\r\n\r\n"
    assert asyncio.run(head_of(large(tmp_path, head=head))) == head
    assert asyncio.run(head_of(small(head + b"body"))) == head


def test_a_header_without_end_is_read_so_far_and_no_farther(tmp_path: Path) -> None:
    endless = large(tmp_path, head=b"From: a\r\n", octets=3_000_000)
    assert len(asyncio.run(head_of(endless))) == MAX_HEADER
    assert asyncio.run(head_of(small(b"From: a\r\n"))) == b"From: a\r\n"
