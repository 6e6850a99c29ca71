"""Many rows of a view at once say what each says by itself, also after the log was written anew and for messages that are gone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from postroom.errors import NoSuchMessage
from postroom_store.compaction import compact
from postroom_store.folder import LocalFolder
from postroom_store.view import FolderView
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
