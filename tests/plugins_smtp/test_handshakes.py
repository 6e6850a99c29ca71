"""TLS handshakes that do not end: they are counted from the first packet and leave nothing behind, whoever gives up first."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postroom_smtp.settings import SmtpSettings
from tests.plugins_smtp.served import LOOPS, Client, Served, serve, trusting

FEW = SmtpSettings.model_validate({"listen": [{"port": 0, "tls": "implicit"}], "exempt": [], "connections_per_ip": 2})


async def gone(client: Client) -> bool:
    """Whether the server hung up."""
    try:
        return await asyncio.wait_for(client.reader.read(), 5) == b""
    except ConnectionError:
        return True


@pytest.mark.filterwarnings("ignore:unclosed transport")  # asyncio's own, after a handshake that was given up
@pytest.mark.parametrize("loop", LOOPS)
def test_a_handshake_cancelled_after_starttls_leaves_no_connection(tmp_path: Path, loop: str) -> None:
    async def talk(served: Served) -> None:
        house = served.agent.house
        client = await Client.connect(served.ports["smtp"])
        await client.reply()
        assert (await client.say("EHLO peer.test", "STARTTLS"))[1].startswith(b"220")
        (connection,) = house.connections
        assert connection.task is not None
        connection.task.cancel()
        await asyncio.gather(connection.task, return_exceptions=True)
        assert not house.connections and house.live == 0 and len(house.wheel) == 0
        assert await gone(client)
        await client.close()

    serve(loop, tmp_path, talk, tls=True)


@pytest.mark.filterwarnings("ignore:unclosed transport")
@pytest.mark.parametrize("loop", LOOPS)
def test_who_never_begins_tls_counts_as_a_connection(tmp_path: Path, loop: str) -> None:
    """Else one address could hold every descriptor of the port where TLS comes first."""

    async def talk(served: Served) -> None:
        house, port = served.agent.house, served.ports["smtps"]
        silent = [await Client.connect(port), await Client.connect(port)]
        late = await Client.connect(port)
        assert await gone(late) and house.live == 2
        await silent[0].close()
        while house.live == 2:
            await asyncio.sleep(0)
        client = await Client.connect(port, trusting())
        assert (await client.reply()).startswith(b"220 ") and house.live == 2
        assert (await client.say("QUIT"))[0].startswith(b"221")
        for one in (client, silent[1], late):
            await one.close()
        while house.live:
            await asyncio.sleep(0)

    serve(loop, tmp_path, talk, tls=True, settings=FEW)


@pytest.mark.filterwarnings("ignore:unclosed transport")
@pytest.mark.parametrize("loop", LOOPS)
def test_draining_waits_for_no_handshake(tmp_path: Path, loop: str) -> None:
    async def talk(served: Served) -> None:
        client = await Client.connect(served.ports["smtps"])
        while not served.agent.house.live:
            await asyncio.sleep(0)
        await asyncio.wait_for(served.agent.drain(), 5)
        assert await gone(client) and not served.agent.house.live
        await client.close()

    serve(loop, tmp_path, talk, tls=True, settings=FEW)


@pytest.mark.filterwarnings("ignore:unclosed transport")
@pytest.mark.parametrize("loop", LOOPS)
def test_the_first_sealed_commands_are_heard_however_early(tmp_path: Path, loop: str) -> None:
    async def talk(served: Served) -> None:
        for _ in range(10):
            client = await Client.connect(served.ports["smtps"], trusting())
            client.writer.write(b"EHLO peer.test\r\nNOOP\r\nQUIT\r\n")
            assert [(await client.reply())[:3] for _ in range(4)] == [b"220", b"250", b"250", b"221"]
            await client.close()

    settings = SmtpSettings.model_validate({"listen": [{"port": 0, "tls": "implicit"}]})
    serve(loop, tmp_path, talk, tls=True, settings=settings)
