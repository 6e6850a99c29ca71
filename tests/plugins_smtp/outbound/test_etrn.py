"""postroom_smtp.outbound.etrn: both ways."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from postroom.address import smtp
from postroom.envelope import Attempt, Envelope, Recipient
from postroom.message import MemoryMessage, new_id
from postroom_smtp.outbound.etrn import concerns, is_node
from postroom_testing.clock import HandClock
from postroom_testing.ground import site_in
from tests.due import due_items
from tests.plugins_smtp.outbound.world import MODERN, Server, World, envelope, run

HELD = 4102444800.0


@pytest.mark.parametrize(
    ("node", "domains", "wanted"),
    [
        ("b.test", ["b.test"], True),
        ("B.Test", ["a.test", "b.test"], True),
        ("b.test", ["x.b.test"], False),
        ("@b.test", ["x.b.test"], True),
        ("@b.test", ["b.test"], True),
        ("@b.test", ["xb.test"], False),
        ("b.test", ["a.test"], False),
    ],
)
def test_who_is_meant(node: str, domains: list[str], wanted: bool) -> None:
    assert concerns(envelope([Recipient(smtp(f"u@{domain}")) for domain in domains]), node) is wanted


def test_nodes() -> None:
    assert all(is_node(text) for text in ("b.test", "@b.test", "#queue", "x", "[192.0.2.1]"))
    assert not any(is_node(text) for text in ("", "@", "a b", "a\r\nb", "-x", "a" * 300, "ü"))


def test_what_waits_for_a_domain_becomes_due_and_nothing_else(tmp_path: Path) -> None:
    """Held items stay held, what was never tried waits for its own reason, and no command file is written."""
    clock = HandClock()
    yaml = "server: mail.a.test\nplugins:\n  tab: {watch: false}\n  store: {}\n  smtp: {listen: [{port: 0}]}\n"
    cases = {"mine": ("b.test", 1, 900.0), "other": ("c.test", 1, 900.0), "future": ("b.test", 0, 900.0), "held": ("b.test", 1, HELD)}

    async def main() -> None:
        async with site_in(tmp_path, yaml, clock=clock) as parts:
            spool, queue = parts.site.spool, parts.site.spool["SMTP"].outgoing
            items = {name: new_id() for name in cases}
            for name, (domain, count, after) in cases.items():
                due = after if after == HELD else clock.now() + after
                item, to = items[name], (Recipient(smtp(f"u@{domain}")),)
                made = Envelope(item, item, "SF", smtp("a@a.test"), to, clock.now(), attempt=Attempt(count, due), hop=domain)
                spool.rest(queue, made, MemoryMessage(item, b"x: y\r\n\r\n"))
            before = {path: path.read_bytes() for path in queue.folder.glob("*.MAI")}
            agent = parts.connectors["SMTP"].outbound  # type: ignore[attr-defined]
            assert await agent.try_now("B.test") == 1
            assert [item for queue, item in due_items(spool, clock.now())] == [items["mine"]]
            assert {path: path.read_bytes() for path in queue.folder.glob("*.MAI")} == before
            assert await agent.try_now("b.test") == 0
            (queue.folder / f"{new_id()}.MAI").write_bytes(b"rubbish")
            os.utime(next(path for path in queue.folder.glob("*.MAI") if path not in before), (clock.now() + 50,) * 2)
            assert await agent.try_now("none.test") == 0

    asyncio.run(main())


def asked(world: World, event: str) -> list[dict[str, object]]:
    return [facts for _, name, facts in world.log.told if name == event]


def test_a_host_is_asked_now_and_then() -> None:
    server = Server((*MODERN, "ETRN"), {"ETRN b.test": "253 5 messages", "ETRN c.test": "459 4.7.0 Not you"}, name="isp.test")
    world = World(server, dns={"A isp.test": "192.0.2.1"}, etrn={"isp.test": ["b.test", "c.test"]}, etrn_every=900)

    async def test() -> None:
        await world.keep()
        await world.clock.advance(1000)
        assert server.heard.count("ETRN b.test") == 2
        assert [line["reply"] for line in asked(world, "smtp.etrn")][:2] == ["253 2.0.0 5 messages", "459 4.7.0 Not you"]

    run(world, test)


@pytest.mark.parametrize(
    ("server", "wanted"),
    [
        (Server(name="isp.test"), "the host does not offer ETRN"),
        (Server((*MODERN, "ETRN"), {"ETRN": "421 4.3.2 Bye"}, name="isp.test"), "421 4.3.2 Bye"),
    ],
)
def test_a_host_that_does_not_do_it_is_told_of(server: Server, wanted: str) -> None:
    world = World(server, dns={"A isp.test": "192.0.2.1"}, etrn={"isp.test": ["b.test", "c.test"]})

    async def test() -> None:
        await world.keep()
        await world.clock.advance(1)
        assert asked(world, "smtp.etrn")[0]["reply"] == wanted

    run(world, test)


def test_a_host_out_of_reach_is_asked_again() -> None:
    world = World(dns={"A isp.test": "192.0.2.1"}, etrn={"isp.test": ["b.test"], "gone.test": ["b.test"]}, etrn_every=900)
    world.servers["192.0.2.1"] = ConnectionRefusedError(111, "Connection refused")

    async def test() -> None:
        await world.keep()
        await world.clock.advance(1)
        assert [str(line["error"])[:9] for line in asked(world, "smtp.etrn_failed")] == ["451 4.4.1", "gone.test"]
        world.servers["192.0.2.1"] = Server((*MODERN, "ETRN"), name="isp.test")
        await world.clock.advance(900)
        assert asked(world, "smtp.etrn")

    run(world, test)
