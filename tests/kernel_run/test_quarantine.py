"""The shelf: a held message is listed with who holds it, let go to exactly those it was held for, and asked of every other hook."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postroom.address import InternalAddress, smtp
from postroom.message import FileMessage, Message
from postroom.transfer import PASS, Quarantine, Reject, TransferEvent, Verdict
from postroom_run.control import Refused
from postroom_run.quarantine import Shelf, released
from tests.kernel.house import TEXT, Hooks, House, Map, Remembering, envelope, message

ROWS = Map(("[SMTP:bob@example.test]", "[SF:PO/bob]"), ("[SMTP:al@example.test]", "[SF:PO/alice]"), ("[SMTP:*@*]", "[SMTP:*]"))


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def held_by(name: str) -> Hooks:
    """Hooks of one plugin at pickup; whoever is skipped is not asked, as the dispatcher has it."""

    def pickup(event: TransferEvent) -> Verdict:
        return PASS if name in event.envelope.skip else Quarantine("odd", by=name)

    return Hooks(at_pickup=pickup)


async def let_go(house: House, shelf: Shelf, name: str, to: tuple[InternalAddress, ...] = ()) -> None:
    queue, item = shelf.release(name, to)
    claim = house.spool.claim(queue, item)
    assert claim is not None
    house.mta.take(claim)
    await house.mta.drain()


def test_what_is_held_is_listed_with_who_holds_it_and_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, held_by("scan"), [box := Remembering()]) as house:
            sent = envelope("bob@example.test")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            (held,) = Shelf(house.spool).items()
            assert (held.name, held.by, held.size, held.subject(), held.problem) == (sent.id, "scan", len(TEXT), "hello", "")
            assert held.envelope is not None and held.envelope.extra["HeldAt"] == "mta_pickup" and held.envelope.attempt.error == "odd"
            assert held.header() == TEXT.partition(b"\r\n\r\n")[0] and box.got == []

    run(main())


def test_released_it_goes_to_those_it_was_held_for_and_skips_only_the_holder(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, held_by("scan"), [box := Remembering()], ROWS) as house:
            sent = envelope("bob@example.test", "al@example.test")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            shelf = Shelf(house.spool)
            await let_go(house, shelf, sent.id[:6].lower())
            ((got, text),) = box.got
            assert text == TEXT and got.skip == {"scan"} and got.message == sent.message
            assert {str(one.address) for one in got.recipients} == {"[SF:PO/bob]", "[SF:PO/alice]"}
            assert [*shelf.items()] == [] and [*(tmp_path / "Quarantine").glob("**/*.*")] == []
            assert house.pairs("Queues/SMTP/Inbound") == []

    run(main())


def test_released_from_one_hook_another_may_hold_it(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, held_by("scan"), [box := Remembering()]) as house:
            sent = envelope("bob@example.test")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            shelf = Shelf(house.spool)
            house.hooks.at_pickup = held_by("other").at_pickup
            await let_go(house, shelf, sent.id)
            (held,) = shelf.items()
            assert held.by == "other" and box.got == []
            await let_go(house, shelf, held.name)
            assert [got.skip for got, _ in box.got] == [{"scan", "other"}]

    run(main())


def test_held_on_its_way_to_one_connector_it_goes_to_that_one_only(tmp_path: Path) -> None:
    async def main() -> None:
        def delivery(event: TransferEvent) -> Verdict:
            return Quarantine("odd", by="scan") if event.target == "SMTP" and "scan" not in event.envelope.skip else PASS

        box, outside = Remembering(), Remembering("SMTP", is_local=False)
        async with House(tmp_path, Hooks(at_delivery=delivery), [box, outside], ROWS) as house:
            sent = envelope("bob@example.test", "x@far.test")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            assert len(box.got) == 1 and outside.got == []
            shelf = Shelf(house.spool)
            (held,) = shelf.items()
            await let_go(house, shelf, held.name)
            assert len(box.got) == 1 and [str(r.address) for got, _ in outside.got for r in got.recipients] == ["[SMTP:x@far.test]"]

    run(main())


def test_it_may_go_to_somebody_else_instead(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, held_by("scan"), [box := Remembering()], ROWS) as house:
            sent = envelope("bob@example.test")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            await let_go(house, Shelf(house.spool), sent.id, (smtp("al@example.test"),))
            assert [str(r.address) for got, _ in box.got for r in got.recipients] == ["[SF:PO/alice]"]

    run(main())


def test_a_crash_after_the_release_does_not_take_the_new_item_for_the_old_one(tmp_path: Path) -> None:
    """The journal says of the held item that it was done; a replay must not take the released one off the queue for that."""

    async def main() -> None:
        sent = envelope("bob@example.test")
        async with House(tmp_path, held_by("scan"), [Remembering()]) as house:
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            _, item = Shelf(house.spool).release(sent.id)
        async with House(tmp_path, held_by("scan"), [box := Remembering()]) as house:
            assert house.pairs("Queues/SMTP/Inbound") == [item]
            assert house.take_due(2e9) == 1
            await house.mta.drain()
            assert [text for _, text in box.got] == [TEXT]

    run(main())


def test_a_refusal_of_another_hook_at_a_release_is_a_refusal_not_a_loss(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, held_by("scan"), [box := Remembering()]) as house:
            sent = replace(envelope("bob@example.test"), sender=None)
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            house.hooks.at_pickup = lambda event: Reject("never", by="other")
            await let_go(house, Shelf(house.spool), sent.id)
            assert box.got == [] and len(house.pairs("Bad Mail")) == 1

    run(main())


def test_a_large_message_is_copied_whole(tmp_path: Path) -> None:
    async def main() -> None:
        text = TEXT + b"x" * 3_000_000
        async with House(tmp_path, connectors=[box := Remembering()]) as house:
            sent = envelope("bob@example.test")
            (path := tmp_path / "big").write_bytes(text)
            house.spool.set_aside("Quarantine", sent, FileMessage(sent.id, path, len(text)), "odd", "scan", "mta_pickup")
            await let_go(house, Shelf(house.spool), sent.id)
            assert [got for _, got in box.got] == [text]

    run(main())


def shelve(house: House, *names: str) -> list[str]:
    ids = []
    for _ in names or ("one",):
        sent = envelope("bob@example.test")
        text: Message = message(sent)
        house.spool.set_aside("Quarantine", sent, text, "odd", "scan", "mta_pickup")
        ids.append(sent.id)
    return ids


def test_a_message_without_a_command_file_needs_a_recipient(tmp_path: Path) -> None:
    """An old program moves the message alone, into the folder itself or below Messages."""

    async def main() -> None:
        for place in ("Quarantine/mail.MAI", "Quarantine/Messages/mail.MAI", f"Quarantine/Messages/{'C' * 32}.MAI"):
            root = tmp_path / place.replace("/", "-")
            path = root / place
            path.parent.mkdir(parents=True)
            path.write_bytes(TEXT)
            async with House(root, connectors=[box := Remembering()]) as house:
                shelf = Shelf(house.spool)
                (held,) = shelf.items()
                assert held.envelope is None and "--to" in held.problem and held.subject() == "hello"
                with pytest.raises(Refused, match="--to"):
                    shelf.release(held.name)
                await let_go(house, shelf, held.name, (smtp("bob@example.test"),))
                assert [text for _, text in box.got] == [TEXT] and [*shelf.items()] == []

    run(main())


def test_a_damaged_command_file_is_listed_and_its_message_can_be_saved(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path, connectors=[box := Remembering()]) as house:
            (item,) = shelve(house)
            (tmp_path / "Quarantine" / f"{item}.MAI").write_bytes(b"Recipients=[oh\r\nTimeAcquired=x\r\n")
            shelf = Shelf(house.spool)
            (held,) = shelf.items()
            assert held.name == item and "cannot be read" in held.problem
            await let_go(house, shelf, item, (smtp("bob@example.test"),))
            assert len(box.got) == 1 and [*shelf.items()] == []

    run(main())


def test_a_pair_whose_message_is_gone_can_only_be_deleted(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path) as house:
            (item,) = shelve(house)
            (tmp_path / "Quarantine/Messages" / f"{item}.MAI").unlink()
            shelf = Shelf(house.spool)
            with pytest.raises(Refused, match="its message is gone"):
                shelf.release(item, (smtp("bob@example.test"),))
            shelf.delete(item)
            assert [*shelf.items()] == []

    run(main())


def test_the_first_letters_of_an_id_must_mean_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path) as house:
            shelf = Shelf(house.spool)
            with pytest.raises(Refused, match="nothing is in quarantine"):
                shelf.release("A")
            shelve(house, "one", "two")
            with pytest.raises(Refused, match="2 messages"):
                shelf.find("")
            with pytest.raises(Refused, match="no message"):
                shelf.delete("XYZ")

    run(main())


def test_listing_writes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path) as house:
            (item,) = shelve(house)
            before = {path: path.stat() for path in (tmp_path / "Quarantine").rglob("*")}
            shelf = Shelf(house.spool)
            assert [held.name for held in shelf.items()] == [item] and shelf.find(item[:5]).header()
            after = {path: path.stat() for path in (tmp_path / "Quarantine").rglob("*")}
            assert {p: (s.st_mtime_ns, s.st_ino) for p, s in after.items()} == {p: (s.st_mtime_ns, s.st_ino) for p, s in before.items()}

    run(main())


def test_the_released_envelope_starts_its_attempts_anew(tmp_path: Path) -> None:
    async def main() -> None:
        async with House(tmp_path) as house:
            (item,) = shelve(house)
            envelope = released(Shelf(house.spool).find(item))
            assert (envelope.attempt.count, envelope.attempt.crashes, envelope.hop, envelope.holder) == (0, 0, "", "")
            assert envelope.id != item and envelope.message == item

    run(main())
