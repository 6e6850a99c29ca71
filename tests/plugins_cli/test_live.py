"""A demo as a process: one ready line, silence after it, answers on its control socket, a clean end."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.plugins_cli.site import Shell

pytestmark = pytest.mark.long


@pytest.fixture
def served(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """`postroom demo --json` in a process of its own, ready or not."""
    command = [sys.executable, "-m", "postroom_cli.main", "demo", "--site", str(tmp_path / "demo"), "--port-base", "0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def test_from_ready_to_stopped(served: subprocess.Popen[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert served.stdout is not None and served.stderr is not None
    line = served.stdout.readline()
    assert line, served.stderr.read()
    ready, shell = json.loads(line), Shell(tmp_path / "demo", monkeypatch)
    assert ready["ready"] is True and len(ready["workers"]) == 1 and Path(ready["ca"]).is_file()
    assert {"smtp", "pop3", "pop3s"} <= set(ready["endpoints"])
    assert all(where.startswith("127.0.0.1:") and not where.endswith(":0") for where in ready["endpoints"].values())
    assert shell.done("health") == {"ok": True, "problems": []}
    assert shell.done("queue", "list") == []
    assert "postroom_" in shell("metrics").out
    assert {each["name"] for each in shell.done("plugin", "list")} >= {"tab", "store", "postoffice", "smtp", "pop3"}
    rebuild, again = shell("store", "rebuild"), shell("demo")
    assert (rebuild.code, again.code) == (1, 1) and "stop it first" in rebuild.err and "already served" in again.err
    served.send_signal(signal.SIGTERM)
    assert (served.wait(30), served.stdout.read()) == (0, "")
    assert shell("health").code == 1
    assert shell.done("store", "check")["problems"] == {}
    assert shell.done("store", "rebuild", "alice@example.test") == {"ok": True, "mailboxes": 1, "problems": {}}
    assert shell("check").code == 0
