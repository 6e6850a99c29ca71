"""Peers that talk too early, too long, too much, too slowly or without end (case 23)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postroom_smtp.grammar import LINE, PARAMETERS
from postroom_smtp.settings import SmtpSettings
from tests.plugins_smtp.desk import Talk, run


def test_an_early_talker_is_turned_away(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, settings=SmtpSettings(greet_delay=5))
        assert await talk.connect() == b""
        assert (await talk.send(b"EHLO bot.test\r\n")) == b"554 5.5.1 You spoke before the greeting\r\n"
        assert talk.wire.is_closed
        assert not talk.house.connections
        await talk.end()

    run(main())


def test_who_waits_is_greeted(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, settings=SmtpSettings(greet_delay=5))
        assert await talk.connect() == b""
        assert await talk.turn(4) == b""
        assert (await talk.turn(3)).startswith(b"220 ")
        assert (await talk.say("NOOP")).startswith(b"250")
        await talk.end()

    run(main())


def test_a_line_without_end_costs_no_memory_and_one_reply(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.connect()
        for _ in range(200):
            assert await talk.send(b"x" * 5000) == b""
            assert talk.connection._session is not None and talk.connection._session.waiting <= LINE + PARAMETERS
        assert (await talk.send(b"\r\nNOOP\r\n")) == b"500 5.5.2 Line too long\r\n250 2.0.0 Ok\r\n"
        await talk.end()

    run(main())


def test_lines_at_the_limit(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.connect()
        await talk.say("EHLO peer.test")
        assert (await talk.say("NOOP " + "x" * (LINE - 5))).startswith(b"250")
        assert (await talk.say("NOOP " + "x" * (LINE - 4))) == b"500 5.5.2 Line too long\r\n"
        path = "MAIL FROM:<a@b.test>"
        assert (await talk.say(path + " " * (LINE + PARAMETERS - len(path)))).startswith(b"250 2.1.0")
        assert (await talk.say("RSET" + " " * (LINE + PARAMETERS))) == b"500 5.5.2 Line too long\r\n"
        await talk.end()

    run(main())


def test_ten_thousand_recipients(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open(data=False)
        said = await talk.send(b"".join(b"RCPT TO:<u%d@example.test>\r\n" % n for n in range(10_000)))
        lines = said.splitlines()
        assert lines.count(b"250 2.1.5 Recipient ok") == 999
        assert lines.count(b"452 4.5.3 Too many recipients, send the rest in another message") == 1000
        assert lines[-1] == b"421 4.7.0 Too many errors" and talk.wire.is_closed
        await talk.end()

    run(main())


def test_the_thousand_that_were_taken_get_their_message(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open(data=False)
        await talk.send(b"".join(b"RCPT TO:<u%d@example.test>\r\n" % n for n in range(1500)))
        assert (await talk.send(b"DATA\r\n")).startswith(b"354")
        assert (await talk.send(b".\r\n")).startswith(b"250")
        assert len(talk.intake.taken[0][0].recipients) == 1000
        await talk.end()

    run(main())


@pytest.mark.parametrize("command", ["NOOP", "RSET", "VRFY x", "HELP", "EHLO peer.test", "HELO peer.test"])
def test_commands_without_mail_come_to_an_end(tmp_path: Path, command: str) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.connect()
        said = await talk.send(f"{command}\r\n".encode() * 1000)
        assert said.endswith(b"421 4.7.0 Too many commands without a message\r\n") and talk.wire.is_closed
        assert len(said) < 50_000
        await talk.end()

    run(main())


@pytest.mark.parametrize("command", ["RCPT TO:<nobody@example.test>", "XYZZY", "DATA", "AUTH PLAIN x", "BDAT 0 LAST", "\0"])
def test_mistakes_come_to_an_end(tmp_path: Path, command: str) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.connect()
        await talk.say("EHLO peer.test", "MAIL FROM:<a@b.test>")
        said = await talk.send(f"{command}\r\n".encode() * 1000)
        lines = said.splitlines()
        assert len(lines) == 21 and lines[-1] == b"421 4.7.0 Too many errors" and talk.wire.is_closed
        await talk.end()

    run(main())


def test_a_message_clears_the_account(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.connect()
        await talk.say("EHLO peer.test")
        for _ in range(5):
            await talk.send(b"XYZZY\r\n" * 15 + b"NOOP\r\n" * 80)
            await talk.say("MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>", "DATA")
            assert (await talk.send(b".\r\n")).startswith(b"250")
        await talk.end()

    run(main())


def test_messages_on_one_connection_come_to_an_end(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, messages=3)
        await talk.connect()
        await talk.say("EHLO peer.test")
        one = b"MAIL FROM:<a@b.test>\r\nRCPT TO:<alice@example.test>\r\nDATA\r\n"
        for _ in range(3):
            await talk.send(one)
            await talk.send(b".\r\n")
        assert (await talk.send(one)) == b"421 4.7.0 Too many messages on one connection, open another\r\n"
        assert len(talk.messages) == 3 and talk.wire.is_closed
        await talk.end()

    run(main())


def test_a_lie_about_the_size(tmp_path: Path) -> None:
    """100 MB behind SIZE=100: memory and disk stay bounded, a moderate excess hears 552, an excessive one is cut."""

    async def main() -> None:
        talk = Talk(tmp_path, message=1_000_000)
        await talk.open(sender="<a@b.test> SIZE=100")
        for _ in range(8):
            assert await talk.send(b"x" * 998 + b"\r\n" + b"y" * 249_000) == b""
            assert sum(path.stat().st_size for path in talk.files) <= 1_001_000
        assert talk.files == []
        assert (await talk.send(b"\r\n.\r\n")) == b"552 5.3.4 Message too big\r\n"
        assert (await talk.say("MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>", "DATA")).endswith(b"<CR><LF>.<CR><LF>\r\n")
        sent = 0
        while not talk.wire.is_closed:
            said = await talk.send(b"x" * 250_000)
            sent += 250_000
            assert sent < 30_000_000
        assert said == b"552 5.3.4 Message too big\r\n"
        assert talk.messages == []
        await talk.end()

    run(main())


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"Received: x\r\n" * 51 + b"\r\n.\r\n", b"554 5.4.6"),
        (b"Received: x\r\n" * 50 + b"\r\n.\r\n", b"250"),
        (b"X: " + b"y" * 103_000 + b"\r\n\r\n.\r\n", b"552 5.3.4 Message header"),
        (b"X: y\r\n" * 60_000 + b"\r\n.\r\n", b"552 5.3.4 Message header"),
        (b"Received: x\r\n" * 51 + b"\r\n" + b"z" * 300_000 + b"\r\n.\r\n", b"554 5.4.6"),
        (b"X: y\r\n\r\n" + b"z" * 300_000 + b"\r\n.\r\n", b"250"),
    ],
)
def test_headers_have_bounds(tmp_path: Path, data: bytes, said: bytes) -> None:
    async def main() -> None:
        for size in (len(data), 60_000, 1460):
            talk = Talk(tmp_path)
            await talk.open()
            answers = [await talk.send(data[at : at + size]) for at in range(0, len(data), size)]
            assert b"".join(answers).startswith(said)
            if said != b"250":
                assert talk.files == []
            await talk.end()

    run(main())


def test_silence_between_commands(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.connect()
        assert await talk.turn(290) == b""
        assert (await talk.say("NOOP")).startswith(b"250")
        assert await talk.turn(290) == b""
        assert await talk.turn(15) == b"421 4.4.2 Timed out waiting for you\r\n"
        assert talk.wire.is_closed and not talk.house.connections and len(talk.house.wheel) == 0
        await talk.end()

    run(main())


def test_octets_of_a_command_earn_no_time(tmp_path: Path) -> None:
    """Slow-loris: a command an octet at a time."""

    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.connect()
        said = b""
        for octet in b"NOOP " + b"x" * 300:
            said = await talk.send(bytes([octet])) + await talk.turn(10)
            if said:
                break
        assert said == b"421 4.4.2 Timed out waiting for you\r\n" and talk.clock.monotonic() < 330
        await talk.end()

    run(main())


def test_a_message_below_the_data_rate(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open()
        said = b""
        while not said:
            said = await talk.send(b"x" * 100 + b"\r\n") + await talk.turn(10)
            assert talk.clock.monotonic() < 300
        assert said == b"421 4.4.2 Too slow\r\n" and talk.wire.is_closed
        assert talk.messages == []
        await talk.end()

    run(main())


def test_a_message_above_the_data_rate_may_take_its_time(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open()
        for _ in range(400):
            assert await talk.send(b"x" * 6000 + b"\r\n") + await talk.turn(10) == b""
        assert (await talk.send(b".\r\n")).startswith(b"250")
        await talk.end()

    run(main())


def test_silence_within_a_message(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open()
        await talk.send(b"x" * 300_000)
        assert len(talk.files) == 1
        assert await talk.turn(170) == b""
        assert (await talk.turn(15)) == b"421 4.4.2 Too slow\r\n"
        assert talk.wire.is_closed and talk.files == []
        await talk.end()

    run(main())


def test_silence_in_a_message_that_began_between_two_looks(tmp_path: Path) -> None:
    """The wheel looks when a command would be late; a message that began meanwhile may be late sooner."""

    async def main() -> None:
        talk = Talk(tmp_path, command_seconds=300, data_seconds=10)
        await talk.connect()
        assert await talk.turn(7) == b""
        await talk.say("EHLO peer.test", "MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>", "DATA")
        assert await talk.turn(8) == b""
        assert await talk.turn(3) == b"421 4.4.2 Too slow\r\n"
        await talk.end()

    run(main())


def test_after_a_message_the_peer_has_its_time_for_a_command(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, command_seconds=300, data_seconds=10)
        await talk.open()
        assert await talk.turn(8) == b""
        assert (await talk.send(b"x\r\n.\r\n")).startswith(b"250")
        for _ in range(29):
            assert await talk.turn(10) == b""
        assert await talk.turn(12) == b"421 4.4.2 Timed out waiting for you\r\n"
        await talk.end()

    run(main())


def test_a_session_that_ends_while_a_message_is_taken(tmp_path: Path) -> None:
    """It hears the answer, and then that its time is up, within a tick."""

    async def main() -> None:
        talk = Talk(tmp_path, session_seconds=60)
        talk.intake.gate = asyncio.Event()
        await talk.open()
        assert await talk.send(b"x\r\n.\r\n") == b""
        for _ in range(10):
            assert await talk.turn(10) == b""
        talk.intake.gate.set()
        assert (await talk.heard()).startswith(b"250")
        assert await talk.turn(1.5) == b"421 4.7.0 Session took too long, open another connection\r\n"
        await talk.end()

    run(main())


def test_a_connection_that_never_ends(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, session_seconds=1000, junk_commands=1000)
        await talk.connect()
        said = b""
        while b"421" not in said:
            said = await talk.say("NOOP") + await talk.turn(100)
            assert talk.clock.monotonic() < 1200
        assert said.endswith(b"421 4.7.0 Session took too long, open another connection\r\n") and talk.wire.is_closed
        await talk.end()

    run(main())


def test_a_peer_that_does_not_read_is_not_read_from(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.connect()
        talk.connection.pause_writing()
        assert talk.wire.reading == [False]
        talk.connection.resume_writing()
        assert talk.wire.reading == [False, True]
        talk.connection.pause_writing()
        assert (await talk.turn(301)) == b"421 4.4.2 Timed out waiting for you\r\n"
        await talk.end()

    run(main())


def test_last_words_that_nobody_reads(tmp_path: Path) -> None:
    """A closing transport waits for its buffer; we do not wait for ever."""

    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.connect()
        aborted: list[float] = []
        talk.wire.unsent = 15
        talk.wire.close = lambda: None  # type: ignore[method-assign]
        talk.wire.abort = lambda: aborted.append(talk.clock.monotonic())  # type: ignore[method-assign]
        await talk.say("QUIT")
        await talk.turn(25)
        assert aborted == []
        await talk.turn(10)
        assert aborted == [35]
        talk.connection.connection_lost(None)
        await talk.house.gate.close()

    run(main())
