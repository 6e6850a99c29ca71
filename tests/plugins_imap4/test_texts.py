"""The file of decoded text: it says what reading the messages says, whatever happened to it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from postroom.clock import SystemClock
from postroom_disk.disk import Disk
from postroom_imap4 import contents, texts
from postroom_imap4.sections import SMALL
from postroom_imap4.texts import Texts
from postroom_store.folder import LocalFolder
from postroom_testing.faults import FaultDisk
from postroom_testing.mail import HOSTILE
from tests.plugins_imap4.aided import filled, left, same
from tests.plugins_imap4.shelf import mail, with_mail
from tests.plugins_imap4.test_searching import MAILS
from tests.providers_store.house import House


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches and windows so small that every seam is met; filling begins at once."""
    monkeypatch.setattr(texts, "BATCH", 3)
    monkeypatch.setattr(texts, "_WINDOW", 64)
    monkeypatch.setattr(texts, "LEAST", 1)
    monkeypatch.setattr(contents, "WORTH", 1)
    monkeypatch.setattr(contents, "PAUSE", 0)


def test_it_answers_as_the_messages_do(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        kept = Texts(Disk(), SystemClock())
        await same(folder, kept)  # while it is filled
        await filled(folder, kept)
        assert await left(folder, kept) == []
        await same(folder, kept)
        await folder.expunge([2, 4])
        await same(folder, kept)
        await folder.copy([1, 3], folder)
        assert len(await left(folder, kept)) == 2
        await same(folder, kept)
        await filled(folder, kept)
        assert await left(folder, kept) == []
        other = Texts(Disk(), SystemClock())
        await same(folder, other)  # another worker, or the next process, finds it
        assert await left(folder, other) == []
        await kept.close()
        await other.close()

    with_mail(tmp_path, MAILS, check)


def test_hostile_mail_is_taken_in_or_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_WINDOW", 1 << 14)
    mails = [data for name, data in HOSTILE.items() if name not in ("a long line", "many parts", "deep parts", "deep messages")]

    async def check(house: House, folder: LocalFolder) -> None:
        kept = Texts(Disk(), SystemClock())
        await filled(folder, kept)
        assert await left(folder, kept) == [row for row, data in enumerate(mails) if len(data) > SMALL]
        await same(folder, kept)
        await kept.close()

    with_mail(tmp_path, mails, check)


def test_what_is_too_large_is_read_each_time(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        kept = Texts(Disk(), SystemClock())
        await filled(folder, kept)
        assert await left(folder, kept) == [1]
        await same(folder, kept)
        await kept.close()

    with_mail(tmp_path, [mail(), mail("plain words " * 30_000), mail("x")], check)


@pytest.mark.parametrize("cut", ["gone", "empty", "torn", "damaged", "foreign"])
def test_a_file_that_is_not_whole_is_mended(tmp_path: Path, cut: str) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        kept = Texts(Disk(), SystemClock())
        path = await filled(folder, kept)
        octets = path.read_bytes()
        middle = len(octets) // 2
        if cut == "gone":
            path.unlink()
        else:
            left_of = {
                "empty": b"",
                "torn": octets[:-5],
                "damaged": octets[:middle] + b"\xff" + octets[middle + 1 :],
                "foreign": b"x" + octets[1:],
            }
            path.write_bytes(left_of[cut])
        for one in (kept, Texts(Disk(), SystemClock())):
            if not (one is kept and cut in ("damaged", "foreign")):  # this process has checked it; the next one has not
                await same(folder, one)
                await one.filling.filled(folder)
        anew = Texts(Disk(), SystemClock())
        await filled(folder, anew)
        assert path.read_bytes() == octets
        await same(folder, anew)
        for one in (kept, anew):
            await one.close()

    with_mail(tmp_path, MAILS, check)


def test_another_worker_at_it_is_left_alone(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        kept = Texts(Disk(), SystemClock())
        path = Path(folder.directory, texts.NAME)
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(fd, fcntl.LOCK_EX)
        await filled(folder, kept)
        assert path.read_bytes() == b""
        os.close(fd)
        await filled(folder, kept)
        assert await left(folder, kept) == []
        await kept.close()

    with_mail(tmp_path, MAILS, check)


def test_a_disk_that_refuses_harms_no_search(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        for how in ("broken", "full", "full from there"):
            for at in range(1, 7):
                disk = FaultDisk(at, how)
                kept = Texts(disk, SystemClock())
                (await filled(folder, kept)).unlink(missing_ok=True)
                assert len(disk.calls) >= min(at, 3)
                await same(folder, kept)
                await kept.close()

    with_mail(tmp_path, MAILS, check)


def test_mostly_of_messages_that_are_gone_it_is_made_anew(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        kept = Texts(Disk(), SystemClock())
        path = await filled(folder, kept)
        before = path.stat().st_size
        for _ in range(3):
            await folder.expunge(list(folder.view().uids)[:-1])
            for _ in range(9):
                await folder.copy(list(folder.view().uids)[:1], folder)
        kept._files.known[folder].uids.extend([kept._files.known[folder].last] * 1_100)
        await filled(folder, kept)
        assert path.stat().st_size < 3 * before
        await same(folder, Texts(Disk(), SystemClock()))
        await kept.close()

    with_mail(tmp_path, MAILS, check)
