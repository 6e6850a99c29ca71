"""The hooks of postroom_smtp.api: who is asked what, and what the peer hears."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from postroom.outcome import Reply
from postroom.site import HookFailed
from postroom.transfer import Defer, Quarantine, Reject
from postroom_smtp.api import ConnectEvent, DataEvent, MailEvent, RcptEvent
from tests.plugins_smtp.desk import Talk, run

NO = Reply(451, "4.7.1", "Greylisted, come back")


def test_each_hook_sees_its_event(tmp_path: Path) -> None:
    async def main() -> None:
        talk, seen = Talk(tmp_path), []

        async def look(event: Any) -> None:
            seen.append(event)

        talk.asking.hooks = dict.fromkeys(("smtp_connect", "smtp_mail", "smtp_rcpt", "smtp_data"), look)
        assert (await talk.connect()).startswith(b"220")
        await talk.say(
            "EHLO peer.test", "MAIL FROM:<carol@sender.test> SIZE=77", "RCPT TO:<alice@example.test>", "RCPT TO:<bob@example.test>"
        )
        await talk.say("DATA", "hi", ".")
        connect, mail, alice, bob, data = seen
        assert isinstance(connect, ConnectEvent) and (connect.peer.ip, connect.listener) == ("192.0.2.25", "smtp")
        assert isinstance(mail, MailEvent) and (str(mail.sender), mail.size, mail.peer.helo) == (
            "[SMTP:carol@sender.test]",
            77,
            "peer.test",
        )
        assert isinstance(alice, RcptEvent) and isinstance(bob, RcptEvent) and (alice.already, bob.already) == (0, 1)
        assert isinstance(data, DataEvent) and data.message.id == data.envelope.id
        assert len(talk.messages) == 1
        await talk.end()

    run(main())


@pytest.mark.parametrize(
    ("hook", "commands"),
    [("smtp_mail", ["MAIL FROM:<a@b.test>"]), ("smtp_rcpt", ["RCPT TO:<alice@example.test>"]), ("smtp_data", ["DATA", "x", "."])],
)
def test_a_reply_is_said_in_place_of_ours(tmp_path: Path, hook: str, commands: list[str]) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        everything = ["MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>", "DATA", "x", "."]
        await talk.connect()
        await talk.say("EHLO peer.test", *everything[: everything.index(commands[0])])

        async def refuse(event: object) -> Reply:
            await asyncio.sleep(0)
            return NO

        talk.asking.hooks[hook] = refuse
        assert (await talk.say(*commands)).endswith(b"451 4.7.1 Greylisted, come back\r\n")
        talk.asking.hooks.clear()
        assert (await talk.say("RSET", *everything)).endswith(talk.intake.taken[0][0].id.encode() + b"\r\n")
        assert len(talk.messages) == 1
        await talk.end()

    run(main())


def test_connect_can_be_refused_and_421_ends_a_conversation(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)

        async def refuse(event: object) -> Reply:
            return Reply(421, "4.7.0", "Go away")

        talk.asking.hooks["smtp_connect"] = refuse
        assert await talk.connect() == b"421 4.7.0 Go away\r\n"
        assert talk.wire.is_closed and not talk.house.connections
        talk.asking.hooks = {"smtp_mail": refuse}
        await talk.connect()
        assert (await talk.say("EHLO peer.test", "MAIL FROM:<a@b.test>")).endswith(b"421 4.7.0 Go away\r\n")
        assert talk.wire.is_closed
        await talk.end()

    run(main())


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (HookFailed(Defer("dns is away")), b"451 4.7.1 dns is away\r\n"),
        (HookFailed(Reject("dns is away")), b"550 5.7.1 dns is away\r\n"),
        (HookFailed(Quarantine("odd")), b"451 4.7.1 Cannot be checked now\r\n"),
        (RuntimeError("a bug"), b"451 4.3.0 Local error, try again later\r\n"),
        ("a string", b"451 4.3.0 Local error, try again later\r\n"),
        (Reply(250, "2.0.0", "Ok"), b"451 4.3.0 Local error, try again later\r\n"),  # a hook cannot say yes for us
    ],
)
def test_failures_and_nonsense(tmp_path: Path, answer: Exception | object, said: bytes) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)

        async def stumble(event: object) -> object:
            if isinstance(answer, Exception):
                raise answer
            return answer

        talk.asking.hooks["smtp_rcpt"] = stumble
        await talk.connect()
        assert (await talk.say("EHLO peer.test", "MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>")).endswith(said)
        assert (await talk.say("DATA")).startswith(b"503")
        await talk.end()

    run(main())


def test_what_is_pipelined_waits_for_the_hooks_and_keeps_its_order(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        gates: list[asyncio.Future[Reply | None]] = []

        async def think(event: object) -> Reply | None:
            gates.append(asyncio.get_running_loop().create_future())
            return await gates[-1]

        talk.asking.hooks = {"smtp_rcpt": think}
        await talk.connect()
        await talk.say("EHLO peer.test")
        said = await talk.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@example.test>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\n")
        assert said == b"250 2.1.0 Sender ok\r\n" and len(gates) == 1
        gates[0].set_result(NO)
        assert await talk.heard() == b"451 4.7.1 Greylisted, come back\r\n" and len(gates) == 2
        gates[1].set_result(None)
        assert (await talk.heard()).startswith(b"250 2.1.5 Recipient ok\r\n354")
        await talk.end()

    run(main())


def test_a_peer_that_leaves_takes_the_question_with_it(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        asked: list[str] = []

        async def think(event: object) -> None:
            try:
                await asyncio.get_running_loop().create_future()
            finally:
                asked.append("cancelled")

        talk.asking.hooks = {"smtp_mail": think}
        await talk.connect()
        await talk.say("EHLO peer.test", "MAIL FROM:<a@b.test>")
        talk.wire.abort()
        await talk.heard()
        assert asked == ["cancelled"] and talk.connection.task is None
        await talk.house.gate.close()

    run(main())


def test_a_message_refused_by_a_hook_leaves_no_file(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)

        async def refuse(event: DataEvent) -> Reply:
            assert (await event.message.read(0, 12)) == b"Return-Path:"
            return Reply(554, "5.7.1", "Virus")

        talk.asking.hooks["smtp_data"] = refuse
        await talk.open()
        assert (await talk.send(b"\r\n" + b"x" * 400_000 + b"\r\n.\r\n")) == b"554 5.7.1 Virus\r\n"
        assert talk.files == [] and talk.messages == []
        await talk.end()

    run(main())
