"""Postfix's load generator: many sessions at once, each message acknowledged, stored once and whole."""

from __future__ import annotations

import subprocess
from collections import Counter
from pathlib import Path

import pytest

from bench.mail import file_for_smtp_source
from tests.demo import Demo, await_change

COUNT = 200


@pytest.mark.parametrize("kept", [False, True], ids=["connection each", "connections kept"])
def test_every_message_of_ten_sessions_is_stored_once(smtp_source: str, demo: Demo, kept: bool) -> None:
    before = len(demo.fetch("bob@example.test"))
    subject = f"source kept {kept}"
    run(smtp_source, demo, "-s", "10", "-m", str(COUNT), "-l", "4096", "-S", subject, *(["-d"] if kept else []))
    await_change(demo.server.site / "Postoffices", lambda: len(stored(demo)) >= before + COUNT)
    texts = demo.fetch("bob@example.test")
    assert len(texts) == before + COUNT
    bodies = [text.partition(b"\r\n\r\n")[2] for text in texts if f"Subject: {subject}".encode() in text]
    assert len(bodies) == COUNT
    assert set(Counter(map(len, bodies))) == {len(bodies[0])}
    assert len(bodies[0]) >= 4096


def test_a_large_message_comes_through_whole(smtp_source: str, demo: Demo, tmp_path: Path) -> None:
    """25 MiB do not pass through the journal but stream into a file."""
    letter = file_for_smtp_source(tmp_path / "letter", 25 << 20)
    run(smtp_source, demo, "-F", str(letter))
    text = letter.read_bytes().replace(b"\n", b"\r\n")
    await_change(demo.server.site / "Postoffices", lambda: any(path.stat().st_size > len(text) for path in stored(demo)))
    found = demo.arrived("bob@example.test", "Subject: " + text.partition(b"Subject: ")[2].partition(b"\r\n")[0].decode())
    assert found.rstrip().endswith(text.rstrip())  # smtp-source ends with an empty line of its own


def run(smtp_source: str, demo: Demo, *options: str) -> None:
    host, port = demo.told.endpoints["smtp"]
    command = [smtp_source, "-f", "rita@example.org", "-t", "bob@example.test", *options, f"{host}:{port}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr


def stored(demo: Demo) -> list[Path]:
    return list(demo.server.site.glob("Postoffices/*/MAILROOT/bob/Inbox/*.MAI"))
