"""What is converted before it is signed: it verifies as a server of 7 bits gets it, says what it said, and is signed once."""

from __future__ import annotations

import asyncio
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from postroom.message import MemoryMessage
from postroom.transfer import Pass
from postroom_dkim import narrowing
from postroom_mime.sevenbit import converted, is_narrow
from postroom_smtp.outbound import octets
from tests.hooks_dkim.house import TEXT, Bench, large, signing, small, verdicts

HEAD = b"Return-Path: <ann@example.test>\r\n" + TEXT.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
BINARY = "Grüße\r\n".encode() + b"a\rb\nc\0"
LONG = b"x" * 999 + b"\r\nshort\r\n"
WIDE = "Grüße\r\n".encode()
FAST = "algorithms: [ed25519]"


def body_of(text: bytes) -> bytes:
    found = message_from_bytes(text).get_payload(decode=True)
    assert isinstance(found, bytes)
    return found


def told(bench: Bench, event: str) -> list[dict[str, str]]:
    return [{name: str(value) for name, value in facts.items()} for _, name, facts in bench.lines.told if name == event]


async def sent(bench: Bench, data: bytes, body: str = "8BITMIME") -> bytes:
    """What a server of 7 bits gets of it: signed, without our Return-Path, and converted by the outbound agent's means."""
    text = await bench.signed(small(data), body=body)
    assert text.startswith(b"Return-Path: <ann@example.test>\r\nDKIM-Signature: ")
    whole = (await octets.of_message(MemoryMessage("A" * 32, text), body)).whole
    assert whole is not None
    return converted(whole)


@pytest.mark.parametrize(("body", "kind"), [(BINARY, "BINARYMIME"), (LONG, "7BIT"), (LONG, "8BITMIME")])
def test_what_nearly_no_server_takes_is_converted_before_it_is_signed(tmp_path: Path, body: bytes, kind: str) -> None:
    """Signed as it came, it failed wherever the outbound agent had to convert it."""

    async def main() -> None:
        async with signing(tmp_path, FAST) as bench:
            text = await sent(bench, HEAD + body, kind)
            assert is_narrow(text) and verdicts(text, bench.zone()) == [True]
            assert body_of(text).rstrip(b"\r\n") == body.rstrip(b"\r\n")

    asyncio.run(main())


@pytest.mark.parametrize("which", ["needed", "8bit", "never"])
def test_8bit_text_is_converted_where_the_operator_says_so(tmp_path: Path, which: str) -> None:
    async def main() -> None:
        async with signing(tmp_path, f"{FAST}, convert: {which}") as bench:
            as_it_is = await bench.signed(small(HEAD + WIDE), body="8BITMIME")
            assert verdicts(as_it_is.partition(b"\r\n")[2], bench.zone()) == [True] and as_it_is.isascii() == (which == "8bit")
            narrow = await sent(bench, HEAD + WIDE)
            assert verdicts(narrow, bench.zone()) == [which == "8bit"]  # the price of leaving it as it is

    asyncio.run(main())


@pytest.mark.parametrize(
    ("settings", "data", "why"),
    [
        ("convert: never", HEAD + BINARY, "the message is binary"),
        (
            "convert: needed",
            HEAD.replace(b"hello", b"\xc3\xbc") + BINARY,
            "the message is binary, and the message has a header that is not ASCII",
        ),
    ],
)
def test_binary_that_cannot_be_converted_goes_unsigned_and_the_log_says_why(tmp_path: Path, settings: str, data: bytes, why: str) -> None:
    async def main() -> None:
        async with signing(tmp_path, f"{FAST}, {settings}") as bench:
            message = small(data)
            verdict, after = await bench.ask(message, body="BINARYMIME")
            assert isinstance(verdict, Pass) and after is message
            assert told(bench, "dkim.unsigned")[0]["why"] == why

    asyncio.run(main())


def test_long_lines_that_cannot_be_converted_are_signed_as_they_are(tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path, FAST) as bench:
            head = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Type: multipart/signed; boundary=b\r\n\r\n")
            data = head + b"--b\r\n\r\n" + LONG + b"--b--\r\n"
            text = await bench.signed(small(data))
            assert text.endswith(data[33:]) and verdicts(text.partition(b"\r\n")[2], bench.zone()) == [True]
            assert told(bench, "dkim.not_converted")

    asyncio.run(main())


def test_a_long_header_alone_changes_no_body(tmp_path: Path) -> None:
    async def main() -> None:
        async with signing(tmp_path, FAST) as bench:
            data = b"X-Long: " + b"x" * 2000 + b"\r\n" + TEXT + WIDE
            assert (await bench.signed(small(data))).endswith(data)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("line", "of", "changes"),
    [
        (b"x" * 1200 + b"\r\n", {}, True),
        ("ü".encode() * 30 + b"\r\n", {"body": "BINARYMIME"}, True),
        ("ü".encode() * 30 + b"\r\n", {"body": "8BITMIME"}, False),
    ],
)
def test_a_large_message_is_converted_and_signed_once(tmp_path: Path, line: bytes, of: dict[str, Any], changes: bool) -> None:
    async def main() -> None:
        async with signing(tmp_path, FAST) as bench:
            message = large(tmp_path, HEAD, line=line)
            text = await bench.signed(message, **of)
            assert text.count(b"DKIM-Signature:") == 1 and verdicts(text.partition(b"\r\n")[2], bench.zone()) == [True]
            assert is_narrow(text) == changes and body_of(text) == body_of(message.path.read_bytes())
            assert len(list((tmp_path / "run").rglob("*.MAI"))) == 0  # nothing is left of the copy that was begun in vain

    asyncio.run(main())


def test_what_is_too_large_to_be_converted_is_signed_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(narrowing, "LARGEST", 600_000)

    async def main() -> None:
        async with signing(tmp_path, FAST) as bench:
            text = await bench.signed(large(tmp_path, HEAD, line=b"x" * 1200 + b"\r\n"))
            assert verdicts(text.partition(b"\r\n")[2], bench.zone()) == [True] and not is_narrow(text)
            assert told(bench, "dkim.not_converted")[0]["why"].endswith("octets are too many")

    asyncio.run(main())
