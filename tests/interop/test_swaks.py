"""swaks, the tool that postmasters reach for, against our listeners."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from bench.mail import message
from tests.demo import Demo

RCPT_REFUSED, NO_AUTHENTICATION, NO_TLS = 24, 28, 29  # exit codes of swaks


def send(swaks: str, demo: Demo, *options: str, endpoint: str = "smtp", to: str = "alice@example.test") -> subprocess.CompletedProcess[str]:
    host, port = demo.endpoint(endpoint)
    command = [swaks, "--server", host, "--port", str(port), "--from", "rita@example.org", "--to", to, "--helo", "client.example.org"]
    return subprocess.run([*command, *options], capture_output=True, text=True, timeout=60)


def marked(mark: str, octets: int = 3000) -> bytes:
    return f"X-Mark: {mark}\r\n".encode() + message(octets)


def test_what_swaks_sends_is_fetched_octet_by_octet(swaks: str, demo: Demo, tmp_path: Path) -> None:
    mail = marked("swaks-plain")
    (tmp_path / "mail").write_bytes(mail.replace(b"\r\n", b"\n"))
    done = send(swaks, demo, "--data", f"@{tmp_path / 'mail'}")
    assert done.returncode == 0, done.stdout
    head, _, rest = demo.arrived("alice@example.test", "swaks-plain").partition(b"X-Mark")
    assert (b"X-Mark" + rest).rstrip() == mail.rstrip()
    assert b"Received: from client.example.org" in head


def test_lines_that_begin_with_dots_come_through(swaks: str, demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("X-Mark: swaks-dots\n\n.\n..\n.hidden\nend\n")
    assert send(swaks, demo, "--data", f"@{tmp_path / 'mail'}").returncode == 0
    assert b"\r\n\r\n.\r\n..\r\n.hidden\r\nend\r\n" in demo.arrived("alice@example.test", "swaks-dots")


def test_an_unknown_recipient_is_refused_in_rcpt(swaks: str, demo: Demo) -> None:
    done = send(swaks, demo, to="nobody@example.test")
    assert done.returncode == RCPT_REFUSED
    assert "<** 550 5.1.1" in done.stdout


def test_we_are_no_relay(swaks: str, demo: Demo) -> None:
    done = send(swaks, demo, to="stranger@example.net")
    assert done.returncode == RCPT_REFUSED
    assert "<** 550 5.7.1" in done.stdout or "<** 554 5.7.1" in done.stdout


def test_starttls(swaks: str, demo: Demo) -> None:
    """The certificate of the demo's own authority verifies."""
    done = send(swaks, demo, "--tls", "--tls-ca-path", str(demo.told.ca), "--tls-verify", "--header", "X-Mark: swaks-tls")
    assert done.returncode == 0, done.stdout
    assert "TLS started" in done.stdout
    assert b"with ESMTPS" in demo.arrived("alice@example.test", "swaks-tls")


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_submission_takes_a_login_after_starttls(swaks: str, demo: Demo, mechanism: str) -> None:
    login = "bob@example.test"
    credentials = ["--auth", mechanism, "--auth-user", login, "--auth-password", demo.password(login), "--from", login]
    done = send(swaks, demo, "--tls", *credentials, "--header", f"X-Mark: swaks-{mechanism}", endpoint="submission")
    assert done.returncode == 0, done.stdout
    assert b"with ESMTPSA" in demo.arrived("alice@example.test", f"swaks-{mechanism}")


def test_submission_without_a_login_takes_nothing(swaks: str, demo: Demo) -> None:
    done = send(swaks, demo, endpoint="submission")
    assert done.returncode != 0
    assert "<** 530 5.7." in done.stdout


def test_a_wrong_password_is_refused(swaks: str, demo: Demo) -> None:
    done = send(
        swaks, demo, "--tls", "--auth", "PLAIN", "--auth-user", "bob@example.test", "--auth-password", "wrong", endpoint="submission"
    )
    assert done.returncode == NO_AUTHENTICATION
    assert "<~* 535 5.7.8" in done.stdout


def test_pipelined_commands_are_answered_one_by_one(swaks: str, demo: Demo) -> None:
    done = send(
        swaks, demo, "--pipeline", "--header", "X-Mark: swaks-pipeline", to="alice@example.test,nobody@example.test,bob@example.test"
    )
    assert "<** 550 5.1.1" in done.stdout
    for login in ("alice@example.test", "bob@example.test"):
        assert demo.arrived(login, "swaks-pipeline")
