"""A Postfix in front of us, as a gateway: what it relays arrives whole, what we refuse it returns to the sender."""

from __future__ import annotations

import smtplib

from bench.server import HOST, Server
from tests.demo import PATIENCE, Demo, await_change, letter


def test_what_postfix_relays_arrives(postfix_before_us: Server, demo: Demo) -> None:
    with smtplib.SMTP(HOST, postfix_before_us.ports["smtp"], timeout=PATIENCE) as client:
        client.send_message(letter("postfix-relay", text="dots:\n.\n..\n" + "long " * 180 + "\n"))
    found = demo.arrived("alice@example.test", "postfix-relay")
    assert b"by mx.bench.test (Postfix)" in found
    assert b"dots:\r\n.\r\n..\r\n" in found


def test_what_we_refuse_postfix_returns(postfix_before_us: Server) -> None:
    """The notice quotes our 550 and our enhanced code, so both were understood."""
    sender = postfix_before_us.accounts[0]
    with smtplib.SMTP(HOST, postfix_before_us.ports["smtp"], timeout=PATIENCE) as client:
        client.send_message(letter("postfix-refused", to="nobody@example.test"), from_addr=sender.address)
    mail = sender.inbox.parents[2]
    await_change(mail, lambda: sender.delivered() > 0)
    (notice,) = [path.read_text() for path in sender.inbox.iterdir()]
    assert "Status: 5.1.1" in notice
    assert "Diagnostic-Code: smtp; 550 5.1.1" in notice
