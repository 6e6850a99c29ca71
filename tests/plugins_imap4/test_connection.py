"""A connection driven by hand, without sockets: what is written when, to a peer that reads and to one that does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from postroom.mailstore import FLAGGED, SEEN
from tests.plugins_imap4.house import Served, serving
from tests.plugins_imap4.memory import Believer


def driven(folder: Path, test: Callable[[Served, Believer], Awaitable[None]]) -> None:
    async def main() -> None:
        async with serving(folder) as served:
            client = await Believer(served.service).start()
            await test(served, client)
            await client.leave()

    asyncio.run(main())


async def turns() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


def test_an_idling_peer_that_does_not_read_is_told_when_it_does(tmp_path: Path) -> None:
    async def test(at: Served, client: Believer) -> None:
        await at.deliver(3)
        await client.select("INBOX")
        await client.say("IDLE")
        client.connection.pause_writing()
        await at.deliver(2)
        await (await at.folder()).expunge([1])
        await turns()
        assert client.idle_lines() == []
        client.connection.resume_writing()
        await turns()
        assert client.idle_lines() == [b"* 1 EXPUNGE\r\n", b"* 4 EXISTS\r\n"]
        await client.done()

    driven(tmp_path, test)


@pytest.mark.long
def test_long_news_stop_where_the_peer_stops_reading_and_go_on_after_it(tmp_path: Path) -> None:
    """They got stuck half-way, and the next command had other numbers than the client."""

    async def test(at: Served, client: Believer) -> None:
        await at.deliver(2500)
        await client.select("INBOX")
        await client.say("IDLE")
        folder = await at.folder()
        await folder.change_flags(list(folder.view().uids), add=SEEN)
        client.connection.woken()  # the hint that the loop is about to give: now, so that the test is between two pieces
        first = client.idle_lines()
        assert len(first) == 1000
        client.connection.pause_writing()
        await turns()
        assert client.idle_lines() == []
        client.connection.resume_writing()
        await turns()
        assert len(client.idle_lines()) == 1500
        await folder.change_flags([1], add=FLAGGED)
        await turns()
        assert client.idle_lines() == [b"* 1 FETCH (UID 1 FLAGS (\\Seen \\Flagged))\r\n"]
        await client.done()

    driven(tmp_path, test)


@pytest.mark.long
def test_done_within_long_news_is_answered_behind_them(tmp_path: Path) -> None:
    async def test(at: Served, client: Believer) -> None:
        await at.deliver(2500)
        await client.select("INBOX")
        await client.say("IDLE")
        folder = await at.folder()
        await folder.change_flags(list(folder.view().uids), add=SEEN)
        client.connection.woken()
        await client.done()
        assert sum(message.flags == frozenset({b"\\Seen"}) for message in client.messages) == 2500

    driven(tmp_path, test)


def test_commands_of_one_packet_are_answered_in_one_write(tmp_path: Path) -> None:
    async def test(at: Served, client: Believer) -> None:
        writes: list[bytes] = []
        client.connection.session.wire.flush()

        def both(data: bytes) -> None:
            writes.append(data)
            client._hear(data)

        client.transport._heard = both
        client.connection.data_received(b"a NOOP\r\nb NOOP\r\nc NOOP\r\n")
        while len(writes) < 1:
            await asyncio.sleep(0)
        await turns()
        assert writes == [b"a OK done\r\nb OK done\r\nc OK done\r\n"]

    driven(tmp_path, test)
