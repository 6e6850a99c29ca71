"""A worker counts wrong passwords with the others of its site; where the disk refuses, alone, and says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

from postroom_net.throttle import Attempt
from postroom_run.worker import shared_throttle
from postroom_testing.faults import FaultDisk
from postroom_testing.ground import Lines, site_in

YAML = "server: mail.example.test\nplugins: {tab: {watch: false}}\n"
HOME = Attempt("bob@po", "198.51.100.1")


def test_workers_of_a_site_count_together_and_the_next_ones_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with site_in(tmp_path, YAML) as parts, site_in(tmp_path, YAML, worker=1) as others:
            ours, theirs = parts.site.login.throttle, others.site.login.throttle
            with shared_throttle(parts.site), shared_throttle(others.site):
                for _ in range(10):
                    ours.failed(HOME, 0.0)
                    theirs.failed(HOME, 0.0)
                assert ours.locked(HOME, 0.0) == theirs.locked(HOME, 0.0) > 0
        async with site_in(tmp_path, YAML, worker=2) as parts:
            assert parts.site.login.throttle.locked(HOME, 0.0) == 0
            with shared_throttle(parts.site):
                assert parts.site.login.throttle.locked(HOME, 0.0) > 0

    asyncio.run(main())


def test_where_the_disk_refuses_a_worker_counts_alone_and_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        disk, lines = FaultDisk(), Lines()
        async with site_in(tmp_path, YAML, disk=disk, log=lines) as parts:
            disk.how, disk.at = "full from there", len(disk.calls) + 1
            with shared_throttle(parts.site):
                disk.heal()
                assert "throttle.not_shared" in lines.events("warning")
                for _ in range(20):
                    parts.site.login.throttle.failed(HOME, 0.0)
                assert parts.site.login.throttle.locked(HOME, 0.0) > 0

    asyncio.run(main())
