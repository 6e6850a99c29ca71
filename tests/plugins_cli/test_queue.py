"""`postroom queue` on a site that is stopped: pairs and journals, read from disk; and how a running one is asked."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from pathlib import Path

import pytest

from postroom.address import smtp
from postroom.clock import SystemClock
from postroom.envelope import Attempt, Envelope, Recipient
from postroom.journal import Journal
from postroom.message import MemoryMessage
from postroom.spool import Spool
from postroom_cli.awake import alone
from postroom_disk.disk import Disk
from tests.plugins_cli.site import Shell

ONE, TWO, THREE = "A1" * 16, "A2" * 16, "B3" * 16
FAR = 4_000_000_000.0


def envelope(item: str, *, due: float = 0.0, people: int = 1) -> Envelope:
    recipients = tuple(Recipient(smtp(f"p{n}@example.org")) for n in range(people))
    attempt = Attempt(count=2, due=due, error="451 4.4.1 no answer")
    return Envelope(item, item, "SMTP", smtp("alice@example.test"), recipients, 1_700_000_000.0, attempt=attempt, subject="hello")


def resting(shell: Shell) -> Shell:
    """Two pairs in SMTP/Outgoing, one due far away."""
    spool = Spool(shell.root, Disk(), Opened(shell.root / "Journal"), SystemClock())
    for item, due, people in ((ONE, FAR, 3), (TWO, 1_700_000_100.0, 1)):
        spool.rest(spool["SMTP"].outgoing, envelope(item, due=due, people=people), MemoryMessage(item, b"Subject: hello\r\n\r\nhi\r\n"))
    return shell


class Opened(Journal):
    """A journal that is not asked for anything."""

    def replayer(self, *_: object) -> None: ...


def accepted(shell: Shell) -> Shell:
    """THREE accepted into a journal by a worker that died; TWO accepted and settled before."""

    async def run() -> None:
        journal = Journal(shell.root / "Journal")
        journal.open()
        spool = Spool(shell.root, Disk(), journal, SystemClock())
        await journal.start()
        for item in (TWO, THREE):
            await spool.accept(envelope(item), MemoryMessage(item, b"Subject: hello\r\n\r\nhi\r\n"))
        spool.settled(envelope(TWO))
        await (await journal.append(40, b"a later sync")).journal.close()

    asyncio.run(run())
    return shell


def test_nothing_waits(shell: Shell) -> None:
    said = shell("queue", "list")
    assert (said.code, said.out) == (0, "Nothing waits.\n")


def test_pairs_are_listed_and_shown(shell: Shell) -> None:
    rows = resting(shell).done("queue", "list")
    assert {row["id"]: (row["queue"], row["attempts"], len(row["recipients"])) for row in rows} == {
        ONE: ("SMTP/Outgoing", 2, 3),
        TWO: ("SMTP/Outgoing", 2, 1),
    }
    shown = shell.done("queue", "show", "a1")
    assert (shown["id"], shown["subject"], shown["error"]) == (ONE, "hello", "451 4.4.1 no answer")
    assert "p0@example.org" in shell("queue", "show", ONE).out


def test_a_table_of_the_queue_fits_eighty_columns(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = resting(shell)("queue", "list")
    assert ONE[:12] in said.out and "now" in said.out and "+2" in said.out and max(map(len, said.out.splitlines())) <= 80
    assert "not running" in said.err


@pytest.mark.parametrize(("item", "says"), [("A", "2 messages"), ("FF", "no message"), ("F" * 32, "nothing named")])
def test_an_id_must_mean_one_message(shell: Shell, item: str, says: str) -> None:
    said = resting(shell)("queue", "show", item)
    assert said.code == 1 and says in said.err


def test_what_the_last_attempt_met_is_told(shell: Shell) -> None:
    said = resting(shell)("queue", "list")
    assert f"  {TWO[:12]}  451 4.4.1 no answer" in said.out.splitlines()


def test_items_are_chosen_by_domain_sender_and_being_held(shell: Shell) -> None:
    resting(shell).done("queue", "hold", TWO)
    before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in (shell.root / "Queues").rglob("*") if path.is_file()}
    assert [row["id"] for row in shell.done("queue", "list", "--held")] == [TWO]
    assert len(shell.done("queue", "list", "--domain", "example.org", "--sender", "alice@example.test")) == 2
    assert shell.done("queue", "list", "--domain", "example.com") == []
    assert "Nothing waits" in shell("queue", "list", "--sender", "<>").out
    assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in before} == before
    assert shell.done("queue", "retry", "--domain", "example.com")["count"] == 0
    assert shell.done("queue", "retry", "--domain", "example.org")["count"] == 1
    said = shell("queue", "retry", ONE, "--domain", "example.org")
    assert said.code == 2 and "not both" in said.err


def test_what_a_journal_has_is_chosen_too(shell: Shell) -> None:
    accepted(shell)
    assert [row["id"] for row in shell.done("queue", "list", "--domain", "example.org")] == [THREE]
    assert shell.done("queue", "list", "--sender", "bob@example.test") == []


def test_hold_release_retry_delete(shell: Shell) -> None:
    resting(shell).done("queue", "hold", TWO)
    assert {row["id"]: row["held"] for row in shell.done("queue", "list")} == {ONE: False, TWO: True}
    assert shell.done("queue", "retry")["count"] == 1
    now = SystemClock().now()
    assert {row["id"]: row["due"] <= now for row in shell.done("queue", "list")} == {ONE: True, TWO: False}
    assert shell("queue", "retry", ONE).out == "1 to be tried now\n"
    shell.done("queue", "release", TWO)
    assert not any(row["held"] for row in shell.done("queue", "list"))
    assert shell.done("queue", "delete", ONE) == {"id": ONE, "count": 1}
    assert [row["id"] for row in shell.done("queue", "list")] == [TWO]
    assert not list((shell.root / "Queues" / "SMTP" / "Outgoing").glob(f"**/{ONE}.MAI"))


def test_what_only_a_journal_has_is_told_too(shell: Shell) -> None:
    before = _bytes(accepted(shell).root)
    (row,) = shell.done("queue", "list")
    assert (row["id"], row["queue"], row["sender"]) == (THREE, "journal", "[SMTP:alice@example.test]")
    assert shell.done("queue", "show", "B3")["subject"] == "hello"
    assert _bytes(shell.root) == before
    assert shell.done("queue", "delete", "B3") == {"id": THREE, "count": 1}
    assert shell.done("queue", "list") == []


def _bytes(root: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in (root / "Journal").rglob("*") if path.is_file()}


def test_nothing_is_changed_beside_a_server(shell: Shell) -> None:
    with alone(resting(shell).root):
        said = shell("queue", "delete", ONE)
    assert said.code == 1 and "is being served" in said.err
    assert len(shell.done("queue", "list")) == 2


def test_a_running_site_is_asked(shell: Shell) -> None:
    row = {"id": ONE, "queue": "SMTP/Inbound", "sender": "<>", "recipients": [], "arrived": 0, "due": 0, "held": False, "attempts": 0}
    with Answering(shell.root, {"queue.list": {"items": [row], "count": 1}, "queue.hold": {"count": 1}}) as asked:
        assert shell.done("queue", "list") == [row]
        assert shell("queue", "list", "--domain", "x.test").code == 0
        assert shell("queue", "hold", "A1").out == f"{ONE} is held\n"
        assert shell("queue", "delete", ONE).err == "postroom: no such request\n"
    assert asked == [
        ("queue.list", {}),
        ("queue.list", {"domain": "x.test"}),
        ("queue.list", {}),
        ("queue.hold", {"id": ONE}),
        ("queue.delete", {"id": ONE}),
    ]


def test_what_a_running_site_says_of_itself(shell: Shell) -> None:
    problems = ["the disk is nearly full"]
    answers: dict[str, object] = {
        "health": {"ok": False, "problems": problems},
        "metrics": {"text": "a_total 1\n"},
        "reload": {"workers": [7, 8]},
        "stop": {"stopping": True},
    }
    with Answering(shell.root, answers):
        health = shell("health")
        assert (health.code, health.out) == (1, "the disk is nearly full\n")
        assert shell("metrics").out == "a_total 1\n"
        assert "7, 8" in shell("reload").out
        assert shell.done("stop") == {"stopping": True}
    with Answering(shell.root, {"health": {"ok": True, "problems": []}}):
        assert shell("health").out == "All is well.\n"


class Answering:
    """A control socket that gives these answers; what was asked is the block's value."""

    def __init__(self, root: Path, answers: dict[str, object]) -> None:
        self._answers = answers
        self._asked: list[tuple[str, dict[str, object]]] = []
        (root / "run").mkdir(exist_ok=True)
        self._path = root / "run" / "control.sock"
        self._socket = socket.socket(socket.AF_UNIX)

    def __enter__(self) -> list[tuple[str, dict[str, object]]]:
        self._socket.bind(str(self._path))
        self._socket.listen()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return self._asked

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        self._path.unlink()

    def _serve(self) -> None:
        while True:
            try:
                peer, _ = self._socket.accept()
            except OSError:
                return
            with peer, peer.makefile("rb") as lines:
                asked = json.loads(lines.readline())
                self._asked.append((asked["request"], asked["args"]))
                known = asked["request"] in self._answers
                said = {"ok": True, "answer": self._answers[asked["request"]]} if known else {"ok": False, "error": "no such request"}
                peer.sendall(json.dumps(said).encode() + b"\n")
