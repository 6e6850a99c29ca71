"""What a mail store owes the owner of a mailbox: folders and what is kept beside them, by name and by identity, and word of every change."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable
from pathlib import Path

import pytest

from postroom.errors import FolderExists, NoSuchFolder, StoreError
from postroom.mailstore import DELETED, EXPUNGED, FLAGGED, INBOX, SEEN
from postroom_testing.clock import HandClock
from postroom_testing.mail import TEXT, letter
from postroom_testing.plugin import Alive
from postroom_testing.store_ground import PO, StoreGround

ODD_NAMES = ("a/b", "Ünï cödé", "a.b", "con", "..x", "a%2Fb", "tilde~", "new\tline", "x" * 100, "*", "%", "INBOX/Sub", "Inbox.INDEX", "ß")


class Heard:
    """What a follower of a mailbox was told, in one spelling."""

    def __init__(self) -> None:
        self.names: set[str] = set()
        self._news = asyncio.Event()

    def told(self, name: str) -> None:
        self.names.add(name.casefold())
        self._news.set()

    async def all_of(self, *names: str) -> None:
        """Until all of these were heard."""
        while not self.names >= {*names}:
            self._news.clear()
            await self._news.wait()


class MailboxTests(StoreGround):
    """A tree of folders."""

    def test_folders_are_made_renamed_and_deleted(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            box = await self.box(alive)
            await box.create("Work/Old")
            assert list(await box.folders()) == [INBOX, "Work", "Work/Old"]
            with pytest.raises(FolderExists):
                await box.create("work/old")
            for missing in (box.folder, box.delete):
                with pytest.raises(NoSuchFolder):
                    await missing("None")
            with pytest.raises(StoreError):
                await box.delete(INBOX)
            await self.deliver(alive, letter(), folder="Work/Old")
            held = (await self.held(alive))["Work/Old"]
            await box.rename("Work", "Play")
            assert (await self.held(alive)) == {INBOX: [], "Play": [], "Play/Old": held}
            first = (await box.folder("Play/Old")).view().status
            await box.delete("Play/Old")
            second = (await box.create("Play/Old")).view().status
            assert (second.messages, second.uidvalidity != first.uidvalidity) == (0, True), "a new folder is known by a new UIDVALIDITY"
            await box.subscribe("Play")
            assert "Play" in await box.subscriptions()
            await box.subscribe("Play", False)
            assert "Play" not in await box.subscriptions()

        self.in_a_site(tmp_path, check)

    def test_folders_are_told_in_order_and_go_one_by_one(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            box = await self.box(alive)
            assert (box.postoffice, box.name) == (PO, "bob")
            for name in ("Work/Old", "Archive", "work/new"):
                await box.create(name)
            assert [name.casefold() for name in await box.folders()] == ["inbox", "archive", "work", "work/new", "work/old"]
            for name in ("Work", "Work/Old"):
                await self.deliver(alive, letter(), folder=name)
            kept = (await self.held(alive))["Work/Old"]
            await box.delete("Work")
            held = await self.held(alive)
            assert not held.get("Work") and held.get("Work/Old") == kept, "a folder's children went with it"

        self.in_a_site(tmp_path, check)

    def test_inbox_stays_when_it_is_renamed(self, tmp_path: Path) -> None:
        """RFC 9051 section 6.3.6: its messages go, the name remains."""

        async def check(alive: Alive) -> None:
            box, inbox = await self.box(alive), await self.folder(alive)
            await box.create("Inbox/Sub")
            for _ in range(2):
                await self.deliver(alive, letter())
            await inbox.change_flags([inbox.view().uids[0]], add=SEEN)
            before = await self.held(alive)
            await box.rename(INBOX, "Old")
            held = await self.held(alive)
            assert held.keys() == {INBOX, "Inbox/Sub", "Old"} and held[INBOX] == []
            assert [row[1:] for row in held["Old"]] == [row[1:] for row in before[INBOX]]
            await self.deliver(alive, letter())
            assert len((await self.held(alive))[INBOX]) == 1

        self.in_a_site(tmp_path, check)

    def test_a_folder_is_found_by_its_identity(self, tmp_path: Path) -> None:
        """RFC 8474: by whatever name it goes now, and none but it."""
        ids: list[str] = []

        async def check(alive: Alive) -> None:
            box = await self.box(alive)
            ids.append((await box.create("Work/Old")).view().status.object_id)
            assert (await box.folder("Work/Old", object_id=ids[0])).name == "Work/Old"
            await box.rename("Work", "Play")
            ids.append((await box.create("Work/Old")).view().status.object_id)
            assert "" not in ids and ids[0] != ids[1]

        async def later(alive: Alive) -> None:
            box = await self.box(alive)
            for asked in ("Work/Old", "Play/Old", "Never"):
                found = [await box.folder(asked, object_id=one) for one in ids]
                assert [one.view().status.object_id for one in found] == ids, f"looked for first as {asked}, another folder was found"
                assert [one.name for one in found] == ["Play/Old", "Work/Old"]
            await box.delete("Play/Old")
            with pytest.raises(NoSuchFolder):
                await box.folder("Work/Old", object_id=ids[0])

        self.in_a_site(tmp_path, check)
        self.in_a_site(tmp_path, later)

    def test_attributes_are_kept_beside_their_folder(self, tmp_path: Path) -> None:
        told = {"": {"/shared/comment": b"of all"}, "Inbox": {"/private/comment": b"caf\xc3\xa9 \xff\0"}}

        async def check(alive: Alive) -> None:
            box = await self.box(alive)
            await box.create("Work")
            await box.annotate("Inbox", told["Inbox"] | {"/private/other": b"x"})
            await box.annotate("Inbox", {"/private/other": None, "/private/never": None})
            await box.annotate("", told[""])
            with pytest.raises(StoreError):
                await box.annotate("Work", {"/private/comment": b"small", "/private/huge": bytes(1 << 20)})
            with pytest.raises(NoSuchFolder):
                await box.annotate("None", told[""])
            with pytest.raises(NoSuchFolder):
                await box.attributes("None")

        async def later(alive: Alive) -> None:
            box = await self.box(alive)
            assert {name: dict(kept) for name, kept in (await box.all_attributes()).items()} == told
            assert [dict(await box.attributes(name)) for name in ("", "INBOX", "Work")] == [told[""], told["Inbox"], {}]

        self.in_a_site(tmp_path, check)
        self.in_a_site(tmp_path, later)

    def test_what_was_expunged_comes_back(self, tmp_path: Path) -> None:
        """Where the store keeps it for a while, as it may."""

        async def check(alive: Alive) -> None:
            box, clock = await self.box(alive), alive.site.clock
            assert isinstance(clock, HandClock)
            placed = [(await self.deliver(alive, letter(TEXT + b"%d" % number), folder="Work"))[0] for number in range(3)]
            work = await box.folder("Work")
            assert await box.expunged() == b"", "what was never expunged is told"
            await work.change_flags([placed[0].uid], add=FLAGGED | DELETED)
            before = [row[1:] for row in (await self.held(alive))["Work"]]
            for one in placed[:2]:
                await work.expunge([one.uid])
                await clock.advance(7200)
            lines = [json.loads(line) for line in (await box.expunged()).splitlines()]
            if not lines:
                pytest.skip("this store keeps nothing of what is expunged")
            assert [(one["folder"], one["subject"], one["octets"]) for one in lines] == [("Work", "hello", len(TEXT) + 1)] * 2
            assert {one["arrived"] for one in lines} == {"2027-01-15T08:00:00Z"}
            assert lines[0]["expunged"] > lines[1]["expunged"], "the latest expunged comes first"
            await box.annotate("", {EXPUNGED: lines[1]["id"].encode()})
            assert [row[1:] for row in (await self.held(alive))["Work"]] == [before[2], (before[0][0], FLAGGED)]
            await box.delete("Work")
            await box.annotate("", {EXPUNGED: b"all"})
            back = (await self.held(alive))["Work"]
            assert sorted(text for _, text, _ in back) == sorted(text for text, _ in before)
            assert await box.expunged() == b"" and not await box.attributes("")

        self.in_a_site(tmp_path, check, clock=HandClock())

    # Who is told.

    def test_who_follows_a_mailbox_hears_which_folder_changed(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            box, heard = await self.box(alive), Heard()
            await self.deliver(alive, letter(), folder="Work")
            work = await box.folder("Work")
            end = box.follow(heard.told)

            async def hears(change: Awaitable[object], *names: str) -> None:
                await change
                await self.within(heard.all_of(*names), f"the news of {' and '.join(map(repr, names))}")
                await self.deliver(alive, letter(), folder="Mark")
                await self.within(heard.all_of("mark"), "the news of 'mark'")  # with it all that is told of the change is told
                heard.names.clear()

            await hears(self.deliver(alive, letter(), folder="Work"), "work")
            await hears(work.change_flags(work.view().uids, add=SEEN), "work")
            await hears(work.expunge(list(work.view().uids)), "work")
            await hears(box.annotate("Work", {"/private/comment": b"x"}), "work", "")
            await hears(box.annotate("", {"/private/comment": b"x"}), "")
            await hears(box.subscribe("Work"), "")
            await hears(box.create("Play"), "")
            await hears(box.rename("Play", "Game"), "")
            await hears(box.delete("Game"), "")
            end()

        self.in_a_site(tmp_path, check)

    def test_who_follows_no_more_or_another_mailbox_hears_nothing(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            box, ended, elsewhere, heard = await self.box(alive), Heard(), Heard(), Heard()
            end = box.follow(ended.told)
            end()
            end()
            (await self.box(alive, "ann")).follow(elsewhere.told)
            box.follow(heard.told)
            await self.deliver(alive, letter())
            await box.create("Work")
            await self.within(heard.all_of("inbox", ""), "the news of a delivery and of a folder")
            assert not ended.names, f"who had ended it was told of {ended.names}"
            assert not elsewhere.names, f"who follows another mailbox was told of {elsewhere.names}"

        self.in_a_site(tmp_path, check)

    def test_no_folder_name_escapes_or_meets_another(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            box, made = await self.box(alive), set()
            for name in (*ODD_NAMES, "../../escaped", "/escaped", "a//b", "", ".", ".."):
                try:
                    await box.create(name)
                    made.add(name)
                except StoreError:
                    continue
                await self.deliver(alive, letter(name=name), folder=name)
            assert {"Ünï cödé", "a.b", "a%2Fb"} <= made, "usual names are refused"
            held = {name.casefold(): messages for name, messages in (await self.held(alive)).items()}
            wrong = [name for name in made if len(held.get(name.casefold(), [])) != 1]
            assert not wrong, f"these folders hold another's mail, or none: {wrong}"

        self.in_a_site(tmp_path, check)
        outside = [path for path in tmp_path.rglob("*escaped*") if "site" not in path.relative_to(tmp_path).parts[:1]]
        assert not outside and not [*tmp_path.parent.glob("escaped*")], f"a folder's name led outside: {outside}"

    def test_a_mailbox_that_was_removed_starts_anew(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            (placed,) = await self.deliver(alive, letter())
            await self.deliver(alive, letter(), "ann")
            await self.store(alive).remove(PO, "bob")
            inbox = await self.folder(alive)
            assert len(inbox.view()) == 0 and inbox.view().status.uidvalidity != placed.uidvalidity
            assert len((await self.held(alive, "ann"))[INBOX]) == 1

        self.in_a_site(tmp_path, check)

    def test_upkeep_changes_nothing_that_anybody_sees(self, tmp_path: Path) -> None:
        message = letter()

        async def check(alive: Alive) -> None:
            (placed,) = await self.deliver(alive, message)
            for number in range(20):
                await self.deliver(alive, letter(), folder=f"Work {number % 2}")
            inbox, work = await self.folder(alive), await self.folder(alive, "Work 0")
            await work.change_flags(work.view().uids[:5], add=SEEN)
            await work.expunge(list(work.view().uids)[2:4])
            await inbox.expunge([placed.uid])
            before, seen = await self.held(alive), [inbox.view().status, work.view().status, list(work.view().modseqs)]
            for _ in range(3):
                self.store(alive).settle()
                await self.store(alive).tend()
                assert list(await self.store(alive).check(PO, "bob", repair=True)) == []
            assert await self.held(alive) == before
            assert [inbox.view().status, work.view().status, list(work.view().modseqs)] == seen
            (again,) = await self.deliver(alive, message, again=True)
            assert again.doubled, "what was delivered before is stored again"

        self.in_a_site(tmp_path, check)
