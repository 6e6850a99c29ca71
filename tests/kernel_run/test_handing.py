"""The queue road: what is due goes as soon as its next hop has a place, by whichever worker, once, and nobody waits for a slow hop but its own."""

import asyncio
import os
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest

from postroom.address import InternalAddress, smtp
from postroom.addressmap import Resolution
from postroom.connectors import Agent
from postroom.envelope import Attempt, Envelope, Peer, Recipient
from postroom.message import MemoryMessage, Message, new_id
from postroom.outcome import Delivered, Outcome, Reply
from postroom.spool import Claim, Queue
from postroom_ops.bus import LocalBus
from postroom_run.assembly import Assembled
from postroom_run.caretaker import Caretaker
from postroom_run.requests import QueueRequests
from postroom_testing.clock import HandClock
from postroom_testing.ground import site_in

TAB = "server: mail.example.test\nplugins: {tab: {watch: false}}\n"


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def folder(tmp_path: Path) -> Path:
    (tmp_path / "Config").mkdir()
    return tmp_path


class Far:
    """A connector whose slow hops answer when told, and whose others answer at once."""

    acronym, is_local = "SMTP", False

    def __init__(self, *slow: str) -> None:
        self.slow = set(slow)
        self.got: Counter[str] = Counter()  # deliveries by item
        self.asked: Counter[str] = Counter()  # attempts by hop
        self.answer = asyncio.Event()

    def hop(self, address: InternalAddress) -> str:
        return address.domain

    def refuses(self, address: InternalAddress) -> Reply | None:
        return None

    async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
        self.asked[envelope.hop] += 1
        if envelope.hop in self.slow:
            await self.answer.wait()
        await asyncio.sleep(0)
        self.got[envelope.id] += 1
        return [Delivered(recipient) for recipient in envelope.recipients]

    def agents(self) -> Iterable[Agent]:
        return ()


def outgoing(parts: Assembled, far: Far) -> Queue:
    parts.mta.connectors = {"SMTP": far}
    return parts.site.spool["SMTP"].outgoing


def rest(queue: Queue, hop: str, due: float) -> str:
    item = new_id()
    envelope = Envelope(item, item, "SMTP", None, (Recipient(smtp(f"a@{hop}")),), due, attempt=Attempt(due=due), hop=hop)
    queue.spool.rest(queue, envelope, MemoryMessage(item, b"Subject: x\r\n\r\n"))
    return item


async def until(it_is_so: Callable[[], bool]) -> None:
    for _ in range(5000):
        if it_is_so():
            return
        await asyncio.sleep(0.002)  # the journal's thread
    raise AssertionError("it did not come to that")


async def until_empty(queue: Queue) -> None:
    await until(lambda: next(queue.items(), None) is None)


def test_two_workers_deliver_everything_once(tmp_path: Path) -> None:
    """The one with the lease carries ten at a time; the other one asks for work. Every item goes by one of them, once."""

    async def main() -> None:
        folder(tmp_path)
        yaml = TAB + "limits: {in_flight: 10}\n"
        async with site_in(tmp_path, yaml, worker=0) as first, site_in(tmp_path, yaml, worker=1) as second:
            fars = [Far(), Far()]
            for parts, far in zip((first, second), fars, strict=True):
                queue = outgoing(parts, far)
                assert isinstance(parts.site.bus, LocalBus)
                parts.site.bus.open()
            items = [rest(queue, f"d{number % 5}.test", first.site.clock.now() - 1) for number in range(150)]
            caretakers = Caretaker(first), Caretaker(second)
            running = [asyncio.create_task(one._handing.run()) for one in caretakers]
            for _ in range(500):
                for one in caretakers:
                    await one.round()
                await asyncio.sleep(0.002)
                if next(queue.items(), None) is None:
                    break
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            for one, parts in zip(caretakers, (first, second), strict=True):
                await parts.mta.drain()
                one.close()
                parts.site.bus.close()  # type: ignore[attr-defined]
            assert fars[0].got + fars[1].got == Counter(items)
            assert fars[1].got, "the second had a part in it"

    run(main())


def test_a_place_is_given_on_when_it_becomes_free(tmp_path: Path) -> None:
    """Not at the next round: there is only one here."""

    async def main() -> None:
        async with site_in(folder(tmp_path), TAB + "limits: {per_hop: 2}\n") as parts:
            queue = outgoing(parts, far := Far())
            items = [rest(queue, "a.test", parts.site.clock.now() - 1) for _ in range(20)]
            caretaker = Caretaker(parts)
            running = asyncio.create_task(caretaker._handing.run())
            await caretaker.round()
            await until_empty(queue)
            running.cancel()
            await parts.mta.drain()
            assert far.got == Counter(items)
            caretaker.close()

    run(main())


def test_a_dead_hop_with_a_thousand_waiting_costs_the_others_nothing(tmp_path: Path) -> None:
    """As many of its items are touched as may be under way, in however many rounds; all others go."""

    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB + "limits: {per_hop: 3}\n", clock=clock) as parts:
            queue = outgoing(parts, far := Far("dead.test"))
            dead = {rest(queue, "dead.test", clock.now() - 60) for _ in range(1000)}
            live = [rest(queue, f"live{number % 7}.test", clock.now() - 1) for number in range(35)]
            spool, claims = parts.site.spool, list[str]()
            claim = spool.claim

            def counted(queue: Queue, item: str, by: float) -> Claim | None:
                claims.append(item)
                return claim(queue, item, by)

            spool.claim = counted  # type: ignore[method-assign,assignment]
            caretaker = Caretaker(parts)
            running = asyncio.create_task(caretaker._handing.run())
            for _ in range(20):
                await caretaker.round()
                await clock.advance(1)
            await until(lambda: far.got.total() >= len(live))
            await caretaker.round()
            assert far.got == Counter(live) and far.asked["dead.test"] == 3
            assert len(claims) == len(live) + 3, "one look each, and none at what has no place"
            assert len(dead & set(claims)) == 3
            running.cancel()
            far.answer.set()
            await parts.mta.drain()
            caretaker.stop()
            caretaker.close()

    run(main())


def test_some_slow_hops_together_leave_room_for_the_others(tmp_path: Path) -> None:
    """Four slow ones, each with as many places as it might have, filled all that a worker carries at once."""

    async def main() -> None:
        async with site_in(folder(tmp_path), TAB + "limits: {in_flight: 40, per_hop: 10}\n") as parts:
            slow = [f"slow{number}.test" for number in range(6)]
            queue = outgoing(parts, far := Far(*slow))
            for number in range(120):
                rest(queue, slow[number % 6], parts.site.clock.now() - 60)
            live = [rest(queue, f"live{number}.test", parts.site.clock.now() - 1) for number in range(10)]
            caretaker = Caretaker(parts)
            running = asyncio.create_task(caretaker._handing.run())
            await caretaker.round()
            await until(lambda: far.got.total() >= len(live))
            assert far.got == Counter(live)
            assert all(0 < far.asked[hop] <= 10 for hop in slow) and sum(far.asked[hop] for hop in slow) < 40
            far.answer.set()
            await until_empty(queue)
            running.cancel()
            await parts.mta.drain()
            caretaker.close()

    run(main())


def test_what_an_operator_does_counts_whatever_memory_says(tmp_path: Path) -> None:
    """Held and deleted while they wait in line for a place; and one that was put off is retried at once."""

    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB + "limits: {per_hop: 1}\n", clock=clock) as parts:
            queue, asked = outgoing(parts, far := Far("slow.test")), QueueRequests(parts)
            first, held, gone = [rest(queue, "slow.test", clock.now() - 60 + number) for number in range(3)]
            later = rest(queue, "other.test", clock.now() + 900)
            caretaker = Caretaker(parts)
            running = asyncio.create_task(caretaker._handing.run())
            await caretaker.round()
            assert asked.hold(held) == asked.delete(gone) == {"count": 1}
            far.answer.set()
            await until(lambda: bool(far.got[first]))
            assert await asked.retry(later) == {"count": 1}
            await until(lambda: bool(far.got[later]))  # no round is needed
            await parts.mta.drain()
            for _ in range(3):
                await clock.advance(6)
                await caretaker.round()
            await parts.mta.drain()
            assert far.got == Counter([first, later]) and [item for item, _ in queue.items()] == [held]
            assert asked.show(held)["held"] and asked.show(held)["attempts"] == 0
            asked.release(held)
            await until(lambda: bool(far.got[held]))
            running.cancel()
            await parts.mta.drain()
            caretaker.close()

    run(main())


@pytest.mark.parametrize("domain", ["", "d3.test"])
def test_what_another_worker_was_told_to_retry_goes_at_the_next_round(tmp_path: Path, domain: str) -> None:
    """The one with the lease learnt it from the folders only, up to five seconds later: each item's time was told by nobody."""
    chosen = slice(3, 4) if domain else slice(5)

    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, worker=0, clock=clock) as first, site_in(tmp_path, TAB, worker=1, clock=clock) as second:
            queue = outgoing(first, far := Far())
            for parts in (first, second):
                assert isinstance(parts.site.bus, LocalBus)
                parts.site.bus.open()
            items = [rest(queue, f"d{number}.test", clock.now() + 900) for number in range(5)]
            caretaker = Caretaker(first)
            await caretaker.round()
            await asyncio.sleep(0)
            heard = list[bytes]()
            first.site.bus.listen("retry", heard.append)
            assert await QueueRequests(second).retry(domain=domain) == {"count": len(items[chosen])}
            await until(lambda: len(heard) == 1 + bool(domain))  # those that are chosen: before, and when all have their time
            await caretaker.round()
            await first.mta.drain()
            assert far.got == Counter(items[chosen])
            caretaker.close()
            for parts in (first, second):
                parts.site.bus.close()  # type: ignore[attr-defined]

    run(main())


def test_while_one_worker_emptied_a_long_queue_the_others_were_given_nothing_of_it(tmp_path: Path) -> None:
    """Its line did not end before the queue did, and who had said before that it had room was forgotten."""

    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, worker=0, clock=clock) as first, site_in(tmp_path, TAB, worker=1, clock=clock) as second:
            queue, _ = outgoing(first, near := Far()), outgoing(second, far := Far())
            for parts in (first, second):
                assert isinstance(parts.site.bus, LocalBus)
                parts.site.bus.open()
            caretaker, other = Caretaker(first), Caretaker(second)
            await caretaker.round()
            heard = list[bytes]()
            first.site.bus.listen("room", heard.append)
            await other.round()
            await until(lambda: bool(heard))
            items = [rest(queue, f"d{number % 30}.test", clock.now()) for number in range(300)]
            running = asyncio.create_task(caretaker.run())
            await until(lambda: len(near.got) + len(far.got) == len(items))
            assert near.got + far.got == Counter(items) and len(far.got) >= 10
            running.cancel()
            await asyncio.wait([running])
            for keeper, parts in ((caretaker, first), (other, second)):
                await parts.mta.drain()
                keeper.close()
                parts.site.bus.close()  # type: ignore[attr-defined]

    run(main())


def test_what_memory_thinks_is_due_is_not_taken_before_its_file_says_so(tmp_path: Path) -> None:
    """A hint of another worker that was lost: the file's time is what counts."""

    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, clock=clock) as parts:
            queue = outgoing(parts, far := Far())
            caretaker = Caretaker(parts)
            await caretaker.round()
            item = rest(queue, "a.test", clock.now() - 1)
            os.utime(queue.command_path(item), (clock.now() + 60, clock.now() + 60))
            await caretaker.round()
            await parts.mta.drain()
            assert not far.got and parts.site.spool.find(item) is not None
            for _ in range(11):
                await clock.advance(6)
                await caretaker.round()
            await parts.mta.drain()
            assert far.got == Counter([item])
            caretaker.close()

    run(main())


def test_what_other_programs_change_is_found(tmp_path: Path) -> None:
    """A pair dropped in at the next look at a folder that changed; a time set by hand within seconds, though the folder looks the same."""

    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, clock=clock) as parts:
            queue = outgoing(parts, far := Far())
            caretaker = Caretaker(parts)
            touched = rest(queue, "a.test", clock.now() + 9000)
            await caretaker.round()
            dropped = new_id()
            queue.message_path(dropped).write_bytes(b"Subject: x\r\n\r\n")
            queue.command_path(dropped).write_bytes(b"Recipients=[SMTP:b@b.test]\nSender=[SMTP:a@example.com]\nDomainName=b.test\n")
            os.utime(queue.command_path(dropped), (1, 1))
            await caretaker.round()
            await parts.mta.drain()
            assert far.got == Counter([dropped])
            await caretaker.round()
            os.utime(queue.command_path(touched), (1, 1))
            await clock.advance(6)
            await caretaker.round()
            await parts.mta.drain()
            assert far.got == Counter([dropped, touched]) and far.asked == Counter(["a.test", "b.test"])
            caretaker.close()

    run(main())


def test_a_worker_that_drains_takes_up_nothing_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with site_in(folder(tmp_path), TAB) as parts:
            queue = outgoing(parts, far := Far())
            rest(queue, "a.test", parts.site.clock.now() - 1)
            caretaker = Caretaker(parts)
            caretaker.stop()
            await caretaker.round()
            await parts.mta.drain()
            assert not far.asked
            caretaker.close()

    run(main())


def test_a_server_that_took_a_message_while_the_journal_closed_was_sent_it_again(tmp_path: Path) -> None:
    """A drain was cut short, the attempt went on beside the closing, and nobody noted what came of it."""

    async def main() -> None:
        folder(tmp_path)
        far = Far("slow.test")
        async with site_in(tmp_path, TAB) as parts:
            outgoing(parts, far)
            item = new_id()
            sent = Envelope(item, item, "SMTP", None, (Recipient(smtp("a@slow.test")),), parts.site.clock.now(), peer=Peer(trusted=True))
            parts.mta.router = Everywhere()  # type: ignore[assignment]
            await parts.mta.accept(sent, MemoryMessage(item, b"Subject: x\r\n\r\n"))
            await until(lambda: far.asked["slow.test"] == 1)
            parts.site.journal.settle = far.answer.set  # as it closes
        for task in tuple(parts.mta._tasks):
            task.cancel()  # the loop ends
        await asyncio.sleep(0)
        far.answer.set()
        async with site_in(tmp_path, TAB) as parts:
            outgoing(parts, far)
            parts.mta.router = Everywhere()  # type: ignore[assignment]
            (found,) = [(queue, item) for queue in parts.site.spool.queues() for item, _ in queue.items()]
            claim = parts.site.spool.claim(*found)
            assert claim is not None
            parts.mta.take(claim)
            await parts.mta.drain()
        assert sum(far.got.values()) == 1

    run(main())


class Everywhere:
    """A router that knows the outside only."""

    def resolve(self, address: InternalAddress) -> Resolution:
        return Resolution(address, (address,))
