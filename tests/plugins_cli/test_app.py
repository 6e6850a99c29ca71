"""The words, the exit codes, and what help costs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from postroom_cli.main import run
from postroom_cli.topics import CARE, PEOPLE, ROAD, START
from tests.plugins_cli.site import Shell

COMMANDS = {
    START: ("demo", "init", "serve", "check"),
    PEOPLE: ("domain", "mailbox", "group", "address"),
    ROAD: ("why", "queue", "quarantine"),
    CARE: ("health", "metrics", "reload", "stop", "plugin", "store"),
}


def test_without_arguments_all_commands_are_shown_by_topic(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([]) == 0
    lines = capsys.readouterr().out.splitlines()
    heading = ""
    found: dict[str, list[str]] = {topic: [] for topic in COMMANDS}
    for line in lines:
        if line.endswith(":") and line[:-1] in COMMANDS:
            heading = line[:-1]
        elif heading and line.startswith("  ") and not line.startswith("   "):
            found[heading].append(line.split()[0])
    assert {topic: tuple(names) for topic, names in found.items()} == COMMANDS
    assert list(found) == list(COMMANDS)


@pytest.mark.parametrize("group", ["domain", "mailbox", "group", "address"])
def test_rows_are_worked_on_with_the_same_five_words(group: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([group, "--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {word} " in out for word in ("add", "list", "show", "set", "delete"))


def test_help_loads_neither_the_kernel_nor_anything_heavy() -> None:
    code = "import sys; from postroom_cli.main import run; run(['--help']); sys.stderr.write(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split())
    assert "postroom_cli.app" in loaded
    assert not loaded & {"postroom", "pydantic", "asyncio", "rich.console", "yaml", "cryptography", "argon2", "postroom_cli.opened"}


WRONG = [
    ["nonsense"],
    ["mailbox", "nonsense"],
    ["mailbox", "add"],
    ["mailbox", "add", "no-address"],
    ["mailbox", "add", "a@b.example", "--quota", "much"],
    ["domain", "add", "nodots"],
    ["init", "--domain", "example.test"],
    ["demo", "--port-base", "-1"],
    ["queue", "hold"],
    ["group", "set", "a@b.example"],
]


@pytest.mark.parametrize("arguments", WRONG, ids=" ".join)
def test_wrong_usage_is_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    said = capsys.readouterr()
    assert said.out == "" and said.err and "Traceback" not in said.err


def test_no_site_at_hand_is_wrong_usage_and_says_how_to_name_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("POSTROOM_SITE", raising=False)
    monkeypatch.chdir(tmp_path)
    assert run(["mailbox", "list"]) == 2
    assert "POSTROOM_SITE" in capsys.readouterr().err


def test_the_site_is_found_by_the_environment_or_the_current_folder(
    shell: Shell, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shell.done("domain", "add", "example.test")
    monkeypatch.setenv("POSTROOM_SITE", str(shell.root))
    assert run(["domain", "list"]) == 0
    monkeypatch.delenv("POSTROOM_SITE")
    monkeypatch.chdir(shell.root)
    assert run(["domain", "list"]) == 0
    assert capsys.readouterr().out.count("example.test") == 4


def test_a_folder_without_a_site_is_refused_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["mailbox", "list", "--site", str(tmp_path)]) == 1
    assert "postroom init" in capsys.readouterr().err


def test_a_mistake_in_the_settings_names_its_line(shell: Shell) -> None:
    (shell.root / "postroom.yaml").write_text("server: x.example\nplugins: {tab: {}}\nworkres: 2\n")
    said = shell("mailbox", "list")
    assert said.code == 1 and said.err.startswith(f"postroom: {shell.root}/postroom.yaml:3: workres: ") and "workers" in said.err


def test_a_closed_pipe_ends_quietly(shell: Shell) -> None:
    shell.done("domain", "add", "example.test")
    command = f"{sys.executable} -m postroom_cli.main address list --site {shell.root} | true"
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True, check=False)
    assert done.stderr == ""


@pytest.mark.parametrize("request_", [["health"], ["metrics"], ["reload"], ["stop"], ["plugin", "reload"]])
def test_what_needs_a_running_site_says_how_to_start_it(shell: Shell, request_: list[str]) -> None:
    said = shell(*request_)
    assert (said.code, said.err) == (1, f"postroom: {shell.root} is not running; start it with: postroom serve {shell.root}\n")


def test_the_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out.startswith("postroom ")


def test_a_word_nobody_knows_may_be_a_plugins(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from postroom_cli import opened

    def added(root: Path, cli: typer.Typer) -> None:
        cli.command("hello")(lambda: typer.echo(f"hello from {root}"))

    monkeypatch.setattr(opened, "added_commands", added)
    monkeypatch.setenv("POSTROOM_SITE", str(shell.root))
    assert run(["hello"]) == 0
    assert run(["nonsense"]) == 2
