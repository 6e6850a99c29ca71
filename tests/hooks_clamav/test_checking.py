"""`postroom check` and `postroom health`: a sentence with its remedy, or silence."""

from __future__ import annotations

import asyncio
from pathlib import Path

from postroom_clamav.checking import complaint_about
from postroom_clamav.pool import Address
from postroom_testing.ground import site_in
from tests.hooks_clamav.clamd import fake_clamd
from tests.hooks_clamav.house import event, small


def test_a_clamd_that_answers_is_nothing_to_complain_about(tmp_path: Path) -> None:
    async def main() -> None:
        async with fake_clamd(tmp_path / "c"), fake_clamd(tmp_path / "d", tcp=True) as by_tcp:
            assert await asyncio.to_thread(complaint_about, Address(tmp_path / "c"), 3.0) == ""
            assert await asyncio.to_thread(complaint_about, Address(None, "127.0.0.1", int(by_tcp.path.name)), 3.0) == ""

    asyncio.run(main())


def test_one_that_does_not_is_told_with_the_remedy(tmp_path: Path) -> None:
    async def main() -> None:
        missing = complaint_about(Address(tmp_path / "c"), 3.0)
        assert "No such file" in missing and "systemctl start clamav-daemon" in missing
        (tmp_path / "plain").write_bytes(b"")
        assert "Start it" in complaint_about(Address(tmp_path / "plain"), 3.0)
        async with fake_clamd(tmp_path / "c") as clamd:
            clamd.fault = "deaf"
            assert "look at its log" in await asyncio.to_thread(complaint_about, Address(tmp_path / "c"), 0.05)
            clamd.fault = "wrong pong"
            assert "is not clamd" in await asyncio.to_thread(complaint_about, Address(tmp_path / "c"), 3.0)
        assert "cannot be reached" in complaint_about(Address(None, "127.0.0.1", 1), 3.0)

    asyncio.run(main())


def test_check_and_health_of_a_site(tmp_path: Path) -> None:
    yaml = "server: m.example.test\nplugins: {tab: {watch: false}, clamav: {socket: c, operator: op@example.test, notify: [operator]}}\n"

    async def main() -> None:
        async with site_in(tmp_path, yaml) as parts:
            complaints = parts.host.check(parts.site)
            assert any("clamd at" in line and "Start it" in line for line in complaints)
            assert any("op@example.test cannot be delivered" in line for line in complaints)
            assert parts.host.health(parts.site) == []
            await parts.host.ask.transfer("mta_pickup", event(small()))
            (sentence,) = parts.host.health(parts.site)
            assert sentence.startswith("clamav: clamd at") and "mail waits in the queue. Start clamd" in sentence

    asyncio.run(main())
