"""The contract of a mail store as a test suite: UIDs only grow, what returned is kept, a delivery is made once, whatever fails on the way.

    class TestMine(MailStoreContract):
        plugin = MyStorePlugin
        settings = {"database": "mail.db"}

The store stands in a site of a test's own and is opened again from the same folder, so nothing may live in memory only. What is tested is the
Protocol in `postroom.mailstore`; how a store lays out its files is its own affair.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import ClassVar

import pytest

from postroom.errors import DiskError, FolderExists, NoSuchFolder, NoSuchMessage, OverQuota, StoreError
from postroom.mailstore import ANSWERED, DELETED, EXPUNGED, FLAGGED, INBOX, SEEN, Folder, Mailbox, MailStore, Placed, Target, Upload
from postroom.message import Message
from postroom.records import MailboxRecord, PostofficeRecord
from postroom.site import Site
from postroom_testing.dying import ends_before
from postroom_testing.faults import FaultDisk
from postroom_testing.mail import TEXT, hostile, huge, letter
from postroom_testing.plugin import Alive, PluginContract, spread
from postroom_testing.watching import left_by, longest_step, memory, tasks_besides

PO = "example.test"
ODD_NAMES = ("a/b", "Ünï cödé", "a.b", "con", "..x", "a%2Fb", "tilde~", "new\tline", "x" * 100, "*", "%", "INBOX/Sub", "Inbox.INDEX", "ß")
DEEDS = ("deliver", "append", "append_all", "replace", "replace_elsewhere", "flag", "expunge", "copy", "move", "create", "rename")
SCENE = tuple(letter(TEXT + b"%d\r\n" % number, name=f"scene {number}") for number in range(4))
MORE = tuple(letter(TEXT + b"more %d\r\n" % number, name=f"more {number}") for number in range(3))
NEW = letter(TEXT + b"new\r\n", name="new")
REPLACEMENTS = ("replace", "replace_elsewhere")
Held = dict[str, list[tuple[int, bytes, int]]]  # by folder: UID, octets, flags
Check = Callable[[Alive], Awaitable[None]]


class MailStoreContract(PluginContract):
    """Name your class and its settings."""

    house = ("tab",)
    many: ClassVar[int] = 200  # deliveries at once

    async def furnish(self, site: Site) -> None:
        await site.providers.postoffice.postoffices.put(PostofficeRecord(PO, 1, PO))
        await site.providers.postoffice.mailboxes.put(*(MailboxRecord(PO, name, 1, -1) for name in ("bob", "ann")))

    # What the tests say.

    def in_a_site(self, place: Path, check: Check) -> None:
        async def main() -> None:
            async with self.alive(place) as alive:
                await check(alive)

        asyncio.run(main())

    def store(self, alive: Alive) -> MailStore:
        return alive.site.store

    async def box(self, alive: Alive, name: str = "bob") -> Mailbox:
        return await self.store(alive).mailbox(PO, name)

    async def folder(self, alive: Alive, name: str = INBOX, mailbox: str = "bob") -> Folder:
        return await (await self.box(alive, mailbox)).folder(name)

    async def deliver(
        self, alive: Alive, message: Message, *mailboxes: str, folder: str = INBOX, again: bool = False, limit: int | None = None
    ) -> list[Placed]:
        """Delivered to all of these; a refusal is raised."""
        targets = [Target(PO, name, folder, limit=limit) for name in mailboxes or ("bob",)]
        answers = await self.store(alive).deliver(message, targets, arrived=1.8e9, again=again)
        assert len(answers) == len(targets), f"{len(targets)} targets got {len(answers)} answers"
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
            assert isinstance(answer, Placed), f"{answer!r} is no answer"
        return [answer for answer in answers if isinstance(answer, Placed)]

    async def held(self, alive: Alive, mailbox: str = "bob") -> Held:
        """All that lies in a mailbox."""
        found: Held = {}
        for name in await (await self.box(alive, mailbox)).folders():
            folder = await self.folder(alive, name, mailbox)
            view = folder.view()
            assert list(view.uids) == sorted(set(view.uids)), f"the UIDs of {name} do not grow"
            found[name] = [(uid, await folder.read(uid), flags) for uid, flags in zip(view.uids, view.flags)]
            assert (view.status.messages, view.status.octets) == (len(view), sum(view.octets)), f"the counters of {name} are wrong"
        return found

    # Delivery.

    def test_a_message_lies_where_it_was_delivered(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            message = letter()
            bob, ann = await self.deliver(alive, message, "bob", "ann")
            assert (bob.folder, bob.doubled, ann.doubled) == (INBOX, False, False)
            inbox = await self.folder(alive)
            view = inbox.view()
            assert list(view.uids) == [bob.uid] and list(view.ids) == [message.id] and list(view.octets) == [message.size]
            assert view.status.uidvalidity == bob.uidvalidity and view.status.uidnext > bob.uid
            assert await inbox.read(bob.uid) == message.data
            assert (await inbox.read(bob.uid, 5, 10), await inbox.read(bob.uid, message.size)) == (message.data[5:15], b"")
            assert inbox.peek(bob.uid, message.size) in (None, message.data) and inbox.peek(bob.uid, message.size - 1) is None
            assert list(view.texts("message", 0, 1)) == [message.data]
            one = view.message(0)
            assert (one.uid, one.id, one.flags, one.octets, one.arrived) == (bob.uid, message.id, 0, message.size, 1.8e9)
            assert view.envelope(0).startswith(b"(") and view.bodystructure(0).startswith(b"(") and view.subject(0) == b"hello"

        self.in_a_site(tmp_path, check)

    def test_a_delivery_is_made_once(self, tmp_path: Path) -> None:
        """Whatever expunge, move and folder deletion did meanwhile, in the next process too."""
        messages = [letter(name=f"once {number}") for number in range(4)]

        async def first(alive: Alive) -> None:
            for message in messages:
                await self.deliver(alive, message)
            box, inbox = await self.box(alive), await self.folder(alive)
            uids = list(inbox.view().uids)
            await inbox.expunge(uids[:1])
            await inbox.move(uids[1:2], await box.create("Kept"))
            await inbox.move(uids[2:3], await box.create("Doomed"))
            await box.delete("Doomed")
            await again(alive)

        async def again(alive: Alive) -> None:
            before = await self.held(alive)
            for message in messages:
                (placed,) = await self.deliver(alive, message, again=True)
                assert placed.doubled, f"{message.id} was delivered before and is stored again"
            assert await self.held(alive) == before
            (other,) = await self.deliver(alive, messages[0], "ann", again=True)
            assert other.folder == INBOX

        self.in_a_site(tmp_path, first)
        self.in_a_site(tmp_path, again)

    def test_a_full_mailbox_is_an_answer_and_stores_nothing(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            small, targets = letter(), [Target(PO, "bob", limit=10), Target(PO, "ann", limit=1_000_000)]
            full, placed = await self.store(alive).deliver(small, targets, arrived=1.8e9)
            assert isinstance(full, OverQuota) and isinstance(placed, Placed), f"{full!r}, {placed!r}"
            assert not any((await self.held(alive)).values())
            assert (await (await self.box(alive, "ann")).quota()).used >= small.size

        self.in_a_site(tmp_path, check)

    def test_many_at_once_get_uids_of_their_own(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            letters = [letter(name=f"{number} of many") for number in range(self.many)]
            placed = await asyncio.gather(*(self.deliver(alive, one, "bob", "ann") for one in letters))
            uids = [bob.uid for bob, _ in placed]
            assert len(set(uids)) == self.many and sorted(uids) == list((await self.folder(alive)).view().uids)

        self.in_a_site(tmp_path, check)

    def test_the_same_message_at_once_is_stored_once(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            message = letter()
            placed = await asyncio.gather(*(self.deliver(alive, message, again=True) for _ in range(10)))
            assert sorted(one.doubled for (one,) in placed) == [False] + [True] * 9
            assert len((await self.held(alive))[INBOX]) == 1

        self.in_a_site(tmp_path, check)

    # Uploads.

    def test_uploads_come_all_or_none(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            inbox, messages = await self.folder(alive), [letter(name=f"upload {number}") for number in range(self.many)]
            placed = await inbox.append_all([Upload(message, SEEN, 1.7e9) for message in messages])
            view = inbox.view()
            assert [one.uid for one in placed] == list(view.uids) and {one.uidvalidity for one in placed} == {view.status.uidvalidity}
            assert [await inbox.read(uid) for uid in view.uids] == [message.data for message in messages], "they lie in another order"
            assert set(view.flags) == {SEEN} and set(view.numbers("arrived", 0, len(view))) == {1.7e9}
            assert list(await inbox.append_all([])) == []
            await alive.site.providers.postoffice.mailboxes.put(MailboxRecord(PO, "ann", 1, 2))  # KiB
            small = await self.folder(alive, mailbox="ann")
            with pytest.raises(OverQuota):
                await small.append_all([Upload(letter(b"x" * 900)) for _ in range(3)])
            assert len(small.view()) == 0, "those that would have fitted came"
            assert list(await self.store(alive).check(PO, "ann")) == []

        self.in_a_site(tmp_path, check)

    @pytest.mark.parametrize("there", [INBOX, "Other"])
    def test_one_message_takes_the_place_of_another(self, tmp_path: Path, there: str) -> None:
        async def check(alive: Alive) -> None:
            box, new = await self.box(alive), letter(name="in its place")
            inbox, target = await self.folder(alive), await self.folder(alive) if there == INBOX else await box.create(there)
            first, second = [(await self.deliver(alive, letter()))[0].uid for _ in range(2)]
            before = inbox.view().status
            placed = await inbox.replace(first, Upload(new, FLAGGED), target, uidvalidity=before.uidvalidity)
            assert (placed.folder, list(target.view().flags)[-1]) == (there, FLAGGED) and await target.read(placed.uid) == new.data
            assert list(inbox.view().uids) == [second, placed.uid][: 2 if there == INBOX else 1]
            assert list(inbox.expunged_since(before.modseq)) == [first]
            for gone, uidvalidity, error in ((first, None, NoSuchMessage), (second, before.uidvalidity + 1, NoSuchFolder)):
                with pytest.raises(error):
                    await inbox.replace(gone, Upload(letter()), target, uidvalidity=uidvalidity)
            assert len(inbox.view()) + len(target.view()) == (4 if there == INBOX else 2), "a replacement that was refused came"

        self.in_a_site(tmp_path, check)

    # A folder.

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
            for gone in (uids[1], 99_999):
                with pytest.raises(NoSuchMessage):
                    await inbox.read(gone)
            await inbox.expunge([uids[2]])
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

    def test_who_follows_a_folder_hears_of_changes(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            inbox, told = await self.folder(alive), asyncio.Event()
            end = inbox.follow(told.set)
            await self.deliver(alive, letter())
            await self.within(told.wait(), "the news of a delivery")
            end()
            end()

        self.in_a_site(tmp_path, check)

    # A mailbox.

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
            await box.annotate("Inbox", {"/private/comment": b"caf\xc3\xa9", "/private/other": b"x"})
            await box.annotate("Inbox", {"/private/other": None})
            assert dict(await box.attributes("Inbox")) == {"/private/comment": b"caf\xc3\xa9"}
            assert dict(await box.all_attributes()) == {"Inbox": {"/private/comment": b"caf\xc3\xa9"}}
            assert dict(await box.attributes("")) == {}
            if await box.expunged():  # this store keeps what was in a folder that is deleted
                await box.annotate("", {EXPUNGED: b"all"})
                assert [(text, flags) for _, text, flags in (await self.held(alive))["Play/Old"]] == [(letter().data, 0)]
                assert await box.expunged() == b""

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

    # Limits.

    def test_hostile_messages_are_kept_octet_by_octet(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            for name, message in hostile():
                (placed,) = await self.deliver(alive, message)
                inbox = await self.folder(alive)
                assert await inbox.read(placed.uid) == message.data, f"{name}: other octets came back"
                row = len(inbox.view()) - 1
                assert inbox.view().envelope(row).startswith(b"(") and inbox.view().bodystructure(row).startswith(b"("), name
            assert list(await self.store(alive).check(PO, "bob")) == []

        self.in_a_site(tmp_path, check)

    def test_a_huge_message_takes_little_memory(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            await self.deliver(alive, letter())
            message = huge(alive.site.root / "Queues" / "SMTP" / "Inbound" / "Messages")
            with memory() as peak:
                (placed,) = await self.deliver(alive, message)
                assert await (await self.folder(alive)).read(placed.uid, message.size - 12, 12) == b"\r\n--edge--\r\n"[-12:]
            assert peak() < self.memory, f"{message.size >> 20} MiB took {peak() >> 20} MiB of memory; {self.memory >> 20} MiB is the limit"

        self.in_a_site(tmp_path, check)

    def test_the_loop_is_not_blocked(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            await self.deliver(alive, letter())
            message = huge(alive.site.root / "Queues" / "SMTP" / "Inbound" / "Messages")

            async def work() -> None:
                for _, one in hostile():
                    await asyncio.sleep(0)
                    await self.deliver(alive, one)
                await asyncio.sleep(0)
                await self.deliver(alive, message)

            (await longest_step(work, self.is_mine)).check()

        self.in_a_site(tmp_path, check)

    def test_it_leaves_nothing_open_or_running(self, tmp_path: Path) -> None:
        async def work() -> None:
            before = set(asyncio.all_tasks())
            async with self.alive(tmp_path) as alive:
                await self.deliver(alive, letter(), "bob", "ann")
                inbox = await self.folder(alive)
                inbox.follow(lambda: None)
                await inbox.append(letter())
            left = tasks_besides(before)
            assert not left, f"after the site was closed there is {', '.join(left)}"

        left = left_by(work)
        assert not left, f"after the site was closed there is {', '.join(left)}"

    # What fails on the way.

    @pytest.mark.parametrize("deed", DEEDS)
    def test_a_disk_that_refuses_at_any_call_loses_nothing(self, tmp_path: Path, deed: str) -> None:
        for number in spread(self._calls(tmp_path / "whole", deed), self.points):
            asyncio.run(self._refused(tmp_path / str(number), deed, number, "full" if number % 2 else "broken"))

    async def _refused(self, place: Path, deed: str, number: int, how: str) -> None:
        disk, what = FaultDisk(how=how), f"call {number} was refused ({how})"
        async with self.alive(place, disk=disk) as alive:
            await self._scene(alive)
            before = await self.held(alive)
            disk.calls.clear()
            disk.at = number
            try:
                await self.within(self._do(deed, alive), f"{deed}, call {number} of which was refused,", DiskError, StoreError)
            except (DiskError, StoreError):
                pass
            disk.heal()
            self._same(before, await self.held(alive), deed, what)
            await self.deliver(alive, letter(), "ann")
        await self._reopened(place, before, deed, what)

    @pytest.mark.parametrize("deed", DEEDS)
    def test_after_a_death_at_any_call_nothing_is_lost(self, tmp_path: Path, deed: str) -> None:
        for number in spread(self._calls(tmp_path / "whole", deed), self.points):
            self._died(tmp_path / str(number), deed, number, "tear" if number % 2 else "die")

    def _died(self, place: Path, deed: str, number: int, how: str) -> None:
        async def build() -> Held:
            async with self.alive(place) as alive:
                await self._scene(alive)
                return await self.held(alive)

        async def die(disk: FaultDisk, arm: Callable[[], None]) -> None:
            async with self.alive(place, disk=disk) as alive:
                await self.held(alive)
                arm()
                await self._do(deed, alive)

        before = asyncio.run(build())
        ends_before(number, die, how)
        asyncio.run(self._reopened(place, before, deed, f"a death at call {number} ({how})"))

    def _calls(self, place: Path, deed: str) -> int:
        """How often this deed changes the disk when nothing is wrong."""

        async def main() -> int:
            disk = FaultDisk()
            async with self.alive(place, disk=disk) as alive:
                await self._scene(alive)
                before = len(disk.calls)
                await self._do(deed, alive)
                return len(disk.calls) - before

        return asyncio.run(main())

    async def _scene(self, alive: Alive) -> None:
        """Three letters in Inbox, one in Other."""
        for message in SCENE[:3]:
            await self.deliver(alive, message)
        await self.deliver(alive, SCENE[3], folder="Other")

    async def _do(self, deed: str, alive: Alive) -> None:
        """One change of the scene."""
        box, inbox, other = await self.box(alive), await self.folder(alive), await self.folder(alive, "Other")
        uids = list(inbox.view().uids)
        match deed:
            case "deliver":
                await self.deliver(alive, NEW, again=True)
            case "append":
                await inbox.append(NEW, flags=SEEN)
            case "append_all":
                await inbox.append_all([Upload(message) for message in MORE])
            case "replace":
                await inbox.replace(uids[0], Upload(NEW), inbox)
            case "replace_elsewhere":
                await inbox.replace(uids[0], Upload(NEW), other)
            case "flag":
                await inbox.change_flags(uids[:2], add=FLAGGED)
            case "expunge":
                await inbox.expunge(uids[:2])
            case "copy":
                await inbox.copy(uids[:2], other)
            case "move":
                await inbox.move(uids[:2], other)
            case "create":
                await box.create("New/Folder")
            case "rename":
                await box.rename("Other", "Another")

    async def _reopened(self, place: Path, before: Held, deed: str, what: str) -> None:
        """The next process finds all that was there, and delivers nothing of it again."""
        async with self.alive(place) as alive:
            self._same(before, await self.held(alive), deed, what)
            for number, message in enumerate(SCENE):
                (placed,) = await self.deliver(alive, message, again=True)
                assert placed.doubled, f"{deed}, {what}: letter {number} was delivered a second time"
            await self.deliver(alive, NEW, again=True)
            octets = [text for messages in (await self.held(alive)).values() for _, text, _ in messages]
            assert octets.count(NEW.data) == 1 or deed in ("append", *REPLACEMENTS), (
                f"{deed}, {what}: the new message is there {octets.count(NEW.data)} times"
            )

    def _same(self, before: Held, now: Held, deed: str, what: str) -> None:
        """Nothing is lost; what is more than one message is done whole or not at all."""
        had, has = ([text for messages in held.values() for _, text, _ in messages] for held in (before, now))
        lost = [text for text in had if text not in has]
        may_go = {"expunge": (0, 2), "replace": (0, 1), "replace_elsewhere": (0, 1)}
        assert len(lost) in may_go.get(deed, (0,)), f"{deed}, {what}: {len(lost)} messages are lost"
        more = {"copy": 2, "append_all": len(MORE)}.get(deed)
        if more is not None:
            assert len(has) in (len(had), len(had) + more), f"{deed}, {what}: done in part, {len(had)} became {len(has)}"
        if deed in ("move", "rename", "flag", "create", *REPLACEMENTS):
            assert len(has) == len(had), f"{deed}, {what}: {len(had)} messages became {len(has)}"
        if deed not in ("move", "expunge", *REPLACEMENTS):
            first = [(uid, text) for uid, text, _ in now[INBOX]][: len(before[INBOX])]
            assert first == [(uid, text) for uid, text, _ in before[INBOX]], f"{deed}, {what}: UIDs have changed"
