"""The same messages in Dovecot's mailbox and in ours: POP3 clients see the same text."""

from __future__ import annotations

import poplib
import smtplib

import pytest

from bench.server import HOST, Server
from tests.demo import PATIENCE, Demo, await_change

TEXTS = {
    "dots": b"\r\n.\r\n..\r\n...\r\n.end\r\n",
    "no last line end": b"\r\nlast line",
    "no body": b"",
    "eight bits": b"\r\n\xe9\xff\x80 and UTF-8: \xc3\xa9\r\n",
    "long line": b"\r\n" + b"x" * 990 + b"\r\n",
    "empty lines": b"\r\n\r\n\r\n\r\n",
}


@pytest.mark.parametrize("name", TEXTS)
def test_the_body_is_the_same(name: str, dovecot: Server, demo: Demo) -> None:
    mark = f"dovecot-{name.replace(' ', '-')}"
    mail = f"X-Mark: {mark}\r\nSubject: same\r\n".encode() + TEXTS[name]
    peer = dovecot.accounts[0]
    with smtplib.LMTP(HOST, dovecot.ports["lmtp"]) as lmtp, demo.smtp() as smtp:
        lmtp.sendmail("rita@example.org", [peer.address], mail)
        smtp.sendmail("rita@example.org", ["alice@example.test"], mail)
    await_change(peer.inbox.parents[1], lambda: any(mark.encode() in text for text in _all(dovecot)))
    (theirs,) = [text for text in _all(dovecot) if mark.encode() in text]
    ours = demo.arrived("alice@example.test", mark)
    assert ours[ours.index(b"X-Mark") :] == theirs[theirs.index(b"X-Mark") :]


def _all(server: Server) -> list[bytes]:
    client = poplib.POP3(HOST, server.ports["pop3"], timeout=PATIENCE)
    client.user(server.accounts[0].login)
    client.pass_(server.accounts[0].password)
    texts = [b"\r\n".join(client.retr(number)[1]) + b"\r\n" for number in range(1, client.stat()[0] + 1)]
    client.quit()
    return texts
