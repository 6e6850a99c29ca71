"""What fetching mail by POP3 costs: ours against Dovecot in its default and in its high-performance login mode.

A session is USER, PASS, LIST, RETR of everything, QUIT, by a client on raw sockets that does not parse what it gets. Mailboxes hold
100 messages of 3.4 KiB, sent in beforehand by SMTP or LMTP; one mailbox is empty, for the cost of the bare session. Dovecot is told
one password in clear for all; ours keeps argon2id hashes and remembers a login for a while.
"""

from __future__ import annotations

import multiprocessing
import smtplib
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench import meter
from bench.line_up import line_up, options, progress
from bench.mail import message
from bench.meter import waited
from bench.report import Figure, Report
from bench.server import HOST, Account, Server

OCTETS = 3480
SIDE_BY_SIDE = 8

FIGURES = [
    Figure("sessions", "sessions/s", ratio=True),
    Figure("messages", "messages/s"),
    Figure("mb", "MB/s"),
    Figure("cpu_ms", "CPU ms/session", ratio=True),
    Figure("user_ms", "of it user"),
]


@dataclass(frozen=True, slots=True)
class Case:
    title: str
    parallel: int
    pipelined: bool
    empty: bool = False


CASES = [
    Case("100 messages, one session at a time", 1, False),
    Case("100 messages, one session at a time, RETR pipelined", 1, True),
    Case(f"100 messages, {SIDE_BY_SIDE} side by side", SIDE_BY_SIDE, False),
    Case(f"100 messages, {SIDE_BY_SIDE} side by side, RETR pipelined", SIDE_BY_SIDE, True),
    Case("empty mailbox, one session at a time", 1, False, empty=True),
]


@dataclass(frozen=True, slots=True)
class Visit:
    """What one client process is to do: so many sessions of one account."""

    port: int
    login: str
    password: str
    times: int
    pipelined: bool


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, ["postroom", "dovecot", "dovecot-fast"], runs=5)
    parser.add_argument("--sessions", type=int, default=80, help="a run, at least one a client (default %(default)s)")
    parser.add_argument("--messages", type=int, default=100, help="in each mailbox (default %(default)s)")
    asked = parser.parse_args(arguments)
    with line_up(asked.servers, asked.dir, SIDE_BY_SIDE + 1) as (servers, left_out):
        report = Report("POP3: fetch a mailbox", asked.dir, servers, left_out)
        for server in servers:
            progress(f"filling {server.name}")
            fill(server, server.accounts[:SIDE_BY_SIDE], asked.messages)
        for case in CASES:
            for turn in range(asked.runs):
                for server in servers:
                    progress(f"{case.title}: run {turn + 1} of {asked.runs}: {server.name}")
                    report.add(case.title, server.name, run(server, case, asked.sessions, 0 if case.empty else asked.messages))
        print(report.json() if asked.json else report.text(FIGURES))


def fill(server: Server, accounts: Iterable[Account], count: int) -> None:
    """The same mail for every server; returns when all of it can be fetched."""
    lmtp = server.ports.get("lmtp")
    for account in accounts:
        with smtplib.LMTP(HOST, lmtp) if lmtp else smtplib.SMTP(HOST, server.ports["smtp"]) as client:
            for number in range(count):
                client.sendmail("rita@example.org", [account.address], message(OCTETS, seed=number))
        if not waited(lambda account=account: account.delivered() >= count, 60):  # type: ignore[misc]
            raise SystemExit(f"{server.name} accepted {count} messages and delivered {account.delivered()} to {account.inbox}")


def run(server: Server, case: Case, sessions: int, messages: int) -> dict[str, float]:
    """One case against one server. The clients are processes, so that theirs is not the limit; they wait for each other at the start."""
    accounts = server.accounts[-1:] if case.empty else server.accounts[: case.parallel]
    times = max(sessions // case.parallel, 1)
    visits = [Visit(server.ports["pop3"], a.login, a.password, times, case.pipelined) for a in accounts]
    with multiprocessing.get_context("spawn").Pool(case.parallel) as pool:
        pool.map(_present, range(case.parallel), chunksize=1)
        used, start = meter.cpu(server.groups), time.perf_counter()
        got = pool.map(visited, visits, chunksize=1)
        wall = time.perf_counter() - start
    meter.quiet(server.groups)
    spent = meter.cpu(server.groups) - used
    done, fetched, octets = times * len(visits), sum(count for count, _ in got), sum(size for _, size in got)
    if fetched != done * messages:
        raise SystemExit(f"{server.name}: {fetched} messages fetched in {done} sessions, of {messages} each")
    rates = {"sessions": done / wall, "messages": fetched / wall, "mb": octets / wall / 1e6}
    return rates | {"cpu_ms": spent.total / done * 1e3, "user_ms": spent.user / done * 1e3}


def visited(visit: Visit) -> tuple[int, int]:
    """Messages and octets fetched."""
    results = [_session(visit) for _ in range(visit.times)]
    return sum(count for count, _ in results), sum(size for _, size in results)


def _present(_: int) -> None:
    """Makes the pool start its processes before the clock does."""


def _session(visit: Visit) -> tuple[int, int]:
    with socket.create_connection((HOST, visit.port), 60) as peer:
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = Reader(peer)
        reader.line()
        for command in (f"USER {visit.login}", f"PASS {visit.password}"):
            peer.sendall(command.encode() + b"\r\n")
            reader.line()
        peer.sendall(b"LIST\r\n")
        count = reader.block().count(b"\r\n") - 2
        size = _fetched(peer, reader, count, visit.pipelined)
        peer.sendall(b"QUIT\r\n")
        reader.line()
    return count, size


def _fetched(peer: socket.socket, reader: Reader, count: int, pipelined: bool) -> int:
    commands = [b"RETR %d\r\n" % number for number in range(1, count + 1)]
    if pipelined:
        peer.sendall(b"".join(commands))
        return sum(len(reader.block()) for _ in commands)
    size = 0
    for command in commands:
        peer.sendall(command)
        size += len(reader.block())
    return size


class Reader:
    """Replies of a POP3 server; SystemExit at the first -ERR."""

    def __init__(self, peer: socket.socket) -> None:
        self._peer = peer
        self._rest = b""

    def line(self) -> bytes:
        return self._until(b"\r\n")

    def block(self) -> bytes:
        """A multi-line reply, dot and all."""
        return self._until(b"\r\n.\r\n")

    def _until(self, mark: bytes) -> bytes:
        looked = 0
        while (end := self._rest.find(mark, looked)) < 0:
            looked = max(len(self._rest) - len(mark) + 1, 0)
            more = self._peer.recv(262144)
            if not more:
                raise SystemExit(f"the server closed the connection after {self._rest[-200:]!r}")
            self._rest += more
        end += len(mark)
        reply, self._rest = self._rest[:end], self._rest[end:]
        if not reply.startswith(b"+OK"):
            raise SystemExit(f"refused: {reply[:200]!r}")
        return reply


if __name__ == "__main__":
    main()
