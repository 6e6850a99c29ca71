"""The queue commands of a live worker: what they tell, whom they choose, and that looking changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postroom.address import smtp
from postroom.envelope import Attempt, Envelope, Recipient
from postroom.errors import DiskError
from postroom.message import MemoryMessage, new_id
from postroom.outbound import ANSWERS
from postroom.outcome import Deferred, Reply
from postroom.spool import Queue
from postroom_ops.dues import HELD
from postroom_run.assembly import Assembled
from postroom_run.control import Refused
from postroom_run.requests import QueueRequests, is_wanted
from postroom_testing.clock import HandClock
from postroom_testing.faults import FaultDisk
from postroom_testing.ground import site_in

TAB = "server: mail.example.test\nplugins: {tab: {watch: false}}\n"


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def resting(
    parts: Assembled, *to: str, sender: str | None = "alice@example.test", due: float = 3600.0, hop: str = "", **other: Any
) -> tuple[Queue, str]:
    """A pair in SMTP/Outgoing, due in so many seconds."""
    item, now = new_id(), parts.site.clock.now()
    queue = parts.site.spool["SMTP"].outgoing
    attempt = Attempt(count=2, due=due if due == HELD else now + due, error="451 4.4.1 no answer")
    who = smtp(sender) if sender else None
    envelope = Envelope(item, item, "SMTP", who, tuple(Recipient(smtp(one)) for one in to), now, attempt=attempt, hop=hop, **other)
    parts.site.spool.rest(queue, envelope, MemoryMessage(item, b"Subject: x\r\n\r\n"))
    return queue, item


def files(root: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that can be seen of a folder without reading a clock."""
    return {
        str(path.relative_to(root)): (path.stat().st_mtime_ns, path.stat().st_ino, path.read_bytes() if path.is_file() else b"")
        for path in sorted(root.rglob("*"))
    }


def ready(tmp_path: Path) -> Path:
    (tmp_path / "Config").mkdir()
    return tmp_path


def test_looking_writes_nothing(tmp_path: Path) -> None:
    """Neither listing nor showing, with a damaged pair and a held one among them."""

    async def main() -> None:
        async with site_in(ready(tmp_path), TAB, clock=HandClock()) as parts:
            asked = QueueRequests(parts)
            queue, item = resting(parts, "x@far.test", hop="far.test")
            resting(parts, "y@far.test", due=HELD)
            queue.command_path("D" * 32).write_bytes(b"Recipients=[SMTP:broken\r\nRetries=x\r\n")
            before = files(tmp_path)
            assert (await asked.listing())["count"] == 3
            assert (await asked.listing(domain="far.test", sender="alice@example.test", held=True))["count"] == 1
            assert asked.show(item)["error"] == "451 4.4.1 no answer"
            assert files(tmp_path) == before

    run(main())


def test_a_damaged_pair_is_told_and_hides_no_other(tmp_path: Path) -> None:
    """One command file that could not be read made an error of the whole list."""

    async def main() -> None:
        async with site_in(ready(tmp_path), TAB, clock=HandClock()) as parts:
            asked = QueueRequests(parts)
            queue, item = resting(parts, "x@far.test")
            queue.command_path("D" * 32).write_bytes(b"Recipients=[SMTP:broken\r\nRetries=x\r\n")
            rows = {row["id"]: row for row in (await asked.listing())["items"]}
            assert set(rows) == {item, "D" * 32} and "command file" in rows["D" * 32]["error"]

    run(main())


def test_each_recipient_is_shown_with_what_it_met(tmp_path: Path) -> None:
    async def main() -> None:
        async with site_in(ready(tmp_path), TAB, clock=HandClock()) as parts:
            queue, item = resting(parts, "x@far.test", "y@far.test")
            asked = QueueRequests(parts)
            assert asked.show(item)["answers"] == ["451 4.4.1 no answer"] * 2
            claim = parts.site.spool.claim(queue, item)
            assert claim is not None
            replies = (Reply(451, "4.2.1", "x; is 100% busy"), Reply(452, "4.2.2", "y is full\r\nRetries=0"))  # case 38: one line it stays
            met = [Deferred(one, reply) for one, reply in zip(claim.envelope.recipients, replies)]
            later = await parts.mta.outbound.settle(claim.envelope, claim.message, met, queue, claim)
            assert later is not None
            claim.again(later)
            shown = asked.show(item)
            assert shown["answers"] == ["451 4.2.1 x; is 100% busy", "452 4.2.2 y is full Retries=0"] and shown["attempts"] == 3
            claim = parts.site.spool.claim(queue, item)
            assert claim is not None
            one = replace(claim.envelope, recipients=claim.envelope.recipients[1:])
            later = await parts.mta.outbound.settle(one, claim.message, [met[1]], queue, claim)
            assert later is not None and not later.extra[ANSWERS]
            claim.drop()

    run(main())


def test_case_26_an_id_names_nothing_outside_the_queues(tmp_path: Path) -> None:
    """It becomes a file's name: with steps upward in it, `delete` moved any command file of the site, those of Bad Mail for one."""

    async def main() -> None:
        async with site_in(ready(tmp_path), TAB, clock=HandClock()) as parts:
            asked, (queue, item) = QueueRequests(parts), resting(parts, "x@far.test")
            aside = tmp_path / "Bad Mail" / f"{item}.MAI"
            aside.parent.mkdir()
            aside.write_bytes(queue.command_path(item).read_bytes())
            for name in (f"../../../Bad Mail/{item}", f"./{item}", item.lower(), "", "*", f"{item}\n"):
                for request in (asked.show, asked.hold, asked.release, asked.delete):
                    with pytest.raises(Refused, match="nothing named"):
                        request(name)
            assert aside.exists() and queue.look(item) is not None

    run(main())


def test_items_are_chosen_by_domain_and_sender(tmp_path: Path) -> None:
    async def main() -> None:
        clock = HandClock()
        async with site_in(ready(tmp_path), TAB, clock=clock) as parts:
            asked = QueueRequests(parts)
            _, far = resting(parts, "x@Far.test", due=300.0)
            _, near = resting(parts, "y@near.test", sender="bob@example.org", due=200.0)
            _, held = resting(parts, "z@far.test", due=HELD)
            _, note = resting(parts, "x@other.test", sender=None, hop="far.test", due=100.0)

            async def found(**wanted: Any) -> list[str]:
                said = await asked.listing(**wanted)
                assert said["count"] == len(said["items"])
                return [row["id"] for row in said["items"]]

            assert await found() == [note, near, far, held]
            assert await found(domain="far.TEST") == [note, far, held]
            assert await found(sender="Bob@Example.org") == await found(sender="example.org") == [near]
            assert await found(sender="<>") == [note]
            assert await found(held=True) == [held]
            assert await found(domain="far.test", sender="alice@example.test", held=True) == [held]
            assert await found(domain="ar.test") == []
            assert await asked.retry(domain="far.test") == {"count": 2}
            due = {row["id"]: row["due"] - clock.now() for row in (await asked.listing())["items"]}
            assert (due[far], due[note], due[near]) == (0, 0, 200) and due[held] > 1e9
            assert await asked.retry(sender="bob@example.org") == {"count": 1}

    run(main())


def test_what_an_attempt_changed_meanwhile_is_not_undone(tmp_path: Path) -> None:
    """`retry`, `hold` and `release` wrote the envelope they had read before they had the lock: who had got the message got it again."""

    async def main() -> None:
        async with site_in(ready(tmp_path), TAB, clock=HandClock()) as parts:
            asked, spool = QueueRequests(parts), parts.site.spool
            queue, item = resting(parts, "x@far.test", "y@far.test")
            is_private = spool.is_private

            def after_an_attempt(item: str) -> bool:
                spool.is_private = is_private  # type: ignore[method-assign]
                held = spool.claim(queue, item)
                assert held is not None
                held.again(
                    replace(held.envelope, recipients=held.envelope.recipients[1:], attempt=replace(held.envelope.attempt, crashes=1))
                )
                return is_private(item)

            spool.is_private = after_an_attempt  # type: ignore[method-assign]
            asked.hold(item)
            envelope = queue.look(item)
            assert envelope is not None and [str(one.address) for one in envelope.recipients] == ["[SMTP:y@far.test]"]
            assert envelope.attempt.crashes == 1  # being held for a moment is no crash, and what were crashes are not forgotten

    run(main())


ROW = {"hop": "", "sender": "<>", "recipients": [], "held": False}


@pytest.mark.parametrize(
    ("row", "wanted", "found"),
    [
        ({}, {}, True),
        ({}, {"domain": "far.test"}, False),
        ({"hop": "FAR.test"}, {"domain": "far.test"}, True),
        ({"recipients": ["[SF:PO/x]", "[SMTP:a@b@far.test]"]}, {"domain": "far.test"}, True),
        ({"recipients": ["[SMTP:far.test@x.test]"]}, {"domain": "far.test"}, False),
        ({"sender": "[SMTP:A@b.test]"}, {"sender": "a@B.test"}, True),
        ({"sender": "[SMTP:a@b.test]"}, {"sender": "b.test"}, True),
        ({"sender": "[SMTP:a@b.test]"}, {"sender": "<>"}, False),
        ({"held": True}, {"held": False}, True),
        ({"sender": "[SMTP:a@b.test]"}, {"sender": "*@b.test"}, False),  # case 26: no text is a pattern
        ({"sender": "[SMTP:*@b.test]"}, {"sender": "*@b.test"}, True),
        ({"hop": "far.test"}, {"domain": "far.tes."}, False),
    ],
)
def test_who_is_wanted(row: dict[str, Any], wanted: dict[str, Any], found: bool) -> None:
    assert is_wanted({**ROW, **row}, **wanted) is found


def test_all_at_once_is_one_file_and_lasts(tmp_path: Path) -> None:
    """Ten thousand pairs were locked and set one by one, which took as long as to send them. What is held stays so, what fails again waits
    again, and a server that starts anew knows it."""

    async def main() -> None:
        clock = HandClock()
        async with site_in(ready(tmp_path), TAB, clock=clock) as parts:
            queue, one = resting(parts, "x@far.test", hop="far.test", due=clock.now() + 500)
            (_, two), (_, held) = (resting(parts, "y@far.test", hop="far.test", due=due) for due in (clock.now() + 900, HELD))
            before = queue.command_path(one).stat()
            assert await QueueRequests(parts).retry() == {"count": 2}
            after = queue.command_path(one).stat()
            assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)
            assert dict(queue.items()) == {one: clock.now(), two: clock.now(), held: HELD}
            assert QueueRequests(parts).show(one)["due"] == clock.now() and QueueRequests(parts).show(held)["held"]
        async with site_in(tmp_path, TAB, clock=clock) as parts:
            queue, spool = parts.site.spool["SMTP"].outgoing, parts.site.spool
            assert spool.claim(queue, held, clock.now()) is None
            claim = spool.claim(queue, one, clock.now())
            assert claim is not None and claim.envelope.attempt.due == clock.now()
            while queue.command_path(one).stat().st_ctime_ns <= (queue.folder / ".retried").stat().st_ctime_ns:
                claim.queue.spool.disk.utime(claim.lock, (clock.now(), clock.now()))  # the same tick of the system's clock
            claim.again(replace(claim.envelope, attempt=Attempt(3, due=clock.now() + 60, error="still away")))
            assert spool.claim(queue, one, clock.now()) is None
            assert dict(queue.items()) == {one: clock.now() + 60, two: clock.now(), held: HELD}

    run(main())


def test_a_full_disk_is_told_and_nothing_is_due_for_it(tmp_path: Path) -> None:
    async def main() -> None:
        clock, disk = HandClock(), FaultDisk(how="full from there")
        async with site_in(ready(tmp_path), TAB, clock=clock, disk=disk) as parts:
            for queue in (parts.site.spool["SF"].inbound, parts.site.spool["SMTP"].inbound):
                queue.folder.mkdir(parents=True, exist_ok=True)
            queue, item = resting(parts, "x@far.test", hop="far.test", due=500)
            before = len(disk.calls)
            for number in range(1, 20):
                disk.at = len(disk.calls) + number
                try:
                    assert await QueueRequests(parts).retry() == {"count": 1}
                    break
                except DiskError as error:
                    assert "making all due" in str(error)
                    assert dict(queue.items()) == {item: clock.now() + 500}
                disk.heal()
            assert number > 3 and len(disk.calls) > before and dict(queue.items()) == {item: clock.now()}

    run(main())


def test_what_is_held_while_all_is_made_due_stays_held(tmp_path: Path) -> None:
    """Its time was looked at when the folder was listed; whoever held it after that must not be undone."""

    async def main() -> None:
        async with site_in(ready(tmp_path), TAB, clock=HandClock()) as parts:
            queue, item = resting(parts, "x@far.test", hop="far.test")
            asked = QueueRequests(parts)
            chosen = asked._chosen("far.test", "")
            assert chosen == [(queue, item)] and asked.hold(item) == {"count": 1}
            asked._chosen = lambda domain, sender: chosen  # type: ignore[method-assign]
            assert await asked.retry(domain="far.test") == {"count": 0}
            assert asked.show(item)["held"] and asked.show(item)["attempts"] == 2

    run(main())


def test_a_pair_that_is_on_its_way_is_not_given_another_time(tmp_path: Path) -> None:
    """Its holder decides; all others are made due."""

    async def main() -> None:
        async with site_in(ready(tmp_path), TAB, clock=HandClock()) as parts:
            queue, taken = resting(parts, "x@far.test", hop="far.test")
            _, other = resting(parts, "y@far.test", hop="far.test")
            claim = parts.site.spool.claim(queue, taken)
            assert claim is not None and await QueueRequests(parts).retry(domain="far.test") == {"count": 1}
            assert dict(queue.items())[other] == parts.site.clock.now() != dict(queue.items())[taken]
            with pytest.raises(Refused, match="delivered right now"):
                QueueRequests(parts).hold(taken)
            claim.drop()

    run(main())
