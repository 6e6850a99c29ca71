"""What became of a message stays known: through a refused end, a replay beside its pair, a second road to the same mailbox, a disk that is full."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postroom.address import smtp
from postroom.envelope import Attempt, Envelope, Recipient
from postroom.errors import DiskError, SpoolError
from postroom.message import FileMessage, MemoryMessage, Message
from postroom.outcome import Expanded, Outcome
from postroom.retry import RetryPolicy
from postroom.spool import Queue
from postroom.transfer import PASS, Defer, Reject, TransferEvent, Verdict
from postroom_ops.files import put
from postroom_testing.faults import PowerDisk
from postroom_testing.waiting import until

from .house import TEXT, Hooks, House, Map, Remembering, envelope, message, run
from .test_once import OUT, Far, _at_once, carried_to_the_end, refusing  # noqa: F401

GROUPS = Map(("[SMTP:one@example.test]", "[SF:PO/one]"), ("[SMTP:two@example.test]", "[SF:PO/two]"), ("[SMTP:*@*]", "[SMTP:*]"))


def test_what_a_journal_knew_of_a_pair_was_not_applied_where_it_had_the_acceptance_too(tmp_path: Path) -> None:
    """The pair was tried, some had it, and the process died."""
    far = Far()

    async def main() -> None:
        house = House(tmp_path, connectors=[far.connector], router=OUT)
        await house.__aenter__()
        house.mta.express = False
        sent = envelope("a@one.test", "b@two.test")
        await house.mta.accept(sent, message(sent))
        claim = house.spool.claim(house.spool["SMTP"].inbound, sent.id)
        assert claim is not None
        await house.spool.settle(claim.envelope, [smtp("a@one.test")])  # a has it, the other is under way
        claim.drop()
        house.disk.close(house.journal._lock)  # it dies
        async with House(tmp_path, connectors=[far.connector], router=OUT) as after:
            after.clock.at = 3e9
            await carried_to_the_end(after)
            assert far.got == {"b@two.test": 1}

    run(main())


def test_a_pair_that_was_done_was_taken_up_again_where_its_end_was_lost_and_the_journal_had_its_acceptance(tmp_path: Path) -> None:
    far = Far()

    async def main() -> None:
        house = House(tmp_path, connectors=[far.connector], router=OUT)
        await house.__aenter__()
        house.mta.express = False
        sent = envelope("a@one.test")
        await house.mta.accept(sent, message(sent))
        house.spool.settled(sent)
        await house.journal.append(40, b"what makes the note durable")
        house.disk.close(house.journal._lock)  # the power went: nobody ever removed the pair
        async with House(tmp_path, connectors=[far.connector], router=OUT) as after:
            after.clock.at = 3e9
            await carried_to_the_end(after)
            assert not far.got and not after.pairs("Queues/SMTP/Inbound")

    run(main())


def test_who_was_told_of_an_unknown_recipient_was_told_at_every_attempt_for_the_others(tmp_path: Path) -> None:
    far = Far()
    rows = Map(("[SMTP:*@two.test]", "[SMTP:*]"), ("[SMTP:*@example.com]", "[SMTP:*]"))

    async def main() -> None:
        async with House(tmp_path, connectors=[far.connector], router=rows) as house:
            sent = envelope("nobody@nowhere.test", "wrong@two.test")
            await house.mta.accept(sent, message(sent))
            await carried_to_the_end(house)
            assert far.tried == {"a@example.com": 1, "wrong@two.test": 5}

    run(main())


def test_who_was_told_of_a_failure_was_told_again_where_the_end_was_refused(tmp_path: Path) -> None:
    far = Far()

    async def main() -> None:
        async with House(tmp_path, connectors=[far.connector], router=OUT) as house:
            sent = envelope("gone@one.test")
            house.spool.settled = no_room(house, sent)  # type: ignore[method-assign,assignment]
            await house.mta.accept(sent, message(sent))
            await carried_to_the_end(house)
            assert far.tried == {"gone@one.test": 1, "a@example.com": 1} and not house.pairs("Queues/SMTP/Inbound")

    run(main())


def no_room(house: House, item: Envelope) -> Callable[[Envelope], None]:
    """The journal has no place for the end of this one at first."""
    settled, refused = house.spool.settled, list[str]()

    def once(done: Envelope) -> None:
        if done.id == item.id and not refused:
            refused.append(done.id)
            raise SpoolError("the journal has no free segment")
        settled(done)

    return once


def test_a_mailbox_that_had_it_was_given_it_again_minutes_later_where_the_end_was_refused(tmp_path: Path) -> None:
    """It knows the message for as long as a journal does, and its owner may have taken it away by then."""
    box = Remembering()

    async def main() -> None:
        async with House(tmp_path, connectors=[box]) as house:
            sent = envelope()
            house.spool.settled = no_room(house, sent)  # type: ignore[method-assign,assignment]
            await house.mta.accept(sent, message(sent))
            await carried_to_the_end(house)
            assert len(box.got) == 1 and not house.pairs("Queues/SMTP/Inbound")

    run(main())


@pytest.mark.parametrize("times", [1, 2, 5])
def test_who_was_told_of_a_failure_was_told_again_where_the_disk_was_too_full_to_let_the_others_wait(tmp_path: Path, times: int) -> None:
    far = Far()

    async def main() -> None:
        async with House(tmp_path, connectors=[far.connector], router=OUT) as house:
            sent, rest, left = envelope("gone@one.test", "busy@one.test"), house.spool.rest, [times]

            def full(*given: Any, **named: Any) -> None:
                if left[0]:
                    left[0] -= 1
                    raise DiskError("writing the pair: No space left on device", full=True)
                rest(*given, **named)

            house.spool.rest = full  # type: ignore[method-assign]
            await house.mta.accept(sent, message(sent))
            await carried_to_the_end(house)
            assert far.tried == {"gone@one.test": 1, "busy@one.test": 2, "a@example.com": 1}

    run(main())


@pytest.mark.parametrize("to", [("one", "two"), ("one", "x@far.test"), ("x@far.test", "one")])
def test_a_destination_of_two_groups_or_of_a_group_and_the_sender_was_served_twice(tmp_path: Path, to: Sequence[str]) -> None:
    far = Far()

    def expand(what: Envelope, text: Message) -> Sequence[Outcome]:
        return [Expanded(recipient, (Recipient(smtp("x@far.test")),)) for recipient in what.recipients]

    async def main() -> None:
        async with House(tmp_path, connectors=[Remembering(answer=expand), far.connector], router=GROUPS) as house:
            sent = envelope(*(one if "@" in one else f"{one}@example.test" for one in to))
            await house.mta.accept(sent, message(sent))
            await carried_to_the_end(house)
            assert far.got == {"x@far.test": 1}

    run(main())


def test_a_message_refused_for_a_full_disk_was_delivered_by_the_next_start(tmp_path: Path) -> None:
    """Without the express lane: its giver sends it again."""
    far = Far()

    async def main() -> None:
        house = House(tmp_path, connectors=[far.connector], router=OUT)
        await house.__aenter__()
        house.mta.express = False
        house.disk.replace = refusing(house.disk.replace)
        sent, told = envelope("a@one.test"), "250"
        try:
            await house.mta.accept(sent, message(sent))
        except DiskError:
            told = "452"
        await house.mta.drain()
        await house.journal.close()
        async with House(tmp_path, connectors=[far.connector], router=OUT) as after:
            after.clock.at = 3e9
            await carried_to_the_end(after)
            assert far.got == ({"a@one.test": 1} if told == "250" else {})

    run(main())


def test_what_an_earlier_hook_made_of_it_for_one_attempt_was_kept_when_a_later_one_put_it_off(tmp_path: Path) -> None:
    """And the next attempt changed the changed."""
    far = Far()

    async def main() -> None:
        hooks = Hooks(at_delivery=lambda event: PASS)
        async with House(tmp_path, connectors=[far.connector], router=OUT, hooks=hooks) as house:
            asked = list[int]()

            async def delivery(event: TransferEvent) -> tuple[Verdict, TransferEvent]:
                shown = replace(event, message=MemoryMessage(event.message.id, b"X-Seen: yes\r\n" + await event.message.read()))
                asked.append(1)
                return (Defer("not now"), shown) if len(asked) == 1 else (PASS, shown)

            hooks.delivery = delivery  # type: ignore[method-assign]
            sent = envelope("a@one.test")
            await house.mta.accept(sent, message(sent))
            await carried_to_the_end(house)
            ((_, text),) = far.connector.got
            assert text.count(b"X-Seen") == 1

    run(main())


def test_octets_that_could_not_be_replaced_were_gone(tmp_path: Path) -> None:
    """A hook gave another file, and another put it off."""
    far = Far()
    other = tmp_path / "other.MAI"
    other.write_bytes(b"X-New: yes\r\n" + TEXT)

    async def main() -> None:
        async with House(tmp_path, connectors=[far.connector], router=OUT, hooks=Hooks(at_pickup=lambda event: PASS)) as house:
            queue, sent = house.spool["SMTP"].inbound, envelope("a@one.test")
            house.spool.rest(queue, sent, message(sent))

            async def pickup(event: TransferEvent) -> tuple[Verdict, TransferEvent]:
                return Defer("not now"), replace(event, message=FileMessage(event.message.id, other, other.stat().st_size))

            house.mta.hooks.pickup = pickup  # type: ignore[method-assign]
            link, places = house.disk.link, list[bool]()

            def no_link(old: Path, new: Path) -> None:
                """A name that is taken is taken; for another one there is no room."""
                if new.exists():
                    link(old, new)
                places.append(queue.message_path(sent.id).exists())
                raise OSError(errno.ENOSPC, "No space left on device")

            house.disk.link = no_link  # type: ignore[assignment]
            house.take_due()
            await house.mta.drain()
            house.disk.link = link
            places.append(queue.message_path(sent.id).read_bytes() == TEXT)  # what rests is what came, whatever a hook made of it
            assert all(places) and house.pairs("Queues/SMTP/Inbound") == [sent.id]

    run(main())


def test_mail_that_a_hook_put_off_for_days_was_given_up_without_a_word_to_its_sender(tmp_path: Path) -> None:
    far = Far()

    def never(event: TransferEvent) -> Verdict:
        return PASS if event.envelope.sender is None else Defer("the scanner is down")

    async def main() -> None:
        retry = RetryPolicy(delays=(1.0,), lifetime=10.0, tell_after=())
        async with House(tmp_path, connectors=[far.connector], router=OUT, hooks=Hooks(at_pickup=never), retry=retry) as house:
            sent = envelope("b@one.test")
            await house.mta.accept(sent, message(sent))
            house.clock.at += 100
            await carried_to_the_end(house)
            assert house.pairs("Bad Mail") and far.got == {"a@example.com": 1}

    run(main())


def test_a_notice_that_a_hook_refused_was_in_no_place(tmp_path: Path) -> None:
    far = Far()

    def no_notices(event: TransferEvent) -> Verdict:
        return Reject("looks like spam") if event.envelope.sender is None else PASS

    async def main() -> None:
        async with House(tmp_path, connectors=[far.connector], router=OUT, hooks=Hooks(at_pickup=no_notices)) as house:
            sent = envelope("gone@one.test")
            await house.mta.accept(sent, message(sent))
            await carried_to_the_end(house)
            assert len(house.pairs("Bad Mail")) == 2

    run(main())


def test_a_part_that_some_had_was_sent_again_after_the_journal_that_said_so_was_cut(tmp_path: Path) -> None:
    """A message at rest in two parts: one is delivered, the other takes long, and the process dies."""
    far, begun = Far(), asyncio.Event()

    async def main() -> None:
        house = House(tmp_path, connectors=[far.connector], router=OUT)
        await house.__aenter__()
        queue, sent = house.spool["SMTP"].inbound, envelope("a@one.test", "slow@two.test")
        house.spool.rest(queue, sent, message(sent))
        deliver = far.connector.deliver

        async def slowly(what: Envelope, text: Message) -> Sequence[Outcome]:
            if what.hop == "two.test":
                begun.set()
                await asyncio.sleep(3600)
            return await deliver(what, text)

        far.connector.deliver = slowly  # type: ignore[method-assign,assignment]
        house.take_due()
        await begun.wait()
        house.journal._left = 100
        house.journal.rotate()
        await until(lambda: not house.journal._cutting)  # what nobody held is cut
        for task in tuple(house.mta._tasks):
            task.cancel()
        await house.mta.drain()
        house.disk.close(house.journal._lock)  # it dies
        far.connector.deliver = deliver  # type: ignore[method-assign]
        async with House(tmp_path, connectors=[far.connector], router=OUT) as after:
            after.clock.at = 3e9
            await carried_to_the_end(after)
            assert far.got == {"a@one.test": 1, "slow@two.test": 1}

    run(main())


def test_a_pair_that_changed_while_a_replay_looked_at_it_was_put_back_as_it_had_been(tmp_path: Path) -> None:
    far = Far()

    async def main() -> None:
        house = House(tmp_path, connectors=[far.connector], router=OUT)
        await house.__aenter__()
        queue, sent = house.spool["SMTP"].outgoing, envelope("[SMTP:a@one.test]", "[SMTP:b@one.test]", "[SMTP:c@one.test]")
        house.spool.rest(queue, sent, message(sent))
        await house.spool.settle(sent, [smtp("a@one.test")])
        find = house.spool.find

        def then_another_worker(item: str) -> tuple[Queue, Envelope] | None:
            found = find(item)
            claim = house.spool.claim(queue, item)
            assert claim is not None
            claim.again(replace(claim.envelope, recipients=claim.envelope.recipients[2:]))  # b has it too
            return found

        house.spool.find = then_another_worker  # type: ignore[method-assign]
        house.journal.recover()
        left = queue.look(sent.id)
        assert left is not None and [str(one.address) for one in left.recipients] == ["[SMTP:c@one.test]"]
        house.disk.close(house.journal._lock)

    run(main())


def test_mail_that_was_refused_was_delivered_where_its_end_was_refused_too(tmp_path: Path) -> None:
    """The peer was told 554, the journal had no place for the end, and the hook thought better of it at the next attempt."""
    far, asked = Far(), list[str]()

    def pickup(event: TransferEvent) -> Verdict:
        asked.append(event.envelope.id)
        return Reject("a virus") if len(asked) == 1 else PASS

    async def main() -> None:
        async with House(tmp_path, connectors=[far.connector], router=OUT, hooks=Hooks(at_pickup=pickup)) as house:
            sent = envelope("a@one.test")
            house.spool.settled = no_room(house, sent)  # type: ignore[method-assign,assignment]
            assert await house.mta.accept(sent, message(sent)) == Reject("a virus")
            await carried_to_the_end(house)
            assert not far.got and len(asked) == 1

    run(main())


@pytest.mark.parametrize("where", ["memory", "file"])
def test_octets_that_a_hook_replaced_in_a_pair_were_torn_by_a_power_cut(tmp_path: Path, where: str) -> None:
    """No journal has them any more."""
    root, new = tmp_path / "site", b"X-New: yes\r\n" + TEXT * 100

    async def main() -> None:
        root.mkdir()
        async with House(root) as house:
            queue, sent = house.spool["SMTP"].inbound, envelope("a@one.test")
            house.spool.rest(queue, sent, message(sent))
        house.disk = disk = PowerDisk(root)
        async with house:
            claim = house.spool.claim(queue := house.spool["SMTP"].inbound, sent.id)
            assert claim is not None
            if where == "file":
                put(disk, path := root / "of-a-hook", new)
            claim.message = FileMessage(sent.id, path, len(new)) if where == "file" else MemoryMessage(sent.id, new)
            claim.again(replace(claim.envelope, attempt=Attempt(1, 2e6, error="not now")))
            for seed in range(16):
                disk.cut(tmp_path / "after", seed)
                left = tmp_path / "after" / queue.message_path(sent.id).relative_to(root)
                assert left.read_bytes() in (TEXT, new)

    run(main())


def test_a_pair_that_was_done_was_sent_again_where_the_journal_forgot_it_before_its_octets_were_gone(tmp_path: Path) -> None:
    """One had it, the other was refused for good."""
    far = Far()

    async def main() -> None:
        async with House(tmp_path, connectors=[far.connector], router=OUT) as house:
            sent = envelope("[SMTP:a@one.test]", "[SMTP:gone@one.test]", sender=None)
            house.spool.rest(house.spool["SMTP"].outgoing, sent, message(sent))
            unlink = house.disk.unlink

            def refuse(path: str | Path) -> None:
                if "Messages" in str(path):
                    raise OSError(errno.EIO, "Input/output error")
                unlink(path)

            house.disk.unlink = refuse  # type: ignore[assignment]
            await carried_to_the_end(house)
        async with House(tmp_path, connectors=[far.connector], router=OUT) as house:
            house.clock.at = 3e9
            await carried_to_the_end(house)
            assert far.tried == {"a@one.test": 1, "gone@one.test": 1}

    run(main())


@pytest.mark.parametrize("is_wrong", [False, True])
def test_one_road_of_a_recipient_that_leads_nowhere_does_not_end_the_other(tmp_path: Path, is_wrong: bool) -> None:
    """Its sender is told once of the one; the other ends at the same address, and is tried until it is there."""
    far, to = Far(), "wrong@two.test"
    far.is_wrong = is_wrong
    rows = Map((f"[SMTP:{to}]", f"[SMTP:{to}]"), (f"[SMTP:{to}]", "[LS:PO/list]"), ("[SMTP:*@*]", "[SMTP:*]"))

    async def main() -> None:
        async with House(tmp_path, connectors=[far.connector], router=rows) as house:
            sent = envelope(to)
            await house.mta.accept(sent, message(sent))
            await carried_to_the_end(house)
            far.is_wrong = False
            await carried_to_the_end(house)
            assert far.got == {"a@example.com": 1, to: 1} and not house.pairs("Queues/SMTP/Inbound")

    run(main())


@pytest.mark.parametrize("left", [None, b"", TEXT[:20], TEXT[:20] + bytes(len(TEXT) - 20), TEXT, b"X-Score: 5\r\n" + TEXT])
def test_a_replay_put_its_octets_over_those_that_another_worker_was_sending(tmp_path: Path, left: bytes | None) -> None:
    """A hook had made another text of them than it makes now. What a power cut tore is put right, and is not durable then."""

    async def main() -> None:
        async with House(tmp_path) as house:
            queue, sent = house.spool["SMTP"].outgoing, envelope("[SMTP:a@one.test]")
            house.spool.rest(queue, sent, message(sent))
            path = queue.message_path(sent.id)
            path.unlink() if left is None else path.write_bytes(left)
            assert house.spool.has(queue, replace(sent, holder="parent"), message(sent))
            is_torn = left is None or (TEXT.startswith(left.rstrip(b"\0")) and left != TEXT)
            assert path.read_bytes() == (TEXT if is_torn else left) and ("parent" in house.spool.unsynced) is is_torn

    run(main())
