"""What one client is told of a folder that others change: over a real store, with a second hand that changes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postroom.mailstore import DELETED, FLAGGED, SEEN, FlagChange, Folder, Mailbox, Target
from postroom.message import MemoryMessage, new_id
from postroom.records import MailboxRecord, PostofficeRecord
from postroom_imap4.held import HeldView
from postroom_imap4.selected import Gone, Modes, Own, Selected
from postroom_testing.ground import site_in
from tests.plugins_imap4.house import letter

ALL = (1 << 64) - 1


class Scene:
    """A folder of five messages, and who has it selected."""

    def __init__(self, box: Mailbox, folder: Folder, deliver: Callable[[], Awaitable[None]]) -> None:
        self.box, self.folder, self.deliver = box, folder, deliver

    def selected(self, **modes: bool) -> Selected:
        return Selected(self.folder, Modes(**modes))

    async def own(self, selected: Selected, rows: tuple[int, int], *, add: int = 0, remove: int = 0, silent: bool = True) -> Own:
        change = await self.folder.change_flags(selected.uids([rows]), add=add, remove=remove)
        return Own([rows], change, ALL & ~remove, add, silent)


def scene(folder: Path, test: Callable[[Scene], Awaitable[None]]) -> None:
    async def main() -> None:
        async with site_in(folder, "server: x.test\nplugins: {tab: {}, store: {}}\n") as parts:
            site = parts.site
            await site.providers.postoffice.postoffices.put(PostofficeRecord("po", 1, "po"))
            await site.providers.postoffice.mailboxes.put(MailboxRecord("po", "bob", 1, -1))

            async def deliver() -> None:
                await site.store.deliver(MemoryMessage(new_id(), letter()), [Target("po", "bob")], arrived=1.0)

            for _ in range(5):
                await deliver()
            box = await site.store.mailbox("po", "bob")
            await test(Scene(box, await box.folder("Inbox"), deliver))

    asyncio.run(main())


def test_arrivals_flags_and_expunges_are_told_in_this_order_of_numbers(tmp_path: Path) -> None:
    async def test(at: Scene) -> None:
        selected = at.selected()
        assert selected.news(may_expunge=True) == b""
        await at.folder.change_flags([5], add=SEEN)
        await at.folder.expunge([1, 3])
        await at.deliver()
        assert selected.news(may_expunge=True) == b"* 3 EXPUNGE\r\n* 1 EXPUNGE\r\n* 4 EXISTS\r\n* 3 FETCH (UID 5 FLAGS (\\Seen))\r\n"
        assert selected.news(may_expunge=True) == b""

    scene(tmp_path, test)


def test_what_may_not_be_told_keeps_its_number(tmp_path: Path) -> None:
    """RFC 9051 section 7.5.1: FETCH, STORE and SEARCH tell no EXPUNGE; arrivals and flags are told all the same."""

    async def test(at: Scene) -> None:
        selected = at.selected()
        await at.folder.expunge([2])
        await at.folder.change_flags([4], add=FLAGGED)
        await at.deliver()
        assert selected.news(may_expunge=False) == b"* 6 EXISTS\r\n* 4 FETCH (UID 4 FLAGS (\\Flagged))\r\n"
        assert selected.holds and list(selected.view.uids) == [1, 2, 3, 4, 5, 6]
        await at.folder.expunge([4, 6])
        assert selected.news(may_expunge=False) == b""
        assert list(selected.view.uids) == [1, 2, 3, 4, 5, 6] and list(selected.view.flags) == [0, 0, 0, FLAGGED, 0, 0]
        assert selected.news(may_expunge=True) == b"* 6 EXPUNGE\r\n* 4 EXPUNGE\r\n* 2 EXPUNGE\r\n"
        assert list(selected.view.uids) == [1, 3, 5] and type(selected.view) is not HeldView

    scene(tmp_path, test)


def test_a_held_view_answers_for_lost_rows_as_the_old_one(tmp_path: Path) -> None:
    async def test(at: Scene) -> None:
        old = at.folder.view()
        texts = [await at.folder.read(uid) for uid in old.uids]
        await at.folder.expunge([2, 5])
        now = at.folder.view()
        held = HeldView(old, now, [1, 4])
        for rows in ([0, 2, 3], [3], range(2, 4), []):
            assert list(held.messages(rows)) == [texts[row] for row in rows] and len(held.messages(rows, waits=False)) <= len(rows)
        assert (len(held), held.lost_uids, [held.is_lost(row) for row in range(5)]) == (5, (2, 5), [False, True, False, False, True])
        for what in ("uids", "flags", "modseqs", "octets", "ids"):
            assert list(getattr(held, what)) == list(getattr(old, what)), what
        for row in range(5):
            assert held.message(row) == old.message(row)
            for what in ("envelope", "bodystructure", "parts", "header", "subject", "base_subject"):
                assert getattr(held, what)(row) == getattr(old, what)(row), what
        for first, after in ((0, 5), (1, 2), (2, 4), (4, 5), (3, 3)):
            assert list(held.texts("envelope", first, after)) == list(old.texts("envelope", first, after))
            for what in ("sent", "sent_zone", "is_plain"):
                assert list(held.numbers(what, first, after)) == list(old.numbers(what, first, after)), what
        assert list(held.ids[1:3]) == list(old.ids[1:3])
        assert held.status.octets == old.status.octets

    scene(tmp_path, test)


def test_own_silent_changes_are_not_echoed(tmp_path: Path) -> None:
    async def test(at: Scene) -> None:
        selected = at.selected()
        own = await at.own(selected, (0, 3), add=SEEN)
        assert b"".join(selected.stored(own, may_expunge=False)) == b"" == selected.news(may_expunge=True)
        own = await at.own(selected, (0, 1), add=FLAGGED, silent=False)
        assert b"".join(selected.stored(own, may_expunge=False)) == b"* 1 FETCH (UID 1 FLAGS (\\Seen \\Flagged))\r\n"

    scene(tmp_path, test)


def test_a_silent_change_beside_others_tells_only_theirs(tmp_path: Path) -> None:
    """Also where they changed the same message: the client cannot know those flags."""

    async def test(at: Scene) -> None:
        selected = at.selected()
        await at.folder.change_flags([2, 5], add=FLAGGED)
        own = await at.own(selected, (0, 3), add=SEEN)
        told = b"".join(selected.stored(own, may_expunge=False))
        assert told == b"* 2 FETCH (UID 2 FLAGS (\\Seen \\Flagged))\r\n* 5 FETCH (UID 5 FLAGS (\\Flagged))\r\n"

    scene(tmp_path, test)


def test_a_silent_change_that_changed_nothing_hides_no_expunge(tmp_path: Path) -> None:
    """It answers with the MODSEQ of somebody else's expunge, which was taken for its own: the numbers shifted under the client."""

    async def test(at: Scene) -> None:
        selected = at.selected()
        await at.folder.expunge([1])
        own = await at.own(selected, (3, 4), remove=SEEN)
        assert not own.change.changed and own.change.modseq == at.folder.view().status.modseq
        assert b"".join(selected.stored(own, may_expunge=False)) == b""
        assert selected.news(may_expunge=True) == b"* 1 EXPUNGE\r\n"

    scene(tmp_path, test)


def test_with_condstore_the_modseq_of_a_silent_change_is_told(tmp_path: Path) -> None:
    """RFC 7162 section 3.1.3."""

    async def test(at: Scene) -> None:
        selected = at.selected(condstore=True)
        own = await at.own(selected, (0, 2), add=SEEN)
        modseq = own.change.modseq
        told = b"".join(selected.stored(own, may_expunge=False))
        assert told == b"* 1 FETCH (UID 1 MODSEQ (%d))\r\n* 2 FETCH (UID 2 MODSEQ (%d))\r\n" % (modseq, modseq)

    scene(tmp_path, test)


def test_a_change_of_a_message_that_is_gone_is_not_told_of_it(tmp_path: Path) -> None:
    async def test(at: Scene) -> None:
        selected = at.selected()
        await at.folder.expunge([2])
        own = await at.own(selected, (0, 3), add=SEEN, silent=False)
        assert b"".join(selected.stored(own, may_expunge=False)) == (
            b"* 1 FETCH (UID 1 FLAGS (\\Seen))\r\n* 3 FETCH (UID 3 FLAGS (\\Seen))\r\n"
        )
        own = await at.own(selected, (0, 3), add=DELETED, silent=False)
        assert b"".join(selected.stored(own, may_expunge=True)) == (
            b"* 2 EXPUNGE\r\n* 1 FETCH (UID 1 FLAGS (\\Seen \\Deleted))\r\n* 2 FETCH (UID 3 FLAGS (\\Seen \\Deleted))\r\n"
        )

    scene(tmp_path, test)


def test_qresync_and_uidonly_hear_vanished(tmp_path: Path) -> None:
    async def test(at: Scene) -> None:
        one, other = at.selected(qresync=True, condstore=True), at.selected(uidonly=True)
        await at.folder.expunge([1, 2, 4])
        done: FlagChange = await at.folder.change_flags([5], add=SEEN)
        assert one.news(may_expunge=True) == b"* VANISHED 1:2,4\r\n* 2 FETCH (UID 5 FLAGS (\\Seen) MODSEQ (%d))\r\n" % done.modseq
        assert other.news(may_expunge=True) == b"* VANISHED 1:2,4\r\n* 5 UIDFETCH (FLAGS (\\Seen))\r\n"

    scene(tmp_path, test)


def test_new_keywords_are_told_before_they_are_used(tmp_path: Path) -> None:
    async def test(at: Scene) -> None:
        selected = at.selected()
        await at.folder.change_flags([1], add=await at.folder.keyword("$Work"))
        flags, permanent, fetch = selected.news(may_expunge=False).splitlines()
        assert flags.endswith(b"\\Draft $Work)") and b"$Work \\*)]" in permanent and fetch == b"* 1 FETCH (UID 1 FLAGS ($Work))"

    scene(tmp_path, test)


def test_a_folder_that_is_gone_or_replaced_ends_the_selection(tmp_path: Path) -> None:
    async def test(at: Scene) -> None:
        folder = await at.box.create("Work")
        selected = Selected(folder, Modes())
        await at.box.delete("Work")
        with pytest.raises(Gone):
            selected.news(may_expunge=True)
        await at.box.create("Work")
        with pytest.raises(Gone):
            selected.news(may_expunge=False)

    scene(tmp_path, test)
