"""What a mailbox may hold, told and kept to (RFC 9208)."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroom.mailstore import DELETED
from tests.plugins_imap4.house import Served, letter
from tests.plugins_imap4.test_conversations import served


def test_storage_is_told_in_units_of_1024_octets(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.client()
        capabilities = (await client.ok("CAPABILITY"))[0].split()
        assert {b"QUOTA", b"QUOTA=RES-STORAGE"} <= set(capabilities) and b"QUOTASET" not in capabilities
        text = letter("large", "x" * 3000)
        await client.ok(b"APPEND INBOX {%d+}\r\n%b" % (len(text), text))
        assert await client.ok('GETQUOTA ""') == [b'* QUOTA "" (STORAGE 4 8)\r\n']
        assert await client.ok("GETQUOTAROOT INBOX") == [b'* QUOTAROOT "INBOX" ""\r\n', b'* QUOTA "" (STORAGE 4 8)\r\n']
        await (await at.folder()).change_flags([1], add=DELETED)
        (status,) = await client.ok("STATUS INBOX (DELETED DELETED-STORAGE)")
        assert status == b'* STATUS "INBOX" (DELETED 1 DELETED-STORAGE %d)\r\n' % len(text)
        await client.close()

    served(tmp_path, test, limit=8)


def test_no_limit_no_resource(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.client()
        assert await client.ok('GETQUOTA ""') == [b'* QUOTA "" ()\r\n']
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize(
    ("command", "end"),
    [
        ('GETQUOTA "other"', b"T NO [NONEXISTENT]"),
        ("GETQUOTAROOT Nowhere", b"T NO [NONEXISTENT]"),
        ('SETQUOTA "" (STORAGE 1000000)', b"T NO [NOPERM]"),
        ('SETQUOTA "" ()', b"T NO [NOPERM]"),
        ("SETQUOTA", b"T BAD"),
    ],
)
def test_what_is_refused(tmp_path: Path, command: str, end: bytes) -> None:
    async def test(at: Served) -> None:
        client = await at.client()
        assert (await client.say(command))[-1].startswith(end)
        assert await client.ok('GETQUOTA ""') == [b'* QUOTA "" (STORAGE 0 5)\r\n']
        await client.close()

    served(tmp_path, test, limit=5)


def test_a_full_mailbox_takes_no_copy_and_lets_go_of_what_is_expunged(tmp_path: Path) -> None:
    """Nothing is there in part (RFC 9208 section 4.3.1, RFC 9051 section 6.4.7)."""

    async def test(at: Served) -> None:
        client = await at.client()
        text = letter("large", "x" * 2600)
        await client.ok(b"APPEND INBOX {%d+}\r\n%b" % (len(text), text))
        await client.ok("CREATE Work")
        await client.ok("SELECT INBOX")
        assert (await client.say("COPY 1 Work"))[-1].startswith(b"T NO [OVERQUOTA]")
        assert (await client.ok("STATUS Work (MESSAGES)"))[0].endswith(b"(MESSAGES 0)\r\n")
        await client.ok("MOVE 1 Work")  # takes no more room
        await client.ok("SELECT Work")
        await client.ok("STORE 1 +FLAGS.SILENT (\\Deleted)")
        await client.ok("EXPUNGE")
        assert await client.ok('GETQUOTA ""') == [b'* QUOTA "" (STORAGE 0 5)\r\n']
        await client.close()

    served(tmp_path, test, limit=5)
