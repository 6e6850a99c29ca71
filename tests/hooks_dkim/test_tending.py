"""New keys sign when DNS shows them and their time has come; old ones go. The clock is turned by hand, the name server is ours.

The delay here is 36 seconds and old keys are kept for 86: a site that sleeps for days wakes up for its own upkeep too often for a test."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from postroom_dkim.tending import DkimService
from tests.hooks_dkim.house import Bench, publish, signing, take_out
from tests.nameserver import NameServer

DOMAIN = "example.test"


@asynccontextmanager
async def tended(
    folder: Path, dns: NameServer, settings: str = "activate_after: 0.01, keep: 0.001"
) -> AsyncIterator[tuple[Bench, DkimService]]:
    async with (
        dns,
        signing(
            folder, f"algorithms: [ed25519], {settings}", more=f"dns: {{servers: [127.0.0.1], port: {dns.port}, timeout: 2}}\n"
        ) as bench,
    ):
        (service,) = [agent for _, agent in bench.parts.agents if isinstance(agent, DkimService)]
        bench.plugin.signer.shelf.ensure(DOMAIN)
        yield bench, service


def states(bench: Bench) -> list[str]:
    return [one.state for one in bench.plugin.signer.shelf.sets(DOMAIN)]


def test_new_keys_sign_when_dns_shows_them_after_the_delay(tmp_path: Path) -> None:
    async def main() -> None:
        dns = NameServer(ttl=5)
        async with tended(tmp_path, dns) as (bench, service):
            bench.plugin.signer.shelf.rotate(DOMAIN)
            wanted = bench.zone()
            publish(dns, wanted)
            await service.tend(DOMAIN)
            await bench.clock.advance(30)
            await service.tend(DOMAIN)
            assert states(bench) == ["active", "next"], "not before the delay"
            take_out(dns, wanted)
            await bench.clock.advance(10)
            await service.tend(DOMAIN)
            assert states(bench) == ["active", "next"] and "dkim.waiting" in bench.lines.events()
            publish(dns, dict.fromkeys(wanted, "v=DKIM1; k=ed25519; p=11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="))
            await bench.clock.advance(10)
            await service.tend(DOMAIN)
            assert states(bench) == ["active", "next"], "another key at its name is not it"
            publish(dns, wanted)
            await bench.clock.advance(40)
            await service.tend(DOMAIN)
            assert states(bench) == ["retired", "active"] and "dkim.activated" in bench.lines.events("info")
            await bench.clock.advance(90)
            await service.tend(DOMAIN)
            assert states(bench) == ["active"] and "dkim.dropped" in bench.lines.events("info")

    asyncio.run(main())


def test_a_name_server_that_cannot_tell_changes_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        dns = NameServer(ttl=5)
        async with tended(tmp_path, dns) as (bench, service):
            bench.plugin.signer.shelf.rotate(DOMAIN)
            publish(dns, bench.zone())
            dns.failing |= set(bench.zone())
            await bench.clock.advance(40)
            await service.tend(DOMAIN)
            assert states(bench) == ["active", "next"] and "dkim.not_told" in bench.lines.events()
            dns.failing.clear()
            await bench.clock.advance(40)
            await service.tend(DOMAIN)
            assert states(bench) == ["retired", "active"]

    asyncio.run(main())


def test_two_workers_that_see_it_at_once_make_one_change(tmp_path: Path) -> None:
    async def main() -> None:
        dns = NameServer(ttl=5)
        async with tended(tmp_path, dns) as (bench, service):
            bench.plugin.signer.shelf.rotate(DOMAIN)
            publish(dns, bench.zone())
            await bench.clock.advance(40)
            await asyncio.gather(*(service.tend(DOMAIN) for _ in range(3)))
            assert states(bench) == ["retired", "active"] and bench.lines.events().count("dkim.activated") == 1
            assert "dkim.tending" not in bench.lines.events()

    asyncio.run(main())


def test_the_operator_may_keep_it_to_himself(tmp_path: Path) -> None:
    async def main() -> None:
        dns = NameServer(ttl=5)
        async with tended(tmp_path, dns, "activate_after: 0") as (bench, service):
            bench.plugin.signer.shelf.rotate(DOMAIN)
            publish(dns, bench.zone())
            await bench.clock.advance(400)
            await service.tend(DOMAIN)
            assert states(bench) == ["active", "next"]

    asyncio.run(main())


def test_a_list_that_is_none_is_told_and_the_loop_lives_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with tended(tmp_path, NameServer(), "look_every: 10") as (bench, service):
            left = tmp_path / "run/dkim/0/LEFT.MAI"
            left.parent.mkdir(parents=True)
            left.write_bytes(b"of a killed worker")
            (tmp_path / "dkim/example.test/keys.json").write_text("{}")
            task = asyncio.create_task(service.run())
            await bench.clock.advance(1)
            await bench.clock.advance(25)
            task.cancel()
            await asyncio.wait([task])
            assert task.cancelled() and bench.lines.events("error").count("dkim.tending") == 3 and not left.exists()

    asyncio.run(main())
