"""ORCPT is what the client said, or nothing (RFC 3461 section 4.2): whoever stands in a recipient's place is never told as the original."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroom.address import InternalAddress, smtp
from postroom.envelope import Recipient
from postroom_postoffice.groups import in_place_of
from postroom_smtp.outbound.letter import rcpt
from postroom_smtp.outbound.reply import Offers
from tests.plugins_smtp.desk import Talk, run

WISHED = " NOTIFY=SUCCESS ORCPT=rfc822;First+2B@x.test"


async def received(folder: Path, parameters: str) -> Recipient:
    talk = Talk(folder)
    await talk.connect()
    await talk.say("EHLO peer.test", "MAIL FROM:<carol@sender.test>", f"RCPT TO:<alice@example.test>{parameters}", "DATA")
    await talk.send(b"Subject: x\r\n\r\n.\r\n")
    await talk.end()
    (recipient,) = talk.intake.taken[0][0].recipients
    return recipient


@pytest.mark.parametrize(("parameters", "original"), [("", b""), (" NOTIFY=SUCCESS", b""), (WISHED, b" ORCPT=rfc822;First+2B@x.test")])
@pytest.mark.parametrize("places", [["[SMTP:far@away.test]"], ["[SMTP:far@away.test]", "[SMTP:further@away.test]"]])
def test_who_is_redirected_keeps_the_original_and_gets_none_invented(
    tmp_path: Path, parameters: str, original: bytes, places: list[str]
) -> None:
    recipient = run(received(tmp_path, parameters))
    for each in (recipient, *in_place_of(recipient, [InternalAddress.parse(place) for place in places])):
        command = rcpt(each.address.detail.encode(), each, Offers("mx", dsn=True), utf8=False)
        assert command.rstrip(b"\r\n").endswith(original) and (b"ORCPT" in command) == bool(original), command


def test_the_bare_postmaster_becomes_no_original(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.house.gate.open()
        await talk.connect()
        await talk.say("EHLO peer.test", "MAIL FROM:<carol@sender.test>", "RCPT TO:<postmaster>", "DATA")
        await talk.send(b"Subject: x\r\n\r\n.\r\n")
        assert talk.intake.taken[0][0].recipients == (Recipient(smtp("postmaster@example.test")),)
        await talk.end()

    run(main())
