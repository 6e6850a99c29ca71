"""Thousands of IDLE sessions held while mail flows: what each costs, and how soon it is told of a letter.

Only ours: Dovecot keeps a process for each. Every mailbox has some sessions, which come from an address of their own (127.1.x.y); letters come by
SMTP, and each must be told to all sessions of its mailbox, or the bench ends with an error. Delays run from the 250 of a letter.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import resource
import shutil
import ssl
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import uvloop

from bench import meter, peers
from bench.idle_client import Box, dropped, ended, opened, written
from bench.line_up import progress
from bench.mail import message
from bench.ours import DOMAIN, PASSWORD, Postroom, added, said
from bench.report import Figure, Report
from bench.server import Account, Server

OCTETS = 3480
FIGURES = [
    Figure("sessions", "sessions"),
    Figure("opened", "opened/s"),
    Figure("open_ms", "CPU ms to open one"),
    Figure("pss_kib", "PSS KiB each"),
    Figure("all_mib", "PSS MiB in all"),
    Figure("idle_ms", "CPU ms/s while idle"),
    Figure("letters", "letters"),
    Figure("told", "EXISTS"),
    Figure("median_ms", "median ms"),
    Figure("late_ms", "99 % ms"),
    Figure("worst_ms", "worst ms"),
]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dir", type=Path, default=Path(tempfile.gettempdir()), help="where the site lies (see bench/loopfs)")
    parser.add_argument("--json", action="store_true", help="one JSON document in place of a table")
    parser.add_argument("--sessions", type=int, default=10_000, help="held at the same time (default %(default)s)")
    parser.add_argument("--mailboxes", type=int, default=1000, help="that have them (default %(default)s)")
    parser.add_argument("--letters", type=int, default=1000, help="sent meanwhile (default %(default)s)")
    parser.add_argument("--senders", type=int, default=4, help="SMTP connections they come by (default %(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="of the server (default %(default)s)")
    parser.add_argument("--tls", action="store_true", help="sessions over TLS")
    asked = parser.parse_args(arguments)
    folder = peers.new_folder(asked.dir, "idle")
    try:
        progress(f"a server with {asked.mailboxes} mailboxes")
        server = populated(folder, asked.mailboxes, asked.workers)
        try:
            report = Report("IMAP: sessions in IDLE while mail flows", asked.dir, [server], {})
            found = run(server, asked.sessions, asked.letters, asked.senders, tls=asked.tls)
            report.add("TLS" if asked.tls else "plain", server.name, found)
        finally:
            server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(report.json() if asked.json else report.text(FIGURES))


def populated(folder: Path, mailboxes: int, workers: int) -> Server:
    """Our server with many mailboxes: one is added by the command, its rows are written again for the others while the site is stopped."""
    ours = Postroom(folder / "site", workers=workers)
    ours.start()
    added(ours, "u0")
    ours.stop()
    for table in ("AUTH.TAB", "ADDRESS-MAP.TAB", f"Postoffices/{DOMAIN}/MAILBOX.TAB"):
        multiplied(ours.site / "Config" / table, mailboxes)
    ready = ours.start()
    assert ours.group
    names = [f"u{number}@{DOMAIN}" for number in range(mailboxes)]
    return Server(
        "postroom" if workers == 1 else f"postroom-{workers}",
        said("--version").removeprefix("postroom "),
        "a record in the journal, by a synced write shared by all who wait",
        [ours.group],
        [Account(name, name, PASSWORD, ours.inbox(f"{DOMAIN}/{name.partition('@')[0]}")) for name in names],
        {label: port for label, (_, port) in ready.endpoints.items()},
        note=f"{workers} worker{'s' if workers > 1 else ''}",
    )


def run(server: Server, count: int, letters: int, senders: int, *, tls: bool = False) -> dict[str, float]:
    """Memory is the growth from half of the sessions to all, because the first ones fit into memory that the start left free."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    boxes = [Box(account, f"127.1.{number // 250}.{number % 250 + 1}") for number, account in enumerate(server.accounts)]
    port, trust = server.ports["imaps" if tls else "imap"], _no_check() if tls else None
    half = max(count // 2 // len(boxes), 1) * len(boxes)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            progress(f"{count} sessions")
            used, start = meter.cpu(server.groups), time.perf_counter()
            runner.run(opened(boxes, half, port, trust))
            before = _settled(server)
            runner.run(opened(boxes, count - half, port, trust))
            took = time.perf_counter() - start
            after = _settled(server)
            open_cpu = (meter.cpu(server.groups) - used).total
            idle = _idle(server)
            progress(f"{letters} letters")
            delays = sorted(runner.run(written(boxes, letters, senders, server.ports["smtp"], message(OCTETS))))
            runner.run(ended(boxes))
        finally:
            runner.run(dropped(boxes))
    return {
        "sessions": sum(len(box.sessions) for box in boxes),
        "opened": count / took,
        "open_ms": open_cpu / count * 1e3,
        "pss_kib": (after.pss - before.pss) / (count - half),
        "all_mib": after.pss / 1024,
        "idle_ms": idle * 1e3,
        "letters": sum(box.letters for box in boxes),
        "told": len(delays),
        "median_ms": statistics.median(delays) * 1e3,
        "late_ms": delays[len(delays) * 99 // 100] * 1e3,
        "worst_ms": delays[-1] * 1e3,
    }


def multiplied(table: Path, count: int) -> None:
    """The rows of u0 for u1 and all others."""
    text = table.read_bytes()
    rows = [row for row in text.splitlines(keepends=True) if re.match(rb"u0[\t@]|\[SMTP:u0@", row)]
    if not rows:
        raise SystemExit(f"{table} has no row of u0")
    name = re.compile(rb"^u0(?=[\t@])|(?<=\[SMTP:)u0(?=@)|(?<=/)u0(?=\])")
    table.write_bytes(text + b"".join(name.sub(b"u%d" % number, row) for number in range(1, count) for row in rows))


def _settled(server: Server) -> meter.Memory:
    meter.quiet(server.groups, at_most=30)
    return meter.memory(server.groups)


def _idle(server: Server) -> float:
    """Share of a processor used while nothing happens."""
    start, used = time.perf_counter(), meter.cpu(server.groups)
    meter.waited(lambda: False, 2)
    return (meter.cpu(server.groups) - used).total / (time.perf_counter() - start)


def _no_check() -> ssl.SSLContext:
    """The peer is our own child; its certificate is no question here."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


if __name__ == "__main__":
    main()
