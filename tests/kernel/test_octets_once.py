"""What was said to be taken is kept, what was said not to be is not, and the octets at rest stay those that were taken."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from postroom.errors import DiskError
from postroom.message import SMALL, FileMessage, MemoryMessage, Message
from postroom.transfer import Defer, Quarantine, Replace, TransferEvent, Verdict
from postroom_run.sweeping import sweep

from .house import TEXT, Hooks, House, envelope, message, run
from .test_once import OUT, Far, carried_to_the_end, refusing


@pytest.mark.parametrize("large", [False, True])
def test_without_the_express_lane_a_message_refused_for_a_full_disk_came_back_at_the_next_start(tmp_path: Path, large: bool) -> None:
    """Its sender had been told to try again, and sent it again."""
    far, kept = Far(), 0

    async def main() -> None:
        nonlocal kept
        async with House(tmp_path, connectors=[far.connector], router=OUT) as house:
            house.mta.express = False
            sent = envelope("a@one.test")
            text: Message = message(sent)
            if large:
                path = house.mta.big(sent.id, "SMTP")
                path.write_bytes(TEXT * (SMALL // len(TEXT) + 1))
                text = FileMessage(sent.id, path, path.stat().st_size)
            house.disk.utime = refusing(house.disk.utime, 100)
            try:
                await house.mta.accept(sent, text)
                kept = 1
            except DiskError:
                path.unlink() if large else None  # as whoever streams it does
            await house.mta.drain()
        for _ in range(2):
            async with House(tmp_path, connectors=[far.connector], router=OUT) as house:
                await carried_to_the_end(house)
                assert not house.damaged
        assert far.got.total() == kept

    run(main())


@pytest.mark.parametrize("large", [False, True])
def test_the_octets_of_a_pair_were_gone_when_the_disk_refused_those_a_hook_had_made(tmp_path: Path, large: bool) -> None:
    """No journal has a pair that rests, and what a hook made is not synced."""
    far, text = Far(), TEXT * (SMALL // len(TEXT) + 1 if large else 1)
    copy = tmp_path / "copy"
    copy.write_bytes(b"X-Seen: yes\r\n" + text)

    def changed(event: TransferEvent) -> Verdict:
        name = event.message.id
        return Replace(FileMessage(name, copy, copy.stat().st_size) if large else MemoryMessage(name, copy.read_bytes()))

    async def main() -> None:
        async with House(tmp_path, Hooks(at_pickup=changed), connectors=[far.connector], router=OUT) as house:
            queue, sent = house.spool["SMTP"].inbound, envelope("wrong@two.test")
            house.spool.rest(queue, sent, MemoryMessage(sent.id, text))
            link, put = house.disk.link, house.disk.replace
            at = queue.message_path(sent.id)

            def refuse(call: Any) -> Any:
                def made(old: Any, new: Any) -> None:
                    if new == at and not (call is link and at.exists()):
                        raise OSError(errno.ENOSPC, "No space left on device")
                    call(old, new)

                return made

            house.disk.link, house.disk.replace = refuse(link), refuse(put)
            house.take_due(house.clock.at + 1e6)
            await house.mta.drain()
            assert far.tried["wrong@two.test"] and at.read_bytes() == text and not house.damaged

    run(main())


class Stamping(Hooks):
    """One hook stamps every message, the next one says what is said."""

    says: Sequence[Verdict] = ()

    async def delivery(self, event: TransferEvent) -> tuple[Verdict, TransferEvent]:
        shown = MemoryMessage(event.message.id, b"X-Seen: yes\r\n" + await event.message.read())
        verdict, *self.says = self.says
        return verdict, replace(event, message=shown)


@pytest.mark.parametrize(
    ("says", "where"),
    [
        ([Defer("")], "Queues/SMTP/Outgoing"),
        ([Defer(""), Defer("")], "Queues/SMTP/Outgoing"),
        ([Quarantine("")], "Quarantine"),
        ([Defer(""), Quarantine("")], "Quarantine"),
    ],
)
def test_what_a_delivery_hook_made_was_stored_in_place_of_the_message(tmp_path: Path, says: Sequence[Verdict], where: str) -> None:
    """And was made anew of itself at the next attempt, or at the release: signed twice, stamped twice."""
    far, hooks = Far(), Stamping(at_delivery=lambda event: Defer(""))
    hooks.says = says

    async def main() -> None:
        async with House(tmp_path, hooks, connectors=[far.connector], router=OUT) as house:
            sent = envelope("a@one.test")
            await house.mta.accept(sent, message(sent))
            await house.mta.drain()
            while hooks.says:
                assert house.take_due(house.clock.at + 1e6)
                await house.mta.drain()
            (own,) = house.pairs(where)
            assert (tmp_path / where / "Messages" / f"{own}.MAI").read_bytes() == TEXT

    run(main())


@pytest.mark.parametrize("large", [False, True])
def test_a_message_refused_because_its_sync_failed_came_back_at_the_next_start(tmp_path: Path, large: bool) -> None:
    """Its octets had reached the file all the same."""
    far, here, there = Far(), tmp_path / "here", tmp_path / "there"

    async def main() -> None:
        async with House(here, connectors=[far.connector], router=OUT) as house:
            sent = envelope("a@one.test")
            text: Message = message(sent)
            if large:
                path = house.mta.big(sent.id, "SMTP")
                path.write_bytes(TEXT * (SMALL // len(TEXT) + 1))
                text = FileMessage(sent.id, path, path.stat().st_size)
            write, failed = house.disk.pwritev_sync, list[int]()

            def fail(fd: int, pieces: Any, offset: int) -> int:
                written = write(fd, pieces, offset)
                if not failed:
                    failed.append(written)
                    raise OSError(errno.EIO, "Input/output error")
                return written

            house.disk.pwritev_sync = fail  # type: ignore[assignment]
            with pytest.raises(DiskError):
                await house.mta.accept(sent, text)
            path.unlink() if large else None
            other = envelope("b@one.test")
            await house.mta.accept(other, message(other))
            shutil.copytree(here, there)  # as a crash leaves it
            await house.mta.drain()
        async with House(there, connectors=[far.connector], router=OUT) as house:
            await carried_to_the_end(house)
            assert failed and not far.tried["a@one.test"] and not house.damaged

    run(main())


def test_a_large_message_that_only_the_journal_named_was_swept_after_a_day(tmp_path: Path) -> None:
    """While a full disk or a clock set forward kept it in memory: it has its 250, and its octets lie in that file alone."""

    async def main() -> None:
        async with House(tmp_path, connectors=[Far().connector], router=OUT) as house:
            sent, stray = envelope("a@one.test"), envelope()
            for path in (house.mta.big(sent.id, "SMTP"), house.mta.big(stray.id, "SMTP")):
                path.write_bytes(b"x" * (SMALL + 1))
            text = FileMessage(sent.id, house.mta.big(sent.id, "SMTP"), SMALL + 1)
            claim = await house.spool.accept(sent, text)
            house.clock.at = text.path.stat().st_ctime + 2 * 86400
            sweep(house.spool, {})
            assert text.path.exists() and not house.mta.big(stray.id, "SMTP").exists()
            claim.done()

    run(main())
