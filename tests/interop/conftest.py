"""Real peers from the distribution's packages. Where CI=true or POSTROOM_INSTALL_PEERS=1 they are installed; what cannot be had skips
its tests and says why."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from bench import peers
from bench.server import Absent, Server
from tests.demo import Demo

PACKAGES = {
    "swaks": ["swaks", "libnet-ssleay-perl"],
    "smtp-source": ["postfix"],
    "postfix": ["postfix"],
    "dovecot": ["dovecot-imapd", "dovecot-pop3d", "dovecot-lmtpd"],
    "clamd": ["clamav-daemon"],
    "opendkim": ["opendkim"],
    "msmtp": ["msmtp"],
    "gsasl": ["gsasl"],
    "curl": ["curl"],
    "mbsync": ["isync"],
    "offlineimap": ["offlineimap3"],
    "neomutt": ["neomutt"],
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All that lies here talks to real peers."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.interop)


@pytest.fixture(scope="session")
def swaks() -> str:
    """The command's path."""
    return program("swaks")


@pytest.fixture(scope="session")
def smtp_source() -> str:
    return program("smtp-source")


@pytest.fixture(scope="module")
def dovecot() -> Iterator[Server]:
    """Dovecot with POP3 and LMTP and one mailbox, u0@bench.test."""
    yield from _running("dovecot", lambda folder: peers.dovecot(folder, 1))


@pytest.fixture(scope="module")
def postfix_before_us(demo: Demo) -> Iterator[Server]:
    """A Postfix that relays all mail for example.test to our server, as a gateway does."""
    port = demo.told.endpoints["smtp"][1]
    relay = f"relay_domains = example.test\ntransport_maps = inline:{{example.test=smtp:[127.0.0.1]:{port}}}\n"
    yield from _running("postfix", lambda folder: peers.postfix(folder, 1, more=relay))


def _running(name: str, start: Callable[[Path], Server]) -> Iterator[Server]:
    program(name)
    try:
        server = start(peers.new_folder(Path(tempfile.gettempdir()), name))
    except Absent as why:
        pytest.skip(str(why))
    yield server
    server.stop()


@cache
def program(name: str) -> str:
    """The path of a program of PACKAGES; skips with the reason where it cannot be had."""
    if not shutil.which(name) and (os.environ.get("CI") == "true" or os.environ.get("POSTROOM_INSTALL_PEERS") == "1"):
        _install(PACKAGES[name])
    found = shutil.which(name)
    if not found:
        pytest.skip(f"{name} is not installed; POSTROOM_INSTALL_PEERS=1 installs {' '.join(PACKAGES[name])} with apt-get")
    return found


def _install(packages: list[str]) -> None:
    if not shutil.which("apt-get"):
        pytest.skip(f"there is no apt-get here to install {' '.join(packages)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with (Path(tempfile.gettempdir()) / "postroom-tests-install.lock").open("w") as alone:
        fcntl.flock(alone, fcntl.LOCK_EX)  # tests run side by side, apt-get does not
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *packages]):
            done = subprocess.run(command, env=quiet, capture_output=True, text=True)
            if done.returncode:
                pytest.skip(f"{' '.join(command)}: {done.stderr.strip()[-300:]}")
