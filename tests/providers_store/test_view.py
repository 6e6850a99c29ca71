"""Many rows of a view at once say what each says by itself, also after the log was written anew and for messages that are gone."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from postroom.errors import NoSuchMessage
from postroom.mailstore import SEEN
from postroom_disk.disk import DiskError
from postroom_store.compaction import compact
from postroom_store.folder import LocalFolder
from postroom_store.reading import read_part, read_whole
from postroom_store.view import _FEW, _NEAR, FolderView
from tests.providers_store.house import House, letter, run


def same(view: FolderView) -> None:
    rows = range(len(view))
    texts: dict[str, Callable[[int], bytes]] = {
        "envelope": view.envelope,
        "bodystructure": view.bodystructure,
        "parts": view.parts,
        "header": view.header,
        "subject": view.subject,
        "base_subject": view.base_subject,
    }
    for what, one in texts.items():
        assert list(view.texts(what, 0, len(view) + 5)) == [one(row) for row in rows]
        assert list(view.texts(what, 1, 3)) == [one(1), one(2)] and list(view.texts(what, 2, 2)) == []
    for what in ("arrived", "saved", "sent"):
        assert list(view.numbers(what, 0, len(view))) == [getattr(view.message(row), what) for row in rows]
    assert list(view.numbers("sent_zone", 1, 3)) == [60, 60] and list(view.numbers("is_plain", 0, 2)) == [True, True]


def test_many_rows_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        for number in range(5):
            await house.deliver(letter(number))
        folder: LocalFolder = await house.folder()
        same(folder.view())
        house.close()

    run(main())


@pytest.mark.parametrize("apart", [0, 40], ids=["side by side", "far apart"])
def test_many_rows_say_what_each_says_wherever_they_lie_in_the_log(tmp_path: Path, apart: int) -> None:
    """Those that lie close are taken from a copy of that stretch."""

    async def main() -> None:
        house = House(tmp_path)
        folder = await house.folder()
        for number in range(3 * _FEW):
            await folder.append(letter(number, text="Hello.\r\n" * number))
            for _ in range(apart):  # records between two arrivals
                await folder.change_flags([1], add=SEEN)
                await folder.change_flags([1], remove=SEEN)
        offsets, view = folder.columns.offsets, folder.view()
        assert (offsets[-1] - offsets[0] > _NEAR * len(offsets)) == bool(apart)
        same(view)
        subjects = [f"letter {number}".encode() for number in range(3 * _FEW)]
        assert list(view.texts("subject", 5, 5 + _FEW + 1)) == subjects[5 : 5 + _FEW + 1]
        house.close()

    run(main())


def test_a_view_older_than_its_log(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        for number in range(5):
            await house.deliver(letter(number))
        folder = await house.folder()
        view = folder.view()
        await folder.expunge([5])
        compact(await house.folder())
        before = folder.view()
        assert list(view.texts("subject", 0, 4)) == [before.subject(row) for row in range(4)]
        with pytest.raises(NoSuchMessage):
            view.texts("subject", 0, 5)
        house.close()

    run(main())


@pytest.mark.parametrize("looked_into", [False, True])
def test_a_view_of_a_folder_read_what_lay_under_its_uids_in_the_one_that_took_its_place(tmp_path: Path, looked_into: bool) -> None:
    async def main() -> None:
        house = House(tmp_path)
        other = house.beside()
        await house.deliver(letter(1), folder="Work")
        folder = await house.folder("Work")
        view = folder.view()
        if looked_into:
            assert b'"Letter 1"' in view.envelope(0)
        await (await other.store.mailbox("example", "alice")).delete("Work")
        await other.deliver(letter(2), folder="Work")
        await house.deliver(letter(3), folder="Work")
        assert len((await house.folder("Work")).view()) == 2
        for ask in (lambda: view.envelope(0), lambda: view.texts("envelope", 0, 1)):
            with pytest.raises(NoSuchMessage):
                ask()
        house.close()
        other.close()

    run(main())


def test_whole_texts_are_those_of_the_files(tmp_path: Path) -> None:
    async def main() -> None:
        house = House(tmp_path)
        for number in range(3):
            await house.deliver(letter(number))
        folder = await house.folder()
        view = folder.view()
        assert list(view.messages(range(len(view)))) == [await folder.read(uid) for uid in view.uids]
        assert list(view.messages([])) == list(view.messages(range(1, 1))) == []
        assert list(view.messages([0, 2])) == [await folder.read(1), await folder.read(3)]
        await folder.expunge([2])
        with pytest.raises(NoSuchMessage):
            view.messages(range(3))
        assert list(view.messages([2])) == [await folder.read(3)]
        house.close()

    run(main())


def test_whole_texts_say_whose_fault_it_is(tmp_path: Path) -> None:
    with pytest.raises(NoSuchMessage):
        read_whole(f"{tmp_path}/none", ["A" * 32], [5])
    (tmp_path / f"{'A' * 32}.MAI").mkdir()
    with pytest.raises(DiskError):
        read_whole(str(tmp_path), ["A" * 32], [5])
    (tmp_path / f"{'B' * 32}.MAI").write_bytes(b"octets")
    assert read_whole(str(tmp_path), ["B" * 32], [4]) == [b"octe"]


def test_reading_leaves_no_time_of_access_behind(tmp_path: Path) -> None:
    path = tmp_path / f"{'A' * 32}.MAI"
    path.write_bytes(b"octets")
    os.utime(path, (1, 2))  # read before it was written: the next one to read it would be noted
    assert read_whole(str(tmp_path), ["A" * 32], [6]) == [b"octets"] == [read_part(str(path), 0, 6)]
    assert path.stat().st_atime == 1


def test_what_belongs_to_somebody_else_is_read_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / f"{'A' * 32}.MAI").write_bytes(b"octets")
    opened = os.open

    def owned(path: str, flags: int, mode: int = 0o777, *, dir_fd: int | None = None) -> int:
        """As the system answers who is not the owner (open(2), O_NOATIME)."""
        if flags & os.O_NOATIME:
            raise PermissionError(errno.EPERM, "Operation not permitted", path)
        return opened(path, flags, mode, dir_fd=dir_fd)

    monkeypatch.setattr(os, "open", owned)
    assert read_whole(str(tmp_path), ["A" * 32], [6]) == [b"octets"] == [read_part(f"{tmp_path}/{'A' * 32}.MAI", 0, 6)]
