"""Conversations, as text in tests/scripts/pop3.

`C:` is what the client sends; lines that follow each other go in one packet. `S:` is what we answer, line by line and nothing else; a star
stands for any run of characters, `S: ...` for any number of lines. `--` closes the connection and opens another; `!` does something to
the world. Lines like `#: name: value` are settings of the service; what else begins with `#` is for the reader.
"""

from __future__ import annotations

import asyncio
import fnmatch
import json
import ssl
from pathlib import Path

import pytest

from tests.plugins_pop3.house import Client, Pop3, serve

SCRIPTS = sorted((Path(__file__).parents[1] / "scripts" / "pop3").glob("*.txt"))


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 10


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_conversation(script: Path, tmp_path: Path) -> None:
    asyncio.run(converse(script.read_text().splitlines(), tmp_path))


async def converse(lines: list[str], folder: Path) -> None:
    settings = dict(line[3:].split(": ", 1) for line in lines if line.startswith("#: "))
    values = {name: json.loads(value) for name, value in settings.items()}
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if values.pop("certificate", True) else None
    implicit = values.pop("implicit", False)
    pop3 = serve(folder, tls=context, **values)
    client = pop3.connect(implicit=implicit)
    heard = await client.heard()
    for kind, block in blocks(lines):
        if kind == "S":
            compare(heard, block)
            heard = b""
        elif kind == "C":
            assert not heard, f"nobody expected {heard!r}"
            heard = await client.say(b"".join(line.encode("latin-1") + b"\r\n" for line in block))
        elif kind == "-":
            assert not heard, f"nobody expected {heard!r}"
            client.wire.abort()
            await client.heard()
            client = pop3.connect(implicit=implicit)
            heard = await client.heard()
        else:
            happen(pop3, client, block)
    assert not heard, f"nobody expected {heard!r}"
    await pop3.close()


def blocks(lines: list[str]) -> list[tuple[str, list[str]]]:
    """Lines of one kind that follow each other, together."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        kind = line[:1]
        if kind not in ("C", "S", "-", "!"):
            assert not line or kind == "#", line
            continue
        if kind in "C S" and found and found[-1][0] == kind:
            found[-1][1].append(line[3:])
        else:
            found.append((kind, [line[3:] if kind in "CS" else line[1:].strip()]))
    return found


def compare(heard: bytes, expected: list[str]) -> None:
    said = heard.decode("latin-1").split("\r\n")
    assert said.pop() == "", f"{heard!r} does not end with a line end"
    for line in expected:
        if line == "...":
            said = said[next(n for n, text in enumerate(said) if text == ".") :]
            continue
        assert said and fnmatch.fnmatchcase(said[0], line.replace("[", "[[]")), f"expected {line!r}, heard {said[:3]}"
        del said[0]
    assert not said, f"nobody expected {said}"


def happen(pop3: Pop3, client: Client, events: list[str]) -> None:
    """`closed`: we have hung up. `left N`: bob has N messages. `removed N`: IMAP expunged UID N."""
    for event in events:
        what, _, argument = event.partition(" ")
        if what == "closed":
            assert client.wire.closed
        elif what == "open":
            assert not client.wire.closed
        elif what == "left":
            assert len(pop3.inbox.texts) == int(argument)
        elif what == "removed":
            del pop3.inbox.texts[int(argument)]
        else:
            raise AssertionError(event)
