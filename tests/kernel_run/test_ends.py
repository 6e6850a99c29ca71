"""How a pair ends: with a mark as long as a journal, or the message it was parted from, could make it again; without one after that."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from postroom.address import smtp
from postroom.clock import SystemClock
from postroom.envelope import Attempt, Envelope, Recipient
from postroom.message import MemoryMessage, new_id
from postroom.spool import Queue
from postroom_ops.bus import LocalBus
from postroom_ops.ends import was_ended
from postroom_ops.files import entries, link
from postroom_run import sweeping
from postroom_run.assembly import Assembled
from postroom_run.caretaker import Caretaker
from postroom_run.sweeping import Segments, sweep
from postroom_testing.clock import HandClock
from postroom_testing.ground import site_in

from .test_handing import TAB, Far, folder, outgoing, until

TEXT = b"Subject: x\r\n\r\n"
KIND = 40  # of a record that nobody replays


def run(main: Coroutine[Any, Any, None]) -> None:
    asyncio.run(main)


def rest(queue: Queue, due: float, *, of: str = "") -> str:
    """A pair; `of` a message that may be parted again."""
    item = new_id()
    envelope = Envelope(
        item, of or item, "SMTP", smtp("s@x.test"), (Recipient(smtp("a@a.test")),), due, attempt=Attempt(due=due), hop="a.test"
    )
    queue.spool.rest(queue, envelope, MemoryMessage(of or item, TEXT))
    return item


async def cut(parts: Assembled) -> None:
    """All that the journal held is cut."""
    parts.site.journal._left = 100
    parts.site.journal.rotate()
    await until(lambda: not parts.site.journal.holding())


async def later(clock: HandClock, caretaker: Caretaker, parts: Assembled) -> None:
    await clock.advance(6)
    await caretaker.round()
    await parts.mta.drain()


def test_what_a_journal_could_make_again_leaves_a_mark_and_what_none_could_leaves_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, clock=clock) as parts:
            queue, caretaker = outgoing(parts, far := Far()), Caretaker(parts)
            await parts.site.journal.append(KIND, b"may be of any of these")
            young, old = rest(queue, clock.now() + 7), rest(queue, clock.now() + 20)
            await later(clock, caretaker, parts)
            await later(clock, caretaker, parts)
            assert far.got == Counter([young]) and was_ended(queue.folder, young)
            await cut(parts)
            await later(clock, caretaker, parts)
            await later(clock, caretaker, parts)
            assert far.got == Counter([young, old]) and not was_ended(queue.folder, old)
            assert not [*queue.folder.glob("*.MAI")] and not [*queue.messages.glob("*.MAI")]
            caretaker.close()

    run(main())


def test_a_record_that_came_after_a_pair_does_not_keep_its_mark(tmp_path: Path) -> None:
    """Only what was written before a pair rested can make it again."""

    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, clock=clock) as parts:
            queue, caretaker = outgoing(parts, far := Far()), Caretaker(parts)
            item = rest(queue, clock.now() + 10)
            await later(clock, caretaker, parts)
            await parts.site.journal.append(KIND, b"of another")
            await later(clock, caretaker, parts)
            assert far.got == Counter([item]) and parts.site.journal.holding() and not was_ended(queue.folder, item)
            caretaker.close()

    run(main())


@pytest.mark.parametrize("cut_before", [False, True])
def test_another_worker_hears_which_need_a_mark(tmp_path: Path, cut_before: bool) -> None:
    async def main() -> None:
        clock = HandClock()
        yaml = TAB + "limits: {in_flight: 4}\n"
        async with site_in(folder(tmp_path), yaml, worker=0, clock=clock) as first, site_in(tmp_path, TAB, worker=1, clock=clock) as second:
            queue, _ = outgoing(first, near := Far("a.test")), outgoing(second, far := Far())
            for parts in (first, second):
                assert isinstance(parts.site.bus, LocalBus)
                parts.site.bus.open()
            await second.site.journal.append(KIND, b"may be of any of these")
            items = [rest(queue, clock.now() + 10) for _ in range(9)]
            caretaker, other = Caretaker(first), Caretaker(second)
            await caretaker.round()
            if cut_before:
                await cut(second)
            await clock.advance(6)
            await caretaker.round()
            await other.round()
            await until(lambda: bool(caretaker._handing._asked))
            await clock.advance(6)
            await caretaker.round()
            await until(lambda: far.got.total() > 3)
            await second.mta.drain()
            assert {was_ended(queue.folder, item) for item in far.got} == {not cut_before} and far.got.keys() < set(items)
            near.answer.set()
            for keeper, parts in ((caretaker, first), (other, second)):
                keeper.stop()
                await parts.mta.drain()
                keeper.close()
                parts.site.bus.close()  # type: ignore[attr-defined]

    run(main())


def test_a_part_leaves_a_mark_while_its_message_waits_to_be_parted_again_and_the_mark_stays(tmp_path: Path) -> None:
    """A worker died between two parts; a scanner then put the message off for longer than any journal remembered. The part that had gone
    was made again, and sent again."""

    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, clock=clock) as parts:
            queue, caretaker = outgoing(parts, far := Far()), Caretaker(parts)
            spool = parts.site.spool
            whole = rest(spool["SMTP"].inbound, clock.now() + 9000)
            part, other = rest(queue, clock.now() + 10, of=whole), rest(queue, clock.now() + 10, of=new_id())
            for _ in range(2):
                await later(clock, caretaker, parts)
            assert far.got == Counter([part, other])
            assert was_ended(queue.folder, part) and not was_ended(queue.folder, other)
            await cut(parts)
            seen: dict[str, Segments] = {}
            sweep(spool, seen)
            assert was_ended(queue.folder, part)
            claim = spool.claim(spool["SMTP"].inbound, whole)
            assert claim is not None
            claim.done()
            await cut(parts)
            sweep(spool, seen)
            assert not was_ended(queue.folder, part)
            caretaker.close()

    run(main())


def test_a_mark_made_while_a_sweep_began_was_taken_for_older_than_its_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which segments hold something was asked before the marks were listed: a mark made in between, of a message that the journal holds, went
    at once."""

    async def main() -> None:
        clock = HandClock()
        async with site_in(folder(tmp_path), TAB, clock=clock) as parts:
            spool, inbound, made = parts.site.spool, parts.site.spool["SMTP"].inbound, list[str]()
            inbound.messages.mkdir(parents=True)

            def listed(at: Path) -> list[Path]:
                """At the first look for marks a message comes, rests and leaves."""
                if not made:
                    spool.journal.note(KIND, b"the acceptance")
                    made.append(rest(inbound, clock.now() - 1))
                    claim = spool.claim(inbound, made[0])
                    assert claim is not None
                    claim.done()
                return entries(at)

            monkeypatch.setattr(sweeping, "entries", listed)
            assert not spool.journal.holding()
            sweep(spool, {})
            assert made and was_ended(inbound.folder, made[0])

    run(main())


def test_octets_of_an_old_message_were_swept_while_it_was_put_into_another_queue(tmp_path: Path) -> None:
    """They are linked before the command file is written, and a link is as old as what it links."""

    async def main() -> None:
        async with site_in(folder(tmp_path), TAB, clock=SystemClock()) as parts:
            spool = parts.site.spool
            old = tmp_path / "old.MAI"
            old.write_bytes(TEXT)
            os.utime(old, (1, 1))
            path = spool["SMTP"].outgoing.message_path(new_id())
            link(spool.disk, old, path)
            sweep(spool, {})
            assert path.exists()

    run(main())
