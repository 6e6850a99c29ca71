"""The scanner's own loop: rests, signs of life, sweeping, and an end that leaves nothing open."""

from __future__ import annotations

import asyncio
from pathlib import Path

from postroom_clamav.pool import REST
from postroom_clamav.service import ClamavService
from postroom_testing.clock import HandClock
from postroom_testing.ground import site_in
from tests.hooks_clamav.clamd import fake_clamd
from tests.hooks_clamav.house import event, small

YAML = "server: m.example.test\nplugins: {tab: {watch: false}, clamav: {socket: c}}\n"


def test_the_loop_sweeps_tends_and_closes(tmp_path: Path) -> None:
    left = tmp_path / "run/clamav/0/LEFT"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"x")

    async def main() -> None:
        clock = HandClock()
        async with site_in(tmp_path, YAML, clock=clock) as parts:
            (service,) = [agent for _, agent in parts.agents if isinstance(agent, ClamavService)]
            assert (service.name, list(service.endpoints)) == ("clamav", [])
            running = asyncio.create_task(service.run())
            await clock.advance(1)
            assert not left.exists()
            await clock.advance(REST)  # nobody heard of clamd, and there is none
            while not parts.host.health(parts.site):
                await asyncio.sleep(0)
            async with fake_clamd(tmp_path / "c") as clamd:
                while parts.host.health(parts.site):
                    await clock.advance(10)
                assert clamd.commands == ["zIDSESSION", "zPING"]
                await parts.host.ask.transfer("mta_pickup", event(small()))
                await service.drain()
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
                while clamd.wires:  # it hung up
                    await asyncio.sleep(0)

    asyncio.run(main())
