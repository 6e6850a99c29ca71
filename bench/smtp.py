"""How many messages a second are accepted and delivered, and for how much CPU: ours, Postfix, and Postfix with Dovecot behind it.

The load is Postfix's smtp-source, one process per mailbox, each with its share of the sessions. "Accepted" ends at the last 250,
"delivered" when the last file lies in a mailbox, "synced" when the file system has been synced after that. CPU is user + system of
all processes of a server until it is idle again. A run that loses a message ends the bench with an error.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import meter
from bench.line_up import line_up, options, progress
from bench.mail import file_for_smtp_source
from bench.report import Figure, Report
from bench.server import HOST, Absent, Account, Server
from postroom_disk.disk import Disk

MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Case:
    title: str
    count: int
    sessions: int
    octets: int
    mime: bool
    kept: bool

    @property
    def is_large(self) -> bool:
        return self.octets >= MIB


FIGURES = [
    Figure("accepted", "accepted/s"),
    Figure("delivered", "delivered/s", ratio=True),
    Figure("synced", "synced/s"),
    Figure("mb", "MB/s in", ratio=True),
    Figure("cpu_ms", "CPU ms/message", ratio=True),
    Figure("user_ms", "of it user"),
    Figure("peak_mib", "peak PSS MiB", ratio=True),
    Figure("growth_mib", "of it grown"),
]


def cases(count: int, sessions: int) -> dict[str, Case]:
    return {
        "mime": Case(f"4 KiB MIME, {sessions} sessions, a connection each", count, sessions, 4096, True, False),
        "mime-kept": Case(f"4 KiB MIME, {sessions} sessions, connections kept", count, sessions, 4096, True, True),
        "plain": Case(f"4 KiB of X, {sessions} sessions, a connection each", count, sessions, 4096, False, False),
        "plain-kept": Case(f"4 KiB of X, {sessions} sessions, connections kept", count, sessions, 4096, False, True),
        "large": Case("25 MiB x 4, 2 sessions", 4, 2, 25 * MIB, False, False),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, ["postroom", "postroom-2", "postfix", "postfix-lmtp"], runs=5)
    parser.add_argument("--count", type=int, default=2000, help="messages a run (default %(default)s)")
    parser.add_argument("--sessions", type=int, default=10, help="side by side (default %(default)s)")
    parser.add_argument("--mailboxes", type=int, default=10, help="that share the mail (default %(default)s)")
    parser.add_argument("--cases", default="mime,mime-kept,plain,plain-kept,large", help="of these (default all)")
    asked = parser.parse_args(arguments)
    if not shutil.which("smtp-source"):
        sys.exit("smtp-source is not installed; it comes with the distribution's postfix package")
    known = cases(asked.count, asked.sessions)
    with line_up(asked.servers, asked.dir, asked.mailboxes) as (servers, left_out):
        report = Report("SMTP: accept, make durable, deliver", asked.dir, servers, left_out)
        for case in (known[name] for name in asked.cases.split(",")):
            for turn in range(asked.runs):
                for server in servers:
                    progress(f"{case.title}: run {turn + 1} of {asked.runs}: {server.name}")
                    report.add(case.title, server.name, run(server, case, asked.dir))
        print(report.json() if asked.json else report.text(FIGURES))


def run(server: Server, case: Case, folder: Path) -> dict[str, float]:
    """One case against one server, from an idle server to an idle server."""
    targets = server.accounts[: case.sessions]
    count = case.count // len(targets) * len(targets)
    letter = file_for_smtp_source(folder / f"bench-letter-{os.getpid()}", case.octets) if case.mime else None
    before = sum(account.delivered() for account in targets)
    memory, used, start = meter.memory(server.groups), meter.cpu(server.groups), time.perf_counter()
    with meter.Peak(server.groups if case.is_large else []) as peak:
        _sent(server, case, targets, count, letter)
        accepted = time.perf_counter() - start
        delivered = _arrived(targets, before + count, since=start)
    _synced(folder)
    synced = time.perf_counter() - start
    meter.quiet(server.groups)
    spent = meter.cpu(server.groups) - used
    if letter:
        letter.unlink()
    rates = {"accepted": count / accepted, "delivered": count / delivered, "synced": count / synced}
    times = {"cpu_ms": spent.total / count * 1e3, "user_ms": spent.user / count * 1e3}
    if not case.is_large:
        return rates | times
    sizes = {"peak_mib": peak.pss / 1024, "growth_mib": (peak.pss - memory.pss) / 1024, "mb": count * case.octets / accepted / 1e6}
    return rates | times | sizes


def _sent(server: Server, case: Case, targets: Sequence[Account], count: int, letter: Path | None) -> None:
    body = ["-F", str(letter)] if letter else ["-l", str(case.octets)]
    share = [max(case.sessions // len(targets), 1), count // len(targets)]
    options = [*body, *(["-d"] if case.kept else []), f"{HOST}:{server.ports['smtp']}"]
    shares = [["-s", str(share[0]), "-m", str(share[1]), "-f", "rita@example.org", "-t", account.address] for account in targets]
    sources = [
        subprocess.Popen(["smtp-source", *who, *options], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) for who in shares
    ]
    complaints = [source.communicate(timeout=600)[1].strip() for source in sources]
    if any(source.returncode for source in sources):
        raise Absent(f"{server.name} refused mail: " + "; ".join(filter(None, complaints)))


def _arrived(targets: Sequence[Account], wanted: int, *, since: float, patience: float = 300.0) -> float:
    """Seconds until all lie in mailboxes. Looking costs CPU too, so it takes at most a sixth of the time."""
    while True:
        looked = time.perf_counter()
        there = sum(account.delivered() for account in targets)
        if there >= wanted:
            if there > wanted:
                raise SystemExit(f"{there - wanted} messages more than were sent lie in {targets[0].inbox} and its neighbours")
            return looked - since
        if looked - since > patience:
            raise SystemExit(f"{wanted - there} messages were accepted and not delivered within {patience:.0f} s: {targets[0].inbox}")
        time.sleep(max(0.005, 5 * (time.perf_counter() - looked)))


def _synced(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY)
    try:
        Disk.syncfs(fd)
    finally:
        os.close(fd)


if __name__ == "__main__":
    main()
