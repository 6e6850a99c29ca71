"""What a mail store owes the sessions in one folder: views that never change, MODSEQs that only grow, and word of every change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from functools import partial
from pathlib import Path

import pytest

from postroom.errors import NoSuchFolder, NoSuchMessage, StoreError
from postroom.mailstore import ANSWERED, DELETED, FLAGGED, INBOX, SEEN
from postroom_mime.parts import Parts
from postroom_testing.mail import TEXT, letter
from postroom_testing.plugin import Alive
from postroom_testing.store_ground import StoreGround

ENCODED = b"Subject: Re: [list] Hello\r\nDate: Mon, 5 Jan 2026 12:00:00 +0200\r\nContent-Transfer-Encoding: base64\r\n\r\nSGVsbG8uCg==\r\n"
UNDATED = b"Subject: x\r\n\r\nbody\r\n"
DATE = 1_767_607_200.0  # of TEXT and of ENCODED, which was written two hours further east
TEXTS = ("envelope", "bodystructure", "parts", "header", "subject", "base_subject")


class FolderTests(StoreGround):
    """One folder."""

    def test_a_view_never_changes(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            await self.deliver(alive, letter())
            inbox = await self.folder(alive)
            old = inbox.view()
            seen = (list(old.uids), list(old.flags), old.status)
            await self.deliver(alive, letter())
            await inbox.change_flags(old.uids, add=SEEN)
            await inbox.expunge(list(old.uids))
            assert (list(old.uids), list(old.flags), old.status) == seen
            new = inbox.view()
            assert len(new) == 1 and new.status.modseq > old.status.modseq

        self.in_a_site(tmp_path, check)

    def test_a_view_says_of_many_what_it_says_of_each(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            for data in (TEXT, ENCODED, UNDATED):
                await self.deliver(alive, letter(data))
            inbox = await self.folder(alive)
            await inbox.change_flags([inbox.view().uids[0]], add=SEEN | DELETED)
            view = inbox.view()
            each = [view.message(row) for row in range(3)]
            columns = zip(view.uids, view.ids[0:3], view.flags, view.modseqs, view.octets)
            assert [(one.uid, one.id, one.flags, one.modseq, one.octets) for one in each] == list(columns)
            assert (view.status.unseen, view.status.deleted, view.status.modseq) == (2, 1, max(view.modseqs)), view.status
            for what in TEXTS:
                assert list(view.texts(what, 0, 3)) == [getattr(view, what)(row) for row in range(3)], (
                    f"{what} of many is another than of each"
                )
            for what in ("arrived", "saved", "sent"):
                assert list(view.numbers(what, 0, 3)) == [getattr(one, what) for one in each], f"{what} of many is another than of each"
            for what, known in (("sent_zone", [0, 120, 0]), ("is_plain", [True, False, True])):
                assert list(view.numbers(what, 0, 3)) == known == [view.numbers(what, row, row + 1)[0] for row in range(3)], what
            assert [one.sent for one in each] == [DATE, DATE, each[2].arrived], "what has no date was sent when it arrived"
            parts = [Parts.load(view.parts(row)).rows for row in range(3)]
            bounds = [(data.index(b"\r\n\r\n") + 4, len(data)) for data in (TEXT, ENCODED, UNDATED)]
            assert [[(part.body, part.end) for part in rows] for rows in parts] == [[one] for one in bounds], "the parts lie elsewhere"
            assert view.subject(1) == b"re: [list] hello" and view.base_subject(1).lower() == b"hello"
            await inbox.expunge([each[1].uid])
            with pytest.raises(NoSuchMessage):
                view.messages([0, 1, 2])
            assert list(view.messages([0, 2])) == [TEXT, UNDATED]

        self.in_a_site(tmp_path, check)

    def test_another_folder_of_the_name_is_another_folder(self, tmp_path: Path) -> None:
        """Who knows UIDs of the one that is gone changes nothing in the one that is there."""

        async def check(alive: Alive) -> None:
            box, inbox = await self.box(alive), await self.folder(alive)
            await self.deliver(alive, letter(), folder="Work")
            old = await box.folder("Work")
            known = old.view().status.uidvalidity
            await box.delete("Work")
            with pytest.raises(NoSuchFolder):
                old.view()
            await self.deliver(alive, letter(), folder="Work")
            work = await box.folder("Work")
            assert work.view().status.uidvalidity not in (0, known), "a new folder is known by a new UIDVALIDITY"
            before, uids = await self.held(alive), list(work.view().uids)
            flag, copy, move = partial(work.change_flags, add=SEEN), partial(work.copy, target=inbox), partial(work.move, target=inbox)
            for change in (flag, work.expunge, copy, move):
                with pytest.raises(NoSuchFolder):
                    await change(uids, uidvalidity=known)
            assert await self.held(alive) == before, "what was refused was done"
            assert await work.copy(uids, inbox, uidvalidity=work.view().status.uidvalidity)

        self.in_a_site(tmp_path, check)

    def test_flags_change_as_asked_and_modseqs_grow(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            first, second, third = [(await self.deliver(alive, letter()))[0].uid for _ in range(3)]
            inbox = await self.folder(alive)
            done = await inbox.change_flags([first, second, 99_999], add=SEEN | FLAGGED)
            assert list(done.changed) == [first, second] and not done.refused
            await inbox.change_flags([second], remove=SEEN)
            later = await inbox.change_flags([third], remove=-1, add=ANSWERED | DELETED)
            assert list(inbox.view().flags) == [SEEN | FLAGGED, FLAGGED, ANSWERED | DELETED]
            stale = await inbox.change_flags([first, third], add=ANSWERED, unchanged_since=done.modseq)
            assert (list(stale.changed), list(stale.refused)) == ([first], [third]) and stale.modseq > later.modseq > done.modseq
            bit = await inbox.keyword("$Important")
            await inbox.change_flags([first], add=bit)
            assert await inbox.keyword("$Important") == bit and list(inbox.keywords()) == ["$Important"]

        self.in_a_site(tmp_path, check)
        self.in_a_site(tmp_path, self._flags_are_kept)

    async def _flags_are_kept(self, alive: Alive) -> None:
        inbox = await self.folder(alive)
        bit = await inbox.keyword("$Important")
        assert list(inbox.view().flags) == [SEEN | FLAGGED | ANSWERED | bit, FLAGGED, ANSWERED | DELETED], "flags were lost by closing"

    def test_keywords_have_an_end(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            inbox = await self.folder(alive)
            bits = {await inbox.keyword(f"k{number}") for number in range(59)}
            assert len(bits) == 59 and max(bits) < 1 << 64
            with pytest.raises(StoreError):
                await inbox.keyword("one too many")

        self.in_a_site(tmp_path, check)

    def test_what_is_expunged_is_gone_and_told(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            uids = [(await self.deliver(alive, letter()))[0].uid for _ in range(3)]
            inbox = await self.folder(alive)
            before = inbox.view().status.modseq
            assert list(await inbox.expunge([uids[1], 99_999])) == [uids[1]]
            assert list(inbox.view().uids) == [uids[0], uids[2]] and list(inbox.expunged_since(before)) == [uids[1]]
            assert uids[1] in inbox.expunged_since(0) and not {uids[0], uids[2]} & {*inbox.expunged_since(0)}
            for gone in (uids[1], 99_999):
                with pytest.raises(NoSuchMessage):
                    await inbox.read(gone)
                for look in (inbox.path, partial(inbox.peek, most=1 << 20)):
                    with pytest.raises(NoSuchMessage):
                        look(gone)
            await inbox.change_flags([uids[2]], add=DELETED)
            assert list(await inbox.expunge([uids[0], uids[2]], having=DELETED)) == [uids[2]], "one that has not the flag stays"
            (next_one,) = await self.deliver(alive, letter())
            assert next_one.uid > uids[2], "a UID was given twice"

        self.in_a_site(tmp_path, check)

    def test_copies_and_moves_keep_octets_and_flags(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            message = letter()
            (placed,) = await self.deliver(alive, message)
            inbox, other = await self.folder(alive), await (await self.box(alive, "ann")).create("Other")
            await inbox.change_flags([placed.uid], add=SEEN)
            ((old, new),) = await inbox.copy([placed.uid, 99_999], other)
            assert old == placed.uid and await other.read(new) == message.data and list(other.view().flags) == [SEEN]
            await inbox.change_flags([placed.uid], add=FLAGGED | await inbox.keyword("$Todo"))
            await inbox.copy([placed.uid], other, keep=SEEN)
            assert list(other.view().flags) == [SEEN, SEEN] and not other.keywords(), "flags that are not to be kept stay behind"
            ((_, moved),) = await inbox.move([placed.uid], other, keep=FLAGGED)
            assert moved > new and len(inbox.view()) == 0 and list(other.view().flags) == [SEEN, SEEN, FLAGGED]

        self.in_a_site(tmp_path, check)

    def test_copies_and_moves_reach_another_mailbox(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            first, second = [(await self.deliver(alive, letter()))[0].uid for _ in range(2)]
            inbox, there = await self.folder(alive), await self.folder(alive, mailbox="ann")
            before = (await self.held(alive))[INBOX]
            ((_, copied),) = await inbox.copy([first], there)
            ((old, moved),) = await inbox.move([second], there)
            assert old == second and (await self.held(alive))[INBOX] == before[:1]
            assert (await self.held(alive, "ann"))[INBOX] == [(copied, *before[0][1:]), (moved, *before[1][1:])]

        self.in_a_site(tmp_path, check)

    # Who is told.

    def test_who_follows_a_folder_hears_of_changes(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            inbox, told, others = await self.folder(alive), asyncio.Event(), asyncio.Event()
            end = inbox.follow(told.set)

            async def heard(what: str, change: Awaitable[object]) -> None:
                told.clear()
                await change
                await self.within(told.wait(), f"the news of {what}")

            await heard("a delivery", self.deliver(alive, letter()))
            await heard("an upload", inbox.append(letter()))
            await heard("a flag", inbox.change_flags(inbox.view().uids, add=SEEN))
            await heard("an expunge", inbox.expunge(list(inbox.view().uids)))
            end()
            end()
            inbox.follow(others.set)
            told.clear()
            await self.deliver(alive, letter())
            await self.within(others.wait(), "the news of another delivery")
            assert not told.is_set(), "who had ended it was told"

        self.in_a_site(tmp_path, check)
