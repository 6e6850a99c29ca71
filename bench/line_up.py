"""The command line that all benches share, and the servers they ask for, started together and stopped whatever happens."""

from __future__ import annotations

import argparse
import contextlib
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from bench import ours, peers
from bench.server import Absent, Server

Start = Callable[[Path, int], Server]

STARTS: Mapping[str, Start] = {
    "postroom": ours.postroom,
    "postroom-2": lambda folder, mailboxes: ours.postroom(folder, mailboxes, workers=2),
    "postroom-4": lambda folder, mailboxes: ours.postroom(folder, mailboxes, workers=4),
    "postroom-wide": lambda folder, mailboxes: ours.postroom(folder, mailboxes, connections=50_000),
    "postfix": peers.postfix,
    "postfix-lmtp": peers.postfix_lmtp,
    "aiosmtpd": peers.aiosmtpd,
    "dovecot": peers.dovecot,
    "dovecot-fast": lambda folder, mailboxes: peers.dovecot(folder, mailboxes, fast_login=True),
}


def options(about: str, servers: Sequence[str], runs: int) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=about, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--dir", type=Path, default=Path(tempfile.gettempdir()), help="where sites, queues and mail live (see bench/loopfs)"
    )
    parser.add_argument("--runs", type=int, default=runs, help=f"of each case, the servers in turn (default {runs})")
    parser.add_argument("--servers", default=",".join(servers), help=f"of: {', '.join(STARTS)} (default %(default)s)")
    parser.add_argument("--json", action="store_true", help="one JSON document in place of tables")
    return parser


@contextlib.contextmanager
def line_up(
    names: str, inside: Path, mailboxes: int, starts: Mapping[str, Start] = STARTS
) -> Iterator[tuple[list[Server], dict[str, str]]]:
    """All servers up at the same time, idle while it is not their turn; and those left out, each with the reason."""
    running: list[Server] = []
    left_out: dict[str, str] = {}
    with contextlib.ExitStack() as stopped:
        for name in names.split(","):
            if name not in starts:
                sys.exit(f"no server {name!r}: choose of {', '.join(starts)}")
            try:
                running.append(started(name, inside, mailboxes, starts))
                stopped.callback(running[-1].stop)
            except Absent as why:
                left_out[name] = str(why)
        if not running:
            sys.exit("nothing to measure: " + "; ".join(f"{name}: {why}" for name, why in left_out.items()))
        yield running, left_out


def started(name: str, inside: Path, mailboxes: int, starts: Mapping[str, Start] = STARTS) -> Server:
    """One of them, in a folder of its own that goes with it; Absent when it cannot be had."""
    folder = peers.new_folder(inside, name)
    try:
        return starts[name](folder, mailboxes)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def progress(text: str) -> None:
    """A line for whoever waits."""
    print(text, file=sys.stderr, flush=True)
