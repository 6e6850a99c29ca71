"""Submission by the programs people use: curl, msmtp (GNU SASL), swaks and Python's smtplib; 587 with STARTTLS and 465 with TLS."""

from __future__ import annotations

import shutil
import smtplib
import ssl
import subprocess
from pathlib import Path

import pytest

from tests.demo import PATIENCE, Demo, letter

ALICE, BOB = "alice@example.test", "bob@example.test"


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed; the Debian package has its name")
    return found


def mail(mark: str, sender: str = ALICE) -> bytes:
    return f"From: {sender}\r\nTo: {BOB}\r\nSubject: {mark}\r\n\r\nGood morning.\r\n".encode()


def msmtp(
    demo: Demo, folder: Path, mark: str, auth: str, *more: str, endpoint: str = "submission", sender: str = ALICE
) -> subprocess.CompletedProcess[bytes]:
    host, port = demo.endpoint(endpoint)
    lines = [
        "account default", f"host {host}", f"port {port}", f"from {sender}", f"auth {auth}", f"user {ALICE}",
        f"password {demo.password(ALICE)}", "tls on", f"tls_starttls {'on' if endpoint == 'submission' else 'off'}",
        f"tls_trust_file {demo.told.ca}", "tls_host_override localhost", *more,
    ]  # fmt: skip
    path = folder / "msmtprc"
    path.write_text("\n".join(lines) + "\n")
    path.chmod(0o600)
    return subprocess.run(
        [program("msmtp"), "-C", str(path), "-v", BOB], input=mail(mark, sender).replace(b"\r\n", b"\n"), capture_output=True, timeout=60
    )


@pytest.mark.parametrize("auth", ["plain", "login", "scram-sha-256", "on"])
def test_msmtp(demo: Demo, tmp_path: Path, auth: str) -> None:
    done = msmtp(demo, tmp_path, f"msmtp-{auth}.", auth)
    assert done.returncode == 0, done.stderr + done.stdout
    found = demo.arrived(BOB, f"msmtp-{auth}.")
    assert b"with ESMTPSA" in found and b"\r\nMessage-ID: <" in found


@pytest.mark.parametrize(
    ("mechanism", "more", "returned"),
    [
        ("SCRAM-SHA-256-PLUS", ["--priority", "NORMAL:-VERS-ALL:+VERS-TLS1.2"], 0),  # bound by tls-unique
        ("SCRAM-SHA-256-PLUS", [], 1),  # above TLS 1.2 it would need tls-exporter, and is not offered
        ("SCRAM-SHA-256", ["--no-cb"], 0),
        ("LOGIN", [], 0),
    ],
)
def test_gnu_sasl(demo: Demo, mechanism: str, more: list[str], returned: int) -> None:
    """A second implementation of SCRAM and of channel binding, which also checks what the server proves."""
    command = [
        program("gsasl"), "--smtp", "--connect", f"localhost:{demo.endpoint('submission')[1]}", "--mechanism", mechanism, "--starttls",
        "--x509-ca-file", str(demo.told.ca), "-a", ALICE, "-p", demo.password(ALICE), "--hostname", "localhost",
    ]  # fmt: skip
    done = subprocess.run([*command, *more], input=b"QUIT\n", capture_output=True, timeout=60)
    assert done.returncode == returned, done.stdout + done.stderr
    assert (b"235 2.7.0 Welcome" in done.stdout) is (returned == 0)


def test_msmtp_is_told_whose_address_it_is_not(demo: Demo, tmp_path: Path) -> None:
    done = msmtp(demo, tmp_path, "msmtp-foreign", "plain", sender=BOB)
    assert done.returncode != 0
    assert b"550 5.7.1 bob@example.test is not an address of the login alice@example.test" in done.stdout + done.stderr


@pytest.mark.parametrize("options", [[], ["--login-options", "AUTH=PLAIN"], ["--login-options", "AUTH=LOGIN"], ["--sasl-ir"]])
@pytest.mark.parametrize("endpoint", ["submission", "submissions"])
def test_curl(demo: Demo, tmp_path: Path, endpoint: str, options: list[str]) -> None:
    mark = f"curl-{endpoint}-{'-'.join(options).replace('=', '-')}."
    (tmp_path / "mail").write_bytes(mail(mark))
    port = demo.endpoint(endpoint)[1]
    scheme = "smtps" if endpoint == "submissions" else "smtp"
    command = [
        program("curl"), "--silent", "--show-error", "--ssl-reqd", "--cacert", str(demo.told.ca), "--user", f"{ALICE}:{demo.password(ALICE)}",
        "--mail-from", ALICE, "--mail-rcpt", BOB, "--upload-file", str(tmp_path / "mail"), "--max-time", "60", f"{scheme}://localhost:{port}",
    ]  # fmt: skip
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=90)
    assert done.returncode == 0, done.stderr
    assert b"with ESMTPSA" in demo.arrived(BOB, mark)


def test_curl_hears_of_a_wrong_password(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "mail").write_bytes(mail("curl-wrong"))
    port = demo.endpoint("submissions")[1]
    command = [
        program("curl"), "--silent", "--show-error", "--cacert", str(demo.told.ca), "--user", f"{ALICE}:wrong", "--mail-from", ALICE,
        "--mail-rcpt", BOB, "--upload-file", str(tmp_path / "mail"), "--max-time", "60", f"smtps://localhost:{port}",
    ]  # fmt: skip
    assert subprocess.run(command, capture_output=True, timeout=90).returncode == 67  # CURLE_LOGIN_DENIED


def logged_in(demo: Demo, login: str = ALICE) -> smtplib.SMTP:
    trust = ssl.create_default_context(cafile=demo.told.ca)
    client = smtplib.SMTP("localhost", demo.endpoint("submission")[1], timeout=PATIENCE)
    client.starttls(context=trust)
    client.login(login, demo.password(login))
    return client


def test_smtplib_sends_and_is_asked_for_its_own_address(demo: Demo) -> None:
    with logged_in(demo) as client:
        client.send_message(letter("smtplib-submission", to=BOB), from_addr=ALICE)
        with pytest.raises(smtplib.SMTPSenderRefused):
            client.send_message(letter("smtplib-foreign", to=BOB), from_addr=BOB)
    assert demo.arrived(BOB, "smtplib-submission")


def test_a_held_message_is_listed_with_its_time_and_does_not_come(demo: Demo) -> None:
    """RFC 4865: it rests in the queue until it is due."""
    from bench.ours import said

    with logged_in(demo) as client:
        client.ehlo()
        assert "futurerelease" in client.esmtp_features
        client.sendmail(ALICE, [BOB], mail("submission-held"), mail_options=["HOLDFOR=86400"])
    listed = said("queue", "list", "--json", "--site", demo.server.site)
    assert "1 message" in listed or ALICE in listed
    assert not [text for text in demo.fetch(BOB) if b"submission-held" in text]


def test_who_has_logged_in_may_write_to_the_world(demo: Demo) -> None:
    with logged_in(demo) as client:
        client.ehlo()
        client.mail(ALICE)
        assert client.rcpt("somebody@example.net")[0] == 250
        client.rset()
