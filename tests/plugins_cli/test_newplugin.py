"""`plugin new` and `plugin update`: names, folders, what is refused, and a template that changed."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from postroom_cli import newplugin, template
from postroom_cli.main import run
from postroom_cli.names import Wrong
from tests.architecture.source import ROOT

pytestmark = pytest.mark.long


@pytest.fixture(autouse=True)
def _own_history(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of templates; and a git that knows nobody."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)


def new(into: Path, *words: str) -> int:
    return run(["plugin", "new", *words, "--into", str(into)])


def git(folder: Path, *words: str) -> str:
    who = ["-c", "user.name=Rita", "-c", "user.email=rita@example.org"]
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout


# Names.


@pytest.mark.parametrize("name", ["a", "my_scan", "scan2", "x" * 30, "plugin", "on"])
def test_a_name(name: str) -> None:
    newplugin.check_name(name)


WRONG = [
    ("", "small letters"),
    ("My-Scan", "such as my_scan"),
    ("postroom-scan", "such as scan"),
    ("2scan", "such as scan"),
    ("_scan", "such as scan"),
    ("scän", "such as sc_n"),
    ("../scan", "such as scan"),
    ("scan\n", "such as scan"),
    ("x" * 31, "30 at most"),
    ("class", "a word of Python"),
    ("smtp", "postroom has a smtp of its own"),
    ("command", "such as my_command"),
    ("net", "postroom has a net of its own"),
]


@pytest.mark.parametrize(("name", "remedy"), WRONG, ids=[repr(name) for name, _ in WRONG])
def test_no_name_and_what_to_do_about_it(name: str, remedy: str) -> None:
    with pytest.raises(Wrong, match=remedy):
        newplugin.check_name(name)


def test_the_servers_own_packages_are_reserved() -> None:
    """A plugin of such a name would be a package of the same name as one of ours."""
    libraries = {folder.name.removeprefix("postroom_") for folder in (ROOT / "kernel").iterdir() if folder.name.startswith("postroom_")}
    assert libraries == newplugin.LIBRARIES


# Making.


def test_it_says_where_it_is_and_what_to_do_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new(tmp_path, "my_scan", "--kind", "transfer-event") == 0
    out = capsys.readouterr().out
    project = tmp_path / "postroom-my_scan"
    assert str(project) in out and "pytest" in out and "plugin reload" in out
    assert (project / "src" / "postroom_my_scan" / "plugin.py").is_file()


def test_the_same_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new(tmp_path, "my_scan", "--kind", "service", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["name"], said["kind"], said["project"]) == ("my_scan", "service", str(tmp_path / "postroom-my_scan"))


@pytest.mark.long
def test_a_project_is_not_written_over_unless_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new(tmp_path, "my_scan", "--kind", "service") == 0
    readme = tmp_path / "postroom-my_scan" / "README.md"
    licence = tmp_path / "postroom-my_scan" / "LICENSE"
    made = readme.read_text()
    readme.write_text("mine")
    licence.write_text("my own")
    assert new(tmp_path, "my_scan", "--kind", "service") == 1
    assert "--force" in capsys.readouterr().err and readme.read_text() == "mine"
    assert new(tmp_path, "my_scan", "--kind", "service", "--force") == 0
    assert (readme.read_text(), licence.read_text()) == (made, "my own")


def test_a_project_keeps_its_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new(tmp_path, "my_scan", "--kind", "service") == 0
    assert new(tmp_path, "my_scan", "--kind", "connector", "--force") == 1
    assert "is a service; delete it first" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["my_scan"], ["my_scan", "--kind", "filter"], ["smtp", "--kind", "service"], ["x", "--kind", "service", "--license", "GPL"]],
    ids=" ".join,
)
def test_wrong_usage_is_2_and_makes_nothing(tmp_path: Path, words: Sequence[str]) -> None:
    assert new(tmp_path, *words) == 2
    assert not [path for path in tmp_path.iterdir() if path.name.startswith("postroom-")]


def test_without_copier_it_says_how_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **more: Any) -> ModuleType:
        if name == "copier":
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    assert new(tmp_path, "my_scan", "--kind", "service") == 1
    assert "pip install 'postroom[develop]'" in capsys.readouterr().err


def test_without_git_it_is_made_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setenv("PATH", str(tmp_path))
    made = template.with_history(template.found(), "0.1.0")
    assert (made.source, made.tag) == (str(template.found()), None)


# The template.


def test_an_installed_package_has_its_own_template(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wheel has it as data of postroom_cli; the checkout beside."""
    assert template.found() == ROOT / "plugin-template"
    shutil.copytree(ROOT / "plugin-template", tmp_path / "plugin-template")
    monkeypatch.setattr(template, "files", lambda package: tmp_path)
    assert template.found() == tmp_path / "plugin-template"


def test_an_installation_without_one_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(template, "FOLDER", "no-template")
    with pytest.raises(template.NoTemplate, match="install it again"):
        template.found()


def test_a_release_has_one_tag_and_a_changed_template_another(tmp_path: Path) -> None:
    folder = tmp_path / "template"
    shutil.copytree(ROOT / "plugin-template", folder)
    first = [template.with_history(folder, "0.1.0").tag for _ in range(2)]
    (folder / "service" / "NEWS.md").write_text("news")
    second = [template.with_history(folder, version).tag for version in ("0.1.0", "0.1.0", "0.2.0")]
    (folder / "service" / "NEWS.md").write_text("more")
    third = template.with_history(folder, "0.2.0").tag
    (folder / "service" / "NEWS.md").unlink()
    assert [*first, *second, third] == ["v0.1.0", "v0.1.0", "v0.1.0.post1", "v0.1.0.post1", "v0.1.0.post1", "v0.2.0"]
    assert template.with_history(folder, "0.1.0").tag == "v0.1.0", "who goes back to an older release has its template"


def test_a_damaged_history_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "data" / "postroom" / "plugin-template" / ".git").mkdir(parents=True)
    with pytest.raises(template.NoTemplate, match="delete it and try again"):
        template.with_history(template.found(), "0.1.0")


# Updating.


@pytest.mark.long
def test_a_later_template_is_merged_into_what_the_author_wrote(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "template"
    shutil.copytree(ROOT / "plugin-template", folder)
    monkeypatch.setattr(template, "found", lambda: folder)
    assert new(tmp_path, "my_scan", "--kind", "service", "--author", "Rita") == 0
    project = tmp_path / "postroom-my_scan"
    plugin = project / "src" / "postroom_my_scan" / "plugin.py"
    plugin.write_text(plugin.read_text().replace("its class, its hooks", "its class, and what Rita made of it"))
    git(project, "init", "-q")
    git(project, "add", "-A")
    git(project, "commit", "-qm", "mine")
    ignored = folder / "shared" / "gitignore"
    ignored.write_text(ignored.read_text() + "news/\n")
    assert run(["plugin", "update", str(project)]) == 0, capsys.readouterr().err
    assert "news/" in (project / ".gitignore").read_text()
    assert "what Rita made of it" in plugin.read_text()
    assert "_commit: v0.1.0.post1" in (project / ".copier-answers.yml").read_text()
    assert "author: Rita" in (project / ".copier-answers.yml").read_text()


def test_uncommitted_work_is_not_merged_into(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert new(tmp_path, "my_scan", "--kind", "service") == 0
    project = tmp_path / "postroom-my_scan"
    git(project, "init", "-q")
    assert run(["plugin", "update", str(project)]) == 1
    assert "is as it was" in capsys.readouterr().err


def test_what_was_not_made_by_it_cannot_be_updated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plugin", "update", str(tmp_path)]) == 1
    assert ".copier-answers.yml" in capsys.readouterr().err
