"""IMAP in `postroom demo`, with two workers: mail that comes by SMTP is heard of by who idles, and what POP3 removes too."""

from __future__ import annotations

import imaplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.demo import PATIENCE, Demo, letter

ALICE = "alice@example.test"


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Demo]:
    server = Demo(tmp_path / "site", workers=2).start()
    yield server
    server.close()


def idle(served: Demo) -> imaplib.IMAP4:
    """A client that idles on Inbox."""
    client = imaplib.IMAP4_SSL(*served.endpoint("imaps"), ssl_context=served.trust(), timeout=PATIENCE)
    client.login(ALICE, served.password(ALICE))
    assert client.select()[0] == "OK"
    client.send(b"i IDLE\r\n")
    assert client.readline().startswith(b"+ ")
    return client


@pytest.mark.long
def test_who_idles_hears_of_smtp_and_pop3_whatever_worker_they_are_at(served: Demo) -> None:
    clients = [idle(served) for _ in range(6)]
    with served.smtp() as sender:
        sender.send_message(letter("imap-idle", to=ALICE))
    assert [client.readline() for client in clients] == [b"* 1 EXISTS\r\n"] * 6
    reader = served.pop3(ALICE)
    reader.dele(1)
    reader.quit()
    assert [client.readline() for client in clients] == [b"* 1 EXPUNGE\r\n"] * 6
    for client in clients:
        client.send(b"DONE\r\n")
        assert client.readline().startswith(b"i OK")
        client.logout()


def test_imap_reads_what_smtp_brought(served: Demo) -> None:
    with served.smtp() as sender:
        sender.send_message(letter("imap-read", to=ALICE))
    text = served.arrived(ALICE, "imap-read")
    client = imaplib.IMAP4(*served.endpoint("imap"), timeout=PATIENCE)
    client.starttls(served.trust())
    client.login(ALICE, served.password(ALICE))
    client.select()
    ((_, body), _) = client.fetch("1", "(BODY.PEEK[])")[1]  # type: ignore[misc]
    assert isinstance(body, bytes) and body.replace(b"\r\n", b"\n") == text.replace(b"\r\n", b"\n")
    client.logout()
