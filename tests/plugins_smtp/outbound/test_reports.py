"""What is counted reaches the disk, is added up over workers, and each domain hears of a day once."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

from postroom.envelope import Envelope
from postroom.errors import DiskError
from postroom.message import Message
from postroom.site import Site
from postroom.transfer import PASS, Verdict
from postroom_disk.disk import Disk
from postroom_net.https import HttpsError, Request, Response
from postroom_net.tlsrpt import DAY, Applied, Failure
from postroom_smtp.outbound.reports import FOLDER, Reports, TlsReportSettings
from postroom_testing.clock import HandClock
from postroom_testing.ground import Lines, site_in
from tests.nameserver import NameServer

MIDNIGHT = 20_834 * DAY  # 2027-01-16
RECORD = {"TXT _smtp._tls.example.org": '"v=TLSRPTv1; rua=mailto:tls@example.org"'}
LATE = 6 * 3600.0  # after midnight: whatever the spread, reports are due
HERE, GONE = Applied("example.org"), Failure("certificate-expired", "mx.example.org")


class World:
    """Stands for the intake and the web."""

    def __init__(self) -> None:
        self.accepted: list[tuple[Envelope, bytes]] = []
        self.posted: list[Request] = []
        self.trouble: Exception | None = None

    async def accept(self, envelope: Envelope, message: Message) -> Verdict:
        if self.trouble is not None:
            raise self.trouble
        self.accepted.append((envelope, await message.read(0, message.size)))
        return PASS

    async def ask(self, request: Request) -> Response:
        if self.trouble is not None:
            raise self.trouble
        self.posted.append(request)
        return Response(201, {}, b"")

    def told(self, number: int = 0) -> dict[str, Any]:
        """What a report that was mailed says."""
        packed = [part for part in message_from_bytes(self.accepted[number][1]).walk() if part.get_content_subtype() == "tlsrpt+gzip"]
        octets = packed[0].get_payload(decode=True)
        assert isinstance(octets, bytes)
        said: dict[str, Any] = json.loads(gzip.decompress(octets))
        return said


class Scene:
    def __init__(self, site: Site, dns: NameServer, clock: HandClock, log: Lines) -> None:
        self.dns, self.clock, self.log, self.world = dns, clock, log, World()
        world: Any = self.world
        self.site = replace(site, intake=world)

    def worker(self, number: int = 0, **settings: object) -> Reports:
        https: Any = self.world
        return Reports(replace(self.site, worker=number), TlsReportSettings.model_validate(settings), https)


def run(folder: Path, test: Callable[[Scene], Awaitable[None]], records: Mapping[str, str] = RECORD, *, disk: Disk | None = None) -> None:
    async def main() -> None:
        clock, log = HandClock(MIDNIGHT + 3600.0), Lines()
        async with NameServer(records) as dns:
            yaml = f"server: mail.a.example\nplugins: {{tab: {{}}}}\nproviders: {{default: tab}}\ndns: {{servers: [127.0.0.1], port: {dns.port}}}\n"
            async with site_in(folder, yaml, clock=clock, log=log, disk=disk) as parts:
                await test(Scene(parts.site, dns, clock, log))

    asyncio.run(main())


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder / FOLDER)) for path in (folder / FOLDER).rglob("*") if path.is_file())


def test_a_day_of_two_workers_is_one_report(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        workers = [scene.worker(number) for number in range(2)]
        for worker in workers:
            worker.note(HERE)
            worker.note(HERE, GONE)
            worker.note(Applied("silent.example"))  # asks for no reports
            worker.write()
        scene.clock.set(MIDNIGHT + DAY + 60)
        for worker in workers:
            await worker.send_due()
        assert not scene.world.accepted  # others may still write
        scene.clock.set(MIDNIGHT + DAY + LATE)
        for worker in workers:
            await worker.send_due()
        ((envelope, text),) = scene.world.accepted
        assert envelope.sender is None and [str(one.address) for one in envelope.recipients] == ["[SMTP:tls@example.org]"]
        assert b'From: "mail.a.example" <postmaster@mail.a.example>' in text
        (policy,) = scene.world.told()["policies"]
        assert policy["summary"] == {"total-successful-session-count": 2, "total-failure-session-count": 2}
        assert files(tmp_path) == ["lock"]

    run(tmp_path, test)


def test_the_new_day_is_counted_apart(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        worker = scene.worker()
        worker.note(HERE)
        scene.clock.set(MIDNIGHT + DAY + 1)
        worker.note(HERE, GONE)
        worker.write()
        worker.write()
        assert [name.partition("/")[0] for name in files(tmp_path)] == ["2027-01-16", "2027-01-17"]
        scene.clock.set(MIDNIGHT + DAY + LATE)
        await worker.send_due()
        assert scene.world.told()["policies"][0]["summary"]["total-failure-session-count"] == 0
        assert [name.partition("/")[0] for name in files(tmp_path)] == ["2027-01-17", "lock"]

    run(tmp_path, test)


def test_a_crash_loses_what_was_not_written_and_sends_nothing_twice(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        first = scene.worker()
        first.note(HERE)
        first.write()
        first.note(HERE)  # and it dies
        second = scene.worker()
        second.note(HERE)
        second.write()
        scene.clock.set(MIDNIGHT + DAY + LATE)
        second._forget = lambda day: None  # type: ignore[method-assign]  # it dies after sending, before it removes the day
        await second.send_due()
        assert scene.world.told()["policies"][0]["summary"]["total-successful-session-count"] == 2
        await scene.worker().send_due()
        assert len(scene.world.accepted) == 1 and files(tmp_path) == ["lock"]

    run(tmp_path, test)


@pytest.mark.parametrize("trouble", [DiskError("full"), None])
def test_what_could_not_be_sent_is_sent_later_and_at_last_dropped(tmp_path: Path, trouble: DiskError | None) -> None:
    async def test(scene: Scene) -> None:
        worker = scene.worker()
        worker.note(HERE)
        worker.write()
        scene.world.trouble = trouble
        if trouble is None:
            scene.dns.failing.add("_smtp._tls.example.org")
        scene.clock.set(MIDNIGHT + DAY + LATE)
        await worker.send_due()
        assert len(files(tmp_path)) == 2 and not scene.world.accepted
        scene.world.trouble = None
        scene.dns.failing.clear()
        await scene.clock.advance(60)  # the resolver has forgotten the failure
        await worker.send_due()
        assert not scene.world.accepted  # they are tried once an hour
        scene.clock.set(MIDNIGHT + DAY + LATE + 3600)
        await worker.send_due()
        assert len(scene.world.accepted) == 1 and files(tmp_path) == ["lock"]
        scene.world.trouble = DiskError("full")
        scene.clock.set(MIDNIGHT + 5 * DAY)
        worker.note(HERE)
        scene.clock.set(MIDNIGHT + 8 * DAY)
        worker.write()
        await worker.send_due()
        assert files(tmp_path) == ["lock"]

    run(tmp_path, test)


def test_a_report_to_a_web_host(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        worker = scene.worker(organization="A", contact="tls@a.example")
        worker.note(HERE)
        worker.write()
        scene.clock.set(MIDNIGHT + DAY + LATE)
        scene.world.trouble = HttpsError("500")
        await worker.send_due()
        assert len(files(tmp_path)) == 3
        scene.world.trouble = None
        scene.clock.set(MIDNIGHT + DAY + LATE + 3600)
        await worker.send_due()
        (request,) = scene.world.posted
        assert (request.host, request.method, request.target) == ("r.example.org", "POST", "/v1")
        assert request.fields["Content-Type"] == "application/tlsrpt+gzip"
        said = json.loads(gzip.decompress(request.body))
        assert (said["organization-name"], said["contact-info"]) == ("A", "tls@a.example")
        assert files(tmp_path) == ["lock"]  # an URL with a blank will never be one, so nobody waits for it

    run(tmp_path, test, {"TXT _smtp._tls.example.org": '"v=TLSRPTv1; rua=https://r.example.org/v1,https://a b/"'})


def test_only_who_has_the_lock_sends(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        worker = scene.worker()
        worker.note(HERE)
        worker.write()
        scene.clock.set(MIDNIGHT + DAY + LATE)
        with scene.worker(1)._lock() as is_ours:
            assert is_ours
            await worker.send_due()
            assert not scene.world.accepted
        await worker.send_due()
        assert len(scene.world.accepted) == 1

    run(tmp_path, test)


def test_a_damaged_file_costs_its_own_counts(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        worker = scene.worker()
        worker.note(HERE)
        worker.write()
        (tmp_path / FOLDER / "2027-01-16" / "7-aa.json").write_bytes(b"{")
        (tmp_path / FOLDER / "not a day").mkdir()
        scene.clock.set(MIDNIGHT + DAY + LATE)
        await worker.send_due()
        assert len(scene.world.accepted) == 1 and "tlsreports.unreadable" in scene.log.events("error")

    run(tmp_path, test)


def test_who_does_not_report_counts_nothing(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        worker = scene.worker(send=False)
        worker.note(HERE)
        worker.write()
        await worker.send_due()
        assert not (tmp_path / FOLDER).exists()

    run(tmp_path, test)


class Full(Disk):
    """A disk that may be full."""

    is_full = False

    def make_folders(self, folder: Path) -> None:
        if self.is_full and FOLDER.name in folder.parts:
            raise OSError(28, "No space left on device")
        super().make_folders(folder)


def test_a_full_disk_is_told_and_the_counts_are_kept(tmp_path: Path) -> None:
    disk = Full()

    async def test(scene: Scene) -> None:
        worker = scene.worker()
        running = asyncio.create_task(worker.run())
        worker.note(HERE)
        disk.is_full = True
        await until(scene, lambda: "tlsreports.failed" in scene.log.events("error"))
        disk.is_full = False
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert len(files(tmp_path)) == 1  # written at its end

    run(tmp_path, test, disk=disk)


async def until(scene: Scene, holds: Callable[[], bool]) -> None:
    """Let five minutes pass, and threads do what they do."""
    await scene.clock.advance(300)
    for _ in range(1000):
        if holds():
            return
        await asyncio.to_thread(str)  # threads have their turn
    raise AssertionError("it never came to pass")


def test_once_a_day_the_house_is_tidied(tmp_path: Path) -> None:
    async def test(scene: Scene) -> None:
        worker, calls = scene.worker(), list[float]()
        worker.daily = lambda: calls.append(scene.clock.now())
        running = asyncio.create_task(worker.run())
        await scene.clock.advance(0)
        scene.clock.set(MIDNIGHT + DAY)
        await until(scene, lambda: bool(calls))
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        assert len(calls) == 1

    run(tmp_path, test)
