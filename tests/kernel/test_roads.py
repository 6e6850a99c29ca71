"""A process dies when a message is half parted, and before it is parted again the roads are others: a domain has another next hop now."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from postroom.address import InternalAddress
from postroom.envelope import Envelope, Recipient
from postroom.message import Message
from postroom.outcome import Deferred, Delivered, Outcome
from postroom_disk.disk import Disk
from postroom_disk.ids import HALF, new_id, part_id
from postroom_ops.ends import end_pair
from postroom_ops.parts import Parts

from .house import TEXT, House, Remembering, envelope, message, run
from .test_once import BUSY, OUT, Far, carried_to_the_end

SWAPPED = {"one.test": "two.test", "two.test": "one.test"}
ELSEWHERE = {"one.test": "hub.test"}


@dataclass
class Roads(Remembering):
    """A connector of the outside whose hops can be told, and which may never come back from `stuck`."""

    acronym: str = "SMTP"
    is_local: bool = False
    hops: Mapping[str, str] = field(default_factory=dict)
    is_stuck: bool = False
    reached: asyncio.Event = field(default_factory=asyncio.Event)

    def hop(self, address: InternalAddress) -> str:
        return self.hops.get(address.domain, address.domain)

    async def deliver(self, envelope: Envelope, message: Message) -> Sequence[Outcome]:
        if self.is_stuck and any(recipient.address.detail.startswith("stuck") for recipient in envelope.recipients):
            self.reached.set()
            await asyncio.Event().wait()
        return await super().deliver(envelope, message)


async def died(house: House) -> None:
    """The process is gone with what it carried; what the disk has stays."""
    for task in house.mta._tasks:
        task.cancel()
    await house.mta.drain()
    house.journal._queue.clear()  # what it had not written yet
    house.journal._closing = True
    house.journal._wake()
    await asyncio.to_thread(house.journal._thread.join)
    house.disk.close(house.journal._lock)


async def half_parted(folder: Path, far: Far, *to: str) -> House:
    """A house that accepted a message to these, and waits for the last for ever: the others were tried."""
    roads = Roads(answer=far.answer, is_stuck=True)
    house = await House(folder, connectors=[roads], router=OUT).__aenter__()
    sent = envelope(*to)
    await house.mta.accept(sent, message(sent))
    await roads.reached.wait()
    return house


def freed(far: Far) -> Far:
    """Who was stuck is reached."""

    def one(recipient: Recipient) -> Outcome:
        far.got[recipient.address.detail] += 1
        return Delivered(recipient)

    answer = far._one
    far._one = lambda recipient: one(recipient) if recipient.address.detail.startswith("stuck") else answer(recipient)  # type: ignore[method-assign]
    return far


async def came_back(folder: Path, far: Far, hops: Mapping[str, str]) -> Roads:
    """The next process carries all to its end, by these roads."""
    roads = Roads(answer=freed(far).answer, hops=hops)
    async with House(folder, connectors=[roads], router=OUT) as house:
        house.clock.at = 3e9
        await carried_to_the_end(house)
        assert not house.pairs("Queues/SMTP/Inbound") and not house.pairs("Queues/SMTP/Outgoing") and not house.pairs("Bad Mail")
    return roads


@pytest.mark.parametrize("hops", [{}, ELSEWHERE, SWAPPED], ids=["the same", "elsewhere", "swapped"])
def test_a_part_at_rest_was_made_again_by_another_road_or_taken_for_another_part(tmp_path: Path, hops: Mapping[str, str]) -> None:
    """With the roads swapped the one got it twice and the other never."""
    far = Far()

    async def main() -> None:
        house = await half_parted(tmp_path, far, "busy@one.test", "stuck@two.test")
        assert len(house.pairs("Queues/SMTP/Outgoing")) == 1
        await died(house)
        await came_back(tmp_path, far, hops)
        assert far.got == {"busy@one.test": 1, "stuck@two.test": 1}

    run(main())


@pytest.mark.parametrize("busy", [0, 1], ids=["all have it", "one still waits"])
@pytest.mark.parametrize("hops", [{}, ELSEWHERE, SWAPPED], ids=["the same", "elsewhere", "swapped"])
def test_who_had_it_from_a_part_in_the_hands_of_another_worker_got_it_again_by_another_road(
    tmp_path: Path, hops: Mapping[str, str], busy: int
) -> None:
    """Only the other worker's journal says so, and that worker lives."""
    far = Far()

    def at_the_second(what: Envelope, text: Message) -> Sequence[Outcome]:
        """The first of the part is reached, the others only where none is to be busy."""
        outcomes: list[Outcome] = []
        for number, recipient in enumerate(what.recipients):
            if busy and number:
                outcomes.append(Deferred(recipient, BUSY))
            else:
                far.got[recipient.address.detail] += 1
                outcomes.append(Delivered(recipient))
        return outcomes

    async def main() -> None:
        dying = await half_parted(tmp_path, far, "busya@one.test", "busyb@one.test", "stuck@two.test")
        (part,) = dying.pairs("Queues/SMTP/Outgoing")
        other = await House(tmp_path, connectors=[Roads(answer=at_the_second)], router=OUT).__aenter__()
        assert other.journal.slot != dying.journal.slot
        claim = other.spool.claim(other.spool["SMTP"].outgoing, part)
        assert claim is not None
        other.mta.take(claim)
        await other.mta.drain()
        assert far.got == ({"busya@one.test": 1} if busy else {"busya@one.test": 1, "busyb@one.test": 1})
        await died(dying)
        await came_back(tmp_path, far, hops)
        assert far.got == {"busya@one.test": 1, "busyb@one.test": 1, "stuck@two.test": 1}
        await other.__aexit__()

    run(main())


def test_a_part_at_rest_that_a_power_cut_tore_is_put_right_though_its_road_is_another(tmp_path: Path) -> None:
    far = Far()

    async def main() -> None:
        house = await half_parted(tmp_path, far, "busy@one.test", "stuck@two.test")
        (part,) = house.pairs("Queues/SMTP/Outgoing")
        await died(house)
        octets = tmp_path / "Queues" / "SMTP" / "Outgoing" / "Messages" / f"{part}.MAI"
        octets.write_bytes(TEXT[:10] + bytes(len(TEXT) - 10))
        roads = await came_back(tmp_path, far, ELSEWHERE)
        assert far.got == {"busy@one.test": 1, "stuck@two.test": 1}
        assert {text for _, text in roads.got} == {TEXT}

    run(main())


def test_a_message_was_noted_as_done_while_a_part_that_a_dead_process_had_made_might_not_be_durable(tmp_path: Path) -> None:
    """A power cut could take the part, and leave the note."""

    async def main() -> None:
        house = await half_parted(tmp_path, Far(), "busy@one.test", "stuck@two.test")
        await died(house)
        async with House(tmp_path, connectors=[Roads()], router=OUT) as after:
            (item,) = after.pairs("Queues/SMTP/Inbound")
            claim = after.spool.claim(after.spool["SMTP"].inbound, item)
            assert claim is not None and item not in after.spool.unsynced
            assert {one.detail for one in after.spool.parted(claim, ["SMTP"])} == {"busy@one.test"} and item in after.spool.unsynced
            claim.drop()

    run(main())


@pytest.mark.parametrize("at", ["listed", "read"])
def test_a_part_that_ended_while_it_was_looked_for_was_not_found(tmp_path: Path, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was the first of its queue that got a mark."""
    queue, sent = tmp_path / "Outgoing", new_id()
    queue.mkdir()
    part = part_id(sent, sent, "SMTP", "one.test")
    (queue / f"{part}.MAI").write_bytes(f"Message={sent}\r\n".encode())
    listdir, read = os.listdir, Path.read_bytes

    def ended() -> bool:
        if (queue / f"{part}.MAI").exists():
            end_pair(Disk(), queue, part, 3, marked=True)
        return True

    monkeypatch.setattr("postroom_ops.parts.os.listdir", lambda folder: (at == "listed" and ended(), listdir(folder))[1])
    monkeypatch.setattr(Path, "read_bytes", lambda path: (at == "read" and ended(), read(path))[1])
    assert [item for _, item, _ in Parts(HALF).of(sent, [queue], "somebody")] == [part]


def test_the_parts_of_a_message_are_found_by_their_names_alone() -> None:
    sent = new_id()
    names = {part_id(sent, sent, "SMTP", hop, to) for hop in ("one.test", "two.test") for to in ("a", "b")}
    assert len(names) == 4 and sent not in names
    assert all(len(name) == 32 and name[:HALF] == sent[:HALF] for name in names)
