"""The junk mark in a header."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postroom.message import FileMessage
from postroom_postoffice.junk import HEADER_LIMIT, is_junk, is_marked

MARK = b"X-ME-Content: Deliver-To=Junk\r\n"
CASES = [
    (MARK + b"\r\nbody", True),
    (b"Subject: a\r\n" + MARK + b"\r\nbody", True),
    (b"Subject: a\r\nx-me-content:deliver-to=JUNK\r\n\r\n", True),
    (b"X-ME-Content:\r\n Deliver-To=Junk\r\n\r\n", True),
    (b"X-ME-Content: Deliver-To=Junk; score=9\r\n\r\n", True),
    (b"X-ME-Content: other\r\n" + MARK + b"\r\n", True),
    (b"Subject: a\r\n\r\n" + MARK, False),
    (b"Subject: X-ME-Content: Deliver-To=Junk\r\n\r\n", False),
    (b"X-ME-Content: Deliver-To=Junkyard\r\n\r\n", False),
    (b"X-ME-Content: Deliver-To=Inbox\r\n\r\n", False),
    (b"", False),
    (MARK, True),
    (b"A: " + b"x" * HEADER_LIMIT + b"\r\n" + MARK + b"\r\n", False),
]


@pytest.mark.parametrize(("text", "marked"), CASES)
def test_mark(text: bytes, marked: bool) -> None:
    assert is_marked(text) is marked


def test_a_message_in_a_file_is_read_no_further_than_its_header(tmp_path: Path) -> None:
    path = tmp_path / "m"
    path.write_bytes(b"Subject: a\r\n" + MARK + b"\r\n" + b"x" * HEADER_LIMIT * 2)
    assert asyncio.run(is_junk(FileMessage("A" * 32, path, path.stat().st_size)))
