"""A third party's day, in an environment of its own: postroom installed from its wheel, each kind of plugin made by `postroom plugin new`,
its tests run, its package installed beside a running demo, enabled without a restart, and seen to act.

Needs a package index; skipped with its words where none is to be reached.
"""

from __future__ import annotations

import json
import os
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from postroom_cli.newplugin import KINDS
from tests.architecture.source import ROOT
from tests.demo import PATIENCE, letter

pytestmark = [pytest.mark.interop, pytest.mark.timeout(900)]

NAMES = {kind: f"our_{kind.replace('-', '_')}" for kind in KINDS}


@dataclass(frozen=True)
class Clean:
    """An environment with postroom and what its plugins' authors need, and nothing of this one."""

    folder: Path
    environment: dict[str, str]

    def run(self, *words: str | Path, cwd: Path | None = None) -> str:
        """What the command says on stdout; an AssertionError with all it said where it fails."""
        done = subprocess.run(self._command(words), capture_output=True, text=True, env=self.environment, cwd=cwd or self.folder)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    def install(self, *what: str | Path) -> None:
        self.run("python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what)

    def _command(self, words: tuple[str | Path, ...]) -> list[str]:
        program, *rest = map(str, words)
        return [str(self.folder / "env" / "bin" / program), *rest]

    @contextmanager
    def demo(self) -> Iterator[dict[str, Any]]:
        """A demo that is served; its ready line."""
        command = self._command(("postroom", "demo", "--json", "--port-base", "0", "--workers", "2", "--site", self.folder / "site"))
        with subprocess.Popen(command, stdout=subprocess.PIPE, env=self.environment, cwd=self.folder, text=True) as process:
            try:
                assert process.stdout is not None
                ready: dict[str, Any] = json.loads(process.stdout.readline())
                yield ready
            finally:
                process.terminate()
                process.wait(40)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Clean:
    folder = tmp_path_factory.mktemp("clean")
    subprocess.run([sys.executable, "-m", "venv", folder / "env"], check=True)
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONDONTWRITEBYTECODE")}
    made = Clean(folder, {**kept, "XDG_DATA_HOME": str(folder / "data"), "PATH": f"{folder / 'env' / 'bin'}{os.pathsep}{kept['PATH']}"})
    try:
        made.run("python", "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "hatchling", cwd=folder)
    except AssertionError as error:
        pytest.skip(f"no package index is to be reached: {str(error).strip()[-300:]}")
    made.run("python", "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps", "--wheel-dir", "wheels", ROOT)
    (wheel,) = (folder / "wheels").glob("postroom-*.whl")
    made.install(f"{wheel}[develop]", "mypy", "ruff")
    return made


@pytest.fixture(scope="module")
def projects(clean: Clean) -> dict[str, Path]:
    """One of each kind, made by the installed command."""
    for kind, name in NAMES.items():
        clean.run("postroom", "plugin", "new", name, "--kind", kind)
    return {kind: clean.folder / f"postroom-{name}" for kind, name in NAMES.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_what_its_readme_asks_for_passes(clean: Clean, projects: dict[str, Path], kind: str) -> None:
    project = projects[kind]
    clean.install("--editable", project)
    clean.run("python", "-m", "pytest", cwd=project)
    clean.run("ruff", "check", ".", cwd=project)
    clean.run("ruff", "format", "--check", ".", cwd=project)
    clean.run("mypy", cwd=project)
    said = json.loads(clean.run("postroom", "plugin", "verify", NAMES[kind], "--json"))
    assert said["conforms"] is True, said


def test_installed_beside_a_running_site_all_act_after_a_reload(clean: Clean, projects: dict[str, Path]) -> None:
    for name in NAMES.values():
        clean.run("python", "-m", "pip", "uninstall", "--quiet", "--yes", f"postroom-{name}")
    with clean.demo() as ready:
        site, smtp = Path(ready["site"]), address(ready["endpoints"]["smtp"])
        alice = next(one for one in ready["accounts"] if one["login"].startswith("alice@"))
        assert send(smtp, subject="you won", to=alice["login"]) == 250
        clean.install(*projects.values())
        enable(site, alice)
        told = json.loads(clean.run("postroom", "plugin", "reload", "--site", site, "--json"))
        assert send(smtp, subject="you won", to=alice["login"]) == 554
        assert send(smtp, subject="hello", to=alice["login"]) == 250
        clean.run("postroom", "address", "add", "orders@example.test", f"[{acronym()}:orders]", "--site", site)
        assert send(smtp, subject="an order", to="orders@example.test") == 250
        with (
            socket.create_connection(address(told["endpoints"][NAMES["service"]]), timeout=PATIENCE) as peer,
            peer.makefile("rwb") as lines,
        ):
            lines.readline()
            lines.write(f"LOGIN {alice['login']} {alice['password']}\r\nQUIT\r\n".encode())
            lines.flush()
            assert lines.readline().startswith(b"+OK ")
        listed = {each["name"]: each for each in json.loads(clean.run("postroom", "plugin", "list", "--site", site, "--json"))}
        assert set(NAMES.values()) < set(listed)
        assert listed[NAMES["transfer-event"]]["hooks"]["mta_pickup"]["calls"] == 3


def enable(site: Path, alice: dict[str, str]) -> None:
    """All four in the settings; alice's login moves to the provider of ours."""
    (site / "people.jsonl").write_text(json.dumps({"username": alice["login"], "password": alice["password"]}) + "\n")
    (site / "people.jsonl").chmod(0o600)
    tables = {"transfer-event": '{patterns: ["*you won*"]}', "connector": "{boxes: [orders]}", "service": "{port: 0}"}
    tables["provider"] = "{file: people.jsonl}"
    added = "".join(f"  {NAMES[kind]}: {table}\n" for kind, table in tables.items())
    text = (site / "postroom.yaml").read_text().replace("\nplugins:\n", f"\nplugins:\n{added}", 1)
    wanted = f"providers: {{default: tab, authentication: {NAMES['provider']}}}"
    (site / "postroom.yaml").write_text(text.replace("providers: {default: tab}", wanted, 1))


def acronym() -> str:
    return NAMES["connector"].replace("_", "").upper()


def send(to_server: tuple[str, int], *, subject: str, to: str) -> int:
    mail = letter("clean", to=to)
    mail.replace_header("Subject", subject)
    with smtplib.SMTP(*to_server, timeout=PATIENCE) as client:
        try:
            client.send_message(mail)
        except smtplib.SMTPDataError as refused:
            return refused.smtp_code
    return 250


def address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host, int(port)
