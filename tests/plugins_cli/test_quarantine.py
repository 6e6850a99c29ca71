"""`postroom quarantine` on a site that is stopped: what is held, why, and how it goes on or away."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroom.address import smtp
from postroom.clock import SystemClock
from postroom.envelope import Envelope, Peer, Recipient
from postroom.message import MemoryMessage
from postroom.spool import Spool
from postroom_disk.disk import Disk
from tests.plugins_cli.site import Shell
from tests.plugins_cli.test_queue import Opened

ONE, TWO = "A1" * 16, "A2" * 16
TEXT = b"From: x\r\nSubject: =?utf-8?q?=1B=5B2Jboo?=\r\n\r\n\x1b[2Jbody\r\n"


@pytest.fixture
def holding(shell: Shell) -> Shell:
    """Two messages held by two plugins."""
    spool = Spool(shell.root, Disk(), Opened(shell.root / "Journal"), SystemClock())
    for item, by, to in ((ONE, "clamav", "bob@example.test"), (TWO, "scan", "alice@example.test")):
        envelope = Envelope(item, item, "SMTP", smtp("eve@far.test"), (Recipient(smtp(to)),), 1_700_000_000.0, Peer("192.0.2.1"))
        spool.set_aside("Quarantine", envelope, MemoryMessage(item, TEXT), f"{by} found something", by, "mta_pickup")
    return shell


def inbound(shell: Shell) -> list[Path]:
    return sorted((shell.root / "Queues" / "SMTP" / "Inbound").glob("*.MAI"))


def test_nothing_is_held(shell: Shell) -> None:
    assert shell("quarantine", "list").out == "Nothing is in quarantine.\n"
    said = shell("quarantine", "release", "A1")
    assert said.code == 1 and "nothing is in quarantine" in said.err


def test_what_is_held_is_listed_for_people_and_programs(holding: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = holding("quarantine", "list").out
    assert ONE[:8] in said and "clamav" in said and "eve@far.test" in said and max(map(len, said.splitlines())) <= 80
    rows = holding.done("quarantine", "list")
    assert {(row["id"], row["by"], row["at"], row["client"], row["size"]) for row in rows} == {
        (ONE, "clamav", "mta_pickup", "192.0.2.1", len(TEXT)),
        (TWO, "scan", "mta_pickup", "192.0.2.1", len(TEXT)),
    }
    assert [row["id"] for row in holding.done("quarantine", "list", "--by", "scan")] == [TWO]
    assert holding.done("quarantine", "list", "--older", "1") == []


def test_a_strangers_control_characters_do_not_reach_the_terminal(holding: Shell) -> None:
    assert "\x1b" not in holding("quarantine", "list").out
    shown = holding("quarantine", "show", "a1").out
    assert "\x1b" not in shown and "Subject: =?utf-8?q?" in shown and "clamav found something" in shown
    assert holding.done("quarantine", "show", "a1")["header"] == "From: x\r\nSubject: =?utf-8?q?=1B=5B2Jboo?="


def test_released_it_waits_in_the_queue_and_skips_who_held_it(holding: Shell) -> None:
    assert holding.done("quarantine", "release", ONE) == {"done": [ONE], "failed": []}
    assert [row["id"] for row in holding.done("quarantine", "list")] == [TWO]
    (command,) = inbound(holding)
    assert b"Skip=clamav\r\n" in command.read_bytes() and f"Message={ONE}".encode() in command.read_bytes()
    assert (command.parent / "Messages" / command.name).read_bytes() == TEXT


def test_all_of_one_plugin_are_released_to_somebody_else(holding: Shell) -> None:
    assert holding.done("quarantine", "release", "--by", "scan", "--to", "bob@example.test")["done"] == [TWO]
    (command,) = inbound(holding)
    assert b"Recipients=[SMTP:bob@example.test]\r\n" in command.read_bytes()


def test_delete_asks_first(holding: Shell) -> None:
    said = holding("quarantine", "delete", ONE, stdin="n\n")
    assert said.code == 1 and len(holding.done("quarantine", "list")) == 2
    assert holding("quarantine", "delete", ONE, stdin="y\n").code == 0
    assert [row["id"] for row in holding.done("quarantine", "list")] == [TWO]
    assert holding.done("quarantine", "delete", "--by", "scan", "--yes")["done"] == [TWO]
    assert not list((holding.root / "Quarantine").rglob("*.MAI"))


def test_what_cannot_be_done_does_not_stop_the_rest(holding: Shell) -> None:
    said = holding("quarantine", "release", "FF", TWO, "--json")
    assert said.code == 1 and said.json["done"] == [TWO] and said.json["failed"][0]["id"] == "FF"


def test_nobody_is_released_by_accident(holding: Shell) -> None:
    said = holding("quarantine", "release")
    assert said.code == 2 and "--by" in said.err and not inbound(holding)
