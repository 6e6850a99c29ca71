"""How fast mail at rest leaves, and for how much CPU: 10,000 messages for 100 domains, ours and Postfix, to one smtp-sink on loopback.

Both queues are filled by SMTP while nothing can leave: ours while the name server fails for these domains, Postfix with
`defer_transports`. Then the way is free, and the clock runs from the operator's word (`postroom queue retry`; `postqueue -f`) until the
queue folders are empty. CPU is user + system of all processes of a server until it is idle again, without the sink, the name server and
the operator's command. Both may have 20 connections to the sink. Ours asks a loopback name server for MX and addresses; Postfix, which
could be pointed to one by /etc/resolv.conf only, is told the sink as its relay host and asks no DNS: that is to its favour. Every run
has domains of its own, so no answer is remembered from the last one. A run that loses or doubles a message ends the bench with an error.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol

from bench import line_up, meter, ours, peers
from bench.mail import file_for_smtp_source
from bench.report import Figure, Report
from bench.server import HOST, Absent, Server, free_ports, listening
from tests.nameserver import NameServer

CONNECTIONS = 20  # to the sink at a time, for both
SIDE_BY_SIDE = 4  # senders that fill a queue
FORGOTTEN = 31.0  # seconds until our resolver asks again what failed
PATIENCE = 600.0  # seconds for a queue to become empty

FIGURES = [
    Figure("rate", "messages/s", ratio=True),
    Figure("cpu_ms", "CPU ms/message", ratio=True),
    Figure("user_ms", "of it user"),
    Figure("filled", "filled/s"),
]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = line_up.options(__doc__, ["postroom", "postfix"], runs=5)
    parser.add_argument("--count", type=int, default=10_000, help="messages a run (default %(default)s)")
    parser.add_argument("--domains", type=int, default=100, help="that share them (default %(default)s)")
    asked = parser.parse_args(arguments)
    if not (shutil.which("smtp-source") and shutil.which("smtp-sink")):
        sys.exit("smtp-source and smtp-sink are not installed; they come with the distribution's postfix package")
    names, each = Names(), asked.count // asked.domains
    with names.serving(), own_sink() as sink, roads(asked.servers, asked.dir, sink, names) as (all, left_out):
        report = Report("Outbound: a queue at rest", asked.dir, [road.server for road in all], left_out)
        case = f"{asked.domains * each} messages of 4 KiB for {asked.domains} domains"
        for turn in range(asked.runs):
            for road in all:
                line_up.progress(f"{case}: run {turn + 1} of {asked.runs}: {road.server.name}")
                domains = [f"d{number}.run{turn}.{road.server.name}.test" for number in range(asked.domains)]
                report.add(case, road.server.name, run(road, domains, each, sink))
        print(report.json() if asked.json else report.text(FIGURES))


class Names:
    """A name server in a thread. A domain that was shut gives SERVFAIL until it is opened; all lead to the sink."""

    def __init__(self) -> None:
        self._dns = NameServer()

    @property
    def port(self) -> int:
        return self._dns.port

    @contextlib.contextmanager
    def serving(self) -> Iterator[None]:
        loop, ready = asyncio.new_event_loop(), threading.Event()
        over = asyncio.Event()

        async def serve() -> None:
            async with self._dns:
                ready.set()
                await over.wait()

        thread = threading.Thread(target=lambda: loop.run_until_complete(serve()), daemon=True)
        thread.start()
        ready.wait()
        try:
            yield
        finally:
            loop.call_soon_threadsafe(over.set)
            thread.join()
            loop.close()

    def shut(self, domains: Sequence[str]) -> None:
        for domain in domains:
            self._dns.put({f"MX {domain}": f"10 mx.{domain}.", f"A mx.{domain}": HOST})
        self._dns.failing |= set(domains)

    def open(self, domains: Sequence[str]) -> None:
        self._dns.failing -= set(domains)


class Sink:
    """Debian's smtp-sink, which counts what it takes."""

    def __init__(self, port: int, counts: Path) -> None:
        self.port, self._counts = port, counts

    @property
    def messages(self) -> int:
        """Taken so far; it tells now and then, the last ones when their connections have ended."""
        with self._counts.open("rb") as file:
            file.seek(max(0, self._counts.stat().st_size - 400))
            found = re.findall(rb"mesg=(\d+)", file.read())
        return int(found[-1]) if found else 0


@contextlib.contextmanager
def own_sink() -> Iterator[Sink]:
    """One for all servers."""
    (port,) = free_ports(1)
    with tempfile.TemporaryDirectory() as folder, (Path(folder) / "counts").open("wb") as counts:
        process = subprocess.Popen(["smtp-sink", "-c", "-u", "nobody", f"{HOST}:{port}", "1000"], stdout=counts, stderr=counts)
        try:
            listening(port, process, Path(counts.name))
            yield Sink(port, Path(counts.name))
        finally:
            process.kill()
            process.wait()


class Road(Protocol):
    """A server whose queue is filled and let go."""

    @property
    def server(self) -> Server: ...

    def shut(self, domains: Sequence[str]) -> None:
        """From now on mail for these rests."""

    def open(self, domains: Sequence[str]) -> None:
        """The way is free; nothing leaves yet."""

    def let_go(self) -> subprocess.Popen[bytes]:
        """The operator's word."""

    def left(self) -> int:
        """Messages in its queues."""


@contextlib.contextmanager
def roads(names: str, inside: Path, sink: Sink, dns: Names) -> Iterator[tuple[list[Road], dict[str, str]]]:
    """All servers up at the same time, idle while it is not their turn; and those left out, each with the reason."""
    by_name: dict[str, Road] = {}

    def postroom(folder: Path, workers: int) -> Server:
        road = Ours(folder, workers, sink, dns)
        by_name[road.server.name] = road
        return road.server

    def postfix(folder: Path, mailboxes: int) -> Server:
        by_name["postfix"] = road = Postfix(folder, sink)
        return road.server

    starts = {"postroom": lambda f, _: postroom(f, 1), "postroom-2": lambda f, _: postroom(f, 2), "postfix": postfix}
    with line_up.line_up(names, inside, 1, starts) as (servers, left_out):
        yield [by_name[server.name] for server in servers], left_out


class Ours:
    """postroom, whose operator's word is `postroom queue retry`."""

    def __init__(self, folder: Path, workers: int, sink: Sink, names: Names) -> None:
        self._names, name = names, "postroom" if workers == 1 else f"postroom-{workers}"
        self._site = ours.Postroom(folder / "site", workers=workers, name=name)
        self._site.start()
        self._site.stop()
        outbound = f"outbound: {{port: {sink.port}, connections_per_host: {CONNECTIONS // workers}}}"
        self._site.change("smtp: {", f"smtp: {{{outbound}, ")
        more = f"dns: {{servers: [{HOST}], port: {names.port}}}\nlimits: {{per_hop: {CONNECTIONS}}}\n"
        self._site.change("\nplugins:", f"\n{more}\nplugins:")
        with (self._site.site / "Config" / "SMTP-ACCESS.TAB").open("a", newline="") as table:
            table.write(f"{HOST}\t1\tRELAY\tSYSTEM\r\n")
        ready = self._site.start()
        assert self._site.group
        version = ours.said("--version").removeprefix("postroom ")
        self.server = Server(
            name,
            version,
            "a record in the journal, by a synced write shared by all who wait",
            [self._site.group],
            (),
            {"smtp": ready.endpoints["smtp"][1]},
            scratch=[folder],
            note=f"{workers} worker{'s' if workers > 1 else ''}",
        )

    def shut(self, domains: Sequence[str]) -> None:
        self._names.shut(domains)

    def open(self, domains: Sequence[str]) -> None:
        self._names.open(domains)
        time.sleep(FORGOTTEN)

    def let_go(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([ours.program(), "queue", "retry", "--site", self._site.site], stdout=subprocess.DEVNULL)

    def left(self) -> int:
        return sum(_files(folder) for folder in (self._site.site / "Queues").glob("*/*"))


class Postfix:
    """Debian's Postfix, whose operator's word is `postqueue -f`."""

    def __init__(self, folder: Path, sink: Sink) -> None:
        more = f"relayhost = [{HOST}]:{sink.port}\nsmtp_destination_concurrency_limit = {CONNECTIONS}\n"
        self.server = peers.postfix(folder, 1, more=more)
        self._etc, self._spool = folder / "etc", folder / "spool"

    def shut(self, domains: Sequence[str]) -> None:
        self._set("defer_transports = smtp")

    def open(self, domains: Sequence[str]) -> None:
        self._set("defer_transports =")

    def _set(self, line: str) -> None:
        subprocess.run(["postconf", "-c", self._etc, "-e", line], check=True)
        subprocess.run(["postfix", "-c", self._etc, "reload"], check=True, stderr=subprocess.DEVNULL)
        time.sleep(1)  # reload returns before every process has heard of it

    def let_go(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["postqueue", "-c", self._etc, "-f"])

    def left(self) -> int:
        return sum(_files(self._spool / name) for name in ("maildrop", "incoming", "active", "deferred"))


def _files(folder: Path) -> int:
    """Queue files below a folder; what is beside them (`Messages`, `Done`) is no queue."""
    count = 0
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                count += _files(Path(entry)) if len(entry.name) == 1 else 0
            else:
                count += entry.name[0] != "."
    return count


def run(road: Road, domains: Sequence[str], each: int, sink: Sink) -> dict[str, float]:
    """Fill, let go, wait until nothing is left; from an idle server to an idle server."""
    server, count = road.server, each * len(domains)
    road.shut(domains)
    filled = _filled(road, domains, each)
    road.open(domains)
    meter.quiet(server.groups, at_most=10)
    taken, used, start = sink.messages, meter.cpu(server.groups), time.perf_counter()
    command = road.let_go()
    seconds = _emptied(road, since=start)
    meter.quiet(server.groups)
    spent = meter.cpu(server.groups) - used
    if command.wait(60):
        raise SystemExit(f"{server.name}: the command that lets the queue go said no")
    if not meter.waited(lambda: sink.messages - taken >= count, 40) or sink.messages - taken != count:
        raise SystemExit(f"{server.name} had {count} messages for the sink, which took {sink.messages - taken}")
    return {"rate": count / seconds, "cpu_ms": spent.total / count * 1e3, "user_ms": spent.user / count * 1e3, "filled": filled}


def _filled(road: Road, domains: Sequence[str], each: int) -> float:
    """Messages a second, once all lie in the queue."""
    server, start = road.server, time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        letter = file_for_smtp_source(Path(folder) / "letter", 4096)

        def send(domain: str) -> None:
            who = ["-s", "5", "-m", str(each), "-f", "rita@example.org", "-t", f"u@{domain}"]
            command = ["smtp-source", "-d", "-F", str(letter), *who, f"{HOST}:{server.ports['smtp']}"]
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            if done.returncode:
                raise Absent(f"{server.name} refused mail: {done.stderr.strip()}")

        with ThreadPoolExecutor(SIDE_BY_SIDE) as senders:
            list(senders.map(send, domains))
    wanted = each * len(domains)
    if not meter.waited(lambda: road.left() == wanted, 60):  # more are seen while some move from one folder to the next
        raise SystemExit(f"{road.left()} of {wanted} messages rest with {server.name}")
    return wanted / (time.perf_counter() - start)


def _emptied(road: Road, *, since: float) -> float:
    """Seconds until nothing is left. Looking costs CPU too, so it takes at most a tenth of the time."""
    while True:
        looked = time.perf_counter()
        if not (left := road.left()):
            return looked - since
        if looked - since > PATIENCE:
            raise SystemExit(f"{left} messages rest with {road.server.name} after {PATIENCE:.0f} s")
        time.sleep(max(0.01, 10 * (time.perf_counter() - looked)))


if __name__ == "__main__":
    main()
