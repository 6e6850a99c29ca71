"""A folder searched with an aid and without one: the answers are the same, whatever became of the aid's file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from postroom_imap4 import matching
from postroom_imap4.commands import AllOf, InSet, InText, Numbers
from postroom_imap4.contents import Aid, Looked
from postroom_imap4.indexed import Index
from postroom_imap4.pace import Pace
from postroom_imap4.searching import Asked, search
from postroom_imap4.texts import Texts
from postroom_store.folder import LocalFolder
from tests.plugins_imap4.shelf import NOW

NEEDLES = [
    "plain words",
    "first letter",
    "subject: first",
    "grüsse",
    "very long",
    "STRASSE",
    "geheime änderung",
    "résumé.pdf",
    "inner one",
    "x",
    "e",
    "qzqz",
]


async def same(folder: LocalFolder, aid: Aid) -> None:
    """With the aid and without it the answers are equal."""
    view = folder.view()
    for headers in (True, False):
        for words in NEEDLES:
            key = InText(words, headers=headers)
            some = AllOf((InSet(Numbers(((2, 3),)), by_uid=False), key))
            for each in (key, some) if len(view) > 2 else (key,):
                aided, plain = [await search(folder, view, each, Asked(NOW, aid=one)) for one in (aid, None)]
                assert aided == plain, (words, headers)


async def filled(folder: LocalFolder, aid: Index | Texts) -> Path:
    """The aid's file, once everything is taken in that can be."""
    view = folder.view()
    aid.filling.begin(folder, view)
    await aid.filling.filled(folder)
    return Path(aid._files.path(folder, view))


async def looked(folder: LocalFolder, aid: Aid, words: str = "qzqz") -> Looked:
    """What the aid says of all rows; the words stand in none, unless they are given."""
    view = folder.view()
    return await aid.look(folder, view, matching.needle(words), True, range(len(view)), Pace())


async def left(folder: LocalFolder, aid: Aid, words: str = "qzqz") -> Sequence[int]:
    """Rows that have to be read for it."""
    return [*(await looked(folder, aid, words)).left]
