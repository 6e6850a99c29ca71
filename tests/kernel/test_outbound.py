"""What follows from an outcome, on a real spool: who is told, what Bad Mail keeps, when it is tried again."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from postroom.address import InternalAddress, smtp
from postroom.envelope import Envelope, Peer, Recipient
from postroom.errors import SpoolError
from postroom.message import Message
from postroom.outcome import Deferred, Delivered, Expanded, Failed, Outcome, Reply
from postroom.retry import RetryPolicy
from postroom.transfer import PASS, Reject

from .house import Hooks, House, Map, Remembering, envelope, message, run

STRANGER = Peer(ip="192.0.2.1", helo="mx.example.com")
Answer = Callable[[Envelope, Message], Sequence[Outcome]]


def saying(reply: Reply) -> Answer:
    """A far server that says this to whoever is not the sender of these tests."""

    def answer(what: Envelope, text: Message) -> Sequence[Outcome]:
        kind = Deferred if reply.code < 500 else Failed
        return [Delivered(one) if one.address.domain == "example.com" else kind(one, reply) for one in what.recipients]

    return answer


@pytest.mark.parametrize(
    ("reply", "peer", "told"),
    [
        (Reply(550, "5.1.1", "no such user"), STRANGER, True),  # RFC 5321 section 6.1
        (Reply(550, "5.7.1", "spam"), STRANGER, False),
        (Reply(550, "5.7.1", "spam"), Peer(trusted=True), True),
    ],
)
def test_case_41_what_the_next_server_refuses(tmp_path: Path, reply: Reply, peer: Peer, told: bool) -> None:
    """Bad Mail keeps it in any case; a forged sender hears nothing of what was refused for what it is."""

    async def main() -> None:
        outside = Remembering("SMTP", is_local=False, answer=saying(reply))
        async with House(tmp_path, connectors=[outside]) as house:
            sent = replace(envelope("x@far.test"), peer=peer, ret="FULL")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            assert len(house.pairs("Bad Mail")) == 1
            notices = [(got, text) for got, text in outside.got if got.sender is None]
            assert len(notices) == told
            assert all((b"\r\nbody\r\n" in text) is peer.trusted for _, text in notices)

    run(main())


@pytest.mark.parametrize(("peer", "told"), [(STRANGER, 0), (Peer(ip="192.0.2.1", user="ann"), 1), (Peer(), 1)])
def test_case_41_what_a_hook_rejects_after_the_reply(tmp_path: Path, peer: Peer, told: int) -> None:
    """DESIGN section 4: to Bad Mail without a word, unless the sender logged in or is of this house."""

    async def main() -> None:
        outside = Remembering("SMTP", is_local=False)
        rejects = Hooks(at_delivery=lambda event: PASS if event.envelope.sender is None else Reject("a virus"))
        async with House(tmp_path, rejects, [outside]) as house:
            sent = replace(envelope("x@far.test"), peer=peer)
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            assert len(house.pairs("Bad Mail")) == 1
            assert [b"554 5.7.1 a virus" in text for _, text in outside.got] == [True] * told

    run(main())


@pytest.mark.parametrize("rests", [False, True])
def test_mail_that_a_server_took_was_sent_again_when_the_journal_refused_to_note_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rests: bool
) -> None:
    """A disk that is full for a moment makes no second copy: the server has it, whatever we can write down."""

    async def main() -> None:
        outside = Remembering("SMTP", is_local=False)
        async with House(tmp_path, connectors=[outside]) as house:
            asked: list[object] = []

            async def refuse(of: Envelope, destinations: Sequence[InternalAddress]) -> None:
                asked.append(of)
                raise SpoolError("no space left", full=True)

            monkeypatch.setattr(house.spool, "settle", refuse)
            sent = envelope("x@far.test", "y@far.test") if rests else envelope("x@far.test")
            if rests:
                queue, waits = house.spool["SMTP"].outgoing, replace(sent, hop="far.test")
                house.spool.rest(queue, waits, message(waits))
                claim = house.spool.claim(queue, waits.id)
                assert claim is not None
                house.mta.take(claim)
            else:
                await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            assert (len(asked), len(outside.got)) == (1, 1)
            assert [item for each in house.spool.queues() for item in each.items()] == []

    run(main())


def test_case_41_a_stranger_is_not_told_that_it_takes_long(tmp_path: Path) -> None:
    async def main() -> None:
        outside = Remembering("SMTP", is_local=False, answer=saying(Reply(451, "4.4.1", "no answer")))
        async with House(tmp_path, connectors=[outside], retry=RetryPolicy(delays=(60.0,), lifetime=120.0, tell_after=(0.0,))) as house:
            sent = replace(envelope("x@far.test"), peer=STRANGER)
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            assert [got.sender for got, _ in outside.got] == [smtp("a@example.com")]
            for _ in range(2):
                house.clock.at += 60
                house.take_due()
                await house.mta.drain()
            ((_, text),) = [(got, text) for got, text in outside.got if got.sender is None]
            assert b"Action: failed" in text and b"Status: 5.4.7" in text and b"Diagnostic-Code: smtp; 451 4.4.1 no answer" in text

    run(main())


def test_success_is_told_as_relayed_or_expanded(tmp_path: Path) -> None:
    def open_group(what: Envelope, text: Message) -> Sequence[Outcome]:
        into = tuple(Recipient(smtp(f"{name}@far.test")) for name in "xy")
        return [Expanded(one, into) if one.address.name == "sales" else Delivered(one) for one in what.recipients]

    async def main() -> None:
        group, outside = Remembering(answer=open_group), Remembering("SMTP", is_local=False)
        rows = Map(("[SMTP:sales@example.test]", "[SF:PO/sales]"), ("[SMTP:*@*]", "[SMTP:*]"))
        async with House(tmp_path, connectors=[group, outside], router=rows) as house:
            wish = frozenset({"SUCCESS"})
            sent = replace(envelope(), recipients=tuple(Recipient(smtp(who), "", wish) for who in ("sales@example.test", "z@far.test")))
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            told = sorted(text.partition(b"Action: ")[2].split(b"\r\n")[0] for got, text in outside.got if got.sender is None)
            assert told == [b"expanded", b"relayed"]
            assert {str(one.address) for got, _ in outside.got for one in got.recipients} >= {"[SMTP:x@far.test]", "[SMTP:y@far.test]"}

    run(main())


def test_a_domain_has_retry_times_of_its_own(tmp_path: Path) -> None:
    slow = RetryPolicy(delays=(7200.0,), lifetime=14_400.0, tell_after=(0.0,))

    async def main() -> None:
        outside = Remembering("SMTP", is_local=False, answer=saying(Reply(451, "4.4.1", "no answer")))
        async with House(
            tmp_path, connectors=[outside], retry=RetryPolicy(delays=(60.0,), tell_after=(), hops={"slow.test": slow})
        ) as house:
            sent = envelope("x@Slow.test", "y@quick.test")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            queue = house.spool["SMTP"].outgoing
            found = {
                InternalAddress("SMTP", e.recipients[0].address.detail).domain: e.attempt
                for e in map(queue.look, house.pairs("Queues/SMTP/Outgoing"))
                if e
            }
            assert {name: attempt.due - house.clock.at for name, attempt in found.items()} == {"slow.test": 7200.0, "quick.test": 60.0}
            assert {name: attempt.told for name, attempt in found.items()} == {"slow.test": 1, "quick.test": 0}
            ((_, text),) = [(got, text) for got, text in outside.got if got.sender is None]
            assert b"Action: delayed" in text and b"Will-Retry-Until: Mon, 12 Jan 1970 17:46:40" in text

    run(main())
