"""Case 16: no pickle anywhere; queue and journal are read here by other means than our own, as docs/decisions/0004 describes them."""

from __future__ import annotations

import ast
import struct
import zlib
from pathlib import Path

from .house import TEXT, House, envelope, message, run

ROOT = Path(__file__).parents[2]


def records(data: bytes) -> list[tuple[int, bytes]]:
    """A segment, from the description alone."""
    magic, generation, crc = struct.unpack_from("<8sQI", data)
    assert magic == b"postroo1" and crc == zlib.crc32(data[:16])
    found, at = [], 32
    while data[at : at + 2] == b"PR":
        kind, length, crc = struct.unpack_from("<HII", data, at + 2)
        payload = data[at + 12 : at + 12 + length]
        assert crc == zlib.crc32(struct.pack("<QHI", generation, kind, length) + payload)
        found.append((kind, payload))
        at += 12 + length
    return found


def test_a_journal_is_read_by_another_program(tmp_path: Path) -> None:
    sent = envelope("bob@example.test")

    async def main() -> None:
        async with House(tmp_path) as house:
            await house.spool.accept(sent, message(sent))
        found = [
            record
            for path in (tmp_path / "Journal/0").glob("*.seg")
            if path.read_bytes()[8:16].strip(b"\0")
            for record in records(path.read_bytes())
        ]
        ((kind, payload),) = found
        length = int.from_bytes(payload[16:20], "little")
        assert kind == 1 and payload[:16].hex().upper() == sent.id
        assert b"Recipients=[SMTP:bob@example.test]\r\n" in payload[20 : 20 + length]
        assert payload[20 + length :] == TEXT

    run(main())


def test_a_pair_is_read_by_another_program(tmp_path: Path) -> None:
    sent = envelope("bob@example.test")

    async def main() -> None:
        async with House(tmp_path) as house:
            queue = house.spool["SMTP"].inbound
            house.spool.rest(queue, sent, message(sent))
            pairs = dict(line.split("=", 1) for line in queue.command_path(sent.id).read_text().splitlines())
            assert (pairs["Recipients"], pairs["Status"]) == ("[SMTP:bob@example.test]", "Undelivered")
            assert queue.message_path(sent.id).read_bytes() == TEXT

    run(main())


def test_nothing_is_pickled() -> None:
    serializers = {"pickle", "marshal", "shelve", "dill"}
    for folder in ("kernel", "plugins", "providers", "hooks"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                assert not serializers & {name.partition(".")[0] for name in names}, path
