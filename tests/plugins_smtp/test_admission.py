"""Who is let in: SMTP-ACCESS and SMTP-DENY, limits, PROXY headers from listed hosts only (case 24), drain."""

from __future__ import annotations

import asyncio
from pathlib import Path

from postroom.records import AccessRecord
from postroom_smtp.settings import Listen, SmtpSettings
from tests.plugins_smtp.desk import Tables, Talk, run

DENIED = AccessRecord(mask="203.0.113.*")


def test_a_denied_address_hears_so_and_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, tables=Tables(deny=[DENIED]), ip="203.0.113.9")
        assert (await talk.connect()) == b"554 5.7.1 Connection refused by the administrator of this server\r\n"
        assert talk.wire.is_closed and not talk.house.connections
        assert talk.log.of("smtp.denied") == [{"peer": "203.0.113.9", "row": "203.0.113.*"}]
        assert (await talk.connect("::ffff:203.0.113.9")).startswith(b"554")
        assert (await talk.connect("203.0.114.9")).startswith(b"220")
        await talk.end()

    run(main())


def test_only_the_listed(tmp_path: Path) -> None:
    async def main() -> None:
        tables = Tables(access=[AccessRecord(mask="10.*")])
        talk = Talk(tmp_path, tables=tables, settings=SmtpSettings(admit="listed"))
        assert (await talk.connect("10.1.2.3")).startswith(b"220")
        assert (await talk.connect("11.1.2.3")).startswith(b"554")
        await talk.end()

    run(main())


def test_connections_at_a_time(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, settings=SmtpSettings(connections=5, connections_per_ip=3))
        wires = []
        for _ in range(3):
            assert (await talk.connect("192.0.2.1")).startswith(b"220")
            wires.append(talk.wire)
        assert (await talk.connect("192.0.2.1")) == b"421 4.7.0 Too many connections, try again later\r\n"
        assert talk.wire.is_closed
        for ip in ("192.0.2.2", "192.0.2.3"):
            assert (await talk.connect(ip)).startswith(b"220")
            wires.append(talk.wire)
        assert (await talk.connect("192.0.2.4")).startswith(b"421")
        wires.pop(0).abort()
        await talk.heard()
        assert (await talk.connect("192.0.2.1")).startswith(b"220")
        for wire in wires:
            wire.abort()
        await talk.end()
        assert not talk.house.connections

    run(main())


def test_connections_in_a_row(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, settings=SmtpSettings(connect_rate=0.1, connect_burst=2))
        heard = []
        for _ in range(4):
            heard.append((await talk.connect("192.0.2.1"))[:3])
            await talk.say("QUIT")
        assert heard == [b"220", b"220", b"421", b"421"]
        await talk.clock.advance(11)
        assert (await talk.connect("192.0.2.1")).startswith(b"220")
        await talk.end()

    run(main())


def test_loopback_is_limited_by_the_total_only(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, settings=SmtpSettings(connections_per_ip=1, connect_rate=0.001, connect_burst=1))
        wires = []
        for _ in range(5):
            assert (await talk.connect("127.0.0.1")).startswith(b"220")
            wires.append(talk.wire)
        for wire in wires:
            wire.abort()
        await talk.end()

    run(main())


BALANCED = Listen.model_validate({"port": 0, "proxy": ["10.0.0.0/8"]})


def test_a_balancer_names_its_client(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, listen=BALANCED, tables=Tables(deny=[DENIED]), ip="10.0.0.1")
        for header, said in (
            (b"PROXY TCP4 192.0.2.99 10.0.0.2 40000 25\r\n", b"220"),
            (b"PROXY TCP4 203.0.113.5 10.0.0.2 40000 25\r\n", b"554"),
            (b"PROXY TCP6 2001:db8::1 2001:db8::2 40000 25\r\n", b"220"),
            (b"PROXY UNKNOWN\r\n", b"220"),
        ):
            assert await talk.connect() == b""
            assert await talk.send(header[:10]) == b""
            assert (await talk.send(header[10:])).startswith(said)
            if said == b"220":
                name = header.split()[2] if b"TCP" in header else b"10.0.0.1"
                assert b"greets peer.test [" + name + b"]" in await talk.say("EHLO peer.test")
            talk.wire.abort()
            await talk.heard()
        await talk.house.gate.close()

    run(main())


def test_commands_may_follow_the_header_in_its_packet(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, listen=BALANCED, ip="10.0.0.1")
        await talk.connect()
        said = await talk.send(b"PROXY TCP4 192.0.2.99 10.0.0.2 40000 25\r\nNOOP\r\n")
        assert said.startswith(b"220") and said.endswith(b"250 2.0.0 Ok\r\n")
        await talk.end()

    run(main())


def test_nobody_else_may_name_a_client(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, listen=BALANCED, ip="192.0.2.66")
        assert (await talk.connect()).startswith(b"220")
        assert (await talk.send(b"PROXY TCP4 10.0.0.9 10.0.0.2 40000 25\r\n")).startswith(b"500")
        assert b"[192.0.2.66]" in await talk.say("EHLO peer.test")
        assert (await talk.say("XCLIENT ADDR=10.0.0.9")).startswith(b"500")
        await talk.end()

    run(main())


def test_a_balancer_that_sends_no_header_or_a_wrong_one_is_cut_off_without_a_word(tmp_path: Path) -> None:
    async def main() -> None:
        for header in (b"EHLO peer.test\r\n", b"PROXY TCP4 x y 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n\x31\x11\0\0"):
            talk = Talk(tmp_path, listen=BALANCED, ip="10.0.0.1")
            await talk.connect()
            assert await talk.send(header) == b"" and talk.wire.is_closed
            assert talk.log.of("smtp.bad_proxy_header")
            await talk.house.gate.close()
        talk = Talk(tmp_path, listen=BALANCED, ip="10.0.0.1")
        await talk.connect()
        assert await talk.turn(62) == b"" and talk.wire.was_aborted
        await talk.house.gate.close()

    run(main())


def test_drain_lets_transactions_end(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.open()
        talk.connection.drain()
        assert await talk.heard() == b""
        talk.intake.gate = asyncio.Event()
        assert await talk.send(b"\r\nx\r\n.\r\n") == b""
        talk.connection.drain()
        talk.intake.gate.set()
        assert (await talk.heard()).startswith(b"250")
        assert (await talk.say("MAIL FROM:<a@b.test>")) == b"421 4.3.2 Service is shutting down, try again soon\r\n"
        assert talk.wire.is_closed and len(talk.messages) == 1
        await talk.end()

    run(main())


def test_drain_sends_idle_peers_away_and_lets_nobody_in(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path)
        await talk.connect()
        talk.house.draining = True
        talk.connection.drain()
        assert await talk.heard() == b"421 4.3.2 Service is shutting down, try again soon\r\n" and talk.wire.is_closed
        assert (await talk.connect()) == b"421 4.3.2 Service is shutting down, try again soon\r\n"
        await talk.end()

    run(main())


def test_drain_before_the_greeting(tmp_path: Path) -> None:
    async def main() -> None:
        talk = Talk(tmp_path, settings=SmtpSettings(greet_delay=5))
        await talk.connect()
        talk.connection.drain()
        assert (await talk.heard()).startswith(b"421") and talk.wire.is_closed
        await talk.end()

    run(main())
