"""What one idle SMTP connection costs a server in memory, and what opening it costs in CPU: N of them are held after EHLO.

RSS counts shared pages once per process and so overcharges servers with a process per connection; PSS counts them once in all.
Socket buffers of the kernel are in neither.
"""

from __future__ import annotations

import contextlib
import resource
import socket
import time
from collections.abc import Sequence
from typing import BinaryIO

from bench import meter
from bench.line_up import line_up, options, progress
from bench.report import Figure, Report
from bench.server import HOST, Server

FIGURES = [
    Figure("held", "held"),
    Figure("pss_kib", "PSS KiB/connection", ratio=True),
    Figure("rss_kib", "RSS KiB/connection"),
    Figure("all_mib", "PSS MiB in all"),
    Figure("processes", "processes"),
    Figure("open_ms", "CPU ms to open one", ratio=True),
    Figure("idle_ms", "CPU ms/s while idle"),
]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, ["postroom-wide", "aiosmtpd", "postfix"], runs=3)
    parser.add_argument(
        "--connections", default="2000", help="how many, several by commas; Postfix wants 1.2 MiB for each (default %(default)s)"
    )
    asked = parser.parse_args(arguments)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    counts = [int(word) for word in asked.connections.split(",")]
    with line_up(asked.servers, asked.dir, 1) as (servers, left_out):
        report = Report("SMTP: connections held idle", asked.dir, servers, left_out)
        for count in counts:
            for turn in range(asked.runs):
                for server in servers:
                    progress(f"{count} connections: run {turn + 1} of {asked.runs}: {server.name}")
                    report.add(f"{count} connections", server.name, run(server, count))
        print(report.json() if asked.json else report.text(FIGURES))


def run(server: Server, count: int) -> dict[str, float]:
    """From no connection to that many and back; a server that takes fewer shows in `held`. What one costs is the growth from half of
    them to all, because the first ones fit into memory that the start left free."""
    meter.quiet(server.groups)
    used = meter.cpu(server.groups)
    with contextlib.ExitStack() as closed:
        held = sum(_held(server.ports["smtp"], closed) for _ in range(count // 2))
        half, before = held, meter.memory(server.groups)
        held += sum(_held(server.ports["smtp"], closed) for _ in range(count - count // 2))
        meter.quiet(server.groups)
        opened = meter.cpu(server.groups)
        after, start = meter.memory(server.groups), time.perf_counter()
        time.sleep(2)
        idle = (meter.cpu(server.groups) - opened).total / (time.perf_counter() - start)
    meter.quiet(server.groups, at_most=30)
    each = max(held - half, 1)
    return {
        "held": held,
        "pss_kib": (after.pss - before.pss) / each,
        "rss_kib": (after.rss - before.rss) / each,
        "all_mib": after.pss / 1024,
        "processes": after.processes,
        "open_ms": (opened - used).total / max(held, 1) * 1e3,
        "idle_ms": idle * 1e3,
    }


def _held(port: int, closed: contextlib.ExitStack) -> bool:
    """Whether the server greeted and answered EHLO; the connection stays open then."""
    try:
        peer = closed.enter_context(socket.create_connection((HOST, port), 20))
        with peer.makefile("rb") as replies:
            _answered(replies, b"220")
            peer.sendall(b"EHLO bench.test\r\n")
            _answered(replies, b"250")
    except (OSError, ValueError):
        return False
    return True


def _answered(replies: BinaryIO, code: bytes) -> None:
    line = code + b"-"
    while line[3:4] == b"-":
        line = replies.readline()
        if not line.startswith(code):
            raise ValueError(line)


if __name__ == "__main__":
    main()
