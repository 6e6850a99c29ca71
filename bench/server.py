"""What a bench needs to know of a server that runs: where it listens, who lives there, where their mail lies, how to end it."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.meter import Group, waited

HOST = "127.0.0.1"


class Absent(Exception):
    """A server that cannot be had on this machine; the text is the reason."""


@dataclass(frozen=True, slots=True)
class Account:
    """Somebody who gets mail."""

    address: str
    login: str
    password: str
    inbox: Path  # the folder that holds one file per delivered message

    def delivered(self) -> int:
        """How many messages lie there; a reader's own index files do not count."""
        try:
            with os.scandir(self.inbox) as entries:
                return sum(1 for entry in entries if entry.name.endswith(".MAI") or self.inbox.name == "new")
        except FileNotFoundError:
            return 0


@dataclass(frozen=True, slots=True)
class Server:
    """One server, or two that work together."""

    name: str
    version: str
    durable: str  # what is on disk before the 250
    groups: Sequence[Group]
    accounts: Sequence[Account]
    ports: dict[str, int] = field(default_factory=dict)  # by protocol: smtp, lmtp, pop3
    scratch: Sequence[Path] = ()  # folders that go when it does
    note: str = ""

    def stop(self) -> None:
        """At once: nothing of it is used again."""
        for group in self.groups:
            group.kill()
            group.close()
        for folder in self.scratch:
            shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    """Ports nobody listens on; all are held until all are known, so they differ."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [one.getsockname()[1] for one in sockets]


def listening(port: int, process: subprocess.Popen[bytes], log: Path, *, patience: float = 30.0) -> None:
    """Return once the port answers; Absent, with the end of the log, when the process ended or stays silent."""

    def answers() -> bool:
        if process.poll() is not None:
            return True
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return True
        return False

    if not waited(answers, patience) or process.poll() is not None:
        raise Absent(f"nothing listens on port {port}: " + log.read_text(errors="replace")[-600:].strip())
