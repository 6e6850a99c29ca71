"""Thousands of IMAP sessions in IDLE while mail flows: each letter is told to every session of its mailbox, and a session stays small.

POSTROOM_SOAK_SESSIONS says how many (2,000); issue 5 asks for 10,000 on a machine of two cores."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.idle import populated, run
from bench.report import number
from bench.server import Server

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

SESSIONS = int(os.environ.get("POSTROOM_SOAK_SESSIONS", "2000"))
EACH = 10  # sessions of a mailbox
LETTERS = 400
OPEN_FILES = 500  # that a server or a client has beside its sessions
MOST = {False: 20.0, True: 40.0}  # KiB of a session, plain and over TLS: issue 5


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < SESSIONS + OPEN_FILES:
        pytest.skip(f"a process may not have {SESSIONS} connections here (ulimit -Hn)")
    server = populated(tmp_path, SESSIONS // EACH, request.param)
    yield server
    server.stop()


@pytest.mark.parametrize("tls", [False, True], ids=["plain", "TLS"])
def test_each_of_them_hears_of_its_mail(server: Server, tls: bool, capsys: pytest.CaptureFixture[str]) -> None:
    found = run(server, SESSIONS, LETTERS, 4, tls=tls)  # ends with SystemExit where a session was not told
    with capsys.disabled():
        print("\n" + ", ".join(f"{name} {number(value)}" for name, value in found.items()))
    assert found["sessions"] == SESSIONS and found["letters"] == LETTERS and found["told"] == LETTERS * EACH
    assert found["pss_kib"] < MOST[tls]
