"""What a mail store owes whoever brings it mail: a delivery is made once, uploads come all or none, whatever octets they are made of."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postroom.errors import NoSuchFolder, NoSuchMessage, OverQuota
from postroom.mailstore import FLAGGED, INBOX, SEEN, Placed, Target, Upload
from postroom.records import MailboxRecord
from postroom_testing.mail import hostile, huge, letter
from postroom_testing.plugin import Alive
from postroom_testing.store_ground import PO, StoreGround
from postroom_testing.watching import longest_step, memory


class ArrivalTests(StoreGround):
    """Deliveries and uploads."""

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
            assert list(view.messages([0])) == [message.data] and list(view.messages([0], waits=False)) in ([], [message.data])
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

    def test_each_target_has_its_answer_its_folder_and_its_flags(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            message = letter()
            targets = [Target(PO, "bob", "Lists/Dev", SEEN | FLAGGED), Target(PO, "ann", limit=10), Target(PO, "carl")]
            for doubled in (False, True):  # this process knows what it delivered, without being told that it may have
                dev, refused, inbox = await self.store(alive).deliver(message, targets, arrived=1.8e9)
                assert isinstance(dev, Placed) and isinstance(inbox, Placed) and isinstance(refused, OverQuota), (dev, refused, inbox)
                assert [(one.folder, one.doubled) for one in (dev, inbox)] == [("Lists/Dev", doubled), (INBOX, doubled)]
                assert [row[1:] for row in (await self.held(alive))["Lists/Dev"]] == [(message.data, SEEN | FLAGGED)]
                assert [row[1:] for row in (await self.held(alive, "carl"))[INBOX]] == [(message.data, 0)]

        self.in_a_site(tmp_path, check)

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

    def test_a_quota_is_what_lies_there_and_what_may(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            box, inbox = await self.box(alive), await self.folder(alive)
            assert await box.quota() == (0, None)
            first, second = [(await self.deliver(alive, letter(), folder=name))[0] for name in (INBOX, "Other")]
            other = await self.folder(alive, second.folder)
            assert await box.quota() == (sum(inbox.view().octets) + sum(other.view().octets), None)
            await inbox.expunge([first.uid])
            await alive.site.providers.postoffice.mailboxes.put(MailboxRecord(PO, "bob", 1, 2))  # KiB
            assert await box.quota() == (sum(other.view().octets), 2048)

        self.in_a_site(tmp_path, check)

    # Uploads.

    def test_an_upload_lies_as_it_was_asked(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            inbox, message, begun = await self.folder(alive), letter(), alive.site.clock.now()
            placed = [await inbox.append(message, flags=SEEN | FLAGGED, arrived=1.7e9), await inbox.append(letter())]
            view = inbox.view()
            assert [(one.folder, one.uid, one.uidvalidity) for one in placed] == [
                (INBOX, uid, view.status.uidvalidity) for uid in view.uids
            ]
            old, new = view.numbers("arrived", 0, 2)
            assert list(view.flags) == [SEEN | FLAGGED, 0] and old == 1.7e9
            assert begun - 1 <= new <= alive.site.clock.now(), "what is uploaded without a date arrives now"
            assert _octets(inbox.path(placed[0].uid)) == await inbox.read(placed[0].uid) == message.data
            await alive.site.providers.postoffice.mailboxes.put(MailboxRecord(PO, "ann", 1, 2))  # KiB
            small = await self.folder(alive, mailbox="ann")
            with pytest.raises(OverQuota):
                await small.append(letter(b"x" * 3000))
            assert len(small.view()) == 0

        self.in_a_site(tmp_path, check)

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

    def test_a_replacement_needs_room_for_what_it_is_larger_by(self, tmp_path: Path) -> None:
        async def check(alive: Alive) -> None:
            (old,) = await self.deliver(alive, letter(b"Subject: x\r\n\r\n" + b"x" * 1500))
            await alive.site.providers.postoffice.mailboxes.put(MailboxRecord(PO, "bob", 1, 2))  # KiB
            inbox, new = await self.folder(alive), letter(b"Subject: x\r\n\r\n" + b"y" * 1600)
            placed = await inbox.replace(old.uid, Upload(new), inbox)
            with pytest.raises(OverQuota):
                await inbox.replace(placed.uid, Upload(letter(b"x" * 3000)), inbox)
            assert [row[:2] for row in (await self.held(alive))[INBOX]] == [(placed.uid, new.data)], "what was refused was done"

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


def _octets(path: str) -> bytes:
    return Path(path).read_bytes()
