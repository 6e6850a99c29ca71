"""The same conversations with aiosmtpd's server, over loopback: where we answer otherwise, a row of `ALLOWED` says why."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.plugins_smtp.desk import body_of
from tests.plugins_smtp.served import Client, Served, serve

START = ["EHLO peer.test"]
MAIL = [*START, "MAIL FROM:<carol@sender.test>"]
RCPT = [*MAIL, "RCPT TO:<alice@example.test>"]
DATA = [*RCPT, "DATA"]

CONVERSATIONS: dict[str, list[str]] = {
    "plain": [*DATA, "Subject: x\r\n\r\nhello\r\n.", "QUIT"],
    "helo": ["HELO peer.test", "MAIL FROM:<carol@sender.test>", "RCPT TO:<alice@example.test>", "DATA", "x\r\n.", "QUIT"],
    "dots": [*DATA, "..\r\n...\r\n.a\r\n .\r\n."],
    "empty": [*DATA, "."],
    "null sender": [*START, "MAIL FROM:<>", "RCPT TO:<alice@example.test>", "DATA", "x\r\n."],
    "two recipients": [*RCPT, "RCPT TO:<bob@example.test>", "DATA", "x\r\n."],
    "two messages": [*DATA, "one\r\n.", "MAIL FROM:<a@b.test>", "RCPT TO:<bob@example.test>", "DATA", "two\r\n."],
    "8bit": [*START, "MAIL FROM:<a@b.test> BODY=8BITMIME", "RCPT TO:<bob@example.test>", "DATA", "gr\u00fc\u00dfe\r\n."],
    "size": [*START, "MAIL FROM:<a@b.test> SIZE=100", "RSET", "MAIL FROM:<a@b.test> SIZE=99999999999"],
    "utf8": [*START, "MAIL FROM:<j\u00fcrgen@b.test> SMTPUTF8 BODY=8BITMIME", "RCPT TO:<alice@example.test>", "DATA", "x\r\n."],
    "quoted": [*START, 'MAIL FROM:<"a b"@c.test>', "RCPT TO:<alice@example.test>"],
    "nested mail": [*MAIL, "MAIL FROM:<carol@sender.test>"],
    "reset": [*RCPT, "RSET", "DATA", "RCPT TO:<alice@example.test>"],
    "no order": ["MAIL FROM:<a@b.test>", *START, "RCPT TO:<alice@example.test>", "DATA"],
    "no recipient": [*MAIL, "DATA"],
    "others": ["NOOP", "NOOP x", "VRFY alice", "EXPN x", "XYZZY", "RSET", "QUIT"],
    "syntax": [
        *START,
        "MAIL",
        "MAIL FROM",
        "MAIL FROM:",
        "MAIL FROM:carol",
        "RSET",
        "MAIL FROM:<a@b.test> NOSUCH=1",
        "MAIL FROM:<a@b.test> SIZE=x",
    ],
    "rcpt syntax": [*MAIL, "RCPT", "RCPT TO", "RCPT TO:", "RCPT TO:<>", "RCPT TO:<alice@example.test> NOSUCH=1"],
    "lenient paths": [*START, "MAIL FROM:<a@b", "RSET", "MAIL FROM:< a@b.test >", "RSET", "MAIL FROM:<a(b)c@d.test>"],
    "bdat": [*RCPT, "BDAT 0 LAST"],
    "dsn": [*START, "MAIL FROM:<a@b.test> RET=HDRS", "RSET", "MAIL FROM:<a@b.test> BODY=BINARYMIME"],
    "bare": [*DATA, "a\nb\r\n."],
    "smuggling": [*DATA, "a\n.\nb\r\n.", "QUIT"],
}

PATHS = "we take paths as RFC 5321 section 4.1.2 has them: in angle brackets, without blanks or comments, never empty for RCPT"
OFFERED = "we offer RFC 3030 and RFC 3461, they do not"
MENDED = "a bare LF is kept by them and made CRLF by us, as Postfix does since 3.9"

# command: our code, theirs, and why they differ
ALLOWED: dict[str, tuple[int, int, str]] = {
    "MAIL FROM:carol": (501, 250, PATHS),
    "MAIL FROM:<a@b": (501, 250, PATHS),
    "MAIL FROM:< a@b.test >": (501, 250, PATHS),
    "MAIL FROM:<a(b)c@d.test>": (501, 250, PATHS),
    "RCPT TO:<>": (501, 250, PATHS),
    "BDAT 0 LAST": (250, 500, OFFERED),
    "MAIL FROM:<a@b.test> RET=HDRS": (250, 555, OFFERED),
    "MAIL FROM:<a@b.test> BODY=BINARYMIME": (250, 501, OFFERED),
}
KEPT_OTHERWISE = {"bdat": OFFERED, "bare": MENDED, "smuggling": MENDED}


async def codes(client: Client, lines: Sequence[str]) -> list[int]:
    return [int((await client.say(line))[0][:3] or b"0") for line in lines]


class Keeper:
    """aiosmtpd's handler: keeps what it gets, as our intake does."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self.messages.append(envelope.content)
        return "250 Ok"


async def theirs(lines: Sequence[str]) -> tuple[list[int], list[bytes]]:
    keeper = Keeper()
    loop = asyncio.get_running_loop()

    def make() -> Any:
        return SMTP(keeper, hostname="mail.example.test", enable_SMTPUTF8=True, data_size_limit=52428800, loop=loop)

    server = await loop.create_server(make, "127.0.0.1", 0)
    client = await Client.connect(server.sockets[0].getsockname()[1])
    await client.reply()
    said = await codes(client, lines)
    await client.close()
    server.close()
    for _ in range(5):
        await asyncio.sleep(0)
    return said, keeper.messages


@pytest.mark.parametrize("name", CONVERSATIONS)
def test_we_answer_as_aiosmtpd_does_or_know_why_not(tmp_path: Path, name: str) -> None:
    lines = CONVERSATIONS[name]

    async def talk(served: Served) -> None:
        client = await Client.connect(served.ports["smtp"])
        await client.reply()
        ours = await codes(client, lines)
        await client.close()
        other, messages = await theirs(lines)
        for line, mine, their in zip(lines, ours, other, strict=True):
            assert (mine, their) == (ALLOWED[line][:2] if line in ALLOWED else (mine, mine)), line
        assert ([body_of(data) for _, data in served.intake.taken] == messages) == (name not in KEPT_OTHERWISE)

    serve("asyncio", tmp_path, talk)


def test_every_allowed_difference_is_met() -> None:
    """A row that no conversation reaches any more would hide a new difference."""
    assert set(ALLOWED) <= {line for lines in CONVERSATIONS.values() for line in lines}
    assert set(KEPT_OTHERWISE) <= set(CONVERSATIONS)
