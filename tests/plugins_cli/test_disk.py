"""A disk that refuses: every command says so in a sentence and exits with 1."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from postroom_cli import profile
from postroom_cli.main import run
from postroom_disk.disk import Disk
from tests.plugins_cli.site import Shell, with_people


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """From here on no octet can be written."""

    def refuse(*arguments: Any) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Disk, "write", staticmethod(refuse))
    yield


CHANGES = [
    ("domain", "add", "example.net"),
    ("domain", "set", "example.test", "--disable"),
    ("domain", "delete", "example.test"),
    ("mailbox", "add", "carol@example.test", "--password-stdin"),
    ("mailbox", "set", "alice@example.test", "--quota", "1M"),
    ("mailbox", "delete", "alice@example.test"),
    ("group", "add", "all@example.test", "alice@example.test"),
    ("group", "delete", "sales@example.test"),
    ("address", "add", "x@example.test", "alice@example.test"),
    ("address", "delete", "alice@example.test"),
]


@pytest.mark.parametrize("command", CHANGES, ids=" ".join)
def test_a_full_disk_is_a_sentence(shell: Shell, command: tuple[str, ...], request: pytest.FixtureRequest) -> None:
    if command != ("domain", "delete", "example.test"):
        with_people(shell)
    else:
        shell.done("domain", "add", "example.test")
    request.getfixturevalue("full")
    said = shell(*command, stdin="a long password\n")
    assert said.code == 1 and said.out == "", said
    assert said.err.startswith("postroom: ") and "No space left on device" in said.err and len(said.err.splitlines()) == 1


def test_init_on_a_full_disk(tmp_path: Path, full: None, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["init", str(tmp_path / "site"), "--domain", "example.org"]) == 1
    assert "No space left on device" in capsys.readouterr().err


@pytest.mark.parametrize("command", [("domain", "list"), ("mailbox", "list"), ("queue", "list"), ("check", "--no-dns")])
def test_tables_that_cannot_be_read(shell: Shell, command: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    with_people(shell)
    read = Path.read_bytes

    def refusing(path: Path) -> bytes:
        if path.suffix == ".TAB":
            raise OSError(errno.EIO, os.strerror(errno.EIO), str(path))
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", refusing)
    said = shell(*command)
    assert "Traceback" not in said.err and (said.code == 0 or said.err.startswith("postroom: ")), said


def test_a_file_that_cannot_be_read_is_named(shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(name: str) -> str:
        raise OSError(errno.EIO, os.strerror(errno.EIO), "/somewhere/site.yaml")

    monkeypatch.setattr(profile, "read", refuse)
    assert run(["init", str(shell.root / "other"), "--domain", "example.org"]) == 1
    assert capsys.readouterr().err == "postroom: /somewhere/site.yaml: Input/output error\n"


def test_a_mistake_of_ours_still_shows_itself(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(name: str) -> str:
        raise OSError("no error of a disk: it names none")

    monkeypatch.setattr(profile, "read", wrong)
    with pytest.raises(OSError, match="names none"):
        run(["init", str(shell.root / "other"), "--domain", "example.org"])
