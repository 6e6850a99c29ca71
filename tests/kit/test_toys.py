"""The toys keep their contracts: whatever the tests of `test_can_fail_*.py` show red is for the one thing that is broken there."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from postroom.address import InternalAddress
from postroom.transfer import Pass, Reject
from postroom_testing.connectors import ConnectorContract
from postroom_testing.plugin import Alive
from postroom_testing.services import ServiceContract
from postroom_testing.transfer import Case, TransferEventContract
from tests.kit.toys import DropPlugin, LinePlugin, WordScanner

pytestmark = pytest.mark.long

CASES = (
    Case("a clean message", b"Subject: hi\r\n\r\nhello\r\n", Pass),
    Case("a virus", b"Subject: hi\r\n\r\neicar\r\n", Reject),
)


class TestScanner(TransferEventContract):
    plugin = WordScanner
    cases = CASES


class TestLine(ServiceContract):
    plugin = LinePlugin

    async def converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for number, line in enumerate((b"HELLO\r\n", b"QUIT\r\n"), 1):
            writer.write(line)
            assert await reader.readline() == b"line %d\r\n" % number
        assert await reader.read() == b""


class TestDrop(ConnectorContract):
    plugin = DropPlugin
    points = 5
    good = ("[DROP:bob]", "[DROP:ann]")
    bad = ("[DROP:nobody]", "[DROP:../x]")

    async def arrived(self, alive: Alive, address: InternalAddress) -> Sequence[bytes]:
        return [path.read_bytes() for path in (alive.site.root / "Drop" / address.detail).glob("*.MAI")]
