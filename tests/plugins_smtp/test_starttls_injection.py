"""STARTTLS and what is sent around it (RFC 3207, case 21; CVE-2011-0411, CVE-2021-38371): nothing said in the clear counts behind it."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from postroom_smtp.settings import SmtpSettings
from tests.plugins_smtp.served import LOOPS, Client, Served, serve, trusting


@pytest.mark.parametrize("loop", LOOPS)
def test_commands_behind_starttls_in_its_packet_are_refused(tmp_path: Path, loop: str) -> None:
    async def talk(served: Served) -> None:
        client = await Client.connect(served.ports["smtp"])
        await client.reply()
        await client.say("EHLO peer.test")
        client.writer.write(b"STARTTLS\r\nMAIL FROM:<evil@peer.test>\r\nRCPT TO:<alice@example.test>\r\n")
        assert (await client.reply()) == b"554 5.5.1 Nothing may follow STARTTLS before the handshake\r\n"
        assert (await client.reader.read()) == b""
        await client.close()

    serve(loop, tmp_path, talk, tls=True)


@pytest.mark.filterwarnings("ignore:unclosed transport <asyncio._SSLProtocolTransport")  # asyncio's own, after a failed handshake
@pytest.mark.parametrize("loop", LOOPS)
def test_commands_sent_between_the_220_and_the_handshake_are_no_handshake(tmp_path: Path, loop: str) -> None:
    async def talk(served: Served) -> None:
        client = await Client.connect(served.ports["smtp"])
        await client.reply()
        assert (await client.say("EHLO peer.test", "STARTTLS"))[1].startswith(b"220")
        client.writer.write(b"EHLO evil.test\r\nMAIL FROM:<evil@peer.test>\r\nRCPT TO:<alice@example.test>\r\n")
        try:
            heard = await client.reader.read()
        except ConnectionError:
            heard = b""
        assert b"250" not in heard and b"220" not in heard
        await client.close()
        assert served.log.of("smtp.handshake_failed") and not served.agent.house.connections

    serve(loop, tmp_path, talk, tls=True)
    gc.collect()


@pytest.mark.parametrize("loop", LOOPS)
def test_all_that_was_said_in_the_clear_is_forgotten(tmp_path: Path, loop: str) -> None:
    async def talk(served: Served) -> None:
        client = await Client.connect(served.ports["smtp"])
        await client.reply()
        said = await client.say("EHLO clear.test", "MAIL FROM:<evil@peer.test>", "RCPT TO:<alice@example.test>", "STARTTLS")
        assert b"STARTTLS" in said[0] and said[-1].startswith(b"220")
        await client.secure()
        said = await client.say("RCPT TO:<alice@example.test>", "MAIL FROM:<a@b.test>", "STARTTLS", "EHLO sealed.test", "DATA")
        assert [line[:3] for line in said] == [b"503", b"503", b"503", b"250", b"503"]
        assert b"STARTTLS" not in said[3]
        await client.say("MAIL FROM:<carol@peer.test>", "RCPT TO:<alice@example.test>", "DATA")
        assert (await client.say("Subject: x\r\n\r\nhi\r\n."))[0].startswith(b"250 2.0.0 Ok: queued")
        envelope, data = served.intake.taken[0]
        assert envelope.peer.helo == "sealed.test" and envelope.peer.tls.startswith("TLSv1.3 ")
        assert b" with ESMTPS id " in data and b"(TLSv1.3 TLS_" in data and b"clear.test" not in data
        assert (await client.say("QUIT"))[0].startswith(b"221")
        await client.close()

    serve(loop, tmp_path, talk, tls=True)


@pytest.mark.parametrize("loop", LOOPS)
def test_commands_that_come_with_the_end_of_the_handshake_are_heard(tmp_path: Path, loop: str) -> None:
    """The first sealed packet may come before our own side has noticed that it is done; its answer must be sealed too."""

    async def talk(served: Served) -> None:
        for _ in range(10):
            client = await Client.connect(served.ports["smtp"])
            await client.reply()
            await client.say("EHLO peer.test", "STARTTLS")
            await client.secure()
            client.writer.write(b"EHLO peer.test\r\nNOOP\r\nQUIT\r\n")
            assert [(await client.reply())[:3] for _ in range(3)] == [b"250", b"250", b"221"]
            await client.close()

    serve(loop, tmp_path, talk, tls=True)


@pytest.mark.parametrize("loop", LOOPS)
def test_implicit_tls(tmp_path: Path, loop: str) -> None:
    async def talk(served: Served) -> None:
        client = await Client.connect(served.ports["smtps"], trusting())
        assert (await client.reply()).startswith(b"220 ")
        said = await client.say("EHLO peer.test", "STARTTLS", "MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>", "DATA", "x\r\n.")
        assert b"STARTTLS" not in said[0] and said[1].startswith(b"503") and said[-1].startswith(b"250")
        assert served.intake.taken[0][0].peer.tls.startswith("TLSv1.3")
        await client.close()

    settings = SmtpSettings.model_validate({"listen": [{"port": 0, "tls": "implicit"}]})
    serve(loop, tmp_path, talk, tls=True, settings=settings)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_peer_that_speaks_no_tls_to_implicit_tls(tmp_path: Path, loop: str) -> None:
    async def talk(served: Served) -> None:
        client = await Client.connect(served.ports["smtps"])
        client.writer.write(b"EHLO peer.test\r\n")
        try:
            assert b"220" not in await client.reader.read()
        except ConnectionError:
            pass
        await client.close()
        assert not served.agent.house.connections

    settings = SmtpSettings.model_validate({"listen": [{"port": 0, "tls": "implicit"}]})
    serve(loop, tmp_path, talk, tls=True, settings=settings)


@pytest.mark.parametrize("loop", LOOPS)
def test_without_a_certificate_nothing_is_offered(tmp_path: Path, loop: str) -> None:
    async def talk(served: Served) -> None:
        client = await Client.connect(served.ports["smtp"])
        await client.reply()
        said = await client.say("EHLO peer.test", "STARTTLS")
        assert b"STARTTLS" not in said[0] and said[1].startswith(b"502")
        await client.close()

    serve(loop, tmp_path, talk)
