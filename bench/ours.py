"""Our own server, started by the public command and nothing else: `postroom demo --json --site DIR --port-base 0 --workers N`."""

from __future__ import annotations

import json
import select
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.meter import Group
from bench.server import Absent, Account, Server

DOMAIN = "example.test"
PASSWORD = "Secret-of-the-bench-1"


@dataclass(frozen=True, slots=True)
class Ready:
    """The ready line."""

    site: Path
    workers: Sequence[int]
    endpoints: dict[str, tuple[str, int]]
    accounts: Sequence[tuple[str, str]]
    ca: Path | None


class Postroom:
    """One site and the processes that serve it; may be started again after it ended or was killed."""

    def __init__(self, site: Path, *, workers: int = 1, name: str = "postroom") -> None:
        self.site = site
        self.log = site.with_name(site.name + ".log")
        self._workers, self._ports = workers, ["--port-base", "0"]
        self._name = name
        self.group: Group | None = None
        self.afterwards = b""  # what it said on stdout after the ready line, known once it stopped

    def start(self, *, patience: float = 60.0) -> Ready:
        """Serve, and return what the ready line says. Absent, with what it logged, when it does not come."""
        self.group = Group(self._name)
        asked = ["--workers", str(self._workers), *self._ports]
        process = self.group.start([program(), "demo", "--json", "--site", self.site, *asked], self.log, piped=True)
        try:
            ready = _ready(json.loads(_first_line(process, patience)))
            if len(ready.workers) != self._workers:
                raise Absent(f"postroom demo has {len(ready.workers)} workers and not {self._workers}")
            return ready
        except BaseException as error:
            self.kill()
            if isinstance(error, json.JSONDecodeError | KeyError | TimeoutError):
                raise Absent(f"postroom demo did not say it is ready: {self.log.read_text(errors='replace')[-2000:]}") from error
            raise

    def change(self, old: str, new: str) -> None:
        """Edit the settings file of a site that is stopped; ports stay as they are written there from then on."""
        settings = self.site / "postroom.yaml"
        text = settings.read_text()
        if old not in text:
            raise Absent(f"{settings} has no {old!r}")
        settings.write_text(text.replace(old, new, 1))
        self._ports = []

    def kill(self) -> None:
        """`kill -9` of supervisor and workers at once; returns when all are gone."""
        if self.group:
            self.group.kill()
            self.group.close()
            self.group = None

    def stop(self) -> int:
        """SIGTERM, as an operator stops it; the exit code."""
        if not self.group or not self.group.process:
            raise RuntimeError("not started")
        group, process = self.group, self.group.process
        self.group = None
        group.close(patience=40.0)
        self.afterwards = group.rest
        return process.returncode

    @property
    def supervisor(self) -> int:
        """Its process id."""
        if not self.group or not self.group.process:
            raise RuntimeError("not started")
        return self.group.process.pid

    def inbox(self, mailbox: str) -> Path:
        """The folder with the message files of the Inbox of `POSTOFFICE/NAME`."""
        postoffice, _, name = mailbox.partition("/")
        return self.site / "Postoffices" / postoffice / "MAILROOT" / name / "Inbox"


def postroom(
    folder: Path, mailboxes: int, *, workers: int = 1, connections: int | None = None, plugin: str = "", name: str = "", imap: str = ""
) -> Server:
    """Our server with that many mailboxes besides alice's and bob's; and, where said, with another limit of SMTP connections, with one
    more plugin (its line of the settings), or with a setting of the IMAP4 service."""
    name = name or ("postroom" if workers == 1 else f"postroom-{workers}")
    ours = Postroom(folder / "site", workers=workers, name=name)
    ready = ours.start()
    if connections or plugin:
        ours.stop()
        more = f"{plugin}\n  " if plugin else ""
        ours.change("smtp: {", f"{more}smtp: {{connections: {connections}, " if connections else f"{more}smtp: {{")
        ready = ours.start()
    if imap:
        ours.stop()
        ours.change("imap4: {", f"imap4: {{{imap}, ")
        ready = ours.start()
    assert ours.group
    try:
        accounts = [added(ours, f"u{i}") for i in range(mailboxes)]
    except BaseException:
        ours.kill()
        raise
    return Server(
        name,
        said("--version").removeprefix("postroom "),
        "a record in the journal, by a synced write shared by all who wait",
        [ours.group],
        accounts,
        {label: port for label, (_, port) in ready.endpoints.items()},
        scratch=[folder],
        note=f"{workers} worker{'s' if workers > 1 else ''}",
    )


def program() -> str:
    """The installed command, the one of this Python first."""
    beside = Path(sys.executable).with_name("postroom")
    found = str(beside) if beside.exists() else shutil.which("postroom")
    if not found:
        raise Absent("the postroom command is not installed (pip install -e .)")
    return found


def said(*arguments: str | Path, stdin: str | None = None) -> str:
    """What the command printed; Absent with its complaint where it said no."""
    done = subprocess.run([program(), *map(str, arguments)], capture_output=True, text=True, input=stdin)
    if done.returncode:
        raise Absent(f"postroom {' '.join(map(str, arguments))}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()


def added(ours: Postroom, name: str) -> Account:
    """A mailbox of the site by the command, with PASSWORD."""
    address = f"{name}@{DOMAIN}"
    added = json.loads(said("mailbox", "add", address, "--password-stdin", "--json", "--site", ours.site, stdin=PASSWORD + "\n"))
    return Account(address, added["login"], PASSWORD, ours.inbox(added["mailbox"]))


def _first_line(process: subprocess.Popen[bytes], patience: float) -> bytes:
    assert process.stdout
    readable, _, _ = select.select([process.stdout], [], [], patience)
    if not readable:
        raise TimeoutError
    return process.stdout.readline()


def _ready(said: dict[str, object]) -> Ready:
    endpoints, accounts, workers = said["endpoints"], said["accounts"], said["workers"]
    assert isinstance(endpoints, dict) and isinstance(accounts, list) and isinstance(workers, list)
    return Ready(
        Path(str(said["site"])),
        [int(pid) for pid in workers],
        {label: _address(at) for label, at in endpoints.items()},
        [(row["login"], row["password"]) for row in accounts],
        Path(str(said["ca"])) if said.get("ca") else None,
    )


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)
