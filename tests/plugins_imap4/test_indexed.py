"""The index beside a folder: with it a search says what it says without, whatever happened to the file."""

from __future__ import annotations

import asyncio
import fcntl
import os
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from postroom.clock import SystemClock
from postroom.mailstore import View
from postroom_disk.disk import Disk
from postroom_imap4 import contents, indexed, trigrams
from postroom_imap4.commands import InText
from postroom_imap4.contents import Looked, batch_from
from postroom_imap4.indexed import Index
from postroom_imap4.searching import Asked, search
from postroom_store.folder import LocalFolder
from postroom_testing.clock import HandClock
from postroom_testing.faults import FaultDisk
from postroom_testing.mail import HOSTILE
from tests.plugins_imap4.aided import filled, left, looked, same
from tests.plugins_imap4.shelf import NOW, mail, multipart, part, with_mail
from tests.plugins_imap4.test_searching import MAILS
from tests.providers_store.house import House

GROUP = 3


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Groups of three, so that every seam is met; filling begins at the first search and takes no rest."""
    monkeypatch.setattr(trigrams, "MOST", GROUP)
    monkeypatch.setattr(indexed, "BATCH", 2)
    monkeypatch.setattr(indexed, "LEAST", 1)
    monkeypatch.setattr(contents, "WORTH", 1)
    monkeypatch.setattr(contents, "PAUSE", 0)


def an_index(disk: Disk | None = None) -> Index:
    return Index(disk or Disk(), SystemClock())


def test_it_answers_as_the_messages_do(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        index = an_index()
        await same(folder, index)  # while it is filled
        await filled(folder, index)
        assert await looked(folder, index) == Looked((), [6, 7], 2)  # two groups, and what does not fill a third
        assert await left(folder, index, "geheime") == [3, 6, 7]
        assert await left(folder, index, "x") == [*range(8)]  # too short for it
        await same(folder, index)
        await folder.expunge([2, 4])
        await same(folder, index)
        assert await left(folder, index) == [4, 5]
        await folder.copy([1, 3], folder)
        assert await left(folder, index) == [4, 5, 6, 7]
        await same(folder, index)
        await filled(folder, index)
        assert await left(folder, index) == [7]
        other = an_index()
        await same(folder, other)  # another worker, or the next process, finds it
        assert await left(folder, other) == [7]
        await index.close()
        await other.close()

    with_mail(tmp_path, [*MAILS, mail("six"), mail("seven"), mail("eight")], check)


def test_it_finds_the_decoded_names_of_attachments(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        index = an_index()
        await filled(folder, index)
        assert await left(folder, index, "résumé.PDF") == [1]
        assert await left(folder, index, "jahresbericht") == [2]
        for words in ("Résumé.pdf", "jahresbericht 2026"):
            assert await search(folder, folder.view(), InText(words, headers=True), Asked(NOW, aid=index)) == [1 if "R" in words else 2]
        await index.close()

    name = "application/pdf; name*=utf-8''R%C3%A9sum%C3%A9.pdf"
    word = "application/pdf; name*0=jahres; name*1=bericht; name*2=\" 2026.pdf\""  # fmt: skip
    with_mail(
        tmp_path,
        [mail(), multipart(part(b"x"), part(b"AAAA", name, "base64")), multipart(part(b"x"), part(b"AAAA", word, "base64"))],
        check,
    )


def test_hostile_mail_is_taken_in_or_read(tmp_path: Path) -> None:
    mails = [data for name, data in HOSTILE.items() if name not in ("a long line", "many parts", "deep parts", "deep messages")]

    async def check(house: House, folder: LocalFolder) -> None:
        index = an_index()
        await filled(folder, index)
        assert (await looked(folder, index)).unknown == len(mails) % GROUP
        await same(folder, index)
        await index.close()

    with_mail(tmp_path, mails, check)


def test_much_text_is_always_read_and_a_large_attachment_is_not(tmp_path: Path) -> None:
    attached = multipart(part(b"see the file"), part(b"QUFB" * 200_000, "application/pdf", "base64"))

    async def check(house: House, folder: LocalFolder) -> None:
        index = an_index()
        await filled(folder, index)
        assert await looked(folder, index) == Looked((), [1], 0)
        assert await left(folder, index, "the file") == [1, 2]
        await same(folder, index)
        await index.close()

    with_mail(tmp_path, [mail(), mail("plain words " * 30_000), attached], check)


@pytest.mark.parametrize("how", ["gone", "empty", "torn", "head", "block", "foreign", "longer"])
def test_a_file_that_is_not_whole_is_made_anew(tmp_path: Path, how: str) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        index = an_index()
        path = await filled(folder, index)
        octets = path.read_bytes()
        first = index._files.known[folder].groups[0]
        begin, end = first.block(trigrams.runs(b"plain")[0])
        broken = {
            "empty": b"",
            "torn": octets[:-5],
            "head": octets[:50] + b"\xff" + octets[51:],
            "block": octets[:begin] + b"\xff" * (end - begin) + octets[end:],
            "foreign": b"x" + octets[1:],
            "longer": octets + b"rubbish",
        }
        if how == "gone":
            path.unlink()
        else:
            path.write_bytes(broken[how])
        for one in (index, an_index(), an_index()):
            await same(folder, one)
            await filled(folder, one)
        assert path.read_bytes()[: len(octets)] == octets
        anew = an_index()
        assert len(await left(folder, anew)) == 0
        await same(folder, anew)
        for one in (index, anew):
            await one.close()

    with_mail(tmp_path, [*MAILS, mail("six")], check)


def test_a_folder_made_again_under_the_name_is_not_told_of_the_old_one(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        box = await house.store.mailbox("example", "alice")
        work = await box.create("Work")
        await folder.copy([1, 2, 3], work)
        assert isinstance(work, LocalFolder)
        index = an_index()
        path = await filled(work, index)
        assert await left(work, index) == []
        await box.rename("Work", "Play")
        play = await box.folder("Play")
        assert isinstance(play, LocalFolder) and not path.exists()
        assert await left(play, index) == []  # it went along
        octets = Path(play.directory, indexed.NAME).read_bytes()
        await box.delete("Play")
        assert [found for found in Path(tmp_path).rglob(indexed.NAME)] == []
        again = await box.create("Play")
        assert isinstance(again, LocalFolder)
        await folder.copy([4, 5, 1], again)
        Path(again.directory, indexed.NAME).write_bytes(octets)
        assert len(await left(again, index)) == 3
        await same(again, index)
        await index.filling.filled(again)
        assert await left(again, index) == []
        await same(again, index)
        await index.close()

    with_mail(tmp_path, MAILS, check)


def test_another_worker_at_it_is_left_alone_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        index = an_index()
        path = Path(folder.directory, indexed.NAME)
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        fcntl.flock(fd, fcntl.LOCK_EX)
        await filled(folder, index)
        assert path.read_bytes() == b""
        await same(folder, index)
        os.close(fd)
        await filled(folder, index)
        assert await left(folder, index) == []
        await index.close()

    with_mail(tmp_path, MAILS[:3], check)


def test_two_workers_add_to_one_file(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        one, other = an_index(), an_index()
        await filled(folder, one)
        await folder.copy([1, 2, 3], folder)
        await asyncio.gather(filled(folder, one), filled(folder, other))
        assert await left(folder, one) == await left(folder, other) == []
        await same(folder, one)
        await one.close()
        await other.close()

    with_mail(tmp_path, MAILS[:3], check)


def test_a_disk_that_refuses_harms_no_search(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        for how in ("broken", "full", "full from there"):
            for at in range(1, 5):
                disk = FaultDisk(at, how)
                index = an_index(disk)
                (await filled(folder, index)).unlink(missing_ok=True)
                assert len(disk.calls) >= min(at, 3)
                await same(folder, index)
                await index.close()

    with_mail(tmp_path, [*MAILS, mail("six")], check)


def test_mostly_of_messages_that_are_gone_it_is_made_anew(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        index = an_index()
        path = await filled(folder, index)
        index._files.known[folder].uids.extend([index._files.known[folder].last] * 1_100)
        await left(folder, index)
        await index.filling.filled(folder)
        assert not path.exists()
        await same(folder, index)
        await filled(folder, index)
        assert await left(folder, index) == []
        await index.close()

    with_mail(tmp_path, MAILS[:3], check)


def test_who_is_stopped_while_writing_closes_the_file_behind_the_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that goes on with a closed descriptor might write into any file."""
    done: list[str] = []

    async def check(house: House, folder: LocalFolder) -> None:
        index = an_index()
        append, close = indexed._append, index._disk.close
        loop, begun = asyncio.get_running_loop(), asyncio.Event()

        def slow(*arguments: object) -> object:
            loop.call_soon_threadsafe(begun.set)
            answer = append(*arguments)  # type: ignore[arg-type]
            done.append("written")
            return answer

        def closing(fd: int) -> None:
            done.append("closed")
            close(fd)

        monkeypatch.setattr(indexed, "_append", slow)
        monkeypatch.setattr(index._disk, "close", closing)
        index.filling.begin(folder, folder.view())
        await begun.wait()
        await index.close()
        assert done == ["written", "closed"]

    with_mail(tmp_path, MAILS[:3], check)


def test_it_is_made_after_the_third_search_and_rests_between_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "WORTH", 3)
    monkeypatch.setattr(contents, "PAUSE", 1)

    async def check(house: House, folder: LocalFolder) -> None:
        clock = HandClock()
        index = Index(Disk(), clock)
        view, path = folder.view(), Path(folder.directory, indexed.NAME)
        for _ in range(2):
            await search(folder, view, InText("first", headers=True), Asked(NOW, aid=index))
        await asyncio.sleep(0)
        assert not path.exists()
        await search(folder, view, InText("first", headers=True), Asked(NOW, aid=index))
        rests = 0
        while await looked(folder, index) != Looked((), [3, 4], 2):
            if clock.sleepers:
                rests += 1
                await clock.advance(1)
            await asyncio.sleep(0)
        await index.filling.filled(folder)
        assert rests > 3  # two while messages are read, more while the group is made
        assert await left(folder, index) == [3, 4]
        await index.close()

    with_mail(tmp_path, MAILS, check)


@pytest.mark.parametrize(
    ("octets", "first", "rows"),
    [
        ([3_000] * 20, 0, range(10)),
        ([3_000] * 20, 15, range(15, 20)),
        ([60_000] * 20, 3, range(3, 5)),
        ([3_000, 900_000, 3_000], 0, range(1)),
        ([3_000, 900_000, 3_000], 1, range(1, 2)),
    ],
)
def test_few_large_messages_are_taken_in_between_two_rests(octets: list[int], first: int, rows: range) -> None:
    """As many large ones as small ones were, and the loop waited for all of them."""
    assert batch_from(cast(View, SimpleNamespace(octets=octets)), first, 10) == rows
