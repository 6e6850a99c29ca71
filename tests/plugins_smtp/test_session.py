"""postroom_smtp.session: what a session wants, and what it makes of the answers."""

from __future__ import annotations

import asyncio
import gc
from pathlib import Path

import pytest

from postroom.address import smtp
from postroom.envelope import Envelope
from postroom.errors import SpoolError
from postroom.records import BlacklistRecord
from postroom.transfer import Defer, Discard, Quarantine, Reject, Verdict
from postroom_smtp.session import Session
from tests.plugins_smtp.desk import Tables, Talk, run


def test_the_envelope_says_all_that_was_said(tmp_path: Path) -> None:
    async def main() -> Envelope:
        talk = Talk(tmp_path)
        await talk.connect()
        await talk.say(
            "EHLO peer.test",
            "MAIL FROM:<carol@sender.test> RET=HDRS ENVID=Q+2B1 BODY=8BITMIME SMTPUTF8 SIZE=10 AUTH=<>",
            "RCPT TO:<alice@example.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;Al+2Bice@example.test",
            "RCPT TO:<bob@example.test> NOTIFY=NEVER",
            "DATA",
        )
        await talk.send(b"Subject: x\r\n\r\n.\r\n")
        await talk.end()
        return talk.intake.taken[0][0]

    envelope = run(main())
    alice, bob = envelope.recipients
    assert envelope.id == envelope.message and len(envelope.id) == 32
    assert (envelope.source, envelope.sender) == ("SMTP", smtp("carol@sender.test"))
    assert (envelope.ret, envelope.envid, envelope.body, envelope.utf8) == ("HDRS", "Q+1", "8BITMIME", True)
    assert (alice.notify, alice.original) == (frozenset({"SUCCESS", "DELAY"}), "rfc822;Al+ice@example.test")
    assert bob.notify == frozenset({"NEVER"})
    assert (envelope.peer.ip, envelope.peer.helo, envelope.peer.user, envelope.peer.trusted) == ("192.0.2.25", "peer.test", "", False)
    assert envelope.arrived == 1_800_000_000.0


def test_the_trace_names_the_only_recipient_and_keeps_quiet_about_many(tmp_path: Path) -> None:
    async def main() -> None:
        for recipients in (("alice@example.test",), ("alice@example.test", "bob@example.test")):
            talk = Talk(tmp_path)
            await talk.open(*recipients)
            await talk.send(b"\r\nhi\r\n.\r\n")
            data = talk.intake.taken[0][1]
            assert data.startswith(b"Return-Path: <carol@sender.test>\r\nReceived: from peer.test ([192.0.2.25])\r\n\tby mail.example.test")
            assert (b"for <alice@example.test>" in data) == (len(recipients) == 1)
            assert b"bob" not in data
            await talk.end()

    run(main())


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (Reject("a virus\r\n250 ok"), b"554 5.7.1 a virus 250 ok\r\n"),
        (Reject(""), b"554 5.7.1 Message refused\r\n"),
        (Defer("later"), b"250 2.0.0 Ok: queued as "),  # durable already: the MTA carries it out
        (Quarantine("odd"), b"250 2.0.0 Ok: queued as "),
        (Discard("odd"), b"250 2.0.0 Ok: queued as "),
        (SpoolError("full", full=True), b"452 4.3.1"),
        (SpoolError("sick"), b"451 4.3.0"),
        (RuntimeError("a bug"), b"451 4.3.0"),
    ],
)
@pytest.mark.parametrize("size", [10, 400_000])
def test_what_the_kernel_says_is_what_the_peer_hears(tmp_path: Path, verdict: Verdict | Exception, said: bytes, size: int) -> None:
    """Case 6: a queue error is never a 5xx, and the connection stays up."""

    async def main() -> None:
        talk = Talk(tmp_path)
        talk.intake.verdict = verdict
        await talk.open()
        answer = await talk.send(b"\r\n" + b"x" * size + b"\r\n.\r\n")
        assert answer.startswith(said) and answer.count(b"\r\n") == 1
        if isinstance(verdict, SpoolError):
            assert talk.files == []
        if isinstance(verdict, RuntimeError):
            assert talk.log.errors == ["smtp.accept_failed"]
        talk.intake.verdict = Discard("")
        await talk.say("MAIL FROM:<a@b.test>", "RCPT TO:<bob@example.test>", "DATA")
        assert (await talk.send(b"\r\n.\r\n")).startswith(b"250")
        await talk.end()

    run(main())


def test_commands_behind_a_message_wait_for_its_answer(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open()
        talk.intake.gate = asyncio.Event()
        assert await talk.send(b"\r\none\r\n.\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<bob@exam") == b""
        assert await talk.send(b"ple.test\x3e\r\nDATA\r\n") == b""
        talk.intake.gate.set()
        said = await talk.heard()
        assert [line[:3] for line in said.splitlines()] == [b"250", b"250", b"250", b"354"]
        assert (await talk.send(b"two\r\n.\r\n")).startswith(b"250")
        assert talk.messages == [b"\r\none\r\n", b"two\r\n"]
        await talk.end()

    run(main())


def test_a_peer_that_sends_far_ahead_is_held(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open()
        talk.intake.gate = asyncio.Event()
        await talk.send(b"\r\n.\r\n" + b"NOOP\r\n" * 10)
        assert talk.wire.reading == []
        await talk.send(b"NOOP x\r\n" * 9000)
        assert talk.wire.reading == [False]
        talk.intake.gate.set()
        assert (await talk.heard()).endswith(b"Too many commands without a message\r\n")
        await talk.end()

    run(main())


def test_a_peer_that_leaves_while_its_message_is_taken(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open()
        talk.intake.gate = asyncio.Event()
        await talk.send(b"\r\nkept\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<bob@example.test>\r\nDATA\r\nnot kept\r\n.\r\n")
        talk.wire.abort()
        await talk.heard()
        talk.intake.gate.set()
        await talk.heard()
        assert talk.messages == [b"\r\nkept\r\n"] and not talk.house.connections and talk.log.errors == []
        await talk.house.gate.close()

    run(main())


@pytest.mark.parametrize("sent", [b"", b"x" * 100, b"\r\n" + b"x" * 400_000])
def test_a_peer_that_leaves_within_a_message_leaves_nothing(tmp_path: Path, sent: bytes) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open()
        await talk.send(sent)
        talk.wire.abort()
        await talk.heard()
        assert talk.messages == [] and talk.files == [] and not talk.house.connections
        await talk.house.gate.close()

    run(main())


def test_the_blacklist_of_a_domain(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, tables=Tables(blacklist=[BlacklistRecord(target="example.test", banned="*.spam.test")]))
        await talk.open(sender="<x@mx.spam.test>", data=False)
        assert (await talk.say("RCPT TO:<bob@example.test>")) == (
            b"550 5.7.1 The recipient's domain does not take mail from this sender\r\n"
        )
        assert (await talk.say("RSET", "MAIL FROM:<>", "RCPT TO:<bob@example.test>")).endswith(b"250 2.1.5 Recipient ok\r\n")
        await talk.end()

    run(main())


def test_while_delivery_lags_a_sender_waits(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        talk.intake.busy = asyncio.Event()
        await talk.connect()
        await talk.say("EHLO peer.test")
        assert await talk.send(b"MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@example.test>\r\n") == b""
        assert await talk.turn(20) == b""
        talk.intake.busy.set()
        assert (await talk.heard()) == b"250 2.1.0 Sender ok\r\n250 2.1.5 Recipient ok\r\n"
        await talk.end()

    run(main())


def test_a_sender_does_not_wait_for_ever(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        talk.intake.busy = asyncio.Event()
        await talk.connect()
        await talk.say("EHLO peer.test")
        assert await talk.say("MAIL FROM:<a@b.test>") == b""
        assert (await talk.turn(32)) == b"452 4.3.1 Too busy, try again later\r\n"
        assert (await talk.say("NOOP")).startswith(b"250")
        assert await talk.turn(298) == b""
        assert (await talk.turn(4)) == b"421 4.4.2 Timed out waiting for you\r\n"
        await talk.end()

    run(main())


def test_one_line_in_the_log_for_each_message(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open()
        await talk.clock.advance(2)
        await talk.send(b"\r\nhi\r\n.\r\n")
        (line,) = talk.log.of("smtp.accepted")
        envelope, data = talk.intake.taken[0]
        assert line == {
            "id": envelope.id, "peer": "192.0.2.25", "sender": "carol@sender.test", "recipients": 1, "size": len(data), "seconds": 2.0,
        }  # fmt: skip
        talk.intake.verdict = Reject("virus")
        await talk.say("MAIL FROM:<>", "RCPT TO:<bob@example.test>", "DATA")
        await talk.send(b"\r\nhi\r\n.\r\n")
        (line,) = talk.log.of("smtp.refused")
        assert line["reply"] == "554 5.7.1 virus" and line["sender"] == ""
        numbers = talk.house.metrics.exposition().splitlines()
        assert {'postroom_smtp_messages_total{outcome="accepted"} 1.0', 'postroom_smtp_messages_total{outcome="refused"} 1.0'} <= set(
            numbers
        )
        assert "postroom_smtp_connections_total 1.0" in numbers
        await talk.end()

    run(main())


def test_a_message_may_have_exactly_as_many_octets_as_size_says(tmp_path: Path) -> None:
    async def main() -> None:
        for octets, said in ((5000, b"250"), (5001, b"552")):
            talk = Talk(tmp_path, message=5000)
            await talk.open()
            body = b"A: b\r\n\r\n" + b"." * (octets - 10) + b"\r\n"
            assert (await talk.send(body[:8] + b"." + body[8:] + b".\r\n")).startswith(said)  # the stuffed dot does not count
            await talk.end()

    run(main())


def test_what_nobody_foresaw_ends_one_connection(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open(data=False)

        def broken(peer: object, address: object) -> None:
            raise ZeroDivisionError("a bug of ours")

        talk.house.refuses = broken
        assert (await talk.say("RCPT TO:<bob@example.test>")) == b"421 4.3.0 Local error, open another connection\r\n"
        assert talk.wire.is_closed and talk.log.errors == ["smtp.connection_failed"]
        assert (await talk.connect()).startswith(b"220")
        await talk.end()

    run(main())


def test_a_connection_that_ended_leaves_nothing_for_the_garbage_collector(tmp_path: Path) -> None:
    """Thousands come and go a second: what holds itself in a circle would lie about until the collector looks."""

    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open()
        assert (await talk.send(b"x\r\n.\r\n")).startswith(b"250")
        await talk.say("QUIT")
        assert talk.connection not in talk.house.connections
        gc.collect()
        gc.disable()
        try:
            before = sum(isinstance(one, Session) for one in gc.get_objects())
            del talk.connection
            talk.wire.protocol = None
            assert sum(isinstance(one, Session) for one in gc.get_objects()) == before - 1
        finally:
            gc.enable()

    run(main())
