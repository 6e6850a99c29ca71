"""Addresses meant to be read twice in two ways (case 25): what is stored is one address, and nothing of it reaches a header line."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins_smtp.desk import Talk, run


@pytest.mark.parametrize(
    "recipient",
    [
        '"alice@example.test>,<victim"@elsewhere.test',
        "alice%elsewhere.test@example.test@elsewhere.test",
        "elsewhere.test!alice",
        "alice@example.test\0@elsewhere.test",
        "alice@example.test\r\nRCPT TO:<victim@elsewhere.test",
        "alice@example.test> ORCPT=rfc822;x+0D+0AEvil:",
        "undisclosed:alice@example.test;",
        '"alice"victim@example.test',
        "alice@[192.0.2.999]",
        "alice@[IPv6:::ffff:192.0.2.7%eth0]",
    ],
)
def test_they_are_refused(tmp_path: Path, recipient: str) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.connect()
        await talk.say("EHLO peer.test", "MAIL FROM:<a@b.test>")
        said = await talk.say(f"RCPT TO:<{recipient}>")
        assert all(line[:1] == b"5" for line in said.splitlines()), said
        assert (await talk.say("DATA"))[:3] in (b"503", b"554")
        await talk.end()

    run(main())


def test_a_quoted_local_part_that_looks_like_headers_stays_in_its_quotes(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open('"a> b: c"@example.test', sender='<"x: y>"@b.test>')
        await talk.send(b"Subject: hi\r\n\r\n.\r\n")
        envelope, data = talk.intake.taken[0]
        assert envelope.recipients[0].address.detail == '"a> b: c"@example.test'
        assert data.startswith(b'Return-Path: <"x: y>"@b.test>\r\nReceived: from peer.test')
        await talk.end()

    run(main())


def test_the_same_recipient_said_twice_gets_one_message(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open("alice@example.test", "ALICE@EXAMPLE.test", '"alice"@example.test', "@relay.test:alice@example.test")
        await talk.send(b".\r\n")
        assert [one.address.detail for one in talk.intake.taken[0][0].recipients] == ["alice@example.test"]
        await talk.end()

    run(main())
