"""TLS reports with a site in hand: what is counted, where it lies, and that each domain hears of a day once (RFC 8460).

Every worker counts in memory and writes its day to `smtp/tls-reports/<day>/<worker>.json` every five minutes and at its end, so a crash
costs that much of a statistic and nothing else. After midnight (UTC) whichever worker gets the lock adds up the files of the day and sends;
`sent` lists who was told, so a crash between two reports repeats one at most, under the same id. What cannot be sent for two days is dropped.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from postroom.address import smtp
from postroom.connectors import Endpoint
from postroom.envelope import Envelope, Recipient
from postroom.errors import DiskError
from postroom.message import MemoryMessage, derived_id
from postroom.site import Site
from postroom_net.https import Https, HttpsError, Request
from postroom_net.resolver import Temporary
from postroom_net.tlsrpt import DAY, Applied, Failure, Report, Reporter, Tally, destinations

FOLDER = Path("smtp") / "tls-reports"
_ROUND = 300.0  # seconds between two writes of what was counted, and two looks whether reports are due
_SETTLED = 1800.0  # seconds after midnight until every worker has written its day
_SPREAD = 4 * 3600.0  # seconds over which servers spread their reports (RFC 8460 section 4.1)
_RETRY = 3600.0  # seconds until those who could not be told are tried again
_GIVEN_UP = 2 * DAY  # seconds after the end of a day


class TlsReportSettings(BaseModel):
    """Reports to domains that ask for them, on how TLS with their hosts went."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    send: bool = Field(default=True, description="count TLS sessions by day and send reports to domains that ask for them (RFC 8460)")
    organization: str = Field(default="", max_length=200, description="who reports, for people; the server's name unless said")
    contact: str = Field(
        default="",
        pattern=r"^$|^[A-Za-z0-9._+-]+@[A-Za-z0-9.-]+$",
        description="address that reports come from and that they name for questions; postmaster at the server's name unless said",
    )


class Reports:
    """An agent: `note` counts, `run` writes and sends. Without `send` nothing is counted."""

    name = "smtp.tlsreports"
    endpoints: tuple[Endpoint, ...] = ()

    def __init__(self, site: Site, settings: TlsReportSettings, https: Https) -> None:
        server = site.settings.server
        self.by = Reporter(settings.organization or server, settings.contact or f"postmaster@{server}", server)
        self._site, self._settings, self._https = site, settings, https
        self._folder = site.root / FOLDER
        self._file = f"{site.worker}-{secrets.token_hex(4)}.json"
        self._fresh = [Tally(_day(site.clock.now()))]  # counted since the last write, the day of now last; the loop's
        self._days_here: dict[int, Tally] = {}  # all that this worker counted of days that are not over; whoever writes holds the lock
        self._unwritten: set[int] = set()  # of them
        self._writing = threading.Lock()
        self._after = _SETTLED + secrets.randbelow(int(_SPREAD))
        self._again = 0.0  # unix seconds before which nobody is asked again
        self._settled: dict[int, set[str]] = {}  # domains by day that need not be looked up again; `sent` survives us, this need not
        self.daily: Callable[[], None] = lambda: None  # called in a thread once a day: what else lies about
        self._tidied = _day(site.clock.now())

    def note(self, applied: Applied, failure: Failure | None = None) -> None:
        """Count a session."""
        if not self._settings.send:
            return
        today = _day(self._site.clock.now())
        if today != self._fresh[-1].day:
            self._fresh.append(Tally(today))
        self._fresh[-1].note(applied, failure)

    async def run(self) -> None:
        """Until cancelled; then what was counted is written."""
        try:
            while True:
                await self._site.clock.sleep(_ROUND)
                try:
                    await asyncio.to_thread(self._store, self._taken())
                    await self.send_due()
                    await self._tidy()
                except (OSError, DiskError) as error:
                    self._site.log.error("tlsreports.failed", error=str(error))
        finally:
            self._write_last()

    async def drain(self) -> None:
        """Nothing is under way that must end."""

    async def _tidy(self) -> None:
        if (today := _day(self._site.clock.now())) != self._tidied:
            self._tidied = today
            await asyncio.to_thread(self.daily)

    def _write_last(self) -> None:
        try:
            self.write()
        except OSError as error:
            self._site.log.error("tlsreports.not_written", error=str(error))

    # ------------------------------------------------------------ counting

    def write(self) -> None:
        """Put on disk what is not there yet. OSError: it is kept in memory."""
        self._store(self._taken())

    def _taken(self) -> list[Tally]:
        """What was counted since the last time, taken out of the loop's hands."""
        taken, self._fresh = self._fresh, [Tally(_day(self._site.clock.now()))]
        return [tally for tally in taken if tally.domains]

    def _store(self, taken: list[Tally]) -> None:
        """In a thread, or at the end."""
        with self._writing:
            for tally in taken:
                self._days_here.setdefault(tally.day, Tally(tally.day)).merge(tally)
                self._unwritten.add(tally.day)
            for day in sorted(self._unwritten):
                self._put(self._days_here[day])
                self._unwritten.discard(day)
            for day in sorted(self._days_here)[:-1]:
                del self._days_here[day]

    def _put(self, tally: Tally) -> None:
        folder = self._folder / _date(tally.day)
        self._site.disk.make_folders(folder)
        self._site.disk.write_aside(folder / self._file, tally.to_json())
        if tally.lost:
            self._site.log.warning("tlsreports.crowded", day=folder.name, lost=tally.lost)

    # ------------------------------------------------------------ sending

    async def send_due(self) -> None:
        """Send the reports of days that are over; the worker that gets the lock does. OSError, DiskError."""
        now = self._site.clock.now()
        days = [day for day in self._days() if now >= (day + 1) * DAY + self._after]
        if not days or now < self._again:
            return
        with self._lock() as is_ours:
            for day in days if is_ours else ():
                if await self._send(day) or now >= (day + 1) * DAY + _GIVEN_UP:
                    self._forget(day)
                else:
                    self._again = now + _RETRY

    def _days(self) -> list[int]:
        try:
            names = sorted(entry.name for entry in self._folder.iterdir() if entry.is_dir())
        except FileNotFoundError:
            return []
        return [day for name in names if (day := _parsed(name)) is not None]

    @contextmanager
    def _lock(self) -> Iterator[bool]:
        disk = self._site.disk
        fd = disk.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield _is_locked(fd)
        finally:
            disk.close(fd)

    async def _send(self, day: int) -> bool:
        """Whether nobody is left who should hear of the day."""
        tally, folder = await asyncio.to_thread(self._read, day), self._folder / _date(day)
        told, settled = _lines(folder / "sent"), self._settled.setdefault(day, set())
        for domain, policies in tally.domains.items():
            if domain not in settled and await self._send_to(Report(self.by, domain, day, policies), folder / "sent", told):
                settled.add(domain)
        return len(settled) == len(tally.domains)

    async def _send_to(self, report: Report, sent: Path, told: Collection[str]) -> bool:
        """Whether all whom a domain names were told."""
        try:
            wanted = destinations(await self._site.resolver.txt(f"_smtp._tls.{report.domain}"))
        except Temporary:
            return False
        is_done = True
        for where in (*(f"mailto:{one}" for one in wanted.mail), *wanted.web):
            if f"{report.domain} {where}" in told:
                continue
            if await self._tell(report, where):
                await asyncio.to_thread(self._note_sent, sent, f"{report.domain} {where}")
            else:
                is_done = False
        return is_done

    def _read(self, day: int) -> Tally:
        """What all workers counted."""
        tally = Tally(day)
        for path in sorted((self._folder / _date(day)).glob("*-*.json")):
            try:
                tally.merge(Tally.from_json(path.read_bytes()))
            except (ValueError, OSError) as error:
                self._site.log.error("tlsreports.unreadable", file=str(path), error=str(error))
        return tally

    async def _tell(self, report: Report, where: str) -> bool:
        """Whether it was taken."""
        try:
            if where.startswith("mailto:"):
                await self._mail(report, where.removeprefix("mailto:"))
            else:
                await self._post(report, where)
        except (HttpsError, DiskError, ValueError) as error:
            self._site.log.warning("tlsreports.not_sent", domain=report.domain, to=where, why=str(error))
            return isinstance(error, ValueError)  # it is no address, and never will be one
        self._site.log.info("tlsreports.sent", domain=report.domain, to=where, day=_date(report.day))
        return True

    async def _mail(self, report: Report, to: str) -> None:
        """Into our own queue, with the null sender: nobody is to hear that a report could not be delivered."""
        now = self._site.clock.now()
        text = MemoryMessage(derived_id(report.id, "tlsrpt", to), report.compose([to], now))
        await self._site.intake.accept(Envelope(text.id, text.id, "SMTP", None, (Recipient(smtp(to)),), now), text)

    async def _post(self, report: Report, url: str) -> None:
        request = Request.of(url, "POST", {"Content-Type": "application/tlsrpt+gzip"}, report.packed())  # RFC 8460 section 5.4
        answer = await self._https.ask(request)
        if not 200 <= answer.status < 300:
            raise HttpsError(f"{request.host} answered {answer.status}")

    def _note_sent(self, path: Path, line: str) -> None:
        disk = self._site.disk
        fd = disk.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            disk.write_all(fd, line.encode() + b"\n")
            disk.fsync(fd)
        finally:
            disk.close(fd)

    def _forget(self, day: int) -> None:
        folder = self._folder / _date(day)
        for path in sorted(folder.iterdir(), key=lambda path: path.name == "sent"):  # the counts first: `sent` guards them
            self._site.disk.unlink(path)
        self._site.disk.rmdir(folder)
        self._settled.pop(day, None)


def _is_locked(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _lines(path: Path) -> frozenset[str]:
    return frozenset(path.read_text("utf-8", "replace").splitlines()) if path.exists() else frozenset()


def _day(now: float) -> int:
    return int(now // DAY)


def _date(day: int) -> str:
    return datetime.fromtimestamp(day * DAY, UTC).date().isoformat()


def _parsed(name: str) -> int | None:
    """A folder's day."""
    try:
        return date.fromisoformat(name).toordinal() - date(1970, 1, 1).toordinal()
    except ValueError:
        return None
