"""ETRN of peers (RFC 1985), over a real spool."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

from postroom.address import smtp
from postroom.clock import Clock
from postroom.envelope import Attempt, Envelope, Recipient
from postroom.journal import Journal
from postroom.message import MemoryMessage, new_id
from postroom.records import AccessRecord
from postroom.spool import Spool
from postroom_disk.disk import Disk
from tests.plugins_smtp.desk import Tables, Talk, run

PRIVILEGED = Tables(access=[AccessRecord(mask="192.0.2.25", right="RELAY")])


def resting(talk: Talk, folder: Path, *domains: str) -> Spool:
    """A spool in which a message rests for each domain, tried once, due tomorrow."""
    disk = Disk()
    spool = Spool(folder, disk, Journal(folder / "Journal", disk, segment_size=1 << 20), cast(Clock, talk.clock))
    for domain in domains:
        item, due = new_id(), talk.clock.now() + 86400
        to = (Recipient(smtp(f"user@{domain}")),)
        envelope = Envelope(item, item, "SMTP", smtp("a@b.test"), to, talk.clock.now(), attempt=Attempt(count=1, due=due), hop=domain)
        spool.rest(spool["SMTP"].outgoing, envelope, MemoryMessage(item, b"Subject: x\r\n\r\n"))
    talk.house.spool = spool
    return spool


async def asked(talk: Talk, node: str) -> bytes:
    """ETRN and its answer: the queue is looked through in a thread."""
    said = await talk.say(f"ETRN {node}")
    while not said:
        await asyncio.to_thread(int)
        said = await talk.heard()
    return said


def test_what_waits_for_a_node_is_due_now(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, tables=PRIVILEGED)
        spool = resting(talk, tmp_path / "site", "away.test", "away.test", "other.test", "sub.away.test")
        await talk.connect()
        assert b"250-ETRN\r\n" in await talk.say("EHLO branch.test")
        assert await asked(talk, "away.test") == b"253 2.0.0 OK, 2 pending messages for node away.test started\r\n"
        assert sorted(due <= talk.clock.now() for _, due in spool["SMTP"].outgoing.items()) == [False, False, True, True]
        assert await asked(talk, "nothing.test") == b"251 2.0.0 OK, no messages waiting for node nothing.test\r\n"
        assert await asked(talk, "@away.test") == b"253 2.0.0 OK, 1 pending messages for node @away.test started\r\n"
        assert (await talk.say("ETRN", "ETRN two words")).count(b"501 5.5.4") == 2
        await talk.end()

    run(main())


def test_strangers_start_nothing_and_are_not_told_of_it(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        spool = resting(talk, tmp_path / "site", "away.test")
        await talk.connect()
        assert b"ETRN" not in await talk.say("EHLO branch.test")
        assert (await talk.say("ETRN away.test")).startswith(b"459 4.7.1 Node away.test not allowed")
        assert all(due > talk.clock.now() for _, due in spool["SMTP"].outgoing.items())
        await talk.end()

    run(main())


def test_a_disk_that_refuses_is_for_later(tmp_path: Path) -> None:
    class Refusing(Disk):
        @staticmethod
        def utime(*args: object) -> None:  # type: ignore[override]
            raise OSError("no")

    async def main() -> None:
        talk = Talk(tmp_path, tables=PRIVILEGED)
        resting(talk, tmp_path / "site", "away.test").disk = Refusing()
        await talk.connect()
        await talk.say("EHLO branch.test")
        assert await asked(talk, "away.test") == b"458 4.3.0 Unable to queue messages for node away.test\r\n"
        await talk.end()

    run(main())
