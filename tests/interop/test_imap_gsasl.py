"""GNU SASL logs in to IMAP: a second implementation of SCRAM and of channel binding, which checks what the server proves too."""

from __future__ import annotations

import subprocess

import pytest

from tests.demo import Demo
from tests.interop.conftest import program
from tests.interop.imap_mail import ALICE

TLS_1_2 = ("--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.2")


def gsasl(demo: Demo, mechanism: str, password: str, *more: str) -> subprocess.CompletedProcess[bytes]:
    """It logs in after STARTTLS, reads one line to send, and leaves."""
    command = [
        program("gsasl"), "--imap", "--connect", f"localhost:{demo.endpoint('imap')[1]}", "--mechanism", mechanism, "--starttls",
        "--x509-ca-file", str(demo.told.ca), "-a", ALICE, "-p", password, "--hostname", "localhost", *more,
    ]  # fmt: skip
    return subprocess.run(command, input=b"x STATUS INBOX (UIDNEXT)\n", capture_output=True, timeout=60)


@pytest.mark.parametrize(
    ("mechanism", "more", "returned"),
    [
        ("SCRAM-SHA-256-PLUS", TLS_1_2, 0),  # bound by tls-unique
        ("SCRAM-SHA-256-PLUS", (), 1),  # above TLS 1.2 it would need tls-exporter, and is not offered
        ("SCRAM-SHA-256", ("--no-cb",), 0),
        ("SCRAM-SHA-256", ("--no-cb", *TLS_1_2), 0),
        ("PLAIN", (), 0),
        ("LOGIN", (), 0),
    ],
)
def test_it_logs_in_and_asks(demo: Demo, mechanism: str, more: tuple[str, ...], returned: int) -> None:
    done = gsasl(demo, mechanism, demo.password(ALICE), *more)
    assert done.returncode == returned, done.stdout[-1000:] + done.stderr
    assert (b'\n* STATUS "INBOX" (UIDNEXT ' in done.stdout) is (returned == 0)


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "PLAIN"])
def test_a_wrong_password_is_refused(demo: Demo, mechanism: str) -> None:
    done = gsasl(demo, mechanism, "wrong", "--no-cb")
    assert done.returncode == 1 and b" NO [AUTHENTICATIONFAILED]" in done.stdout, done.stdout[-1000:] + done.stderr
