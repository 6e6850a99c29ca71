"""Case 11, the queue's part: the operator sets the machine's clock. Nothing bounces or is stuck for it, and what it makes due goes out no faster than ever."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Sequence
from pathlib import Path
from typing import Any

from postroom.address import InternalAddress, smtp
from postroom.connectors import Agent
from postroom.envelope import Attempt, Envelope, Recipient
from postroom.message import MemoryMessage, Message, new_id
from postroom.mta import Mta
from postroom.outcome import Deferred, Delivered, Outcome, Reply
from postroom.spool import Queue
from postroom_ops.dues import HELD
from postroom_run.caretaker import Caretaker
from postroom_testing.clock import HandClock
from postroom_testing.ground import site_in

DAY, QUARTER = 86_400.0, 900.0  # seconds; the latter is the first delay of the default policy
YAML = "server: mail.example.test\nplugins: {tab: {watch: false}}\nlimits: {per_hop: 3}\n"


class Far:
    """A connector that counts what goes on at the same time, and answers with 451 as long as it is `away`."""

    acronym, is_local = "SMTP", False

    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.got: Counter[str] = Counter()  # attempts by item
        self.most: Counter[str] = Counter()  # at the same time, by hop
        self._now: Counter[str] = Counter()

    def hop(self, address: InternalAddress) -> str:
        return address.domain

    def refuses(self, address: InternalAddress) -> Reply | None:
        return None

    async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
        self._now[envelope.hop] += 1
        self.most[envelope.hop] = max(self.most[envelope.hop], self._now[envelope.hop])
        for _ in range(5):
            await asyncio.sleep(0)
        self._now[envelope.hop] -= 1
        self.got[envelope.id] += 1
        if self.away:
            return [Deferred(recipient, Reply(451, "4.3.2", "Later")) for recipient in envelope.recipients]
        return [Delivered(recipient) for recipient in envelope.recipients]

    def agents(self) -> Iterable[Agent]:
        return ()


class House:
    """A site with one worker that hands out, and its clock."""

    def __init__(self, queue: Queue, caretaker: Caretaker, mta: Mta, clock: HandClock, far: Far) -> None:
        self.queue, self.caretaker, self.mta, self.clock, self.far = queue, caretaker, mta, clock, far

    def rest(self, hop: str, due: float, count: int = 1) -> str:
        """A message that has been tried so often and rests until then."""
        item = new_id()
        attempt = Attempt(count=count, due=due)
        envelope = Envelope(item, item, "SMTP", None, (Recipient(smtp(f"a@{hop}")),), self.clock.now(), attempt=attempt, hop=hop)
        self.queue.spool.rest(self.queue, envelope, MemoryMessage(item, b"Subject: x\r\n\r\n"))
        return item

    async def pass_time(self, seconds: float, step: float = 60.0) -> None:
        """With a round of the caretaker a minute."""
        for _ in range(int(seconds // step)):
            await self.clock.advance(step)
            await self.caretaker.round()

    async def empty(self) -> None:
        """All goes, by itself: what ends makes room for what is handed out next. What rests when nothing is under way any more is stuck."""
        while rest := len(list(self.queue.items())):
            await self.clock.advance()
            async with self.caretaker._handing._turn:
                pass  # whoever was handing out has done so
            await self.mta.drain()
            assert len(list(self.queue.items())) < rest, f"{rest} are stuck"


def housed(folder: Path, test: Callable[[House], Coroutine[Any, Any, None]], *, away: bool = False) -> None:
    async def main() -> None:
        (folder / "Config").mkdir()
        clock, far = HandClock(), Far(away=away)
        async with site_in(folder, YAML, clock=clock) as parts:
            parts.mta.connectors = {"SMTP": far}
            caretaker = Caretaker(parts)
            running = asyncio.create_task(caretaker._handing.run())
            await caretaker.round()
            await test(House(parts.site.spool["SMTP"].outgoing, caretaker, parts.mta, clock, far))
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await parts.mta.drain()
            caretaker.stop()
            caretaker.close()

    asyncio.run(main())


def test_a_clock_set_forward_sends_no_more_at_once_than_ever(tmp_path: Path) -> None:
    async def test(at: House) -> None:
        items = [at.rest(f"d{number % 4}.test", at.clock.now() + QUARTER * (1 + number % 16)) for number in range(48)]
        at.clock.set(at.clock.now() + DAY)
        await at.caretaker.round()
        await at.empty()
        assert at.far.got == Counter(items), "each once"
        assert max(at.far.most.values()) == 3, at.far.most  # per_hop

    housed(tmp_path, test)


def test_a_clock_set_forward_bounces_nothing(tmp_path: Path) -> None:
    """Not by three days either, which is a message's lifetime."""

    async def test(at: House) -> None:
        items = [at.rest(f"d{number}.test", at.clock.now() + QUARTER) for number in range(8)]
        at.clock.set(at.clock.now() + 4 * DAY)
        await at.pass_time(1200)
        assert at.far.got.keys() == {*items}
        assert sorted(item for item, _ in at.queue.items()) == sorted(items), "all of them rest again"
        assert not list((at.queue.spool.root / "Bad Mail").glob("**/*.MAI"))

    housed(tmp_path, test, away=True)


def test_a_clock_set_back_holds_no_retry_for_longer_than_its_delay(tmp_path: Path) -> None:
    async def test(at: House) -> None:
        items = [at.rest("a.test", at.clock.now() + QUARTER) for _ in range(8)]
        await at.pass_time(60)
        at.clock.set(at.clock.now() - DAY)
        await at.pass_time(2 * QUARTER)
        await at.empty()
        assert at.far.got == Counter(items)

    housed(tmp_path, test)


def test_a_clock_that_was_wrong_and_is_put_right_holds_none_either(tmp_path: Path) -> None:
    """What failed while it was a day ahead was given a time of tomorrow."""

    async def test(at: House) -> None:
        item = at.rest("a.test", at.clock.now() + QUARTER)
        at.clock.set(at.clock.now() + DAY)
        await at.pass_time(120)
        assert at.far.got[item] == 1
        at.clock.set(at.clock.now() - DAY)
        at.far.away = False
        await at.pass_time(5 * QUARTER)  # its next delay is two
        await at.empty()

    housed(tmp_path, test, away=True)


def test_what_its_sender_wants_held_until_a_time_is_not_sent_before_it_by_a_clock_set_back(tmp_path: Path) -> None:
    """FUTURERELEASE names a time, not a delay; and what an operator holds stays held."""

    async def test(at: House) -> None:
        for due in (at.clock.now() + QUARTER, HELD):
            at.rest("a.test", due, count=int(due == HELD))
        before = dict(at.queue.items())
        await at.pass_time(60)
        at.clock.set(at.clock.now() - DAY)
        await at.pass_time(2 * QUARTER)
        assert not at.far.got and dict(at.queue.items()) == before

    housed(tmp_path, test)
