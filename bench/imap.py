"""What reading mail by IMAP costs: ours against Dovecot's own format (sdbox) and Cyrus, on the same mailbox of N messages.

A raw-socket client that does not parse asks each server in turn; a first round that nobody counts makes every row a question asked
before, and its figures stand in a table of their own. CPU is of all processes of the server. The goals are those of the project; a
ratio is theirs by ours, of wall time and of CPU, against the peer that was faster in that row. One row is judged against Dovecot alone, and
tells what Cyrus took: the first look into a folder. Cyrus makes its cache at delivery, so it has no folder that nobody has looked into.

A machine may give away what its memory holds of files between two turns, more of one server's than of another's. So the rows that read much
say in which state they are asked: in memory, where each server was asked for the same, or for all messages, just before, or nothing of any
file, behind all other rows.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

from bench import disk, meter, ours, peers
from bench.imap_client import Session
from bench.imap_sessions import delivered, idling, logins
from bench.line_up import line_up, options, progress, started
from bench.mail import message
from bench.report import Report, aligned, number, spread
from bench.server import Account, Server

STARTS = {"postroom": ours.postroom, "dovecot-sdbox": peers.dovecot_sdbox, "cyrus": peers.cyrus}
OCTETS = 3480
BATCH = 100  # messages of one APPEND
WORDS = 20  # each stands in one message of a hundred, and each run asks for another
FIRST = datetime(2020, 1, 1, tzinfo=UTC)
MIB = 1_000_000


@dataclass(slots=True)
class House:
    """A server and what the runs keep on it."""

    server: Server
    count: int
    turn: int = 0
    sessions: dict[str, Session] = field(default_factory=dict)  # by account's login, with INBOX selected

    @property
    def reader(self) -> Account:
        return self.server.accounts[0]

    @property
    def shuffled(self) -> Account:
        return self.server.accounts[1]

    @property
    def writer(self) -> Account:
        return self.server.accounts[2]

    def session(self, account: Account) -> Session:
        """Logged in, INBOX selected; the same in all runs."""
        if account.login not in self.sessions:
            self.sessions[account.login] = self.fresh(account)
            self.sessions[account.login].do(b"SELECT INBOX")
        return self.sessions[account.login]

    def fresh(self, account: Account) -> Session:
        return Session(self.server.ports["imap"]).login(account.login, account.password)


Timed = Callable[[], Mapping[str, float]]
Ready = Callable[[House], Timed]  # makes ready what is not timed, and returns what is


@dataclass(frozen=True, slots=True)
class Row:
    """One question. `goal` is how many times as fast as the fastest peer we are to be, or as the one named `against`; 0 where the row is only told."""

    title: str
    ready: Ready
    goal: float = 1.0
    against: str = ""


def asking(command: bytes, answers: float | None = 1.0) -> Ready:
    """A command to the mailbox in order; `answers` untagged ones for each message are looked for. %d is the run."""

    def ready(house: House) -> Timed:
        session, text = house.session(house.reader), command.replace(b"%d", b"%d" % (house.turn % WORDS))

        def timed() -> Mapping[str, float]:
            octets, got = session.do(text)
            if answers is not None and got < answers * house.count:
                raise SystemExit(f"{house.server.name}: {got} answers to {text.decode()}, of {house.count} messages")
            return {"octets": octets}

        return timed

    return ready


def in_memory(command: bytes, answers: float | None = 1.0, *, before: Sequence[bytes] = (b"FETCH 1:* (BODY.PEEK[])",)) -> Ready:
    """The same, where the system holds in memory what is read for it: that was asked for just before."""

    def ready(house: House) -> Timed:
        for asked in before:
            house.session(house.reader).do(asked)
        return asking(command, answers)(house)

    return ready


def nowhere(ready: Ready) -> Ready:
    """The same, where the system holds nothing of any file in memory."""

    def forgotten(house: House) -> Timed:
        timed = ready(house)
        disk.forget()
        return timed

    return forgotten


def search_text(house: House) -> Timed:
    """After the first round the same was asked often enough for our server to make what helps it, and to be done with that.

    What is made so is read for a search as the messages are, and no other row reads it: it is asked for just before too.
    """
    before = [b"FETCH 1:* (BODY.PEEK[])", b"SEARCH TEXT island0"]
    if house.turn == 1:
        session = house.session(house.reader)
        for _ in range(3):
            session.do(b"SEARCH TEXT island0")
        for _ in range(10):  # it rests between steps, which must not be taken for its end
            meter.quiet(house.server.groups, at_most=120)
    return in_memory(b"SEARCH TEXT island%d", None, before=before if house.turn else before[:1])(house)


def select(house: House) -> Timed:
    session = house.fresh(house.reader)

    def timed() -> Mapping[str, float]:
        session.do(b"SELECT INBOX")
        session.close()
        return {}

    return timed


def sort_shuffled(house: House) -> Timed:
    session = house.session(house.shuffled)

    def timed() -> Mapping[str, float]:
        session.do(b"SORT (DATE) UTF-8 ALL")
        return {}

    return timed


def first_envelope(house: House) -> Timed:
    """A folder that got a tenth of N messages and that no session has selected."""
    name, count = f"Fresh{house.turn}", max(house.count // 10, 1)
    session = house.fresh(house.writer)
    session.do(f"CREATE {name}".encode())
    for batch in batches(letters(count, seed=1000 + house.turn)):
        session.append(name, batch)
    session.do(b"LOGOUT")
    session = house.fresh(house.writer)

    def timed() -> Mapping[str, float]:
        session.do(f"SELECT {name}".encode())
        session.do(b"FETCH 1:* (ENVELOPE)")
        session.close()
        return {"each": count}

    return timed


def expunge(house: House) -> Timed:
    """A copy of a fifth of the mailbox, all deleted."""
    name, count = f"Gone{house.turn}", max(house.count // 5, 1)
    session = house.fresh(house.reader)
    session.do(f"CREATE {name}".encode())
    session.do(b"SELECT INBOX")
    session.do(f"COPY 1:{count} {name}".encode())
    session.do(f"SELECT {name}".encode())
    session.do(b"STORE 1:* +FLAGS.SILENT (\\Deleted)")

    def timed() -> Mapping[str, float]:
        _, gone = session.do(b"EXPUNGE")
        session.close()
        if gone < count:
            raise SystemExit(f"{house.server.name}: {gone} of {count} expunged")
        return {"each": count}

    return timed


def append(house: House) -> Timed:
    """Two hundred, each awaited."""
    name, texts = f"Written{house.turn}", list(letters(200, seed=5000 + house.turn))
    session = house.fresh(house.writer)
    session.do(f"CREATE {name}".encode())

    def timed() -> Mapping[str, float]:
        for text in texts:
            session.append(name, [text])
        session.close()
        return {"each": len(texts)}

    return timed


ROWS = [
    Row("SELECT", select),
    Row("FETCH (UID FLAGS)", asking(b"FETCH 1:* (UID FLAGS)"), 2),
    Row("FETCH ENVELOPE", in_memory(b"FETCH 1:* (ENVELOPE)", before=[b"FETCH 1:* (ENVELOPE)"]), 3),
    Row("FETCH BODYSTRUCTURE", asking(b"FETCH 1:* (BODYSTRUCTURE)"), 3),
    Row("FETCH HEADER.FIELDS", asking(b"FETCH 1:* (BODY.PEEK[HEADER.FIELDS (FROM SUBJECT DATE)])"), 2),
    Row("FETCH BODY.PEEK[]", in_memory(b"FETCH 1:* (BODY.PEEK[])"), 2),
    Row("SEARCH SUBJECT", asking(b"SEARCH SUBJECT animal%d", None), 10),
    Row("SEARCH TEXT", search_text),
    Row("SORT (DATE)", asking(b"SORT (DATE) UTF-8 ALL", None)),
    Row("SORT (DATE), shuffled", sort_shuffled),
    Row("THREAD REFERENCES", asking(b"THREAD REFERENCES UTF-8 ALL", None)),
    Row("STORE +FLAGS.SILENT", asking(b"STORE 1:* +FLAGS.SILENT (\\Seen)", None), 5),
    Row("STORE -FLAGS.SILENT", asking(b"STORE 1:* -FLAGS.SILENT (\\Seen)", None)),
    Row("EXPUNGE of N/5", expunge),
    Row("first ENVELOPE, N/10", first_envelope, 20, against="dovecot-sdbox"),
    Row("APPEND, 200 awaited", append, 1.5),
]
FROM_DISK = [
    Row("FETCH ENVELOPE from disk", nowhere(asking(b"FETCH 1:* (ENVELOPE)"))),
    Row("FETCH BODY.PEEK[] from disk", nowhere(asking(b"FETCH 1:* (BODY.PEEK[])")), 2),
    Row("SEARCH TEXT from disk", nowhere(asking(b"SEARCH TEXT island%d", None))),
]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__ or "", list(STARTS), runs=5)
    parser.set_defaults(servers=",".join(STARTS))
    parser.add_argument("--messages", type=int, default=10_000, help="in the mailbox (default %(default)s)")
    parser.add_argument("--sessions", type=int, default=1000, help="of IDLE, ours; peers hold a fifth (default %(default)s)")
    parser.add_argument("--rows", default="", help="only rows whose title has this, or one of these with | between")
    parser.add_argument("--search", choices=list(SEARCHES), default="index", help="our setting of that name (default %(default)s)")
    asked = parser.parse_args(arguments)
    starts = STARTS | {"postroom": lambda folder, mailboxes: ours.postroom(folder, mailboxes, imap=f"search: {asked.search}")}
    with line_up(asked.servers, asked.dir, 4, starts) as (servers, left_out):
        report = Report(f"IMAP: a mailbox of {asked.messages:,} messages", asked.dir, servers, left_out)
        houses = [House(server, asked.messages) for server in servers]
        with ThreadPoolExecutor(len(houses)) as together:
            list(together.map(fill, houses))
        rows = _chosen(ROWS, asked)
        for turn in range(asked.runs + 1):
            ask(report, houses, rows, turn, FIRST_ROUND if turn == 0 else "")
        from_disk = _chosen(FROM_DISK, asked) if disk.can_forget() else []
        for turn in range(1, asked.runs + 1):
            ask(report, houses, from_disk, turn)
        if not asked.rows:
            sessions(report, houses, asked.runs)
            waiting(report, [server.name for server in servers], asked.dir, asked.sessions)
        print(report.json() if asked.json else text(report, rows, from_disk))


FIRST_ROUND = ", first round"
SEARCHES = {"index": 100, "texts": 20, "files": 5}  # by our setting, how many times as fast SEARCH TEXT is to be


def _chosen(rows: Sequence[Row], asked: argparse.Namespace) -> list[Row]:
    """Of these rows those asked for, each with its goal."""
    wanted = [row for row in rows if any(part in row.title for part in asked.rows.split("|"))]
    return [replace(row, goal=SEARCHES[asked.search]) if row.title == "SEARCH TEXT" else row for row in wanted]


def ask(report: Report, houses: Sequence[House], rows: Sequence[Row], turn: int, suffix: str = "") -> None:
    """Each row once, the servers in turn."""
    for row in rows:
        for house in houses:
            house.turn = turn
            progress(f"{f'run {turn}' if turn else 'first round'}: {row.title}: {house.server.name}")
            report.add(f"{row.title}{suffix}", house.server.name, run(house, row))


def run(house: House, row: Row) -> dict[str, float]:
    timed = row.ready(house)
    meter.quiet(house.server.groups)
    used, start = meter.cpu(house.server.groups), time.perf_counter()
    told = timed()
    wall = time.perf_counter() - start
    meter.quiet(house.server.groups)
    cpu = (meter.cpu(house.server.groups) - used).total
    more = {"mb_s": told["octets"] / MIB / wall} if "PEEK[]" in row.title else {}
    return {"wall_ms": wall * 1e3, "cpu_ms": cpu * 1e3} | more


def sessions(report: Report, houses: Sequence[House], runs: int) -> None:
    """Rows that are not about the mailbox."""
    for turn in range(runs):
        for house in houses:
            server = house.server
            progress(f"sessions: run {turn + 1} of {runs}: {server.name}")
            report.add("LOGIN and LOGOUT", server.name, logins(server, house.reader))
            report.add("delivery to EXISTS", server.name, delivered(server, server.accounts[3], message(OCTETS)))


def waiting(report: Report, names: Sequence[str], inside: Path, held: int) -> None:
    """IDLE on servers that did nothing else before: what their work left free would hide what a session needs."""
    for name, tls in ((name, tls) for tls in (False, True) for name in names):
        count = held if name.startswith("postroom") else held // 5
        progress(f"{count} sessions of IDLE: {name}{', TLS' if tls else ''}")
        server = started(name, inside, 4, STARTS)
        try:
            if not tls or "imaps" in server.ports:
                report.add("IDLE, TLS" if tls else "IDLE", name, idling(server, server.accounts[0], count, tls=tls))
        finally:
            server.stop()


def fill(house: House) -> None:
    """N messages in order of their dates for one account, the same shuffled for another."""
    for account, order in ((house.reader, False), (house.shuffled, True)):
        progress(f"filling {house.server.name}")
        session = house.fresh(account)
        for batch in batches(letters(house.count, shuffled=order)):
            session.append("INBOX", batch)
        session.do(b"LOGOUT")


def letters(count: int, *, seed: int = 0, shuffled: bool = False) -> Iterator[bytes]:
    """Threads of four messages, an hour between two; of a hundred, one has a certain animal in its subject and one an island in its text."""
    texts = [message(OCTETS, seed=n) for n in range(1, 21)]
    hours = list(range(count))
    if shuffled:
        random.Random(seed).shuffle(hours)
    for n in range(count):
        date = format_datetime(FIRST + timedelta(hours=hours[n])).encode()
        text = texts[n % len(texts)].replace(b"Date: Fri, 05 Jan 2024 10:00:00 +0000", b"Date: " + date)
        text = text.replace(b"Subject: ", b"Subject: %sanimal%d " % (b"Re: " if n % 4 else b"", n % 100 if n % 100 < WORDS else 99), 1)
        text = text.replace(b"Message-ID: <", b"Message-ID: <%d.%d." % (seed, n))
        parent = b"<%d.%d.parent@mail.example.org>" % (seed, n - n % 4)
        text = text.replace(b"<first@mail.example.org>", parent)
        island = b" island%d \r\n" % (n % 100 if n % 100 < WORDS else 99)
        yield text.replace(b"</body>", island + b"</body>", 1)


def batches(texts: Iterator[bytes]) -> Iterator[list[bytes]]:
    while batch := [text for _, text in zip(range(BATCH), texts, strict=False)]:
        yield batch


def text(report: Report, rows: Sequence[Row], from_disk: Sequence[Row]) -> str:
    """The facts, the table with the goals, what nothing was in memory for, the first round, and the rows of sessions."""
    parts = [f"# {report.question}", *report.facts(), "", "## asked before", *_compared(report, rows, "")]
    if from_disk:
        parts += ["", "## asked where nothing was in memory", *_compared(report, from_disk, "")]
    elif not disk.can_forget():
        parts += ["", "What comes from the disk was not asked for: only root may empty the memory of files."]
    parts += ["", "## asked for the first time, once", *_compared(report, [row for row in rows if row.goal], FIRST_ROUND)]
    for case, runs in report.runs.items():
        if case in ("LOGIN and LOGOUT", "delivery to EXISTS", "IDLE", "IDLE, TLS"):
            parts += ["", f"## {case}", *_plain(runs)]
    return "\n".join(parts)


def _compared(report: Report, rows: Sequence[Row], suffix: str) -> list[str]:
    names = [server.name for server in report.servers]
    cells = [["question", *(f"{name}: {what} ms" for name in names for what in ("wall", "CPU")), "x wall", "x CPU", "goal", "met"]]
    for row in rows:
        runs = report.runs.get(row.title + suffix, {})
        walls = {name: [run["wall_ms"] for run in runs[name]] for name in names}
        cpus = {name: [run["cpu_ms"] for run in runs[name]] for name in names}
        shown = [spread(values[name]) for name in names for values in (walls, cpus)]
        cells.append([row.title, *shown, *_judged(walls, cpus, row)])
        if any("mb_s" in run for run in runs[names[0]]):
            cells.append(["  MB/s", *(text for name in names for text in (spread([run["mb_s"] for run in runs[name]]), "")), *[""] * 4])
    return aligned(cells)


def _judged(walls: Mapping[str, Sequence[float]], cpus: Mapping[str, Sequence[float]], row: Row) -> list[str]:
    """Ratios and whether the goal is met by wall time; nothing where one side is missing."""
    others = [name for name in walls if not name.startswith("postroom") and row.against in ("", name)]
    if "postroom" not in walls or not others:
        return ["", "", number(row.goal), ""]
    wall, cpu = (min(statistics.median(kind[name]) for name in others) / statistics.median(kind["postroom"]) for kind in (walls, cpus))
    return [number(wall), number(cpu), number(row.goal), "yes" if wall >= row.goal else "NO"]


def _plain(runs: Mapping[str, Sequence[Mapping[str, float]]]) -> list[str]:
    keys = list(next(iter(runs.values()))[0])
    return aligned([["server", *keys], *([name, *(spread([run[key] for run in rows]) for key in keys)] for name, rows in runs.items())])


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
