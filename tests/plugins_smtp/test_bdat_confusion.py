"""BDAT and what it can be confused with (RFC 3030, case 20)."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroom_smtp.settings import SmtpSettings
from tests.plugins_smtp.desk import Talk, run


def test_the_octets_of_a_chunk_are_no_commands_whatever_the_answer(tmp_path: Path) -> None:
    async def main() -> None:
        chunk = b"QUIT\r\nRSET\r\n"
        for before, answer in (
            ([], b"503 5.5.1"),
            (["MAIL FROM:<a@b.test>"], b"503 5.5.1"),
            (["MAIL FROM:<a@b.test>", "RCPT TO:<nobody@example.test>"], b"503 5.5.1"),
        ):
            for last in (b"", b" LAST"):
                talk = Talk(tmp_path)
                await talk.connect()
                await talk.say("EHLO peer.test", *before)
                said = await talk.send(b"BDAT %d%s\r\n" % (len(chunk), last) + chunk + b"NOOP\r\n")
                assert said.startswith(answer) and said.endswith(b"\r\n250 2.0.0 Ok\r\n") and said.count(b"\r\n") == 2
                assert talk.messages == []
                await talk.end()

    run(main())


@pytest.mark.parametrize("size", ["", "x", "-5", "1e3", "0x10", "5 6", "5 LASTLY", "99999999999999999999", "+5"])
def test_a_size_that_cannot_be_read_ends_the_connection(tmp_path: Path, size: str) -> None:
    """What follows cannot be told apart from commands."""

    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open(data=False)
        said = await talk.send(f"BDAT {size}\r\nMAIL FROM:<evil@b.test>\r\n".encode())
        assert said.startswith(b"501 5.5.4 BDAT") and said.count(b"\r\n") == 1
        assert talk.wire.is_closed
        await talk.end()

    run(main())


@pytest.mark.parametrize("command", ["DATA", "MAIL FROM:<a@b.test>", "RCPT TO:<bob@example.test>"])
def test_between_chunks_only_bdat_and_rset_make_sense(tmp_path: Path, command: str) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open(data=False)
        assert (await talk.send(b"BDAT 3\r\nabc")).startswith(b"250 2.0.0 3 octets")
        assert (await talk.say(command)).startswith(b"503 5.5.1 The message comes in BDAT chunks")
        assert (await talk.say("NOOP")).startswith(b"250")
        assert (await talk.send(b"BDAT 5 LAST\r\ndef\r\n")).startswith(b"250 2.0.0 Ok: queued")
        assert talk.messages == [b"abcdef\r\n"]
        await talk.end()

    run(main())


@pytest.mark.parametrize("reset", ["RSET", "EHLO again.test"])
def test_a_reset_forgets_the_chunks(tmp_path: Path, reset: str) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open(data=False)
        await talk.send(b"BDAT 300000\r\n" + b"x" * 300000)
        assert len(talk.files) == 1
        assert (await talk.say(reset)).startswith(b"250")
        assert talk.files == []
        assert (await talk.send(b"BDAT 0 LAST\r\n")).startswith(b"503")
        assert talk.messages == []
        await talk.end()

    run(main())


def test_nothing_and_the_last_of_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open(data=False)
        assert (await talk.send(b"BDAT 0\r\nBDAT 0 LAST\r\n")).startswith(b"250 2.0.0 0 octets received\r\n250 2.0.0 Ok: queued")
        assert talk.messages == [b""]
        await talk.end()

    run(main())


def test_dots_are_octets_like_others(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open(data=False)
        assert (await talk.send(b"BDAT 11 LAST\r\n..\r\n\r\n.\r\n\r\nNOOP\r\n")).startswith(b"250 2.0.0 Ok: queued")
        assert talk.messages == [b"..\r\n\r\n.\r\n\r\n"]
        await talk.end()

    run(main())


@pytest.mark.parametrize(("mode", "answer"), [("normalize", b"250"), ("reject", b"550 5.6.11")])
@pytest.mark.parametrize("cut", range(1, 8))
def test_bare_line_ends_in_text_chunks(tmp_path: Path, mode: str, answer: bytes, cut: int) -> None:
    """Also where a chunk ends between CR and LF, which is no bare line end, and at the very last octet, which is one."""

    async def main() -> None:
        for text, mended in (
            (b"a\r\nb\r\nc\r\n", b"a\r\nb\r\nc\r\n"),
            (b"a\nb\r\ncde\r\n", b"a\r\nb\r\ncde\r\n"),
            (b"a\r\nb\r\ncd\r", b"a\r\nb\r\ncd "),
        ):
            talk = Talk(tmp_path, settings=SmtpSettings.model_validate({"bare_lines": mode}))
            await talk.open(data=False)
            said = await talk.send(b"BDAT %d\r\n" % cut + text[:cut] + b"BDAT %d LAST\r\n" % len(text[cut:]) + text[cut:])
            last = said.split(b"\r\n")[1]
            if text == mended:
                assert last.startswith(b"250") and talk.messages == [text]
            elif answer == b"250":
                assert last.startswith(b"250") and talk.messages == [mended]
            else:
                assert answer in said and talk.messages == []
            await talk.end()

    run(main())


def test_after_a_failed_chunk_the_rest_is_read_and_refused(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, message=10_000)
        await talk.open(data=False)
        assert (await talk.send(b"BDAT 6000\r\n" + b"x" * 6000)).startswith(b"250")
        assert (await talk.send(b"BDAT 6000\r\n" + b"x" * 6000)).startswith(b"552 5.3.4")
        assert (await talk.send(b"BDAT 4\r\nQUIT")).startswith(b"503 5.5.1 BDAT out of turn")
        assert (await talk.send(b"BDAT 4 LAST\r\nQUIT")).startswith(b"503 5.5.1 BDAT out of turn")
        assert (await talk.say("MAIL FROM:<a@b.test>")).startswith(b"250")
        assert talk.messages == []
        await talk.end()

    run(main())


def test_a_chunk_beyond_all_bounds_is_not_waited_for(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open(data=False)
        assert (await talk.say("BDAT 999999999999 LAST")).startswith(b"552")
        assert talk.wire.is_closed
        await talk.end()

    run(main())


def test_octet_by_octet(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open(data=False)
        for octet in b"BDAT 4\r\na\r\nbBDAT 2 LAST\r\n\r\n":
            await talk.send(bytes([octet]))
        assert talk.messages == [b"a\r\nb\r\n"]
        await talk.end()

    run(main())
