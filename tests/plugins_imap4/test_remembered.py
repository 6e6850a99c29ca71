"""What is remembered of a folder: it holds until a message comes or goes, goes with its folder, and is bounded."""

from __future__ import annotations

import gc
from pathlib import Path

from postroom.mailstore import SEEN
from postroom_imap4.held import HeldView
from postroom_imap4.remembered import Remembered, State
from postroom_store.folder import LocalFolder
from tests.plugins_imap4.shelf import mail, with_mail
from tests.providers_store.house import House


def test_it_holds_until_a_message_comes_or_goes(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        known = Remembered()
        view = folder.view()
        known.keep(folder, view, "what", "value", 10)
        await folder.change_flags([1], add=SEEN)
        assert known.now(folder, folder.view(), "what") == "value" and known.now(folder, view, "other") is None
        await folder.copy([1], folder)
        later = folder.view()
        kept = known.get(folder, "what")
        assert known.now(folder, later, "what") is None and kept is not None and kept[0].begins(later)
        await folder.expunge([1])
        assert not kept[0].begins(folder.view()) and not State.of(later).begins(folder.view())
        assert State.of(view).begins(view) and known.now(folder, view, "what") == "value"

    with_mail(tmp_path, [mail(), mail()], check)


def test_two_sessions_that_hold_different_expunged_messages_are_told_apart(tmp_path: Path) -> None:
    """One saw a message come and go, the other holds another: as many rows, the same first and last, and not the same messages."""

    async def check(house: House, folder: LocalFolder) -> None:
        known, view = Remembered(), folder.view()
        await folder.expunge([2, 3])
        now = folder.view()
        one, other = HeldView(view, now, [1]), HeldView(view, now, [2])
        known.keep(folder, one, "order", "of one", 10)
        assert known.now(folder, one, "order") == "of one" and known.now(folder, other, "order") is None
        assert State.of(one).begins(one) and not State.of(one).begins(other) and not State.of(now).begins(one)

    with_mail(tmp_path, [mail(), mail(), mail(), mail()], check)


def test_it_is_bounded_and_goes_with_its_folder(tmp_path: Path) -> None:
    async def check(house: House, folder: LocalFolder) -> None:
        known = Remembered(100)
        view = folder.view()
        for number in range(4):
            known.keep(folder, view, number, number, 40)
            known.get(folder, 0)
        assert [number for number in range(4) if known.now(folder, view, number) is not None] == [0, 3]
        known.keep(folder, view, "huge", 1, 60)
        assert known.now(folder, view, "huge") is None
        apart = folder.apart()
        known.keep(apart, view, "x", 1, 10)
        before = known._octets
        del apart
        gc.collect()
        assert known._octets == before - 10

    with_mail(tmp_path, [mail()], check)
