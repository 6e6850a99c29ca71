"""The register of who shares: durable, reversible, right across workers, and a hint only."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postroom.errors import StoreError
from postroom_disk.disk import Disk, DiskError
from postroom_imap4.register import Register, component
from postroom_testing.faults import Died, FaultDisk


def register(root: Path, disk: Disk | None = None, now: float = 2e9) -> Register:
    return Register(root, disk or Disk(), lambda: now)


def test_two_workers_see_each_other(tmp_path: Path) -> None:
    one, other = register(tmp_path), register(tmp_path)
    assert not one.owners("po", "bob@po") and not other.has("po", "bob@po", "ann")
    one.add("po", "bob@po", "ann")
    one.add("po", "bob@po", "../zoe")
    assert other.owners("po", "bob@po") == {"ann", "../zoe"} and not other.owners("po2", "bob@po")
    other.remove("po", "bob@po", "ann")
    os.utime(tmp_path / "Sharing" / "po" / "bob@po", ns=(1, 1))  # as if the clock had ticked
    assert one.owners("po", "bob@po") == {"../zoe"}
    other.remove("po", "bob@po", "nobody")


def test_a_change_within_one_tick_of_the_disks_clock_is_seen(tmp_path: Path) -> None:
    """What is remembered goes by a time of change that two changes may share."""
    one, other = (register(tmp_path, now=os.stat(tmp_path).st_mtime) for _ in range(2))
    one.add("po", "x", "ann")
    place = tmp_path / "Sharing" / "po" / "x"
    before = os.stat(place).st_mtime_ns
    assert one.owners("po", "x") == {"ann"}
    other.add("po", "x", "zoe")
    os.utime(place, ns=(before, before))
    assert one.owners("po", "x") == {"ann", "zoe"}


@given(st.text(min_size=1, max_size=40))
def test_any_name_is_one_file_name(name: str) -> None:
    try:
        found = component(name)
    except (StoreError, UnicodeEncodeError):
        return
    assert "/" not in found and found not in (".", "..") and not found.startswith(".") and len(found) <= 250
    assert unquote(found) == name


def test_a_name_that_is_too_long_is_told(tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        register(tmp_path).add("po", "x" * 300, "ann")
    assert not register(tmp_path).owners("po", "x" * 300)


def test_a_death_at_any_call_leaves_it_whole(tmp_path: Path) -> None:
    for at in range(1, 40):
        root = tmp_path / str(at)
        root.mkdir()
        disk = FaultDisk(at)
        try:
            register(root, disk).add("po", "bob@po", "ann")
        except Died:
            assert register(root).owners("po", "bob@po") <= {"ann"}
            register(root).add("po", "bob@po", "ann")
        else:
            return
        assert register(root).owners("po", "bob@po") == {"ann"}
    raise AssertionError("it never ended")


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    with pytest.raises(DiskError):
        register(tmp_path, FaultDisk(1, "full")).add("po", "bob@po", "ann")
    assert not register(tmp_path).owners("po", "bob@po")
