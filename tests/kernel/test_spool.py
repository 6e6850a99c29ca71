"""The spool: responsibility from acceptance to the end, over any crash."""

import fcntl
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from postroom import commandfile
from postroom.address import InternalAddress
from postroom.envelope import Attempt
from postroom.errors import DiskError
from postroom.journal import Journal
from postroom.message import FileMessage
from postroom.spool import PRIVATE, Spool
from postroom_ops.ends import was_ended
from postroom_run.sweeping import sweep
from postroom_testing.faults import FaultDisk
from tests.due import due_items

from .house import TEXT, Clock, House, Remembering, envelope, message, run


def crash(house: House) -> None:
    """The process is gone: its locks fall, nothing else happens."""
    house.disk.close(house.journal._lock)


def test_an_accepted_message_survives_a_crash_as_a_pair(tmp_path: Path) -> None:
    sent = envelope("bob@example.test", subject="hello")

    async def main() -> None:
        async with House(tmp_path) as house:
            await house.spool.accept(sent, message(sent))
        async with House(tmp_path) as house:
            assert house.pairs("Queues/SMTP/Inbound") == [sent.id]
            claim = house.spool.claim(house.spool["SMTP"].inbound, sent.id)
            assert claim is not None
            assert claim.envelope.recipients == sent.recipients
            assert claim.envelope.attempt.crashes == 2  # the process that accepted it, and this one
            assert await claim.message.read() == TEXT
            claim.done()
        async with House(tmp_path) as house:
            assert house.pairs("Queues/SMTP/Inbound") == []

    run(main())


def test_what_is_settled_is_not_brought_back(tmp_path: Path) -> None:
    first, second = envelope("bob@example.test"), envelope("bob@example.test", "carol@example.test")

    async def main() -> None:
        async with House(tmp_path) as house:
            (await house.spool.accept(first, message(first))).done()
            claim = await house.spool.accept(second, message(second))
            await house.spool.settle(second, [InternalAddress.parse("[SF:PO/bob]")])
            assert claim.segment is not None
        async with House(tmp_path) as house:
            assert house.pairs("Queues/SMTP/Inbound") == [second.id]
            found = house.spool["SMTP"].inbound.look(second.id)
            assert found is not None
            assert found.settled == {InternalAddress.parse("[SF:PO/bob]")}

    run(main())


def test_two_processes_never_hold_one_pair(tmp_path: Path) -> None:
    """Case 9: the second finds it locked; when the first dies, its lock falls and the pair is there."""
    sent = envelope()

    async def main() -> None:
        async with House(tmp_path) as house:
            queue = house.spool["SMTP"].inbound
            house.spool.rest(queue, sent, message(sent))
            claim = house.spool.claim(queue, sent.id)
            assert claim is not None
            other = Spool(tmp_path, house.disk, house.journal, house.clock)
            assert other.claim(other["SMTP"].inbound, sent.id) is None
            claim.drop()
            again = other.claim(other["SMTP"].inbound, sent.id)
            assert again is not None
            again.done()
            assert other.claim(other["SMTP"].inbound, sent.id) is None

    run(main())


def test_a_message_that_killed_its_process_three_times_goes_to_bad_mail(tmp_path: Path) -> None:
    """Case 8: counted before any hook is asked."""
    sent = envelope()

    async def main() -> None:
        async with House(tmp_path) as house:
            queue = house.spool["SMTP"].inbound
            house.spool.rest(queue, sent, message(sent))
            for _ in range(3):
                claim = house.spool.claim(queue, sent.id)
                assert claim is not None
                claim.drop()  # what a dead process leaves: the lock falls, the count stays
            assert house.spool.claim(queue, sent.id) is None
            assert house.pairs("Bad Mail") == [sent.id]
            assert house.damaged[0][0] == sent.id
            assert "died 3 times" in house.damaged[0][1]

    run(main())


def test_a_command_file_without_its_message_is_shelved_and_told(tmp_path: Path) -> None:
    """Case 3: metadata present, body missing."""
    sent = envelope()

    async def main() -> None:
        async with House(tmp_path) as house:
            queue = house.spool["SMTP"].inbound
            house.spool.rest(queue, sent, message(sent))
            queue.message_path(sent.id).unlink()
            assert house.spool.claim(queue, sent.id) is None
            assert house.pairs("Bad Mail") == [sent.id]
            assert house.damaged

    run(main())


def test_a_pair_that_names_no_recipient_was_done_and_removed(tmp_path: Path) -> None:
    """A power cut may leave a command file empty, and a program may forget a line: nobody got it, and nobody was told."""

    async def main() -> None:
        async with House(tmp_path) as house:
            queue = house.spool["SMTP"].inbound
            sent = envelope()
            house.spool.rest(queue, sent, message(sent))
            queue.command_path(sent.id).write_bytes(b"")
            assert house.spool.claim(queue, sent.id) is None
            assert (tmp_path / "Bad Mail" / "Messages" / f"{sent.id}.MAI").read_bytes() == TEXT
            assert "names no recipient" in house.damaged[0][1]

    run(main())


def test_a_damaged_command_file_is_shelved_whole(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path) as house:
            queue = house.spool["SMTP"].inbound
            sent = envelope()
            house.spool.rest(queue, sent, message(sent))
            queue.command_path(sent.id).write_bytes(b"Recipients=nonsense\r\n")
            assert house.spool.claim(queue, sent.id) is None
            assert (tmp_path / "Bad Mail" / f"{sent.id}.MAI").read_bytes() == b"Recipients=nonsense\r\n"
            assert (tmp_path / "Bad Mail" / "Messages" / f"{sent.id}.MAI").read_bytes() == TEXT
            assert "nonsense" in house.damaged[0][1]

    run(main())


def test_listing_the_queue_writes_nothing(tmp_path: Path) -> None:
    """Case 7: inode, size and both times are the same before and after."""

    def snapshot() -> dict[str, tuple[int, int, int]]:
        return {str(path): (path.stat().st_ino, path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(tmp_path.rglob("*"))}

    async def main() -> None:
        async with House(tmp_path) as house:
            for _ in range(3):
                sent = envelope()
                house.spool.rest(house.spool["SMTP"].inbound, sent, message(sent))
            before = snapshot()
            assert len(list(due_items(house.spool, house.clock.now()))) == 3
            for queue in house.spool.queues():
                for item, _ in queue.items():
                    assert queue.look(item) is not None
            assert snapshot() == before

    run(main())


def test_a_pair_that_ends_while_the_queue_is_listed_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The list ended there: `queue list` and `queue retry` knew nothing of the rest, and the caretaker forgot it for five seconds."""

    class Vanishing:
        """A folder's entries, of which the first is gone when it is looked at."""

        def __init__(self, folder: Path) -> None:
            self._entries = os_scandir(folder)

        def __enter__(self) -> Iterator[os.DirEntry[str]]:
            return self._all()

        def __exit__(self, *_: object) -> None:
            self._entries.close()

        def _all(self) -> Iterator[os.DirEntry[str]]:
            found = [entry for entry in self._entries if entry.is_file()]
            Path(found[0].path).unlink()
            yield from found

    async def main() -> None:
        async with House(tmp_path) as house:
            queue = house.spool["SMTP"].outgoing
            for _ in range(3):
                sent = envelope()
                house.spool.rest(queue, sent, message(sent))
            monkeypatch.setattr("os.scandir", Vanishing)
            assert len(list(queue.items())) == 2

    os_scandir = os.scandir
    run(main())


def test_a_pair_is_due_at_its_time(tmp_path: Path) -> None:
    sent = replace(envelope(), attempt=Attempt(count=1, due=1_000_900.0))

    async def main() -> None:
        async with House(tmp_path) as house:
            house.spool.rest(house.spool["SMTP"].outgoing, sent, message(sent))
            assert list(due_items(house.spool, 1_000_899.0)) == []
            assert [item for _, item in due_items(house.spool, 1_000_900.0)] == [sent.id]

    run(main())


def test_a_large_message_is_removed_only_after_a_cut(tmp_path: Path) -> None:
    sent = envelope()

    async def main() -> None:
        async with House(tmp_path) as house:
            path = house.spool.big(sent.id, "SMTP")
            path.write_bytes(TEXT * 10)
            claim = await house.spool.accept(sent, FileMessage(sent.id, path, len(TEXT) * 10))
            claim.done()
            assert path.exists()
        assert not path.exists()

    run(main())


def test_a_large_message_survives_a_crash_in_its_file(tmp_path: Path) -> None:
    sent = envelope()

    async def main() -> None:
        async with House(tmp_path) as house:
            path = house.spool.big(sent.id, "SMTP")
            path.write_bytes(TEXT * 10)
            await house.spool.accept(sent, FileMessage(sent.id, path, len(TEXT) * 10))
        async with House(tmp_path) as house:
            claim = house.spool.claim(house.spool["SMTP"].inbound, sent.id)
            assert claim is not None
            assert await claim.message.read() == TEXT * 10
            claim.done()

    run(main())


def test_a_finished_outgoing_item_is_not_made_again_by_a_replay(tmp_path: Path) -> None:
    sent = envelope("[SMTP:x@elsewhere.test]")

    async def main() -> None:
        async with House(tmp_path) as house:
            queue = house.spool["SMTP"].outgoing
            house.spool.rest(queue, sent, message(sent))
            claim = house.spool.claim(queue, sent.id)
            assert claim is not None
            claim.done()
            house.spool.rest(queue, sent, message(sent))
            assert not queue.command_path(sent.id).exists()
        journal = Journal(tmp_path / "Journal")
        journal.open()
        spool = Spool(tmp_path, journal.disk, journal, Clock())
        seen: dict[str, frozenset[tuple[int, int]]] = {}
        journal.holding = lambda: frozenset({(9, 9)})  # type: ignore[method-assign]
        sweep(spool, seen)
        assert was_ended(spool["SMTP"].outgoing.folder, sent.id)
        journal.holding = lambda: frozenset({(9, 10)})  # type: ignore[method-assign]
        sweep(spool, seen)
        assert not was_ended(spool["SMTP"].outgoing.folder, sent.id)
        journal.disk.close(journal._lock)

    run(main())


def test_a_finished_pair_whose_process_died_before_the_cut_is_done_again_unless_the_journal_says_settled(tmp_path: Path) -> None:
    """What it became may not be on disk yet: its octets stay until it is, and a dead worker's finished items come back."""
    sent = envelope()

    async def main() -> None:
        async with House(tmp_path) as house:
            queue = house.spool["SMTP"].inbound
            house.spool.rest(queue, sent, message(sent))
            claim = house.spool.claim(queue, sent.id)
            assert claim is not None
            house.spool.remove(claim)  # no note reached the journal
            claim.drop()
            house.journal._used[-1].leftovers.clear()  # the process dies here
        async with House(tmp_path) as house:
            assert house.pairs("Queues/SMTP/Inbound") == [sent.id]

    run(main())


def test_a_pair_dropped_in_by_another_program_is_picked_up(tmp_path: Path) -> None:
    async def main() -> None:
        folder = tmp_path / "Queues" / "SMTP" / "Inbound"
        (folder / "Messages").mkdir(parents=True)
        item = "0123456789ABCDEF" * 2
        (folder / "Messages" / f"{item}.MAI").write_bytes(TEXT)
        (folder / f"{item}.MAI").write_bytes(b"Recipients=[SMTP:bob@example.test]\nSender=[SMTP:a@example.com]\nCampaign=7\n")
        os.utime(folder / f"{item}.MAI", (1, 1))
        mailboxes = Remembering()
        async with House(tmp_path, connectors=[mailboxes]) as house:
            assert house.take_due() == 1
            await house.mta.drain()
            assert [data for _, data in mailboxes.got] == [TEXT]
            assert mailboxes.got[0][0].extra == {"Campaign": "7"}
            assert house.pairs("Queues/SMTP/Inbound") == []

    run(main())


def test_a_message_whose_transfer_was_cut_off_is_swept_after_a_day(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path) as house:
            orphan, resting = envelope(), envelope()
            path = house.spool.big(orphan.id, "SMTP")
            path.write_bytes(TEXT)
            house.spool.rest(house.spool["SMTP"].inbound, resting, message(resting))
            house.clock.at = path.stat().st_ctime
            sweep(house.spool, {})
            assert path.exists()
            house.clock.at += 90_000
            sweep(house.spool, {})
            assert not path.exists()
            assert house.spool["SMTP"].inbound.message_path(resting.id).exists()

    run(main())


def test_a_programs_private_copy_is_no_mail_and_goes_when_nobody_holds_it(tmp_path: Path) -> None:
    """Decision 5: what a killed hook left in the queue, edited by half, is neither delivered nor shelved."""
    copy = "B" * 32

    async def main() -> None:
        async with House(tmp_path, connectors=[box := Remembering()]) as house:
            queue = house.spool["SMTP"].inbound
            sent = envelope("bob@example.test", extra={PRIVATE: copy})
            house.spool.rest(queue, replace(sent, id=copy), message(sent, b"half"))
            holder = os.open(queue.command_path(copy), os.O_RDONLY)
            fcntl.flock(holder, fcntl.LOCK_EX)
            assert house.take_due(2e9) == 0 and house.pairs("Queues/SMTP/Inbound") == [copy]
            os.close(holder)
            assert house.take_due(2e9) == 0
            assert house.pairs("Queues/SMTP/Inbound") == [] and list(queue.message_path(copy).parent.iterdir()) == []
            assert box.got == [] and house.damaged == [] and house.pairs("Bad Mail") == []

    run(main())


def test_a_private_copy_whose_message_the_program_removed_is_not_bad_mail(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path) as house:
            queue = house.spool["SMTP"].inbound
            sent = envelope("bob@example.test")
            house.spool.rest(queue, replace(sent, extra={PRIVATE: sent.id}), message(sent))
            queue.message_path(sent.id).unlink()
            assert house.take_due(2e9) == 0
            assert house.pairs("Queues/SMTP/Inbound") == [] and house.damaged == []

    run(main())


def test_what_is_set_aside_says_who_holds_it_and_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path) as house:
            sent = envelope("bob@example.test")
            house.spool.set_aside("Quarantine", sent, message(sent), "Eicar found", "clamav", "mta_pickup")
            held = commandfile.decode((tmp_path / "Quarantine" / f"{sent.id}.MAI").read_bytes(), item=sent.id, source="")
            assert dict(held.extra) == {"HeldBy": "clamav", "HeldAt": "mta_pickup"} and held.attempt.error == "Eicar found"
            assert held.recipients == sent.recipients and held.source == "SMTP"

    run(main())


def test_a_disk_that_refuses_a_claim_is_a_disk_error_and_lets_the_pair_go(tmp_path: Path) -> None:
    """It was an OSError that nobody below the loop expects, and the lock stayed until the process ended."""

    async def main() -> None:
        disk = FaultDisk()
        async with House(tmp_path, disk=disk) as house:
            queue, sent = house.spool["SMTP"].inbound, envelope("bob@example.test")
            house.spool.rest(queue, sent, message(sent))
            before = len(os.listdir("/proc/self/fd"))
            for how in ("broken", "full"):  # a claim changes the disk once: it counts itself
                disk.at, disk.how = len(disk.calls) + 1, how
                with pytest.raises(DiskError):
                    house.spool.claim(queue, sent.id)
            disk.heal()
            assert len(os.listdir("/proc/self/fd")) == before
            claim = house.spool.claim(queue, sent.id)
            assert claim is not None
            claim.done()

    run(main())


def test_a_start_after_a_power_cut_that_took_the_end_of_a_settled_pair_does_not_fail(tmp_path: Path) -> None:
    """The journal said that all was done, the pair's removal was lost: replay asked a journal that had no segment yet, and no worker could start."""
    sent = envelope("bob@example.test")

    async def main() -> None:
        async with House(tmp_path) as house:
            house.spool.rest(house.spool["SMTP"].outgoing, sent, message(sent))
            other = envelope("bob@example.test")
            claim = await house.spool.accept(other, message(other))  # its record keeps the segment
            house.spool.settled(sent)
            await house.spool.settle(other, [InternalAddress.parse("[SF:PO/alice]")])
            assert claim.segment is not None
        async with House(tmp_path) as house:
            assert house.pairs("Queues/SMTP/Outgoing") == []
            assert not house.spool["SMTP"].outgoing.message_path(sent.id).exists()

    run(main())


def test_what_another_process_works_on_is_not_settled_behind_its_back(tmp_path: Path) -> None:
    """A replay rewrote the command file of a pair that was claimed; the new file had no lock, and a second process claimed it."""
    first, second = InternalAddress.parse("[SMTP:x@one.test]"), InternalAddress.parse("[SMTP:y@one.test]")

    async def main() -> None:
        async with House(tmp_path) as house:
            queue, sent = house.spool["SMTP"].outgoing, envelope("x@one.test", "y@one.test")
            house.spool.rest(queue, sent, message(sent))
            await house.spool.settle(sent, [first, second])
            claim = house.spool.claim(queue, sent.id)
            assert claim is not None
            house.journal.recover([house.journal.slot])
            assert house.spool.claim(queue, sent.id) is None
            claim.done()

    run(main())


def test_a_command_file_that_cannot_be_read_now_is_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OSError of reading leaked the locked descriptor: the pair was stuck until the process ended."""

    def broken(fd: int, octets: int) -> bytes:
        raise OSError(5, "Input/output error")

    async def main() -> None:
        async with House(tmp_path) as house:
            queue, sent = house.spool["SMTP"].inbound, envelope("bob@example.test")
            house.spool.rest(queue, sent, message(sent))
            with monkeypatch.context() as patch:
                patch.setattr(os, "read", broken)
                with pytest.raises(DiskError):
                    house.spool.claim(queue, sent.id)
            claim = house.spool.claim(queue, sent.id)
            assert claim is not None
            claim.done()

    run(main())


def test_a_claim_and_what_ends_it_make_no_file(tmp_path: Path) -> None:
    """Counted, put off with what is new, and given another time: always in the same command file, whose mtime is when it is due."""
    sent = replace(envelope("x@one.test", "y@one.test"), attempt=Attempt(due=1_000_000.0))

    async def main() -> None:
        async with House(tmp_path) as house:
            queue = house.spool["SMTP"].outgoing
            house.spool.rest(queue, sent, message(sent))
            path = queue.command_path(sent.id)
            inode, text = path.stat().st_ino, path.read_bytes()
            claim = house.spool.claim(queue, sent.id)
            assert claim is not None and path.read_bytes() == text + b"Status=Delivering\r\nCrashes=1\r\n"
            claim.again(replace(claim.found, attempt=replace(claim.found.attempt, due=1_000_050.0)))
            assert path.read_bytes() == text and path.stat().st_mtime == 1_000_050.0
            for count in (1, 2):
                claim = house.spool.claim(queue, sent.id)
                assert claim is not None
                attempt = Attempt(count, 1_000_100.0 * count, error=f"451 {count}")
                claim.again(replace(claim.envelope, recipients=sent.recipients[:1], attempt=attempt))
                found = queue.look(sent.id)
                assert found is not None and found.attempt == attempt and found.recipients == sent.recipients[:1]
            assert path.stat().st_ino == inode and path.stat().st_mtime == 2_000_200.0
            assert house.spool.claim(queue, sent.id, 2_000_199.0) is None, "not due by then"

    run(main())


def test_a_command_file_that_grew_over_a_page_is_made_anew_and_synced(tmp_path: Path) -> None:
    """What is added lies within one page, which reaches the disk as one; else a power cut could leave half of it."""
    sent = envelope("x@one.test")

    async def main() -> None:
        disk = FaultDisk()
        async with House(tmp_path, disk=disk) as house:
            queue = house.spool["SMTP"].outgoing
            house.spool.rest(queue, sent, message(sent))
            path, made = queue.command_path(sent.id), 0
            for count in range(1, 60):
                before, calls = path.stat(), len(disk.calls)
                claim = house.spool.claim(queue, sent.id)
                assert claim is not None
                claim.again(replace(claim.envelope, attempt=Attempt(count, 1.0, error=f"451 4.7.1 {count} " + "x" * 90)))
                if path.stat().st_ino != before.st_ino:
                    made += 1
                    assert "fsync" in disk.calls[calls:]
                else:
                    assert path.stat().st_size // 4096 == before.st_size // 4096
                found = queue.look(sent.id)
                assert found is not None and found.attempt.count == count and not found.attempt.crashes
            assert 1 < made < 10

    run(main())


def test_a_line_that_was_cut_off_is_no_recipient(tmp_path: Path) -> None:
    """A death in the middle of adding lines; the next claim cuts the torn one off before it adds its own."""
    sent = envelope("x@one.test", "y@one.test")

    async def main() -> None:
        async with House(tmp_path) as house:
            queue = house.spool["SMTP"].outgoing
            house.spool.rest(queue, sent, message(sent))
            path = queue.command_path(sent.id)
            text = path.read_bytes()
            path.write_bytes(text + b"Recipients=[SMTP:x@on")
            claim = house.spool.claim(queue, sent.id)
            assert claim is not None and claim.envelope.recipients == sent.recipients
            assert path.read_bytes() == text + b"Status=Delivering\r\nCrashes=1\r\n"
            claim.drop()
            path.write_bytes(text.removesuffix(b"\r\n"))  # as another program may end it
            claim = house.spool.claim(queue, sent.id)
            assert claim is not None and claim.envelope.recipients == sent.recipients
            claim.drop()
            found = queue.look(sent.id)
            assert found is not None and found.attempt.crashes == 1 and found.recipients == sent.recipients

    run(main())


def test_who_has_it_by_the_journal_is_no_recipient_any_more(tmp_path: Path) -> None:
    """Case 4: a crash between "delivered to one of two" and the queue's update sent it to the first one again."""
    one, two = InternalAddress.parse("[SMTP:x@one.test]"), InternalAddress.parse("[SMTP:y@one.test]")
    both, whole = envelope("x@one.test", "y@one.test"), envelope("x@one.test", "y@one.test")

    async def main() -> None:
        async with House(tmp_path) as house:
            queue = house.spool["SMTP"].outgoing
            for sent, has_it in ((both, [one]), (whole, [one, two])):
                house.spool.rest(queue, sent, message(sent))
                claim = house.spool.claim(queue, sent.id)
                assert claim is not None
                await house.spool.settle(claim.envelope, has_it)
                house.journal._used[-1].hold()
                claim.drop()  # it dies
        async with House(tmp_path) as house:
            assert house.pairs("Queues/SMTP/Outgoing") == [both.id]
            found = house.spool["SMTP"].outgoing.look(both.id)
            assert found is not None and [recipient.address for recipient in found.recipients] == [two]

    run(main())


def test_what_the_journal_knows_to_be_done_is_not_brought_back_when_its_segment_is_cut(tmp_path: Path) -> None:
    """A death between the cut and the removal of the octets sent a whole batch again."""
    sent = envelope("[SMTP:x@one.test]")

    async def main() -> None:
        async with House(tmp_path) as house:
            queue = house.spool["SMTP"].outgoing
            house.spool.rest(queue, sent, message(sent))
            claim = house.spool.claim(queue, sent.id)
            assert claim is not None
            await house.spool.settle(claim.envelope, ())
            claim.is_settled = True
            claim.done()
            assert not queue.message_path(sent.id).exists()
            house.journal._used[-1].leftovers.clear()
        async with House(tmp_path) as house:
            assert house.pairs("Queues/SMTP/Outgoing") == []

    run(main())
