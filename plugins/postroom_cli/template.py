"""The plugin template: where it is, and its history, without which `copier update` could not merge a later one into a project.

The template of this release is data of the package, or a folder of the checkout. Each release that makes a plugin also leaves its template
as a tag in a git repository of the user's, under the folder for data of `XDG_DATA_HOME`. Projects remember that repository and the tag. Tags never
move. Where there is no git, plugins are made all the same, and cannot be updated by copier.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from postroom.errors import PostroomError

FOLDER = "plugin-template"
_SAFE = ("-c", "core.autocrlf=false", "-c", "core.hooksPath=/dev/null", "-c", "core.excludesFile=/dev/null", "-c", "commit.gpgSign=false")
_AUTHOR = {  # the same template gives the same commit, whoever has it made
    f"GIT_{who}_{what}": value
    for who in ("AUTHOR", "COMMITTER")
    for what, value in (("NAME", "postroom"), ("EMAIL", "postroom@localhost"), ("DATE", "2000-01-01T00:00:00Z"))
}


class NoTemplate(PostroomError):
    """The installation is not whole, or the user's copy of the template cannot be written; the text says which."""


@dataclass(frozen=True, slots=True)
class Template:
    """What copier is given."""

    source: str
    tag: str | None = None  # where it has a history


def found() -> Path:
    """The template of this release."""
    packaged = Path(str(files("postroom_cli"))) / FOLDER
    checkout = Path(__file__).parents[2] / FOLDER
    for folder in (packaged, checkout):
        if (folder / "copier.yml").is_file():
            return folder
    raise NoTemplate(f"this installation of postroom has no {FOLDER}; install it again")


def with_history(folder: Path, version: str) -> Template:
    """The template as a tag of the user's repository; the folder itself where there is no git."""
    if shutil.which("git") is None:
        return Template(str(folder))
    home = _home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with _alone(home):
            tag = _Repository(home).tag_of(folder, version)
    except OSError as error:
        raise NoTemplate(f"{home} cannot be written: {error.strerror}; set XDG_DATA_HOME to a folder of yours") from None
    return Template(_shown(home), tag)


def _home() -> Path:
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "postroom" / FOLDER


def _shown(home: Path) -> str:
    """With a tilde, so that the project's file is right for each who works on it."""
    try:
        return f"~/{home.relative_to(Path.home())}"
    except ValueError:
        return str(home)


@contextmanager
def _alone(home: Path) -> Iterator[None]:
    """Two that make plugins at once do not meet in the repository."""
    with (home.parent / f".{FOLDER}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@dataclass(frozen=True, slots=True)
class _Repository:
    """The history. Its working tree is the newest template, so that copier finds nothing uncommitted in it."""

    home: Path

    def tag_of(self, folder: Path, version: str) -> str:
        """The tag that holds exactly this template; made where there is none."""
        if not (self.home / ".git").exists():
            self._git("init", "--quiet")
        self._git("--work-tree", str(folder), "add", "--all", "--force", ".")
        tree = self._git("write-tree")
        tags = self._git("tag", "--list", "v*").split()
        known = next((tag for tag in tags if self._git("rev-parse", f"{tag}^{{tree}}") == tree), None)
        if known is None:
            known = next(name for name in _names(version) if name not in tags)
            self._git("commit", "--quiet", "--allow-empty", "--message", f"The template of postroom {version}")
            self._git("tag", known)
        self._git("reset", "--quiet", "--hard", "HEAD")
        return known

    def _git(self, *words: str) -> str:
        command = ["git", *_SAFE, "--git-dir", str(self.home / ".git"), "--work-tree", str(self.home), *words]
        done = subprocess.run(command, cwd=self.home, capture_output=True, text=True, env=_environment())
        if done.returncode:
            raise NoTemplate(f"{self.home} is damaged; delete it and try again. git said: {done.stderr.strip()}")
        return done.stdout.strip()


def _environment() -> dict[str, str]:
    """Nothing that the caller's git has set reaches ours: it may be a hook that calls us."""
    return {name: value for name, value in os.environ.items() if not name.startswith("GIT_")} | _AUTHOR


def _names(version: str) -> Iterator[str]:
    """v0.1.0, then, for a template that changed without a release, v0.1.0.post1 and so on."""
    yield f"v{version}"
    number = 0
    while True:
        number += 1
        yield f"v{version}.post{number}"
