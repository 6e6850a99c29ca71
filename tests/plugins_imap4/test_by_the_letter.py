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
