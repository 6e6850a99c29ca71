"""curl as a client of IMAP: implicit TLS and STARTTLS, reading, writing, and commands of its user."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.demo import PATIENCE, Demo
from tests.interop.conftest import program
from tests.interop.imap_mail import ALICE, connected, contents, filled, mail, message_id

TEXTS = [mail("curl", number) for number in range(3)]


def test_a_message_is_fetched_as_it_was_stored(demo: Demo) -> None:
    client = filled(demo, "Curl", TEXTS)
    for number, text in enumerate(TEXTS, 1):
        assert curl(demo, f"Curl;MAILINDEX={number}") == text
    _, (uid,) = client.uid("SEARCH", "SUBJECT", '"curl 1"')
    assert curl(demo, f"Curl;UID={int(uid)}", tls="starttls") == TEXTS[1]
    assert curl(demo, "Curl?SUBJECT%20%22curl%201%22").strip() == b"* SEARCH 2"
    client.delete("Curl")
    client.logout()


def test_a_message_is_stored(demo: Demo, tmp_path: Path) -> None:
    (tmp_path / "mail.eml").write_bytes(TEXTS[0])
    client = filled(demo, "Curl", [])
    curl(demo, "Curl", "--upload-file", str(tmp_path / "mail.eml"))
    assert list(contents(client, "Curl")) == [message_id(TEXTS[0])]
    client.delete("Curl")
    client.logout()


def test_folders_are_listed_after_authenticate_plain(demo: Demo) -> None:
    """Debian's curl knows no SCRAM."""
    assert b"INBOX" in curl(demo, "", "--login-options", "AUTH=PLAIN").upper()


def curl(demo: Demo, path: str, *options: str, tls: str = "imaps") -> bytes:
    """What it printed. Names of folders and commands are parts of the URL."""
    program("curl")
    scheme, (host, port) = ("imaps", demo.endpoint("imaps")) if tls == "imaps" else ("imap", demo.endpoint("imap"))
    command = ["curl", "--silent", "--show-error", "--ssl-reqd", "--cacert", str(demo.told.ca), "--user", f"{ALICE}:{demo.password(ALICE)}"]
    done = subprocess.run([*command, *options, f"{scheme}://{host}:{port}/{path}"], capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_wrong_password_is_refused(demo: Demo) -> None:
    program("curl")
    host, port = demo.endpoint("imaps")
    command = ["curl", "--silent", "--cacert", str(demo.told.ca), "--user", f"{ALICE}:wrong", f"imaps://{host}:{port}/"]
    assert subprocess.run(command, capture_output=True, timeout=PATIENCE).returncode == 67  # CURLE_LOGIN_DENIED
    connected(demo).logout()
