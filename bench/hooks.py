"""What a transfer event costs: a hook that passes, and every message scanned by ClamAV, beside Debian's Postfix with clamav-milter.

The hook is asked by the host's own dispatcher, in this process; its cost is the difference to no hook. The scanners ask one and the
same clamd. CPU is that of the mail server (and its milter) without clamd, whose own stands beside it; "accepted" and "delivered" are
as in bench.smtp. A run that loses a message ends the bench with an error, and so does a server that lets EICAR pass.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import gc
import json
import shutil
import smtplib
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path

from pydantic import BaseModel

from bench import clamav, line_up, meter, ours, peers, smtp
from bench.clamav import Clamd
from bench.mail import message
from bench.report import Figure, Report, machine, spread
from bench.server import HOST, Absent, Server
from postroom import hookimpl
from postroom.address import smtp as by_smtp
from postroom.envelope import Envelope, Recipient
from postroom.host import Host
from postroom.message import MemoryMessage, new_id
from postroom.site import Ground
from postroom.transfer import PASS, Stage, TransferEvent, Verdict
from postroom_testing.ground import ground_in

SERVERS = ["postroom-clamav", "postfix-clamav"]
FIGURES = [
    Figure("accepted", "accepted/s"),
    Figure("delivered", "delivered/s", ratio=True),
    Figure("cpu_ms", "CPU ms/message without clamd", ratio=True),
    Figure("user_ms", "of it user"),
    Figure("clamd_ms", "clamd's CPU ms/message", ratio=True),
]
ASKED = 100_000  # events a run


class NoSettings(BaseModel):
    """It has none."""


class PassingPlugin:
    """Has no objection to anything."""

    Settings = NoSettings

    def __init__(self, settings: NoSettings, ground: Ground) -> None:
        pass

    @hookimpl
    async def mta_pickup(self, event: TransferEvent) -> Verdict:
        return PASS


def main(arguments: Sequence[str] | None = None) -> None:
    parser = line_up.options(__doc__, SERVERS, runs=5)
    parser.add_argument("--count", type=int, default=1000, help="messages a run (default %(default)s)")
    parser.add_argument("--sessions", type=int, default=10, help="side by side (default %(default)s)")
    parser.add_argument("--mailboxes", type=int, default=10, help="that share the mail (default %(default)s)")
    parser.add_argument("--cases", default="mime,mime-kept", help="of bench.smtp's (default %(default)s)")
    parser.add_argument("--only", choices=["passing", "clamav"], help="one of the two questions (default both)")
    asked = parser.parse_args(arguments)
    hook = passing(asked.runs) if asked.only != "clamav" else None
    if hook and not asked.json:
        print(hook.text(), flush=True)
    report = None
    if asked.only != "passing":
        known = smtp.cases(asked.count, asked.sessions)
        chosen = [known[name] for name in asked.cases.split(",")]
        with own_clamd(asked.dir) as clamd:
            report = scanned(clamd, asked.dir, asked.servers, asked.mailboxes, asked.runs, chosen)
    if report and not asked.json:
        print(report.text(FIGURES))
    if asked.json:
        print(json.dumps({"passing": hook and dataclasses.asdict(hook), **(json.loads(report.json()) if report else {})}))


# A hook that passes.


@dataclass(frozen=True, slots=True)
class Passing:
    """µs of CPU a message, a figure a run."""

    none: list[float]  # the host is asked and knows no hook
    first: list[float]  # what one hook adds
    further: list[float]  # what each of two more adds

    def text(self) -> str:
        return (
            f"# An inline hook that passes\nmachine: {machine()}\n{len(self.none)} runs of {ASKED:,} events, µs CPU a message: the first hook "
            f"{spread(self.first)}, each further one {spread(self.further)}; asking none {spread(self.none)}\n"
        )


def passing(runs: int) -> Passing:
    """What asking it costs, the cases in turn."""
    rounds = [[asked_events(hooks) for hooks in (0, 1, 3)] for _ in range(runs)]
    return Passing(
        [none for none, _, _ in rounds], [one - none for none, one, _ in rounds], [(three - one) / 2 for _, one, three in rounds]
    )


def asked_events(hooks: int) -> float:
    """µs of CPU that asking so many hooks about one event takes."""
    with tempfile.TemporaryDirectory() as folder:
        names = [f"passing-{n}" for n in range(hooks)]
        yaml = "server: mail.example.test\nplugins: {" + ", ".join(f"{name}: {{plugin: passing}}" for name in names) + "}\n"
        ground = ground_in(Path(folder), yaml)
        host = Host(ground.settings, ground, {"passing": EntryPoint("passing", "bench.hooks:PassingPlugin", "")})
        return asyncio.run(_asked(host))


async def _asked(host: Host) -> float:
    letter = MemoryMessage(new_id(), message(4096))
    envelope = Envelope(letter.id, letter.id, "SMTP", None, (Recipient(by_smtp("alice@example.test")),), 0.0)
    event = TransferEvent(Stage.PICKUP, envelope, letter, "SMTP")
    for count in (1000, ASKED):  # the first to warm up
        gc.collect()
        began = time.process_time()
        for _ in range(count):
            await host.pickup(event)
        spent = time.process_time() - began
    return spent / ASKED * 1e6


# Every message scanned.


@contextlib.contextmanager
def own_clamd(inside: Path) -> Iterator[Clamd]:
    """The one that all servers ask. Its cache is off: all messages are alike, but for the lines that only some scanners are shown."""
    folder = peers.new_folder(inside, "clamd")
    clamd = Clamd(folder, "DisableCache yes")
    try:
        try:
            clamd.start()
        except Absent as why:
            sys.exit(f"nothing to measure: {why}")
        yield clamd
    finally:
        clamd.close()
        shutil.rmtree(folder, ignore_errors=True)


def scanned(clamd: Clamd, inside: Path, names: str, mailboxes: int, runs: int, cases: Sequence[smtp.Case]) -> Report:
    """The servers in turn, one clamd for all."""
    starts = {
        "postroom-clamav": lambda folder, count: postroom_clamav(folder, count, clamd),
        "postfix-clamav": lambda folder, count: postfix_clamav(folder, count, clamd),
        **line_up.STARTS,
    }
    assert clamd.group
    with line_up.line_up(names, inside, mailboxes, starts) as (servers, left_out):
        report = Report(f"SMTP with every message scanned by clamd {clamav.version()}", inside, servers, left_out)
        for server in servers:
            if server.name.endswith("-clamav"):
                refuses_eicar(server)
        for case in cases:
            for turn in range(runs):
                for server in servers:
                    line_up.progress(f"{case.title}: run {turn + 1} of {runs}: {server.name}")
                    before = clamd.group.cpu()
                    figures = smtp.run(server, case, inside)
                    meter.quiet([clamd.group])
                    targets = len(server.accounts[: case.sessions])
                    figures["clamd_ms"] = (clamd.group.cpu() - before).total / (case.count // targets * targets) * 1e3
                    report.add(case.title, server.name, figures)
        return report


def postroom_clamav(folder: Path, mailboxes: int, clamd: Clamd) -> Server:
    """Ours, scanning at pickup: the 250 comes after clamd's word."""
    server = ours.postroom(folder, mailboxes, plugin=f"clamav: {{socket: {clamd.socket}}}", name="postroom-clamav")
    return dataclasses.replace(server, note="1 worker; clamav: enforce, reject")


def postfix_clamav(folder: Path, mailboxes: int, clamd: Clamd) -> Server:
    """Debian's Postfix with clamav-milter: the 250 comes after clamd's word too."""
    group, port = clamav.milter(folder / "milter", clamd)
    try:
        server = peers.postfix(folder, mailboxes, more=f"smtpd_milters = inet:{HOST}:{port}\nmilter_default_action = tempfail\n")
    except BaseException:
        group.kill()
        group.close()
        raise
    return dataclasses.replace(server, name="postfix-clamav", groups=[*server.groups, group], note="clamav-milter: OnInfected Reject")


def refuses_eicar(server: Server) -> None:
    """Before anything is measured: it does scan."""
    with smtplib.SMTP(HOST, server.ports["smtp"], timeout=60) as client:
        try:
            client.sendmail("rita@example.org", [server.accounts[0].address], b"Subject: test\r\n\r\n" + clamav.EICAR + b"\r\n")
        except smtplib.SMTPDataError as refusal:
            if refusal.smtp_code // 100 == 5:
                return
        raise SystemExit(f"{server.name} took EICAR: it does not scan")


if __name__ == "__main__":
    main()
