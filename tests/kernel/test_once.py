"""Who has a message, or will have it by another pair, is not sent it again because something went wrong for the others."""

from __future__ import annotations

import asyncio
import errno
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from postroom.address import smtp
from postroom.envelope import Envelope, Recipient
from postroom.errors import DiskError
from postroom.message import Message
from postroom.outcome import Deferred, Delivered, Expanded, Failed, Outcome, Reply
from postroom_run.sweeping import sweep

from .house import House, Map, Remembering, envelope, message, run

BUSY = Reply(451, "4.7.1", "later")
GONE = Reply(550, "5.1.1", "gone")
OUT = Map(("[SMTP:*@*]", "[SMTP:*]"))


class Far:
    """The outside: each recipient meets what its first letters say; who is `wrong` fails as nobody foresaw."""

    def __init__(self) -> None:
        self.got: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()
        self.is_wrong = True
        self.connector = Remembering("SMTP", is_local=False, answer=self.answer)

    def answer(self, what: Envelope, text: Message) -> Sequence[Outcome]:
        return [self._one(recipient) for recipient in what.recipients]

    def _one(self, recipient: Recipient) -> Outcome:
        to = recipient.address.detail
        self.tried[to] += 1
        if to.startswith("wrong") and self.is_wrong:
            raise ZeroDivisionError
        if to.startswith("busy") and self.tried[to] == 1:
            return Deferred(recipient, BUSY)
        if to.startswith("gone"):
            return Failed(recipient, GONE)
        self.got[to] += 1
        return Delivered(recipient)


def refusing(call: Callable[..., Any], times: int = 1) -> Callable[..., Any]:
    """The same, but the disk is full for so many calls."""
    left = [times]

    def refuse(*given: Any, **named: Any) -> Any:
        if left[0]:
            left[0] -= 1
            raise OSError(errno.ENOSPC, "No space left on device")
        return call(*given, **named)

    return refuse


async def carried_to_the_end(house: House) -> None:
    """All that waits is due, some times; what was kept in memory is taken up at once."""
    await house.mta.drain()
    for _ in range(4):
        house.take_due(house.clock.at + 1e6)
        await house.mta.drain()
        for _ in range(20):  # where only an end is refused, that is tried without a task
            await asyncio.sleep(0)


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is tried again in five seconds is tried now."""
    soon = asyncio.base_events.BaseEventLoop.call_soon
    later = asyncio.base_events.BaseEventLoop.call_later

    def call_later(self: asyncio.BaseEventLoop, delay: float, callback: Callable[..., object], *given: Any, **named: Any) -> Any:
        return soon(self, callback, *given) if delay == 5.0 else later(self, delay, callback, *given, **named)

    monkeypatch.setattr(asyncio.base_events.BaseEventLoop, "call_later", call_later)


def test_an_unforeseen_error_for_one_recipient_sent_it_to_the_others_at_every_attempt(tmp_path: Path) -> None:
    far = Far()

    async def main() -> None:
        async with House(tmp_path, connectors=[far.connector], router=OUT) as house:
            sent = envelope("a@one.test", "wrong@two.test", "b@three.test")
            await house.mta.accept(sent, message(sent))
            await carried_to_the_end(house)
            assert far.got == {"a@one.test": 1} and far.tried["wrong@two.test"] == 5
        async with House(tmp_path, connectors=[far.connector], router=OUT) as house:  # it is in the pair, not only in memory
            far.is_wrong = False
            await carried_to_the_end(house)
            assert far.got == {"a@one.test": 1, "wrong@two.test": 1, "b@three.test": 1}
            assert not house.pairs("Queues/SMTP/Inbound")

    run(main())


def test_what_waited_in_a_pair_of_its_own_was_sent_again_when_its_message_was_parted_again(tmp_path: Path) -> None:
    """Its pair had ended by then, and the mark of it was swept."""
    far = Far()

    async def main() -> None:
        async with House(tmp_path, connectors=[far.connector], router=OUT) as house:
            sent = envelope("busy@one.test", "wrong@two.test")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            (own,) = house.pairs("Queues/SMTP/Outgoing")
            claim = house.spool.claim(house.spool["SMTP"].outgoing, own)
            assert claim is not None
            house.mta.take(claim)
            await house.mta.drain()
            assert far.got == {"busy@one.test": 1}
            house.journal.holding = lambda: frozenset()  # type: ignore[method-assign]
            sweep(house.spool, {})
            await carried_to_the_end(house)
            assert far.got == {"busy@one.test": 1} and far.tried["wrong@two.test"] == 5

    run(main())


def test_members_of_a_group_who_had_it_were_sent_it_again_for_the_one_who_had_not(tmp_path: Path) -> None:
    far = Far()

    def expand(what: Envelope, text: Message) -> Sequence[Outcome]:
        into = tuple(Recipient(smtp(to)) for to in ("a@one.test", "wrong@two.test"))
        return [Expanded(recipient, into) for recipient in what.recipients]

    async def main() -> None:
        rows = Map(("[SMTP:bob@example.test]", "[SF:PO/bob]"), ("[SMTP:*@*]", "[SMTP:*]"))
        async with House(tmp_path, connectors=[Remembering(answer=expand), far.connector], router=rows) as house:
            sent = envelope("bob@example.test")
            await house.mta.accept(sent, message(sent))
            await carried_to_the_end(house)
            assert far.got == {"a@one.test": 1} and far.tried["wrong@two.test"] == 5

    run(main())


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_disk_too_full_to_let_the_others_wait_sent_it_again(tmp_path: Path, times: int) -> None:
    """And where it stayed full, every five seconds."""
    far = Far()

    async def main() -> None:
        async with House(tmp_path, connectors=[far.connector], router=OUT) as house:
            sent = envelope("a@one.test", "busy@two.test")
            house.disk.write_all = refusing(house.disk.write_all, times)  # type: ignore[method-assign]
            await house.mta.accept(sent, message(sent))
            await carried_to_the_end(house)
            assert far.got == {"a@one.test": 1, "busy@two.test": 1}

    run(main())


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_pair_that_could_not_be_changed_was_sent_to_all_of_its_recipients_again(tmp_path: Path, times: int) -> None:
    far = Far()

    async def main() -> None:
        async with House(tmp_path, connectors=[far.connector], router=OUT) as house:
            queue, sent = house.spool["SMTP"].outgoing, envelope("[SMTP:a@one.test]", "[SMTP:busy@one.test]")
            house.spool.rest(queue, sent, message(sent))
            claim = house.spool.claim(queue, sent.id)
            assert claim is not None
            house.disk.write_all = refusing(house.disk.write_all, times)  # type: ignore[method-assign]
            house.mta.take(claim)
            await carried_to_the_end(house)
            assert far.got == {"a@one.test": 1, "busy@one.test": 1} and not house.pairs("Queues/SMTP/Outgoing")

    run(main())


@pytest.mark.parametrize("times", [1, 2, 5])
def test_a_pair_whose_end_was_refused_was_sent_again(tmp_path: Path, times: int) -> None:
    far = Far()

    async def main() -> None:
        async with House(tmp_path, connectors=[far.connector], router=OUT) as house:
            queue, sent = house.spool["SMTP"].outgoing, envelope("[SMTP:a@one.test]")
            house.spool.rest(queue, sent, message(sent))
            house.disk.rename = refusing(house.disk.rename, times)
            await carried_to_the_end(house)
            assert far.got == {"a@one.test": 1} and not house.pairs("Queues/SMTP/Outgoing")

    run(main())


def test_who_was_told_of_a_failure_was_told_again(tmp_path: Path) -> None:
    """The pair of the one who can be tried again could not be changed."""
    far = Far()

    async def main() -> None:
        async with House(tmp_path, connectors=[far.connector], router=OUT) as house:
            queue, sent = house.spool["SMTP"].outgoing, envelope("[SMTP:gone@one.test]", "[SMTP:busy@one.test]")
            house.spool.rest(queue, sent, message(sent))
            rest, failed = house.spool.rest, list[str]()

            def once(*given: Any, **named: Any) -> None:
                if not failed:
                    failed.append("full")
                    raise DiskError("writing the pair: No space left on device", full=True)
                rest(*given, **named)

            house.spool.rest = once  # type: ignore[method-assign]
            await carried_to_the_end(house)
            assert failed and far.tried == {"gone@one.test": 1, "busy@one.test": 2, "a@example.com": 1}

    run(main())
