"""What RFCs ask for by the letter, each of it once answered otherwise."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postroom.errors import DiskError
from postroom_imap4 import sections
from tests.plugins_imap4.house import PATIENCE, Served
from tests.plugins_imap4.test_conversations import served


def test_a_disk_that_fails_within_a_literal_ends_the_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The NO of the command was the literal's next octets, and the client waited for the others, or took later answers for them."""
    true, reads = sections.OnDisk.read, 0

    def failing(source: sections.OnDisk, start: int, end: int) -> bytes:
        nonlocal reads
        reads += 1
        if reads == 3:
            raise DiskError("input/output error")
        return true(source, start, end)

    async def test(at: Served) -> None:
        await at.deliver(1, body=("x" * 76 + "\r\n") * 20_000)
        client = await at.client("INBOX")
        monkeypatch.setattr(sections.OnDisk, "read", failing)
        client.send(b"a FETCH 1 BODY.PEEK[]\r\n")
        async with asyncio.timeout(PATIENCE):
            heard = await client.reader.read()
        assert heard.startswith(b"* 1 FETCH (BODY[] {") and b"a NO" not in heard
        assert [event for level, event, _ in at.log.told if level == "error"] == ["imap4.broken"]
        at.log.told.clear()
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize(("command", "answer"), [("SEARCH 2", b"* SEARCH 2\r\n"), ("SEARCH UNSEEN NOT (1 KEYWORD x) 2", b"* SEARCH 2\r\n"),
    ("SORT (ARRIVAL) UTF-8 2:3", b"* SORT 2 3\r\n"), ("THREAD REFS UTF-8 2", b"* THREAD (2)\r\n")])  # fmt: skip
def test_numbers_among_the_keys_of_uid_search_mean_what_the_client_means(tmp_path: Path, command: str, answer: bytes) -> None:
    """An EXPUNGE that others had done was told first, and the numbers then meant the next messages: the UID of another one was answered."""

    async def test(at: Served) -> None:
        await at.deliver(3)
        client = await at.client("INBOX")
        await (await at.folder()).expunge([1])
        assert await client.ok(f"UID {command}") == [answer]
        assert await client.ok("UID SEARCH UID 2") == [b"* 1 EXPUNGE\r\n", b"* SEARCH 2\r\n"]
        await client.close()

    served(tmp_path, test)
