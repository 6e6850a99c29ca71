"""Conversations as text: tests/scripts/smtp/*.txt, each against a house of its own.

`C:` a line the client sends (several in a row are one packet), `C-` octets without a line end, `S:` a line we answer, `S: ...` any lines,
`X: closed` we hung up, `W: n` the answer came in so many writes at most, `M:` a message that was taken, `R:` its recipients.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.plugins_smtp.desk import Talk, run

SCRIPTS = sorted((Path(__file__).parents[1] / "scripts" / "smtp").glob("*.txt"))


def octets(text: str) -> bytes:
    """Text with backslash escapes for octets."""
    return re.sub(rb"\\(?:[rnt\\]|x[0-9a-f]{2})", lambda found: found[0].decode("unicode_escape").encode("latin-1"), text.encode())


def matches(said: list[str], wanted: list[str]) -> bool:
    if wanted == ["..."]:
        return bool(said)
    return len(said) == len(wanted) and all(
        re.fullmatch(re.escape(want).replace("<id>", "[0-9A-F]{32}"), line) is not None for line, want in zip(said, wanted, strict=True)
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.stem)
def test_conversation(script: Path, tmp_path: Path) -> None:
    lines = script.read_text().splitlines()

    async def main() -> None:
        talk = Talk(tmp_path)
        pending, said, messages = b"", await talk.connect(), 0
        wanted: list[str] = []
        for number, line in enumerate([*lines, "C: "], 1):
            kind, text = line[:2], line[3:]
            if kind in ("C:", "C-") and wanted:
                assert matches(said.decode().split("\r\n")[:-1], wanted), f"{script.name}, before line {number}: {said!r}"
                said, wanted = b"", []
            if kind == "C:":
                pending += octets(text) + b"\r\n"
            elif kind == "C-":
                pending += octets(text)
            elif kind in ("S:", "X:") and pending:
                said, pending = await talk.send(pending), b""
            if kind == "S:":
                wanted.append(text)
            elif kind == "X:":
                assert talk.wire.is_closed
            elif kind == "M:":
                assert talk.messages[messages] == octets(text)
                messages += 1
            elif kind == "R:":
                assert [one.address.detail for one in talk.intake.taken[-1][0].recipients] == text.split()
            elif kind == "W:":
                assert talk.writes <= int(text)
        assert messages == len(talk.messages)
        await talk.end()

    run(main())


def test_there_are_scripts() -> None:
    assert len(SCRIPTS) >= 10
