"""The demo as a user meets it (DESIGN section 8): one ready line, silence after it, the same passwords next time, exit code 0."""

from __future__ import annotations

import os
import signal
import smtplib
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.meter import descendants
from bench.ours import said
from bench.server import Absent
from tests.demo import Demo, await_change, letter


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Demo]:
    server = Demo(tmp_path / "site").start()
    yield server
    server.close()


def test_the_ready_line_says_all_a_program_needs(demo: Demo) -> None:
    told = demo.told
    assert told.site == demo.server.site
    assert len(told.workers) == 1
    assert {"smtp", "pop3"} <= told.endpoints.keys()
    assert all(host == "127.0.0.1" and port > 1024 for host, port in told.endpoints.values())
    assert {login for login, _ in told.accounts} >= {"alice@example.test", "bob@example.test"}
    assert told.ca and b"BEGIN CERTIFICATE" in told.ca.read_bytes()


@pytest.mark.long
def test_passwords_are_kept_and_told_again(served: Demo) -> None:
    secrets = served.server.site / "demo.json"
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o600
    before = served.told.accounts
    assert served.server.stop() == 0
    assert served.start().told.accounts == before


def test_sigterm_ends_it_with_zero_and_without_a_word(served: Demo) -> None:
    with served.smtp() as client:
        client.send_message(letter("demo-silence"))
    assert served.server.stop() == 0
    assert served.server.afterwards == b""


@pytest.mark.long
def test_mail_survives_a_restart_under_the_same_names(served: Demo) -> None:
    with served.smtp() as client:
        client.send_message(letter("demo-restart"))
    served.arrived("alice@example.test", "demo-restart")
    before = _names(served)
    assert served.server.stop() == 0
    served.start()
    assert _names(served) == before


@pytest.mark.long
def test_a_dead_worker_is_replaced(served: Demo) -> None:
    (worker,) = served.told.workers
    os.kill(worker, signal.SIGKILL)
    await_change(served.server.site, lambda: any(pid != worker for pid in descendants(served.server.supervisor)[1:]))
    with served.smtp() as client:
        client.send_message(letter("demo-replaced"))
    assert served.arrived("alice@example.test", "demo-replaced")


def test_the_site_it_makes_has_nothing_to_complain_about(demo: Demo) -> None:
    said("check", "--site", demo.server.site)


@pytest.mark.long
def test_a_demo_on_a_folder_in_use_is_refused(demo: Demo, tmp_path: Path) -> None:
    """Two supervisors on one site would hand out each message twice."""
    second = Demo(demo.server.site)
    second.server.log = tmp_path / "second.log"
    with pytest.raises(Absent):
        second.start()
    with demo.smtp() as client:
        assert client.noop()[0] == 250


def test_smtp_refuses_what_it_does_not_know(demo: Demo) -> None:
    with demo.smtp() as client:
        client.ehlo()
        assert client.docmd("FROB", "nicate")[0] == 500
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.send_message(letter("demo-unknown", to="nobody@example.test"))


def _names(served: Demo) -> list[bytes]:
    session = served.pop3("alice@example.test")
    try:
        return session.uidl()[1]
    finally:
        session.quit()
