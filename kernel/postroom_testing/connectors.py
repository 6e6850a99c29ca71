"""The contract of a connector as a test suite: every message arrives once or has an outcome that says why not, whatever fails on the way.

    class TestDrop(ConnectorContract):
        plugin = DropPlugin
        settings = {"folder": "Drop"}
        good = ("[DROP:bob]", "[DROP:ann]")
        bad = ("[DROP:../x]",)

        async def arrived(self, alive, address):
            return [path.read_bytes() for path in (alive.site.root / "Drop" / address.detail).glob("*.MAI")]

`good` are addresses it can deliver to, after `furnish` and within `world`; `bad` such as it must refuse. `arrived` tells what lies at the far side, so that
the suite can count; without it only the outcomes are checked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from postroom.address import InternalAddress
from postroom.connectors import Connector
from postroom.envelope import FIRST, Attempt, Envelope
from postroom.message import Message
from postroom.outcome import Deferred, Delivered, Expanded, Failed, Outcome, Reply
from postroom_testing.agents import AgentContract
from postroom_testing.dying import ends_before
from postroom_testing.faults import FaultDisk
from postroom_testing.mail import TEXT, SlowMessage, UnreadableMessage, envelope, hostile, huge, in_file, letter
from postroom_testing.plugin import Alive, connectors_of, spread
from postroom_testing.watching import left_by, longest_step, memory, tasks_besides

TRIED, CRASHED = Attempt(count=1), Attempt(crashes=1)
OUTCOMES = (Delivered, Deferred, Failed, Expanded)
_ODD = ("", " ", "a" * 10_000, "ü@münchen.example", "a@b@c", "../../etc/passwd", "a/b\\c", "\x00", "a]b", "%s%n", "*", "PO/../x", "a;b:c")


class ConnectorContract(AgentContract):
    """Name your class, its settings, and addresses of both kinds."""

    house = ("tab", "store")
    good: ClassVar[Sequence[str]] = ()
    bad: ClassVar[Sequence[str]] = ()
    many: ClassVar[int] = 50  # deliveries at once

    async def arrived(self, alive: Alive, address: InternalAddress) -> Sequence[bytes] | None:
        """The messages that lie at the far side for this address; None where nobody can look."""
        return None

    # How it is asked.

    def connector(self, alive: Alive) -> Connector:
        """The plugin's connector; of several, the first."""
        found = connectors_of(alive, self.plugin)
        assert found, "the hook connectors gives nothing"
        return found[0]

    def addresses(self, alive: Alive, which: Iterable[str]) -> list[InternalAddress]:
        """These addresses; the test is skipped where there are none."""
        found = [InternalAddress.parse(one) for one in which]
        if not found:
            pytest.skip("no such addresses were named: set `good` and `bad`")
        strange = [str(one) for one in found if one.connector != self.connector(alive).acronym]
        assert not strange, f"addresses of another connector: {', '.join(strange)}"
        return found

    def envelope(self, message: Message, *to: InternalAddress, before: Attempt = FIRST) -> Envelope:
        """What the kernel would hand over: recipients of this connector, taken by another one, tried `before`."""
        return replace(envelope(message, *to), attempt=before)

    async def deliver(
        self, alive: Alive, message: Message, *to: InternalAddress, before: Attempt = FIRST
    ) -> dict[InternalAddress, Outcome]:
        """The outcomes by address, one each; an exception is an AssertionError, for what a peer or a disk did wrong is Deferred."""
        asked = self.envelope(message, *to, before=before)
        outcomes = await self.within(self.connector(alive).deliver(asked, message), f"delivery to {', '.join(map(str, to))}")
        assert all(isinstance(one, OUTCOMES) for one in outcomes), f"these are no outcomes: {outcomes!r}"
        told = sorted(str(one.recipient.address) for one in outcomes)
        assert told == sorted(map(str, to)), f"one outcome per recipient: {', '.join(map(str, to))} came back as {', '.join(told)}"
        return {one.recipient.address: one for one in outcomes}

    async def delivered(self, alive: Alive, message: Message, *to: InternalAddress, before: Attempt = FIRST, how: str = "") -> None:
        """It arrives at all of these, now."""
        for address, outcome in (await self.deliver(alive, message, *to, before=before)).items():
            assert isinstance(outcome, Delivered | Expanded), f"{address}{how}: {outcome!r}"

    async def once(self, alive: Alive, message: bytes, address: InternalAddress, how: str = "") -> None:
        """It lies at the far side one time. A connector may add header fields, so the end of the text is what counts."""
        found = await self.arrived(alive, address)
        if found is not None:
            count = sum(message.partition(b"\r\n\r\n")[2] in one for one in found)
            assert count == 1, f"{address}: the message is there {count} times{how}"

    def text(self, mark: str) -> bytes:
        """A message that differs from all others in its body."""
        return TEXT + f"This is letter {mark}.\r\n".encode()

    # What it is.

    def test_it_has_an_acronym_and_is_alone_with_it(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path, run=False) as alive:
                for connector in connectors_of(alive, self.plugin):
                    acronym = connector.acronym
                    assert acronym.isascii() and acronym.isalnum() and acronym == acronym.upper(), (
                        f"{acronym!r} is no acronym, such as SMTP"
                    )
                    assert isinstance(connector.is_local, bool)
                self.connector(alive)

        asyncio.run(main())

    def test_hops_and_refusals_come_from_memory(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path) as alive:
                connector = self.connector(alive)
                for address in (InternalAddress.parse(one) for one in (*self.good, *self.bad)):
                    assert isinstance(connector.hop(address), str), f"the hop of {address} is no text"
                    assert connector.hop(address) == connector.hop(address), f"the hop of {address} changes from one asking to the next"
                for one in self.good:
                    refusal = connector.refuses(InternalAddress.parse(one))
                    assert refusal is None, f"{one} is refused: {refusal}"
                for one in self.bad:
                    refusal = connector.refuses(InternalAddress.parse(one))
                    assert isinstance(refusal, Reply) and 400 <= refusal.code < 600, f"{one} is not refused but for {refusal!r}"

        asyncio.run(main())

    def test_odd_addresses_raise_nothing(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path) as alive:
                connector = self.connector(alive)
                for detail in _ODD:
                    address = InternalAddress(connector.acronym, detail)
                    try:
                        connector.hop(address)
                        connector.refuses(address)
                    except Exception as error:
                        raise AssertionError(f"the address {detail!r:.100}: {error!r}") from error
                    await self.deliver(alive, letter(), address)

        asyncio.run(main())

    # Delivery.

    def test_a_message_arrives_once_at_each_recipient(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path) as alive:
                to, text = self.addresses(alive, self.good), self.text("one")
                await self.delivered(alive, letter(text), *to)
                for address in to:
                    await self.once(alive, text, address)

        asyncio.run(main())

    def test_a_message_in_a_file_arrives_too(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path) as alive:
                to, text = self.addresses(alive, self.good), self.text("in a file")
                message = in_file(letter(text), alive.site.root / "Queues" / "SMTP" / "Inbound" / "Messages")
                await self.delivered(alive, message, *to)
                assert message.path.read_bytes() == text, "the message's file was changed"
                for address in to:
                    await self.once(alive, text, address)

        asyncio.run(main())

    def test_a_bad_recipient_does_not_harm_a_good_one(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path) as alive:
                good, bad, text = self.addresses(alive, self.good), self.addresses(alive, self.bad), self.text("mixed")
                outcomes = await self.deliver(alive, letter(text), bad[0], *good, *bad[1:])
                for address in bad:
                    outcome = outcomes[address]
                    assert isinstance(outcome, Failed | Deferred) and outcome.reply.code >= 400, f"{address}: {outcome!r}"
                for address in good:
                    assert isinstance(outcomes[address], Delivered | Expanded), f"{address}: {outcomes[address]!r}"
                    await self.once(alive, text, address)

        asyncio.run(main())

    def test_what_comes_again_arrives_no_second_time(self, tmp_path: Path) -> None:
        """After a crash the same envelope comes again: idempotent per message and destination, in the next process too."""

        async def main() -> None:
            text = self.text("again")
            message = letter(text)
            for process, before in ((1, FIRST), (2, CRASHED)):
                async with self.alive(tmp_path) as alive:
                    to = self.addresses(alive, self.good)
                    await self.delivered(alive, message, *to, before=before, how=f" in process {process}")
                    await self.delivered(alive, message, *to, before=TRIED, how=f", again in process {process}")
                    for address in to:
                        await self.once(alive, text, address)

        asyncio.run(main())

    def test_many_at_once_arrive_once_each(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path) as alive:
                to = self.addresses(alive, self.good)
                texts = [self.text(f"{number} of many") for number in range(self.many)]
                await asyncio.gather(*(self.delivered(alive, letter(text), *to) for text in texts))
                for address in to:
                    for text in texts:
                        await self.once(alive, text, address)

        asyncio.run(main())

    def test_the_same_message_twice_at_once_arrives_once(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path) as alive:
                to, text = self.addresses(alive, self.good)[:1], self.text("twice at once")
                message = letter(text)
                await asyncio.gather(*(self.delivered(alive, message, *to, before=TRIED) for _ in range(5)))
                await self.once(alive, text, to[0])

        asyncio.run(main())

    # Limits.

    def test_hostile_messages_have_an_outcome(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path) as alive:
                to = self.addresses(alive, self.good)[:1]
                for _, message in hostile():
                    await self.deliver(alive, message, *to)

        asyncio.run(main())

    def test_a_huge_message_takes_little_memory(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path) as alive:
                to = self.addresses(alive, self.good)[:1]
                message = huge(alive.site.root / "Queues" / "SMTP" / "Inbound" / "Messages")
                await self.deliver(alive, letter(), *to)
                with memory() as peak:
                    await self.deliver(alive, message, *to)
                assert peak() < self.memory, (
                    f"{message.size >> 20} MiB took {peak() >> 20} MiB of memory; {self.memory >> 20} MiB is the limit"
                )

        asyncio.run(main())

    def test_the_loop_is_not_blocked(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path) as alive:
                to = self.addresses(alive, self.good)[:1]
                message = huge(alive.site.root / "Queues" / "SMTP" / "Inbound" / "Messages")
                await self.deliver(alive, letter(), *to)

                async def work() -> None:
                    for _, one in hostile():
                        await asyncio.sleep(0)
                        await self.deliver(alive, one, *to)
                    await asyncio.sleep(0)
                    await self.deliver(alive, message, *to)

                (await longest_step(work, self.is_mine)).check()

        asyncio.run(main())

    # What fails on the way.

    def test_a_message_that_cannot_be_read_is_deferred(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path) as alive:
                to = self.addresses(alive, self.good)
                outcomes = await self.deliver(alive, UnreadableMessage(letter().id, 100), *to)
                for address, outcome in outcomes.items():
                    assert isinstance(outcome, Deferred | Expanded), f"{address}: {outcome!r}, although the message could not be read"

        asyncio.run(main())

    def test_cancelled_in_the_middle_it_leaves_nothing_and_arrives_once_later(self, tmp_path: Path) -> None:
        async def main() -> None:
            async with self.alive(tmp_path) as alive:
                to, text = self.addresses(alive, self.good), self.text("cancelled")
                whole, before = letter(text), set(asyncio.all_tasks())
                slow = SlowMessage(whole, asyncio.Event(), asyncio.Event(), tmp_path / "slow.MAI")
                delivering = asyncio.create_task(_as_task(self.connector(alive).deliver(self.envelope(slow, *to), slow)))
                reading = asyncio.create_task(slow.asked.wait())
                await asyncio.wait([delivering, reading], timeout=self.patience, return_when=asyncio.FIRST_COMPLETED)
                reading.cancel()
                delivering.cancel()
                await asyncio.wait([delivering], timeout=self.patience)
                assert delivering.done(), "deliver does not end when it is cancelled"
                await self.until(lambda: not tasks_besides(before), "what a cancelled delivery left running")
                await self.delivered(alive, whole, *to, before=TRIED, how=", after a delivery that was cancelled")
                for address in to:
                    await self.once(alive, text, address, " after a delivery that was cancelled")

        asyncio.run(main())

    @pytest.mark.parametrize("how", ["full", "broken"])
    def test_a_disk_that_refuses_at_any_call_defers(self, tmp_path: Path, how: str) -> None:
        async def main() -> None:
            disk = FaultDisk(how=how)
            async with self.alive(tmp_path, disk=disk) as alive:
                to = self.addresses(alive, self.good)[:1]
                await self.deliver(alive, letter(), *to)
                disk.calls.clear()
                await self.deliver(alive, letter(), *to)
                for number in spread(len(disk.calls), self.points):
                    await self._refused(alive, disk, number, *to)

        asyncio.run(main())

    async def _refused(self, alive: Alive, disk: FaultDisk, number: int, *to: InternalAddress) -> None:
        what = f"call {number} of an attempt was refused ({disk.how})"
        message = letter(self.text(what))
        disk.calls.clear()
        disk.at = number
        try:
            outcomes = await self.deliver(alive, message, *to)
        finally:
            disk.heal()
        failed = [outcome for outcome in outcomes.values() if isinstance(outcome, Failed)]
        assert not failed, f"{what}, and the message is given up: {failed[0]!r}"
        await self.delivered(alive, message, *to, before=TRIED, how=f", after {what}")
        await self.once(alive, message.data, to[0], f" after {what}")

    @pytest.mark.parametrize("how", ["die", "tear"])
    def test_after_a_death_at_any_call_it_arrives_once(self, tmp_path: Path, how: str) -> None:
        for number in spread(self._calls(tmp_path / "whole"), self.points):
            self._died(tmp_path / str(number), number, how)

    def _died(self, place: Path, number: int, how: str) -> None:
        what = f"a death at call {number} ({how})"
        message = letter(self.text(what), name=what)

        async def die(disk: FaultDisk, arm: Callable[[], None]) -> None:
            async with self.alive(place, disk=disk) as alive:
                to = self.addresses(alive, self.good)[:1]
                arm()
                await self.connector(alive).deliver(self.envelope(message, *to), message)

        async def go_on() -> None:
            async with self.alive(place) as alive:
                to = self.addresses(alive, self.good)[:1]
                await self.delivered(alive, message, *to, before=CRASHED, how=f", after {what}")
                await self.once(alive, message.data, to[0], f" after {what}")

        ends_before(number, die, how)
        asyncio.run(go_on())

    def _calls(self, place: Path) -> int:
        """How often a first delivery changes the disk when nothing is wrong; the test is skipped where there is nobody to deliver to."""

        async def main() -> int:
            disk = FaultDisk()
            async with self.alive(place, disk=disk) as alive:
                to, before = self.addresses(alive, self.good)[:1], len(disk.calls)
                await self.deliver(alive, letter(), *to)
                return len(disk.calls) - before

        return asyncio.run(main())

    def test_deliveries_leave_nothing_open_or_running(self, tmp_path: Path) -> None:
        async def work() -> None:
            before = set(asyncio.all_tasks())
            async with self.alive(tmp_path) as alive:
                to = self.addresses(alive, self.good)
                for number in range(5):
                    await self.deliver(alive, letter(self.text(str(number))), *to)
            left = tasks_besides(before)
            assert not left, f"after the site was closed there is {', '.join(left)}"

        left = left_by(work)
        assert not left, f"after the site was closed there is {', '.join(left)}"


async def _as_task(delivery: object) -> object:
    """What a connector gives is an awaitable; a task wants a coroutine."""
    return await delivery  # type: ignore[misc]
