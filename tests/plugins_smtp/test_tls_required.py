"""Case 22: where an operator wants TLS, no mail is taken before it, and AUTH is not even offered (RFC 3207 section 4)."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroom_smtp.settings import Listen, SmtpSettings
from tests.plugins_smtp.served import LOOPS, Client, Served, serve


@pytest.mark.parametrize("loop", LOOPS)
def test_mail_waits_for_tls_where_it_is_required(tmp_path: Path, loop: str) -> None:
    async def talk(served: Served) -> None:
        client = await Client.connect(served.ports["smtp"])
        await client.reply()
        said = await client.say(
            "EHLO peer.test", "AUTH PLAIN AGEAYg==", "MAIL FROM:<carol@peer.test>", "RCPT TO:<alice@example.test>", "NOOP"
        )
        assert b"STARTTLS" in said[0] and b"AUTH" not in said[0]
        assert [line[:3] for line in said[1:]] == [b"502", b"530", b"503", b"250"]
        assert said[2] == b"530 5.7.0 Must issue a STARTTLS command first\r\n"
        assert (await client.say("STARTTLS"))[0].startswith(b"220")
        await client.secure()
        said = await client.say("EHLO peer.test", "MAIL FROM:<carol@peer.test>", "RCPT TO:<alice@example.test>")
        assert [line[:3] for line in said] == [b"250"] * 3
        await client.close()

    settings = SmtpSettings(listen=(Listen(host="127.0.0.1", port=0, tls="required"),))
    serve(loop, tmp_path, talk, tls=True, settings=settings)
