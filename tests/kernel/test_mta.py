"""The road of one message, forward only."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from postroom.address import InternalAddress, smtp
from postroom.dispatch import ASKING
from postroom.envelope import Envelope, Recipient
from postroom.errors import DiskError
from postroom.message import MemoryMessage, Message
from postroom.outcome import Deferred, Delivered, Expanded, Failed, Outcome, Reply
from postroom.retry import RetryPolicy
from postroom.transfer import PASS, Defer, Discard, Pass, Quarantine, Reject, Replace, TransferEvent, Verdict

from .house import TEXT, Hooks, House, Map, Remembering, envelope, message, run

BUSY = Reply(451, "4.3.0", "busy")


def defers(what: Envelope, text: Message) -> Sequence[Outcome]:
    return [Deferred(recipient, BUSY) for recipient in what.recipients]


def test_a_message_to_two_boxes_and_two_domains_goes_once_to_each_hop(tmp_path: Path) -> None:
    async def main() -> None:
        mailboxes, outside = Remembering(), Remembering("SMTP", is_local=False)
        rows = Map(("[SMTP:bob@example.test]", "[SF:PO/bob]"), ("[SMTP:al@example.test]", "[SF:PO/alice]"), ("[SMTP:*@*]", "[SMTP:*]"))
        async with House(tmp_path, connectors=[mailboxes, outside], router=rows) as house:
            sent = envelope("bob@example.test", "BOB@Example.Test", "al@example.test", "x@one.test", "y@two.test", "z@one.test")
            assert await house.mta.accept(sent, message(sent)) == PASS
            await house.mta.drain()
            assert [[str(r.address) for r in got.recipients] for got, _ in mailboxes.got] == [["[SF:PO/bob]", "[SF:PO/alice]"]]
            assert sorted([[r.address.detail for r in got.recipients] for got, _ in outside.got]) == [
                ["x@one.test", "z@one.test"],
                ["y@two.test"],
            ]
            assert len({got.id for got, _ in outside.got} | {sent.id}) == 3
            assert {got.message for got, _ in outside.got} == {sent.id}

    run(main())


def test_an_unknown_address_goes_to_bad_mail_and_its_sender_gets_a_notice(tmp_path: Path) -> None:
    async def main() -> None:
        outside = Remembering("SMTP", is_local=False)
        async with House(tmp_path, connectors=[Remembering(), outside]) as house:
            sent = envelope("nobody@example.test")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            assert len(house.pairs("Bad Mail")) == 1
            ((notice, text),) = outside.got
            assert notice.sender is None
            assert notice.recipients[0].address == smtp("a@example.com")
            assert b"report-type=delivery-status" in text
            assert b"Final-Recipient: rfc822; nobody@example.test" in text
            assert b"Status: 5.1.1" in text

    run(main())


def test_a_notice_that_cannot_be_delivered_only_goes_to_bad_mail(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, connectors=[Remembering()]) as house:
            sent = envelope("nobody@example.test", sender="gone@example.test")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            assert len(house.pairs("Bad Mail")) == 2
            assert house.pairs("Queues/SMTP/Inbound") == []

    run(main())


def test_a_refused_delivery_rests_and_is_tried_again_until_it_is_given_up(tmp_path: Path) -> None:
    async def main() -> None:
        mailboxes, outside = Remembering(answer=defers), Remembering("SMTP", is_local=False)
        policy = RetryPolicy(delays=(60.0, 120.0), lifetime=300.0, tell_after=(100.0,))
        async with House(tmp_path, connectors=[mailboxes, outside], retry=policy) as house:
            sent = envelope()
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            times = []
            for _ in range(400):
                house.clock.at += 1
                if house.take_due():
                    await house.mta.drain()
                    times.append(house.clock.at - 1_000_000)
            assert times == [60, 180, 300]
            assert [got.attempt.count for got, _ in mailboxes.got] == [0, 1, 2, 3]
            assert [b"Action: delayed" in text for _, text in outside.got] == [True, False]
            assert b"451 4.3.0 busy" in outside.got[-1][1]
            assert house.pairs("Queues/SF/Outgoing") == []
            assert len(house.pairs("Bad Mail")) == 1

    run(main())


def test_a_group_turns_into_members_under_the_same_claim_and_its_path_is_told(tmp_path: Path) -> None:
    def expand(what: Envelope, text: Message) -> Sequence[Outcome]:
        into = {"PO/sales": ("[SF:PO/bob]", "[SF:PO/staff]"), "PO/staff": ("[SF:PO/sales]", "[SF:PO/alice]")}
        return [
            Expanded(
                one,
                tuple(
                    Recipient(InternalAddress.parse(name))
                    for name in into[one.address.detail]
                    if InternalAddress.parse(name) not in what.expanded
                ),
            )
            if one.address.detail in into
            else Delivered(one)
            for one in what.recipients
        ]

    async def main() -> None:
        mailboxes = Remembering(answer=expand)
        async with House(tmp_path, connectors=[mailboxes], router=Map(("[SMTP:sales@example.test]", "[SF:PO/sales]"))) as house:
            sent = envelope("sales@example.test")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            asked = [str(one.address) for got, _ in mailboxes.got for one in got.recipients]
            assert asked == ["[SF:PO/sales]", "[SF:PO/bob]", "[SF:PO/staff]", "[SF:PO/alice]"]
            assert {got.message for got, _ in mailboxes.got} == {sent.id}

    run(main())


def test_a_circle_that_a_connector_does_not_see_ends_in_a_notice(tmp_path: Path) -> None:
    """Case 42: what leads back to itself is told to the sender, never dropped without a word."""

    def back(what: Envelope, text: Message) -> Sequence[Outcome]:
        return [Expanded(one, (Recipient(InternalAddress.parse("[SF:PO/bob]")),)) for one in what.recipients]

    async def main() -> None:
        mailboxes, outside = Remembering(answer=back), Remembering("SMTP", is_local=False)
        async with House(tmp_path, connectors=[mailboxes, outside]) as house:
            sent = envelope("bob@example.test")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            ((notice, text),) = outside.got
            assert notice.sender is None
            assert b"5.4.6" in text

    run(main())


@pytest.mark.parametrize(
    ("verdict", "shelf"),
    [(Quarantine("virus"), "Quarantine"), (Discard("spam"), None), (Defer("scanner away"), "Queues/SMTP/Inbound"), (Reject("virus"), None)],
)
def test_a_pickup_verdict_ends_the_road(tmp_path: Path, verdict: Verdict, shelf: str | None) -> None:
    async def main() -> None:
        mailboxes = Remembering()
        async with House(tmp_path, Hooks(at_pickup=lambda event: verdict), [mailboxes]) as house:
            sent = envelope()
            assert await house.mta.accept(sent, message(sent)) == verdict  # a Reject is the caller's to say
            await house.mta.drain()
            assert mailboxes.got == []
            for folder in ("Quarantine", "Queues/SMTP/Inbound", "Bad Mail"):
                assert house.pairs(folder) == ([sent.id] if folder == shelf else [])

    run(main())


def test_a_replacement_goes_on_under_the_same_name(tmp_path: Path) -> None:
    def mark(event: TransferEvent) -> Verdict:
        return Replace(MemoryMessage("F" * 32, b"X-Seen: yes\r\n" + (event.message.peek() or b"")))

    async def main() -> None:
        mailboxes = Remembering()
        async with House(tmp_path, Hooks(at_pickup=mark, at_delivery=mark), [mailboxes]) as house:
            sent = envelope()
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            ((got, text),) = mailboxes.got
            assert text == b"X-Seen: yes\r\n" * 2 + TEXT
            assert got.message == sent.id

    run(main())


def test_an_exception_harms_its_own_message_only(tmp_path: Path) -> None:
    def explode(event: TransferEvent) -> Verdict:
        if event.envelope.subject == "bomb":
            raise ZeroDivisionError
        return Pass()

    async def main() -> None:
        mailboxes = Remembering()
        async with House(tmp_path, Hooks(at_delivery=explode), [mailboxes]) as house:
            bomb, fine = envelope(subject="bomb"), envelope()
            await asyncio.gather(house.mta.accept(bomb, message(bomb)), house.mta.accept(fine, message(fine)))
            await house.mta.drain()
            assert [got.message for got, _ in mailboxes.got] == [fine.id]
            assert house.pairs("Queues/SMTP/Inbound") == [bomb.id]
            assert any(event == "mta.stumbled" and facts["id"] == bomb.id for _, event, facts in house.log.lines)

    run(main())


def test_a_failed_recipient_does_not_fail_the_rest(tmp_path: Path) -> None:
    def half(what: Envelope, text: Message) -> Sequence[Outcome]:
        first, *others = what.recipients
        return [Failed(first, Reply(550, "5.1.1", "gone")), *(Delivered(one) for one in others)]

    async def main() -> None:
        mailboxes, outside = Remembering(answer=half), Remembering("SMTP", is_local=False)
        rows = Map(("[SMTP:bob@example.test]", "[SF:PO/bob]"), ("[SMTP:al@example.test]", "[SF:PO/alice]"), ("[SMTP:*@*]", "[SMTP:*]"))
        async with House(tmp_path, connectors=[mailboxes, outside], router=rows) as house:
            sent = envelope("bob@example.test", "al@example.test")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            ((_, text),) = outside.got
            assert b"PO/bob" in text
            assert b"PO/alice" not in text

    run(main())


def test_who_has_it_is_not_sent_to_again_after_a_crash(tmp_path: Path) -> None:
    """Case 4: three of five were delivered, then the process died. The two others get it, the three do not get it again."""
    names = [f"r{number}@far.test" for number in range(5)]
    rows = Map(("[SMTP:*@*]", "[SMTP:*]"))

    def three(what: Envelope, text: Message) -> Sequence[Outcome]:
        return [Delivered(one) if index < 3 else Deferred(one, BUSY) for index, one in enumerate(what.recipients)]

    async def main() -> None:
        outside = Remembering("SMTP", is_local=False, answer=three)
        async with House(tmp_path, connectors=[outside], router=rows) as house:
            sent = envelope(*names)
            house.spool.rest = _dies  # type: ignore[method-assign]
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
        outside.answer = None
        outside.got.clear()
        async with House(tmp_path, connectors=[outside], router=rows) as house:
            assert house.pairs("Queues/SMTP/Inbound") == [sent.id]
            house.take_due(house.clock.at + 1e6)
            await house.mta.drain()
            assert [[one.address.detail for one in got.recipients] for got, _ in outside.got] == [names[3:]]

    run(main())


def _dies(*arguments: object, **more: object) -> None:
    raise asyncio.CancelledError  # what a task of a dying process meets


def test_what_a_worker_has_in_hand_when_it_is_stopped_is_replayed(tmp_path: Path) -> None:
    """A drain that was cut short cancelled what was under way, let go of its segment, and the journal was cut: the message was gone."""

    def never(event: TransferEvent) -> Verdict:
        raise asyncio.CancelledError

    async def main() -> None:
        mailboxes = Remembering()
        async with House(tmp_path, Hooks(at_delivery=never), [mailboxes]) as house:
            sent = envelope()
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
        async with House(tmp_path, connectors=[mailboxes]) as house:
            assert house.take_due() == 1
            await house.mta.drain()
            assert [data for _, data in mailboxes.got] == [TEXT]

    run(main())


def test_a_disk_that_refuses_keeps_the_message(tmp_path: Path) -> None:
    """Case 5 and 6: what cannot be put down is held and tried again; nothing is lost, nothing is a final failure."""

    def refuse(what: Envelope, text: Message) -> Sequence[Outcome]:
        raise DiskError("no space", full=True)

    async def main() -> None:
        mailboxes = Remembering(answer=refuse)
        async with House(tmp_path, connectors=[mailboxes]) as house:
            sent = envelope()
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            assert house.pairs("Queues/SMTP/Inbound") == [sent.id]
            mailboxes.answer = None
            house.clock.at += 3600
            assert house.take_due() == 1
            await house.mta.drain()
            assert len(mailboxes.got) == 2
            assert house.pairs("Bad Mail") == []

    run(main())


def test_verify_says_what_the_road_would(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, connectors=[Remembering()]) as house:
            assert house.mta.verify(smtp("bob@example.test")) is None
            refusal = house.mta.verify(smtp("nobody@example.test"))
            assert refusal is not None
            assert refusal.code == 550

    run(main())


def test_a_success_is_told_when_the_sender_asked(tmp_path: Path) -> None:
    async def main() -> None:
        mailboxes, outside = Remembering(), Remembering("SMTP", is_local=False)
        async with House(tmp_path, connectors=[mailboxes, outside]) as house:
            plain = envelope()
            sent = replace(plain, recipients=(Recipient(smtp("bob@example.test"), "rfc822;bob@example.test", frozenset({"SUCCESS"})),))
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            ((_, text),) = outside.got
            assert b"Action: delivered" in text
            assert b"Original-Recipient: rfc822;bob@example.test" in text

    run(main())


def test_a_hooks_own_mail_is_not_shown_to_it(tmp_path: Path) -> None:
    """Case 48: a hook that answers every message with another one would never come to an end."""

    async def main() -> None:
        async with House(tmp_path, connectors=[box := Remembering()]) as house:
            told = envelope("bob@example.test")
            token = ASKING.set(("scan", frozenset({"other"})))
            await house.mta.accept(told, message(told))
            ASKING.reset(token)
            await house.mta.drain()
            assert [got.skip for got, _ in box.got] == [frozenset({"scan", "other"})]

    run(main())


def test_a_delivery_hook_that_defers_is_asked_again_at_every_attempt(tmp_path: Path) -> None:
    """It was asked once: a scanner that was down let the message through at the next attempt."""

    async def main() -> None:
        answers: list[Verdict] = [Defer("scanner down"), Defer("scanner down"), Reject("virus", by="scan")]
        box = Remembering()
        async with House(tmp_path, Hooks(at_delivery=lambda event: answers.pop(0)), [box]) as house:
            sent = envelope("bob@example.test", sender=None)
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            for left in (1, 0):
                assert len(house.pairs("Queues/SF/Outgoing")) == 1 and box.got == []
                house.clock.at += 2_000
                assert house.take_due() == 1
                await house.mta.drain()
                assert len(answers) == left
            assert house.pairs("Queues/SF/Outgoing") == [] and box.got == [] and len(house.pairs("Bad Mail")) == 1

    run(main())


def test_what_a_delivery_hook_replaces_is_for_one_attempt(tmp_path: Path) -> None:
    """The queue keeps the message as it was, so a signature or a mark is made anew each time, and never twice."""

    async def main() -> None:
        seen: list[bytes] = []

        def signs(event: TransferEvent) -> Verdict:
            data = event.message.peek() or (tmp_path / "Queues/SMTP/Outgoing/Messages" / f"{event.envelope.id}.MAI").read_bytes()
            seen.append(data)
            return Replace(MemoryMessage("F" * 32, b"Signed: yes\r\n" + data))

        answers = [defers, None]
        outside = Remembering("SMTP", is_local=False, answer=defers)
        async with House(tmp_path, Hooks(at_delivery=signs), [Remembering(), outside]) as house:
            sent = envelope("x@far.test")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            outside.answer = answers[1]
            house.clock.at += 1_000
            assert house.take_due() == 1
            await house.mta.drain()
            assert seen == [TEXT, TEXT] and [text for _, text in outside.got] == [b"Signed: yes\r\n" + TEXT] * 2

    run(main())
