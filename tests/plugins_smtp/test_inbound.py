"""postroom_smtp.inbound on real sockets: smtplib as the peer, large messages, half-closed connections, drain."""

from __future__ import annotations

import asyncio
import smtplib
import threading
import tracemalloc
from pathlib import Path

import pytest

from postroom.envelope import Envelope
from postroom.errors import SpoolError
from postroom.message import Message
from postroom.transfer import PASS, Verdict
from postroom_smtp.settings import SmtpSettings
from postroom_testing.waiting import until
from tests.plugins_smtp.desk import Intake, body_of
from tests.plugins_smtp.served import LOOPS, Client, Served, serve, trusting


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("tls", [False, True])
def test_smtplib_sends_what_arrives(tmp_path: Path, loop: str, tls: bool) -> None:
    small = b"From: carol@sender.test\r\nSubject: one\r\n\r\n.dots\r\n..\r\n.\r\nend\r\n"
    large = b"Subject: two\r\n\r\n" + b"".join(b".%d the quick brown fox\r\n" % n for n in range(60_000))

    def send(port: int) -> None:
        with smtplib.SMTP("127.0.0.1", port, "peer.test", timeout=10) as client:
            if tls:
                client._host = "localhost"  # type: ignore[attr-defined]
                client.starttls(context=trusting())
            for data in (small, large):
                client.sendmail("carol@sender.test", ["alice@example.test", "bob@example.test"], data, ["BODY=8BITMIME"])

    async def talk(served: Served) -> None:
        await asyncio.to_thread(send, served.ports["smtp"])
        assert [body_of(data) for _, data in served.intake.taken] == [small, large]
        assert [len(envelope.recipients) for envelope, _ in served.intake.taken] == [2, 2]

    serve(loop, tmp_path, talk, tls=tls)


@pytest.mark.parametrize("loop", LOOPS)
def test_memory_does_not_grow_with_the_message(tmp_path: Path, loop: str) -> None:
    line = b"x" * 998 + b"\r\n"

    async def talk(served: Served) -> None:
        served.intake.verdict = SpoolError("seen enough")  # the test's own intake would read it all
        client = await Client.connect(served.ports["smtp"])
        await client.reply()
        await client.say("EHLO peer.test", "MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>", "DATA")
        tracemalloc.start()
        client.writer.write(b"Subject: big\r\n\r\n")
        for _ in range(320):
            client.writer.write(line * 100)
            await client.writer.drain()
        assert (await client.say("."))[0].startswith(b"451")
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert served.log.of("smtp.refused")[0]["size"] > 32_000_000  # type: ignore[operator]
        assert peak < 4_000_000  # octets, the client's own buffers among them
        await client.close()

    serve(loop, tmp_path, talk)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_peer_that_closes_its_side_still_hears_the_answer(tmp_path: Path, loop: str) -> None:
    async def talk(served: Served) -> None:
        served.intake.gate = asyncio.Event()
        client = await Client.connect(served.ports["smtp"])
        await client.reply()
        await client.say("EHLO peer.test", "MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>", "DATA")
        client.writer.write(b"hi\r\n.\r\nQUIT\r\n")
        client.writer.write_eof()
        for _ in range(50):
            await asyncio.sleep(0)
        served.intake.gate.set()
        assert (await client.reader.read()).startswith(b"250 2.0.0 Ok: queued")
        await client.close()

    serve(loop, tmp_path, talk)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_agent_that_drains_lets_the_last_message_in(tmp_path: Path, loop: str) -> None:
    async def talk(served: Served) -> None:
        idle = await Client.connect(served.ports["smtp"])
        busy = await Client.connect(served.ports["smtp"])
        await idle.reply()
        await busy.reply()
        await busy.say("EHLO peer.test", "MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>", "DATA")
        draining = asyncio.ensure_future(served.agent.drain())
        assert (await idle.reply()).startswith(b"421")
        assert (await busy.say("hi\r\n."))[0].startswith(b"250")
        assert (await busy.say("NOOP"))[0].startswith(b"421")
        await draining
        with pytest.raises(OSError):
            await Client.connect(served.ports["smtp"])
        await idle.close()
        await busy.close()

    serve(loop, tmp_path, talk)


@pytest.mark.parametrize("loop", LOOPS)
def test_an_agent_that_is_cancelled_leaves_nothing_behind(tmp_path: Path, loop: str) -> None:
    clients: list[Client] = []

    async def talk(served: Served) -> None:
        for n in range(3):
            client = await Client.connect(served.ports["smtp"])
            clients.append(client)
            await client.reply()
            await client.say("EHLO peer.test", "MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>", "DATA")
            if n == 1:
                client.writer.write(b"x: y\r\n\r\n" + b"z" * 400_000)
                await client.writer.drain()
        served.intake.gate = asyncio.Event()
        clients[2].writer.write(b"hi\r\n.\r\n")
        await clients[2].writer.drain()
        served._running.cancel()
        await asyncio.gather(served._running, return_exceptions=True)
        for client in clients:
            await client.close()
        assert list(served.intake.folder.glob("*.MAI")) == []

    before = set(threading.enumerate())  # those of other tests, too
    serve(loop, tmp_path, talk)
    assert set(threading.enumerate()) <= before


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("tls", [False, True])
def test_whose_message_the_kernel_had_when_the_agent_ended_heard_nothing(
    tmp_path: Path, loop: str, tls: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And sent it again."""
    verdict = asyncio.Event()

    async def accept(self: Intake, envelope: Envelope, message: Message) -> Verdict:
        self.taken.append((envelope, await message.read()))
        await verdict.wait()
        return PASS

    monkeypatch.setattr(Intake, "accept", accept)

    async def talk(served: Served) -> None:
        client = await Client.connect(served.ports["smtp"])
        await client.reply()
        if tls:
            await client.say("EHLO peer.test", "STARTTLS")
            await client.secure()
        await client.say("EHLO peer.test", "MAIL FROM:<a@b.test>", "RCPT TO:<alice@example.test>", "DATA")
        client.writer.write(b"hi\r\n.\r\n")
        await until(lambda: served.intake.taken)
        asyncio.get_running_loop().call_later(0.1, verdict.set)
        served._running.cancel()
        await asyncio.gather(served._running, return_exceptions=True)
        assert (await client.reply()).startswith(b"250 2.0.0 Ok: queued")
        await client.close()

    serve(loop, tmp_path, talk, tls=tls)


@pytest.mark.parametrize("loop", LOOPS)
def test_two_listeners(tmp_path: Path, loop: str) -> None:
    async def talk(served: Served) -> None:
        assert set(served.ports) == {"smtp", "smtp-2"}
        for port in served.ports.values():
            client = await Client.connect(port)
            assert (await client.reply()) == b"220 mail.example.test ESMTP postroom\r\n"
            await client.close()

    serve(loop, tmp_path, talk, settings=SmtpSettings.model_validate({"listen": [{"port": 0}, {"port": 0}]}))
