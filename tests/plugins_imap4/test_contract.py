"""The plugin keeps the contract of a service: the conformance kit's suite, with a conversation that reads and changes a mailbox."""

from __future__ import annotations

import asyncio
from typing import ClassVar

import pytest

from postroom.site import Site
from postroom_imap4.plugin import Imap4Plugin
from postroom_testing.services import ServiceContract
from tests.plugins_imap4.house import LOGIN, PASSWORD, furnish

pytestmark = pytest.mark.long


class TestImap4(ServiceContract):
    plugin = Imap4Plugin
    settings: ClassVar = {"listen": [{"port": 0, "host": "127.0.0.1"}], "plaintext": "loopback"}
    command: ClassVar[bytes] = b"a NOOP\r\n"
    rubbish: ClassVar = {
        "many literals": b"a SEARCH " + b"TEXT {1+}\r\nx " * 5_000 + b"\r\n",
        "a literal without end": b"a LOGIN {4294967295+}\r\n" + b"x" * 100_000,
        "deep parentheses": b"a SEARCH " + b"(" * 50_000 + b"\r\n",
        "a tag without end": b"a" * 60_000 + b" NOOP\r\n",
        "half a login": b"a AUTHENTICATE PLAIN\r\nAAAA",
    }

    async def furnish(self, site: Site) -> None:
        await furnish(site)

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for say, answer in (
            (b"", b"* OK [CAPABILITY IMAP4rev1 "),
            (b"a SELECT INBOX\r\n", b"a BAD"),
            (b"b LOGIN %b %b\r\n" % (LOGIN.encode(), PASSWORD.encode()), b"b OK"),
            (b"c SELECT INBOX\r\n", b"c OK [READ-WRITE]"),
            (b"d SEARCH ALL\r\n", b"d OK"),
            (b"e IDLE\r\n", b"+ "),
            (b"DONE\r\n", b"e OK"),
            (b"f LOGOUT\r\n", b"f OK"),
        ):
            writer.write(say)
            said = await reader.readline()
            while said.startswith(b"* ") and say:
                said = await reader.readline()
            assert said.startswith(answer), f"{say!r} was answered {said!r}"
        assert await reader.read() == b""
