"""Each kind as `postroom plugin new` makes it passes what its README asks an author to run: ruff, mypy --strict, its own tests."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from postroom.settings import parse
from postroom_cli.newplugin import KINDS, LICENSES
from tests.architecture.source import ROOT
from tests.template.rendering import install, rendered

pytestmark = pytest.mark.long

NAMES = ("a", "x" * 30, "b_c_d_e_f_g_h_i_j_k_l_m_n_o")  # short, long, all capitals as a class: none may change how the code is laid out
NAME = "my_plugin"
SLOW = "two_processes or death"  # of the contract suites: what starts processes, or dies at every disk call; the clean install runs them


@pytest.fixture(scope="module")
def projects(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """A project of each kind."""
    place = tmp_path_factory.mktemp("rendered")
    return {kind: rendered(place / kind, NAME, kind) for kind in KINDS}


def checked(command: list[str], folder: Path, **environment: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, env={**os.environ, **environment}, timeout=110)
    assert done.returncode == 0, done.stdout + done.stderr


def tool(name: str) -> str:
    return str(Path(sys.executable).with_name(name))


@pytest.mark.parametrize("name", NAMES, ids=lambda name: f"{len(name)} letters")
def test_it_is_formatted_and_linted_whatever_its_name(tmp_path: Path, name: str) -> None:
    for kind in KINDS:
        rendered(tmp_path / kind, name, kind, author='Rita "Q" Müller')
    checked([tool("ruff"), "check", "--no-cache", "."], tmp_path)
    checked([tool("ruff"), "format", "--no-cache", "--check", "."], tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_its_types_are_strict(projects: Mapping[str, Path], kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    cache = tmp_path_factory.getbasetemp().parent / "mypy-of-the-template"
    checked([tool("mypy"), "--strict", "--cache-dir", str(cache)], projects[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_its_own_tests_pass(projects: Mapping[str, Path], kind: str) -> None:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-k", f"not ({SLOW})"]
    checked(command, projects[kind], PYTHONPATH="src")


@pytest.mark.parametrize("kind", KINDS)
def test_it_has_what_a_project_has(projects: Mapping[str, Path], kind: str) -> None:
    project = projects[kind]
    package = project / "src" / f"postroom_{NAME}"
    wanted = ("README.md", "CHANGELOG.md", "LICENSE", ".gitignore", "pyproject.toml", ".copier-answers.yml", "tests/test_contract.py")
    assert not [name for name in wanted if not (project / name).stat().st_size]
    assert {"__init__.py", "plugin.py", "settings.py", "py.typed"} < {path.name for path in package.iterdir()}
    left = [
        path
        for path in project.rglob("*")
        if path.is_file() and path.suffix != ".pyc" and ("{{" in path.name or b"{{" in path.read_bytes() or b"{%" in path.read_bytes())
    ]
    assert not left, "template marks are left"
    told = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert told["name"] == f"postroom-{NAME}" and told["license"] == "Apache-2.0" and told["authors"] == [{"name": "Rita"}]
    assert told["entry-points"] == {"postroom.plugins": {NAME: f"postroom_{NAME}.plugin:MyPluginPlugin"}}
    assert "postroom[develop]" in told["optional-dependencies"]["test"]


@pytest.mark.parametrize("kind", KINDS)
def test_the_lines_of_its_readme_are_settings_that_it_takes(
    projects: Mapping[str, Path], kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And every setting it takes is in the README."""
    install(projects[kind], tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    readme = (projects[kind] / "README.md").read_text()
    (yaml,) = (block.partition("```")[0] for block in readme.split("```yaml\n")[1:])
    rest = "  tab: {}\n" if "  tab: {}" not in yaml else ""
    settings = parse(f"server: mail.example.test\n{yaml.replace('plugins:', f'plugins:{chr(10)}{rest}'.rstrip(), 1)}")
    (point,) = entry_points(group="postroom.plugins", name=NAME)
    model = point.load().Settings
    settings.table_of(settings.plugins[NAME], model)
    assert not [name for name in model.model_fields if f"`{name}`" not in readme]
    for name in [name for name in sys.modules if name.partition(".")[0] == f"postroom_{NAME}"]:
        del sys.modules[name]  # the next kind has modules of the same names


@pytest.mark.parametrize("license", LICENSES)
def test_each_licence_is_in_its_files(tmp_path: Path, license: str) -> None:
    project = rendered(tmp_path, NAME, "service", author="Rita", license=license)
    told = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    assert told.get("license", "none") == license
    assert "2026 Rita" in (project / "LICENSE").read_text().replace(",", "")


def test_an_includes_file_is_in_every_kind() -> None:
    """What all kinds have alike is written once."""
    template = ROOT / "plugin-template"
    for shared in (template / "shared").iterdir():
        users = [
            path
            for kind in KINDS
            for path in (template / kind).rglob("*")
            if path.is_file() and f"'shared/{shared.name}'" in path.read_text()
        ]
        assert len(users) == len(KINDS), shared.name
