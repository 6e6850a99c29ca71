"""Debian's clamd, and clamav-milter in front of it, each in a folder of its own: own configuration, own sockets, own signatures.

The database is a line or two made here: no signature is downloaded, and what is found is EICAR's test file. Its string stands in no
file in one piece, or scanners would take this file for it.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from bench.meter import Group, waited
from bench.server import HOST, Absent, free_ports

EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$EICAR" + b"-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"
SIGNATURE = "Eicar-Test-Signature"  # clamd adds .UNOFFICIAL, as the database is not signed
USER = "clamav"

CLAMD_CONF = """
LocalSocket {socket}
LocalSocketMode 666
DatabaseDirectory {folder}/db
TemporaryDirectory {folder}/tmp
LogFile {folder}/clamd.log
Foreground yes
User {user}
{more}
"""

MILTER_CONF = """
MilterSocket inet:{port}@127.0.0.1
ClamdSocket unix:{socket}
LogFile {folder}/milter.log
Foreground yes
User {user}
OnInfected Reject
OnFail Defer
"""


@dataclass
class Clamd:
    """A clamd that can be killed and started again; `more` are further lines of its configuration."""

    folder: Path
    more: str = ""
    group: Group | None = None
    run: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="clamd-")))  # a socket's name must be short

    @property
    def socket(self) -> Path:
        return self.run / "clamd.ctl"

    def start(self) -> Clamd:
        """Run it, and return once it answers. Absent, with the reason, where it cannot be had."""
        needs("clamd", "clamav-daemon")
        user = USER if os.geteuid() == 0 else os.environ.get("USER", "nobody")
        for name in ("", "db", "tmp"):
            owned(self.folder / name, user)
        owned(self.run, user)
        (self.folder / "db/local.ndb").write_text(f"{SIGNATURE}:0:*:{EICAR.hex()}\n")
        conf = CLAMD_CONF.format(socket=self.socket, folder=self.folder, user=user, more=self.more)
        (self.folder / "clamd.conf").write_text(conf)
        self.group = started("clamd", ["clamd", "-c", self.folder / "clamd.conf"], self.folder, self.answers)
        return self

    def answers(self) -> bool:
        """Whether it answers PING."""
        try:
            with socket.socket(socket.AF_UNIX) as wire:
                wire.settimeout(1)
                wire.connect(str(self.socket))
                wire.sendall(b"zPING\0")
                return wire.recv(16) == b"PONG\0"
        except OSError:
            return False

    def kill(self) -> None:
        """`kill -9`, as a crash ends it: its socket stays behind."""
        if self.group:
            self.group.kill()
            self.group.close()
            self.group = None

    def close(self) -> None:
        """End it, and leave nothing."""
        self.kill()
        shutil.rmtree(self.run, ignore_errors=True)


def milter(folder: Path, clamd: Clamd) -> tuple[Group, int]:
    """clamav-milter that asks this clamd, and the port it listens on."""
    needs("clamav-milter", "clamav-milter")
    (port,) = free_ports(1)
    owned(folder, USER)
    (folder / "milter.conf").write_text(MILTER_CONF.format(port=port, socket=clamd.socket, folder=folder, user=USER))
    return started("clamav-milter", ["clamav-milter", "-c", folder / "milter.conf"], folder, lambda: _listens(port)), port


def version() -> str:
    """Of the installed clamd."""
    said = subprocess.run(["clamd", "--version"], capture_output=True, text=True).stdout.split()
    return said[1].partition("/")[0] if len(said) > 1 else "of unknown version"


def needs(program: str, package: str) -> None:
    if not shutil.which(program):
        raise Absent(f"{program} is not installed (apt-get install --no-install-recommends {package})")


def owned(folder: Path, user: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    if os.geteuid() == 0:
        shutil.chown(folder, user)


def started(name: str, command: list[str | Path], folder: Path, ready: Callable[[], bool], *, patience: float = 60.0) -> Group:
    """The process, once `ready` says so; Absent, with what it said, where it ended or stays silent."""
    group, out = Group(name), folder / f"{name}.out"
    process = group.start(command, out)
    if not waited(lambda: process.poll() is not None or ready(), patience) or process.poll() is not None:
        group.kill()
        group.close()
        raise Absent(f"{name} does not start: {out.read_text(errors='replace')[-600:].strip()}")
    return group


def _listens(port: int) -> bool:
    try:
        with socket.create_connection((HOST, port), 1):
            return True
    except OSError:
        return False
