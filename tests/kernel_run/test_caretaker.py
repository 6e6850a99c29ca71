"""Housekeeping and queue requests of one worker, on a real spool in a folder, with a clock turned by hand."""

import asyncio
import errno
import fcntl
import os
from collections.abc import Coroutine, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postroom.address import InternalAddress, smtp
from postroom.connectors import Agent
from postroom.envelope import Attempt, Envelope, Recipient
from postroom.errors import DiskError
from postroom.journal import Journal
from postroom.message import MemoryMessage, Message, new_id
from postroom.outcome import Delivered, Outcome, Reply
from postroom.records import AuthRecord
from postroom.spool import Claim, Queue, Spool
from postroom_ops.dues import HELD
from postroom_run import caretaker as caretaking
from postroom_run.assembly import Assembled
from postroom_run.caretaker import Caretaker, make_queues
from postroom_run.control import Refused
from postroom_run.health import descriptor_problems, disk_problems, look
from postroom_run.requests import QueueRequests
from postroom_testing.clock import HandClock
from postroom_testing.ground import Lines, site_in
from tests.turns import turns_during

TAB = "server: mail.example.test\nplugins: {tab: {watch: false}}\n"


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def waiting(parts: Assembled, due: float, name: str = "Inbound") -> tuple[Queue, str]:
    """A pair that rests in a queue until then."""
    item = new_id()
    queue = parts.site.spool["SMTP"].inbound if name == "Inbound" else parts.site.spool["SMTP"].outgoing
    envelope = Envelope(item, item, "SMTP", None, (Recipient(smtp("a@nowhere.test")),), parts.site.clock.now(), attempt=Attempt(due=due))
    parts.site.spool.rest(queue, envelope, MemoryMessage(item, b"Subject: x\r\n\r\n"))
    return queue, item


def folder(tmp_path: Path) -> Path:
    (tmp_path / "Config").mkdir()
    return tmp_path


def test_what_is_due_is_taken_up_and_what_is_not_waits(tmp_path: Path) -> None:
    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, clock=clock) as parts:
            caretaker = Caretaker(parts)
            _, later = waiting(parts, clock.now() + 3600)
            queue, now = waiting(parts, clock.now() - 1)
            await caretaker.round()
            await parts.mta.drain()
            assert [item for item, _ in queue.items()] == [later]
            assert (tmp_path / "Bad Mail").is_dir() and now not in [item for item, _ in queue.items()]
            caretaker.close()

    run(main())


def test_only_one_holds_the_lease_and_it_passes_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with site_in(folder(tmp_path), TAB) as parts:
            one, two = Caretaker(parts), Caretaker(parts)
            assert one.holds_lease() and not two.holds_lease() and one.holds_lease()
            one.close()
            assert two.holds_lease()
            two.close()

    run(main())


def test_without_the_lease_the_queues_are_left_alone(tmp_path: Path) -> None:
    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, clock=clock) as parts:
            holder, other = Caretaker(parts), Caretaker(parts)
            assert holder.holds_lease()
            queue, item = waiting(parts, clock.now() - 1)
            await other.round()
            assert [found for found, _ in queue.items()] == [item]
            other._handing._told_due("\0".join(("7", "SMTP", "Inbound", item, "", "")).encode())  # meant for somebody else
            assert [found for found, _ in queue.items()] == [item]
            other._handing._told_due("\0".join(("0", "SMTP", "Inbound", item, "", "")).encode())  # the holder has too much to do
            await parts.mta.drain()
            assert list(queue.items()) == []
            holder.close()

    run(main())


def test_a_slot_whose_worker_died_is_replayed_and_a_living_ones_is_not(tmp_path: Path) -> None:
    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, clock=clock) as parts:
            caretaker, site = Caretaker(parts), parts.site
            other = Journal(tmp_path / "Journal", site.disk, 1 << 20)
            other.open(1)
            await other.start()
            item = new_id()
            envelope = Envelope(item, item, "SMTP", None, (Recipient(smtp("a@nowhere.test")),), clock.now(), attempt=Attempt())
            await Spool(tmp_path, site.disk, other, clock).accept(envelope, MemoryMessage(item, b"Subject: kept\r\n\r\n"))
            queue = site.spool["SMTP"].inbound
            await caretaker._site_duties()
            assert list(queue.items()) == [] and 1 in {slot for slot, _ in site.journal.live()}
            await other.close()  # it dies: nobody settled what it accepted
            await caretaker._site_duties()
            assert [found for found, _ in queue.items()] == [item] and 1 not in {slot for slot, _ in site.journal.live()}
            await caretaker.round()
            await parts.mta.drain()
            assert list(queue.items()) == []
            assert [path.read_bytes() for path in (tmp_path / "Bad Mail" / "Messages").iterdir()] == [b"Subject: kept\r\n\r\n"]
            caretaker.close()

    run(main())


def test_another_program_finds_the_queues_of_every_connector(tmp_path: Path) -> None:
    async def main() -> None:
        log = Lines()
        async with site_in(
            folder(tmp_path), "server: mail.example.test\nplugins: {tab: {watch: false}, store: , postoffice: }\n", log=log
        ) as parts:
            make_queues(parts)
            make_queues(parts)
            places = [tmp_path / "Queues" / "SF" / name / "Messages" for name in ("Inbound", "Outgoing")]
            assert [place.stat().st_mode & 0o777 for place in places] == [0o700, 0o700]
            for place in places:
                place.rmdir()
                place.parent.rmdir()
                place.parent.touch()  # in the way
            make_queues(parts)
            assert log.events("warning") == ["queues.not_made"] * 2

    run(main())


def test_a_duty_that_fails_is_logged_and_the_rounds_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        clock, log = HandClock(), Lines()
        async with site_in(folder(tmp_path), TAB, clock=clock, log=log) as parts:
            caretaker = Caretaker(parts)
            parts.site.spool.queues = lambda: 1 // 0  # type: ignore[assignment,method-assign,return-value]
            running = asyncio.ensure_future(caretaker.run())
            while log.events("error").count("caretaker.failed") < 2:
                await asyncio.sleep(0)
                await clock.advance(1)
            running.cancel()
            caretaker.close()

    run(main())


def test_clear_text_is_replaced_by_a_hash_after_a_login(tmp_path: Path) -> None:
    async def main() -> None:
        async with site_in(folder(tmp_path), TAB) as parts:
            logins = parts.site.providers.authentication.logins
            row = AuthRecord(username="alice@example.test", password="secret", account="example.test")
            changed = replace(row, username="bob@example.test")
            await logins.put(row, changed)
            caretaker = Caretaker(parts)
            for name in ("alice@example.test", "bob@example.test"):
                for told in parts.site.login.observers:
                    told(name, "secret", await logins.get(name))  # type: ignore[arg-type]
            await logins.put(replace(changed, password="another"))  # meanwhile, by hand
            await caretaker.round()
            alice, bob = await logins.get("alice@example.test"), await logins.get("bob@example.test")
            assert alice is not None and alice.password.startswith("$argon2id$")
            assert bob is not None and bob.password == "another"
            caretaker.close()

    run(main())


def test_queue_requests(tmp_path: Path) -> None:
    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, clock=clock) as parts:
            asked = QueueRequests(parts)
            queue, item = waiting(parts, clock.now() + 60)
            _, other = waiting(parts, clock.now() + 120, "Outgoing")
            listed = await asked.listing()
            assert listed["count"] == 2 and {row["queue"] for row in listed["items"]} == {"SMTP/Inbound", "SMTP/Outgoing"}
            assert asked.hold(item) == {"count": 1} and asked.show(item)["held"]
            assert await asked.retry() == {"count": 1}  # all but what is held
            assert dict(queue.items())[item] == HELD and asked.show(other)["due"] == clock.now()
            assert asked.release(item) == {"count": 1} and not asked.show(item)["held"]
            assert asked.show(item)["attempts"] == 0
            claim = parts.site.spool.claim(queue, item)
            assert claim is not None
            with pytest.raises(Refused, match="is being delivered right now"):
                asked.hold(item)
            with pytest.raises(Refused, match="is being delivered right now"):
                asked.delete(item)
            claim.drop()
            assert asked.delete(item) == {"count": 1}
            with pytest.raises(Refused, match=f"nothing named {item} waits"):
                asked.show(item)

    run(main())


def test_health_gathers_what_is_wrong(tmp_path: Path) -> None:
    async def main() -> None:
        (folder(tmp_path) / "Config" / "ADDRESS-MAP.TAB").write_text("[SMTP:a@b.test\t[SF:PO/A]\t0\t\r\n")
        async with site_in(tmp_path, TAB) as parts:
            health = look(parts)
            assert not health.ok and any("ADDRESS-MAP.TAB" in line for line in health.problems)
            parts.site.journal.failure = "No space left on device"
            assert any(line.startswith("the journal cannot be written: No space left") for line in look(parts).problems)

    run(main())


def test_health_is_silent_when_all_is_well(tmp_path: Path) -> None:
    async def main() -> None:
        async with site_in(folder(tmp_path), TAB) as parts:
            assert look(parts).ok

    run(main())


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    assert disk_problems(tmp_path / "gone") == ["the site's folder cannot be reached: No such file or directory"]


def test_a_pair_that_cannot_be_taken_up_holds_up_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command file that another program had left unreadable stopped the queue behind it, and the housekeeping for good."""

    async def main() -> None:
        clock, log = HandClock(), Lines()
        async with site_in(folder(tmp_path), TAB, clock=clock, log=log) as parts:
            caretaker, spool = Caretaker(parts), parts.site.spool
            queue, bad = waiting(parts, clock.now() - 2)
            _, good = waiting(parts, clock.now() - 1)
            claim, tidied = spool.claim, list[object]()

            def refuse(queue: Queue, item: str, by: float) -> object:
                if item == bad:
                    raise DiskError("opening the pair: Permission denied")
                return claim(queue, item, by)

            spool.claim = refuse  # type: ignore[assignment,method-assign]
            monkeypatch.setattr(caretaking, "sweep", lambda spool, seen: tidied.append(seen))
            for _ in range(2):
                await caretaker.round()
                await clock.advance(10)
            await parts.mta.drain()
            assert [item for item, _ in queue.items()] == [bad] != [good]
            assert tidied, "the site was looked after"
            told = [facts for _, event, facts in log.told if event == "caretaker.not_taken"]
            assert [facts["id"] for facts in told] == [bad], "told once, not every second"
            caretaker.close()

    run(main())


def test_a_lock_that_is_refused_leaves_no_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system without locks cost one descriptor a second."""

    async def main() -> None:
        async with site_in(folder(tmp_path), TAB) as parts:
            caretaker = Caretaker(parts)

            def refuse(fd: int, how: int) -> None:
                raise OSError(errno.ENOLCK, "No locks available")

            monkeypatch.setattr(fcntl, "flock", refuse)
            before = len(os.listdir("/proc/self/fd"))
            with pytest.raises(OSError, match="No locks"):
                caretaker.holds_lease()
            assert len(os.listdir("/proc/self/fd")) == before
            monkeypatch.undo()
            assert caretaker.holds_lease()
            caretaker.close()

    run(main())


async def died_with(folder: Path, parts: Assembled, count: int) -> Journal:
    """The journal of a worker that accepted so many messages and died."""
    other = Journal(folder / "Journal", parts.site.disk, 1 << 20)
    other.open(1)
    await other.start()
    spool = Spool(folder, parts.site.disk, other, parts.site.clock)
    for _ in range(count):
        item = new_id()
        envelope = Envelope(item, item, "SMTP", None, (Recipient(smtp("a@nowhere.test")),), parts.site.clock.now(), attempt=Attempt())
        await spool.accept(envelope, MemoryMessage(item, b"Subject: kept\r\n\r\n"))
    await other.close()
    return other


def test_the_loop_goes_on_while_a_dead_workers_journal_is_replayed(tmp_path: Path) -> None:
    """Replay, and the sync at its end, stood still for as long as they took: sessions hung, and a large journal cost the worker its life."""

    async def main() -> None:
        async with site_in(folder(tmp_path), TAB) as parts:
            caretaker = Caretaker(parts)
            await died_with(tmp_path, parts, 200)
            assert await turns_during(caretaker._site_duties()) > 20
            assert len(list(parts.site.spool["SMTP"].inbound.items())) == 200
            caretaker.close()

    run(main())


def test_what_a_dead_worker_had_in_hand_is_taken_up_after_its_journal_was_read(tmp_path: Path) -> None:
    """Its pair was free at once, its journal was read half a minute later: who had got the message already got it again."""

    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, clock=clock) as parts:
            caretaker = Caretaker(parts)
            await caretaker.round()  # from here on it is some rounds until the next look at everything
            item, one, two = new_id(), smtp("one@nowhere.test"), smtp("two@nowhere.test")
            envelope = Envelope(item, item, "SMTP", None, (Recipient(one), Recipient(two)), clock.now(), attempt=Attempt())
            other = Journal(tmp_path / "Journal", parts.site.disk, 1 << 20)
            other.open(1)
            await other.start()
            spool = Spool(tmp_path, parts.site.disk, other, clock)
            queue = spool["SMTP"].outgoing
            spool.rest(queue, envelope, MemoryMessage(item, b"Subject: x\r\n\r\n"))
            claim = spool.claim(queue, item)
            assert claim is not None
            await spool.settle(claim.envelope, [one])
            other._used[-1].hold()
            claim.drop()
            await other.close()  # it dies: nobody put what is left to rest
            os.utime(queue.command_path(item), (clock.now() - 1, clock.now() - 1))
            taken = list[Claim]()
            parts.mta.take = taken.append  # type: ignore[method-assign,assignment]
            _, fresh = waiting(parts, clock.now() - 1)
            recover = parts.site.journal.recover
            parts.site.journal.recover = lambda slots=None: 1 // 0  # type: ignore[method-assign]
            await caretaker.round()
            assert [claim.envelope.id for claim in taken] == [fresh], "a journal that cannot be read holds up what depends on it only"
            taken.pop().done()
            parts.site.journal.recover = recover  # type: ignore[method-assign]
            await clock.advance(6)
            await caretaker.round()
            assert [claim.envelope.settled for claim in taken] == [{one}]
            taken[0].drop()
            caretaker.close()

    run(main())


async def died_holding(folder: Path, parts: Assembled, item: str, one: InternalAddress, two: InternalAddress) -> Queue:
    """A worker that had a pair in hand when it died; one of the two had got it."""
    clock = parts.site.clock
    envelope = Envelope(item, item, "SMTP", None, (Recipient(one), Recipient(two)), clock.now(), attempt=Attempt())
    other = Journal(folder / "Journal", parts.site.disk, 1 << 20)
    other.open(1)
    await other.start()
    spool = Spool(folder, parts.site.disk, other, clock)
    queue = spool["SMTP"].outgoing
    spool.rest(queue, envelope, MemoryMessage(item, b"Subject: x\r\n\r\n"))
    claim = spool.claim(queue, item)
    assert claim is not None
    await spool.settle(claim.envelope, [one])
    claim.drop()
    await other.close()
    os.utime(queue.command_path(item), (clock.now() - 1, clock.now() - 1))
    return queue


def test_what_a_dead_worker_had_in_hand_was_taken_up_while_its_successor_had_not_read_its_journal_yet(tmp_path: Path) -> None:
    """Its slot was held again, by one that had only begun, and a slot that is held was taken for one that is read."""

    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, clock=clock) as parts:
            caretaker = Caretaker(parts)
            await caretaker.round()
            one, two = smtp("one@nowhere.test"), smtp("two@nowhere.test")
            await died_holding(tmp_path, parts, new_id(), one, two)
            taken = list[Claim]()
            parts.mta.take = taken.append  # type: ignore[method-assign,assignment]
            successor = Journal(tmp_path / "Journal", parts.site.disk, 1 << 20)
            Spool(tmp_path, parts.site.disk, successor, clock)
            successor.open(1)
            for _ in range(3):
                await clock.advance(6)
                await caretaker.round()
            assert not taken
            successor.recover()
            await clock.advance(6)
            await caretaker.round()
            assert [claim.envelope.settled for claim in taken] == [{one}]
            taken[0].drop()
            await successor.close()
            caretaker.close()

    run(main())


def test_what_a_dead_worker_had_in_hand_was_taken_up_unread_by_a_worker_that_it_was_given_to(tmp_path: Path) -> None:
    """Only the one with the lease looked whether somebody had died holding it."""

    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, clock=clock) as parts:
            one, two, item = smtp("one@nowhere.test"), smtp("two@nowhere.test"), new_id()
            queue = await died_holding(tmp_path, parts, item, one, two)
            was = queue.command_path(item).read_bytes()
            taken, handing = list[Claim](), Caretaker(parts)._handing
            parts.mta.take = taken.append  # type: ignore[method-assign,assignment]
            handing._told_due("\0".join((str(parts.site.worker), "SMTP", "Outgoing", item, "", "")).encode())
            assert not taken and queue.command_path(item).read_bytes() == was

    run(main())


class Slow:
    """A connector whose next hops never answer until told."""

    acronym, is_local = "SMTP", False

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = asyncio.Event()

    def hop(self, address: InternalAddress) -> str:
        return address.domain

    def refuses(self, address: InternalAddress) -> Reply | None:
        return None

    async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
        self.asked.append(envelope.hop)
        await self.answer.wait()
        return [Delivered(recipient) for recipient in envelope.recipients]

    def agents(self) -> Iterable[Agent]:
        return ()


def test_a_slow_destination_takes_no_more_places_than_it_may(tmp_path: Path) -> None:
    """Its waiting messages filled all that a worker carries at once, and nobody else's went out."""

    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB + "limits: {per_hop: 2}\n", clock=clock) as parts:
            parts.mta.connectors = {"SMTP": (slow := Slow())}
            queue = parts.site.spool["SMTP"].outgoing
            for number, hop in enumerate(["slow.test"] * 5 + ["other.test"]):
                item, when = new_id(), clock.now() - 60 + number
                envelope = Envelope(item, item, "SMTP", None, (Recipient(smtp(f"a@{hop}")),), when, attempt=Attempt(due=when), hop=hop)
                parts.site.spool.rest(queue, envelope, MemoryMessage(item, b"Subject: x\r\n\r\n"))
            caretaker = Caretaker(parts)
            await caretaker.round()
            await asyncio.sleep(0)
            assert sorted(slow.asked) == ["other.test", "slow.test", "slow.test"]
            slow.answer.set()
            await parts.mta.drain()
            await caretaker.round()
            await parts.mta.drain()
            await caretaker.round()
            await parts.mta.drain()
            assert slow.asked.count("slow.test") == 5 and not list(queue.items())
            caretaker.close()

    run(main())


def test_a_worker_that_may_open_hardly_another_file_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """It closed new connections of every service at once and nothing told why."""
    used = len(os.listdir("/proc/self/fd"))
    for spare, told in ((50, 1), (500, 0)):
        monkeypatch.setattr("resource.getrlimit", lambda which, most=used + spare: (most, most))
        found = descriptor_problems()
        assert len(found) == told and all(f"all of the {used + spare} files" in one and "LimitNOFILE" in one for one in found)
