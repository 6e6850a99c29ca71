"""Case 43: whoever comes from outside relays nothing, whatever the address looks like; and an empty provider relays nothing either."""

from __future__ import annotations

import asyncio
import smtplib
from pathlib import Path

import pytest

from postroom.address import smtp
from postroom.envelope import Peer
from postroom_smtp.connector import SmtpConnector
from postroom_testing.ground import site_in
from tests.demo import PATIENCE, Demo

OURS, THEIRS = "example.test", "example.net"
FORMS = [
    f"victim@{THEIRS}",
    f"<victim@{THEIRS}>",
    f"VICTIM@{THEIRS.upper()}",
    f"victim%{THEIRS}@{OURS}",
    f"victim%{THEIRS}@mail.{OURS}",
    f"victim%{THEIRS}@[127.0.0.1]",
    f'"victim@{THEIRS}"',
    f'"victim@{THEIRS}"@{OURS}',
    f'"victim%{THEIRS}"@{OURS}',
    f"victim@{THEIRS}@{OURS}",
    f"victim@{THEIRS}@[127.0.0.1]",
    f"victim@{THEIRS}@mail.{OURS}",
    f"@{OURS}:victim@{THEIRS}",
    f"@mail.{OURS},@{OURS}:victim@{THEIRS}",
    f"@[127.0.0.1]:victim@{THEIRS}",
    f"{THEIRS}!victim",
    f"{THEIRS}!victim@{OURS}",
    f"{THEIRS}!victim@[127.0.0.1]",
    f"{OURS}!{THEIRS}!victim",
    "victim@[192.0.2.1]",
    "victim@[IPv6:2001:db8::1]",
    f"victim@{THEIRS}.",
    f"victim@{OURS}.{THEIRS}",
    f"victim@{THEIRS}%00@{OURS}",
    f"[SMTP:victim@{THEIRS}]",
    f"[SMTP:victim@{THEIRS}]@{OURS}",
    f"victim@{THEIRS};alice@{OURS}",
    f"alice@{OURS},victim@{THEIRS}",
    "victim",
]
SENDERS = ["<spammer@example.org>", f"<alice@{OURS}>", f"<postmaster@mail.{OURS}>", "<alice@[127.0.0.1]>", "<>", "<postmaster@localhost>"]


@pytest.mark.parametrize("form", FORMS)
def test_no_form_of_address_gets_out(demo: Demo, form: str) -> None:
    with smtplib.SMTP(*demo.endpoint("smtp"), timeout=PATIENCE) as client:
        client.ehlo("stranger.example.org")
        client.docmd("MAIL FROM:<spammer@example.org>")
        code, text = client.docmd(f"RCPT TO:<{form}>" if not form.startswith("<") else f"RCPT TO:{form}")
    assert code in (501, 550, 553), (form, code, text)
    assert code != 550 or b"Relaying denied" in text or b"5.1.1" in text


@pytest.mark.parametrize("sender", SENDERS)
def test_no_sender_opens_the_door(demo: Demo, sender: str) -> None:
    """To say that one is of this house proves nothing."""
    with smtplib.SMTP(*demo.endpoint("smtp"), timeout=PATIENCE) as client:
        client.ehlo(OURS)
        client.docmd(f"MAIL FROM:{sender}")
        assert client.docmd(f"RCPT TO:<victim@{THEIRS}>") == (550, b"5.7.1 Relaying denied")
        assert client.docmd("DATA")[0] == 503


def test_the_words_are_the_same_for_every_address_outside(demo: Demo) -> None:
    said = set()
    with smtplib.SMTP(*demo.endpoint("smtp"), timeout=PATIENCE) as client:
        client.ehlo("stranger.example.org")
        client.docmd("MAIL FROM:<spammer@example.org>")
        for address in (f"victim@{THEIRS}", "x@localhost", "x@[192.0.2.1]", f"x@sub.{OURS}", "x@xn--bcher-kva.test"):
            said.add(client.docmd(f"RCPT TO:<{address}>"))
    assert said == {(550, b"5.7.1 Relaying denied")}


def test_the_submission_port_is_no_way_round(demo: Demo) -> None:
    with smtplib.SMTP(*demo.endpoint("submission"), timeout=PATIENCE) as client:
        client.ehlo("stranger.example.org")
        assert client.docmd(f"MAIL FROM:<alice@{OURS}>")[0] == 530


def test_nothing_rests_for_anybody_outside(demo: Demo) -> None:
    resting = [path for path in (demo.server.site / "Queues").rglob("*.MAI") if THEIRS.encode() in path.read_bytes()]
    assert not resting


def test_an_empty_provider_refuses(tmp_path: Path) -> None:
    """No domain, no row, no table: nobody may relay, and nobody is here."""

    async def main() -> None:
        yaml = "server: mail.example.test\nplugins:\n  tab: {}\n  store: {}\n  postoffice: {}\n  smtp: {listen: [{port: 0}]}\nproviders: {default: tab}\n"
        async with site_in(tmp_path, yaml) as parts:
            connector = parts.connectors["SMTP"]
            assert isinstance(connector, SmtpConnector)
            house = next(iter(connector.agents())).house  # type: ignore[attr-defined]
            await house.gate.open()
            for address in ("x@example.net", "x@example.test", "x@[127.0.0.1]"):
                refusal = house.refuses(Peer(ip="192.0.2.1"), smtp(address))
                assert refusal is not None and refusal.code == 550
            await house.gate.close()

    asyncio.run(main())
