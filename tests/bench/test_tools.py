"""The measuring itself: what is counted is what was used, what is sent is what the case says."""

from __future__ import annotations

import email
import os
import subprocess
import sys
from email.policy import default
from pathlib import Path

import pytest

from bench.disk import file_system
from bench.mail import file_for_smtp_source, message
from bench.meter import Group, descendants
from bench.server import Absent, Account, free_ports, listening

BURN = "[sum(range(1000)) for _ in range(12000)]"


def test_the_time_of_a_child_that_ended_is_counted(tmp_path: Path) -> None:
    """By the accounting group, and by the process tree once the child was waited for."""
    group = Group("test-meter")
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {BURN!r}]); print('over', flush=True); sys.stdin.read()"
    process = group.start([sys.executable, "-c", child], tmp_path / "log", piped=True)
    try:
        assert process.stdout and process.stdout.readline() == b"over\n"
        assert group.cpu().total > 0.1
    finally:
        group.close()


def test_descendants_are_found() -> None:
    with subprocess.Popen(["/bin/sh", "-c", "read line"], stdin=subprocess.PIPE) as child:
        assert child.pid in descendants(os.getpid())


@pytest.mark.parametrize("octets", [3480, 4096, 30000])
def test_a_letter_is_about_as_large_as_asked_and_parses(octets: int, tmp_path: Path) -> None:
    made = message(octets)
    assert abs(len(made) - octets) < 200
    parsed = email.message_from_bytes(made, policy=default)
    assert not parsed.defects
    assert [part.get_content_type() for part in parsed.iter_parts()] == ["text/plain", "text/html"]
    assert file_for_smtp_source(tmp_path / "letter", octets).read_bytes().replace(b"\n", b"\r\n") == made


def test_message_files_are_counted_and_indexes_are_not(tmp_path: Path) -> None:
    inbox = tmp_path / "Inbox"
    account = Account("a@b", "a", "", inbox)
    assert account.delivered() == 0
    inbox.mkdir()
    for name in ("0A.MAI", "0B.MAI", "folder.log"):
        (inbox / name).touch()
    assert account.delivered() == 2


def test_the_file_system_is_named(tmp_path: Path) -> None:
    assert file_system(Path("/proc")).kind == "proc"
    assert file_system(tmp_path).kind != "unknown"


def test_a_server_that_ends_at_once_is_absent_with_its_last_words(tmp_path: Path) -> None:
    (port,) = free_ports(1)
    group = Group("test-absent")
    process = group.start(["/bin/sh", "-c", "echo no such option; exit 3"], tmp_path / "log")
    with pytest.raises(Absent, match="no such option"):
        listening(port, process, tmp_path / "log")
    group.close()
