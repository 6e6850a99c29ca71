"""Files on a disk that fails, dies and is shared: old or new, never between, and nothing lost of what others wrote."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from postroom_disk.disk import Disk
from postroom_tab import files
from postroom_tab.files import Busy, Rewrite
from postroom_testing.clock import HandClock
from postroom_testing.faults import Died, FaultDisk, PowerDisk

OLD = {"a.TAB": b"old a\r\n", "deep/b.TAB": b"old b\r\n"}
NEW = {"a.TAB": b"new a\r\n", "deep/b.TAB": b"new b\r\n", "new/folder/c.TAB": b"new c\r\n"}


def _old_files(folder: Path) -> None:
    (folder / "deep").mkdir(parents=True)
    for name, data in OLD.items():
        (folder / name).write_bytes(data)


def _commit(disk: Disk, folder: Path, names: list[str]) -> None:
    files.commit(disk, folder, [Rewrite(folder / name, NEW[name]) for name in names])


def _texts(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.TAB")}


def _calls(folder: Path, names: list[str]) -> int:
    _old_files(folder)
    disk = FaultDisk()
    _commit(disk, folder, names)
    return len(disk.calls)


@pytest.mark.long
@pytest.mark.parametrize("names", [["a.TAB"], ["a.TAB", "deep/b.TAB", "new/folder/c.TAB"]], ids=["one", "three"])
@pytest.mark.parametrize("how", ["die", "tear", "full", "broken", "full from there"])
def test_a_change_that_fails_at_any_call_is_whole_or_not_at_all(tmp_path: Path, names: list[str], how: str) -> None:
    outcomes = set()
    for at in range(1, _calls(tmp_path / "count", names) + 1):
        folder = tmp_path / f"site{at}"
        _old_files(folder)
        disk = FaultDisk(at, how)
        with contextlib.suppress(Died, OSError):
            _commit(disk, folder, names)
        disk.bury()
        assert set(OLD) <= set(_texts(folder))
        files.recover(Disk(), folder)
        now = _texts(folder)
        assert now in (OLD, {**OLD, **{name: NEW[name] for name in names}}), f"at call {at}, {disk.calls[-1]}"
        assert not files.is_unfinished(folder)
        outcomes.add(now == OLD)
    assert outcomes == {True, False}


@pytest.mark.long
@pytest.mark.parametrize("names", [["a.TAB"], ["a.TAB", "deep/b.TAB", "new/folder/c.TAB"]], ids=["one", "three"])
def test_a_power_cut_at_any_call_leaves_all_or_none(tmp_path: Path, names: list[str]) -> None:
    calls = _calls(tmp_path / "count", names)
    for at in range(1, calls + 2):
        folder = tmp_path / f"site{at}"
        _old_files(folder)
        disk = PowerDisk(folder, at)
        with contextlib.suppress(Died):
            _commit(disk, folder, names)
        disk.bury()
        for seed in (None, 1, 2, 3):
            left = tmp_path / "left"
            disk.cut(left, seed)
            files.recover(Disk(), left)
            new = {**OLD, **{name: NEW[name] for name in names}}
            assert _texts(left) in ((new,) if at > calls else (OLD, new)), f"at call {at}, seed {seed}"


@pytest.mark.parametrize("lie", ["fsync"])
def test_the_test_of_power_cuts_sees_a_missing_sync(tmp_path: Path, lie: str) -> None:
    _old_files(tmp_path / "site")
    disk = PowerDisk(tmp_path / "site", lie=lie)
    _commit(disk, tmp_path / "site", ["a.TAB"])
    disk.cut(tmp_path / "left")
    assert _texts(tmp_path / "left") == OLD


def test_recovery_that_dies_is_recovered_from(tmp_path: Path) -> None:
    names = list(NEW)
    for at in range(1, 60):
        folder = tmp_path / f"site{at}"
        _old_files(folder)
        with pytest.raises(Died):
            _commit(FaultDisk(_first_link(tmp_path / f"count{at}", names)), folder, names)
        assert files.is_unfinished(folder)
        disk = FaultDisk(at)
        with contextlib.suppress(Died):
            files.recover(disk, folder)
        files.recover(Disk(), folder)
        disk.bury()
        assert _texts(folder) == NEW
        if not disk.dead:
            return
    raise AssertionError("recovery never came to its end")


def _first_link(folder: Path, names: list[str]) -> int:
    """The call at which the first old text is kept, which is after the intent is written."""
    _old_files(folder)
    disk = FaultDisk()
    _commit(disk, folder, names)
    return disk.calls.index("link") + 1


def test_a_full_disk_gets_its_space_back(tmp_path: Path) -> None:
    _old_files(tmp_path)
    with pytest.raises(OSError, match="space"):
        _commit(FaultDisk(_first(tmp_path / "count", "write"), "full"), tmp_path, ["a.TAB"])
    assert not list(tmp_path.glob(".*"))


def _first(folder: Path, call: str) -> int:
    _old_files(folder)
    disk = FaultDisk()
    _commit(disk, folder, ["a.TAB"])
    return disk.calls.index(call) + 1


def test_the_previous_text_is_kept_beside_it(tmp_path: Path) -> None:
    _old_files(tmp_path)
    _commit(Disk(), tmp_path, ["a.TAB"])
    assert (tmp_path / "a.SAV").read_bytes() == OLD["a.TAB"]
    (tmp_path / "l.tab").write_bytes(b"x")
    files.commit(Disk(), tmp_path, [Rewrite(tmp_path / "l.tab", b"y")])
    assert (tmp_path / "l.sav").read_bytes() == b"x"


def test_a_file_system_without_links_gets_a_copy(tmp_path: Path) -> None:
    class Flat(Disk):
        @staticmethod
        def link(*arguments: Any, **named: Any) -> None:
            raise PermissionError(errno.EPERM, "Operation not permitted")

    _old_files(tmp_path)
    _commit(Flat(), tmp_path, ["a.TAB"])
    assert _texts(tmp_path) == {**OLD, "a.TAB": NEW["a.TAB"]}
    assert (tmp_path / "a.SAV").read_bytes() == OLD["a.TAB"]


def test_a_file_keeps_its_mode_and_a_secret_is_ours_alone(tmp_path: Path) -> None:
    _old_files(tmp_path)
    (tmp_path / "a.TAB").chmod(0o664)
    _commit(Disk(), tmp_path, list(NEW))
    files.commit(Disk(), tmp_path, [Rewrite(tmp_path / "deep/b.TAB", b"s", secret=True)])
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in NEW]
    assert modes == [0o664, 0o600, 0o600]


def test_a_link_to_a_file_stays_a_link(tmp_path: Path) -> None:
    _old_files(tmp_path)
    (tmp_path / "l.TAB").symlink_to("deep/b.TAB")
    files.commit(Disk(), tmp_path, [Rewrite(tmp_path / "l.TAB", b"new")])
    assert (tmp_path / "l.TAB").is_symlink()
    assert (tmp_path / "deep/b.TAB").read_bytes() == b"new"


def test_reading_tells_the_signature_of_what_was_read(tmp_path: Path) -> None:
    path = tmp_path / "a.TAB"
    assert files.read(path) == (None, b"")
    path.write_bytes(b"one")
    seen, data = files.read(path)
    assert (seen, data) == (files.signature(path), b"one")
    path.write_bytes(b"three")
    assert files.signature(path) != seen


def test_a_folder_in_place_of_a_file_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "a.TAB").mkdir()
    with pytest.raises(OSError):
        files.read(tmp_path / "a.TAB")


# The lock.


def test_the_lock_is_held_by_one(tmp_path: Path) -> None:
    async def main() -> None:
        held: list[str] = []

        async def hold(name: str) -> None:
            async with files.locked(Disk(), HandClock(), tmp_path, 10):
                held.append(name)
                await asyncio.sleep(0)
                held.append(name)

        await asyncio.gather(hold("a"), hold("b"), hold("c"))
        assert held[0::2] == held[1::2]
        assert sorted(held) == ["a", "a", "b", "b", "c", "c"]

    asyncio.run(main())


def test_a_lock_that_is_not_given_back_makes_busy(tmp_path: Path) -> None:
    async def main() -> None:
        clock = HandClock()
        fd = os.open(tmp_path / files.LOCK, os.O_RDWR | os.O_CREAT)
        fcntl.flock(fd, fcntl.LOCK_EX)
        try:
            waiting = asyncio.ensure_future(_take(clock, tmp_path))
            await clock.advance(9)
            assert not waiting.done()
            await clock.advance(1)
            with pytest.raises(Busy, match="10 s"):
                await waiting
            assert clock.sleepers == 0
        finally:
            os.close(fd)
        await _take(clock, tmp_path)

    asyncio.run(main())


def test_who_is_cancelled_while_waiting_leaves_the_lock_to_others(tmp_path: Path) -> None:
    async def main() -> None:
        clock = HandClock()
        async with files.locked(Disk(), clock, tmp_path, 10):
            waiting = asyncio.ensure_future(_take(clock, tmp_path))
            await clock.advance(1)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
        await _take(clock, tmp_path)

    asyncio.run(main())


async def _take(clock: HandClock, folder: Path) -> None:
    async with files.locked(Disk(), clock, folder, 10):
        pass
