"""Whole messages from a disk that is slow: read in threads, some portions before their turn, and told as from a fast one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from postroom.errors import DiskError
from postroom.mailstore import FLAGGED
from postroom_imap4.commands import AllOf, HasFlag, InText, Macro, Section
from postroom_imap4.fetching import FILES, Fetching
from postroom_imap4.sections import SMALL
from postroom_store import reading
from postroom_store import view as view_module
from postroom_store.folder import LocalFolder
from tests.plugins_imap4.shelf import fetched, found, mail, with_mail
from tests.providers_store.house import House

WHOLE = Section(b"BODY[]")
MANY = 10 * FILES + 3


class SlowDisk:
    """Nothing is at hand before it is read; who reads whole messages, and how many at once."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, slow_from: int = 0, *, together: bool = True) -> None:
        self._together = together
        self.readers: list[int] = []
        self.most = self._now = 0
        self._lock = threading.Lock()
        self._both = threading.Event()  # two were at it at once
        self.broken: Callable[[Sequence[str]], bool] = lambda ids: False
        self._whole, self.looks, self._slow_from = reading.read_whole, 0, slow_from
        monkeypatch.setattr(reading, "_is_at_hand", self._is_at_hand)
        monkeypatch.setattr(view_module, "read_whole", self._read)

    def _is_at_hand(self, fd: int, offset: int) -> bool:
        self.looks += 1
        return self.looks <= self._slow_from

    def _read(self, directory: str, ids: Sequence[str], octets: Sequence[int], *, waits: bool = True) -> list[bytes]:
        if not waits:
            return self._whole(directory, ids, octets, waits=False)  # each is looked at before
        with self._lock:
            self.readers.append(threading.get_ident())
            self._now += 1
            self.most = max(self.most, self._now)
            if self._now > 1:
                self._both.set()
        if self._together and threading.get_ident() != threading.main_thread().ident:
            self._both.wait(5)
        try:
            if self.broken(ids):
                raise DiskError("the disk is gone")
            return self._whole(directory, ids, octets)
        finally:
            with self._lock:
                self._now -= 1


def many() -> list[bytes]:
    return [mail(f"This is letter {number}.", f"letter {number}") for number in range(MANY)]


@pytest.mark.parametrize("slow_from", [0, 3])
def test_what_lies_on_a_slow_disk_kept_the_loop_waiting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow_from: int) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        fast = await fetched(folder, Macro.UID, WHOLE)
        disk = SlowDisk(monkeypatch, slow_from)
        assert await fetched(folder, Macro.UID, WHOLE) == fast
        here = threading.get_ident()
        assert [reader == here for reader in disk.readers[:slow_from]] == [True] * slow_from
        assert here not in disk.readers[slow_from:] and len(disk.readers) == MANY // FILES
        assert 1 < disk.most <= 4

    with_mail(tmp_path, many(), check)


def test_a_large_one_and_few_among_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mails = many()
    mails[70] = mail("x" * 70 + "\r\n" * (SMALL // 2))
    mails[3] = mails[90] = mail("y" * 200_000)

    async def check(house: House, folder: LocalFolder) -> None:
        spans = [(0, 2), (3, 100), (200, 203), (300, 365)]
        fast = await fetched(folder, WHOLE, Macro.PREVIEW, spans=spans)
        disk = SlowDisk(monkeypatch)
        assert await fetched(folder, WHOLE, Macro.PREVIEW, spans=spans) == fast
        assert threading.get_ident() not in disk.readers

    with_mail(tmp_path, mails, check)


def test_what_goes_while_it_is_read_ahead_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        SlowDisk(monkeypatch)
        fetching = Fetching(folder, folder.view())
        pieces = fetching.pieces([(0, MANY)], [WHOLE], by_uid=False)
        told = [await anext(pieces)]
        await folder.expunge([MANY])
        told += [piece async for piece in pieces]
        assert fetching.gone and b"".join(told).count(b" FETCH (") == MANY - 1

    with_mail(tmp_path, many(), check)


def test_a_disk_that_fails_is_told_behind_whole_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        ids = set(folder.view().ids[5 * FILES :])
        disk = SlowDisk(monkeypatch)
        disk.broken = lambda asked: not ids.isdisjoint(asked)
        told = []
        with pytest.raises(DiskError):
            async for piece in Fetching(folder, folder.view()).pieces([(0, MANY)], [WHOLE], by_uid=False):
                told.append(piece)
        assert b"".join(told).count(b" FETCH (") <= 5 * FILES

    with_mail(tmp_path, many(), check)


def test_who_leaves_in_the_middle_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        said: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: said.append(context))
        disk = SlowDisk(monkeypatch)
        pieces = Fetching(folder, folder.view()).pieces([(0, MANY)], [WHOLE], by_uid=False)
        await anext(pieces)
        disk.broken = lambda asked: True
        await pieces.aclose()  # type: ignore[attr-defined]
        for _ in range(3):
            await asyncio.sleep(0)
        assert len(asyncio.all_tasks()) == 1 and not said

    with_mail(tmp_path, many(), check)


def test_search_by_reading_does_not_keep_the_loop_waiting_either(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        key = InText("letter 77", headers=True)
        fast = await found(folder, key)
        disk = SlowDisk(monkeypatch, together=False)
        assert await found(folder, key) == fast and 77 in fast
        assert disk.readers and threading.get_ident() not in disk.readers

    with_mail(tmp_path, many(), check)


def test_messages_here_and_there_are_read_together_from_the_first_that_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that an index names, or that a flag picks."""

    async def check(house: House, folder: LocalFolder) -> None:
        picked = list(range(1, 150, 3))
        await folder.change_flags([folder.view().uids[row] for row in picked], add=FLAGGED)
        key = AllOf((HasFlag("\\Flagged", True), InText("letter 4", headers=True)))
        fast = await found(folder, key)
        assert fast and set(fast) < set(picked)
        disk = SlowDisk(monkeypatch, slow_from=7, together=False)
        assert await found(folder, key) == fast
        assert len(picked) == 50 and disk.looks == 7 + 1 + 1, "of the first 25 seven are at hand, of the others none"
        assert len(disk.readers) == 2 and threading.get_ident() not in disk.readers

    with_mail(tmp_path, many(), check)
