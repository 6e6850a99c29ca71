"""`postroom plugin new` and `postroom plugin update`: a third party's plugin as a project of its own, made from the template by copier.

Nothing is written over without `--force`; a name that cannot be is refused before anything is written. Needs copier, which
`postroom[develop]` brings.
"""

from __future__ import annotations

import keyword
import re
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import ModuleType
from typing import Final

from postroom import __version__
from postroom.clock import SystemClock
from postroom_cli import template
from postroom_cli.names import Wrong
from postroom_cli.output import answer, refuse

KINDS: Final = ("transfer-event", "connector", "service", "provider")
LICENSES: Final = ("Apache-2.0", "MIT", "BSD-3-Clause", "none")
LIBRARIES: Final = frozenset(
    {"disk", "isolation", "mime", "net", "ops", "run", "testing"}
)  # postroom_NAME is one of the server's own packages
_NAME = re.compile(r"[a-z][a-z0-9_]{0,29}")
_GROUP = "postroom.plugins"


def run(name: str, kind: str, into: Path, *, author: str, license: str, force: bool, as_program: bool) -> None:
    """Make the project, and say what to do next."""
    check_name(name)
    _one_of("kind", kind, KINDS)
    _one_of("license", license, LICENSES)
    project = (into / f"postroom-{name}").absolute()
    if project.exists() and (not project.is_dir() or any(project.iterdir())) and not force:
        refuse(f"{project} is there already; --force writes the template over it, what you changed in its files is lost")
    if project.exists():
        _same_kind(project, kind)
    year = datetime.fromtimestamp(SystemClock().now(), UTC).year
    answers = {"name": name, "kind": kind, "author": author, "license": license, "year": year, "postroom_version": __version__}
    render(project, answers)
    following = [
        f"cd {project}",
        "python -m pip install -e '.[test]'",
        "python -m pytest",
        f"postroom plugin verify {name}",
        "postroom plugin reload --site SITE",
    ]
    lines = [
        f"{project} has a {kind} plugin that works as it stands; its README.md says what it does, and which lines go into postroom.yaml.",
        "",
    ]
    lines += [f"  {command}" for command in following]
    answer({"project": str(project), "name": name, "kind": kind, "next": following}, lines, as_program=as_program)


def update(project: Path, *, as_program: bool) -> None:
    """Merge the template of this release into a project that an older one made."""
    if not (project / ".copier-answers.yml").is_file():
        refuse(f"{project} was not made by postroom plugin new: it has no .copier-answers.yml")
    copier = _copier()
    made_from = template.with_history(template.found(), __version__)
    if made_from.tag is None:
        refuse("an update is a merge by git, and there is no git")
    try:
        copier.run_update(
            project, vcs_ref=made_from.tag, data={"postroom_version": __version__}, defaults=True, overwrite=True, quiet=True, unsafe=False
        )
    except (copier.errors.CopierError, OSError) as error:
        refuse(f"{project} is as it was: {error}")
    lines = [f"{project} has the template {made_from.tag} now. Look at what changed with: git diff"]
    answer({"project": str(project), "template": made_from.tag}, lines, as_program=as_program)


def _same_kind(project: Path, kind: str) -> None:
    """A project keeps its kind: the files of another would stay between the new ones."""
    answers = project / ".copier-answers.yml"
    said = re.search(r"^kind: (\S+)$", answers.read_text("utf-8"), re.MULTILINE) if answers.is_file() else None
    if said and said[1] != kind:
        refuse(f"{project} is a {said[1]}; delete it first to have a {kind} of that name")


def check_name(name: str) -> None:
    """Whether a third party's plugin may be called this; Wrong with the remedy where not."""
    if not _NAME.fullmatch(name):
        raise Wrong(f"{name!r} is no name for a plugin: small letters, digits and underscores, 30 at most{_instead(name)}")
    if keyword.iskeyword(name):
        raise Wrong(f"{name!r} is a word of Python; take another, such as {name}_mail")
    if name in LIBRARIES or name in bundled():
        raise Wrong(f"postroom has a {name} of its own; take another name, such as my_{name}"[:200])


def bundled() -> frozenset[str]:
    """The plugins that come with postroom; none is imported."""
    try:
        points = distribution("postroom").entry_points
    except PackageNotFoundError:  # from a folder that was never installed: then nothing else is, either
        return frozenset()
    return frozenset(point.name for point in points if point.group == _GROUP)


def render(project: Path, answers: dict[str, object]) -> None:
    """The template with these answers in this folder."""
    copier = _copier()
    made_from = template.with_history(template.found(), __version__)
    try:
        copier.run_copy(
            made_from.source, project, data=answers, vcs_ref=made_from.tag, defaults=True, overwrite=True, quiet=True, unsafe=False
        )
    except (copier.errors.CopierError, OSError) as error:
        refuse(f"{project} cannot be made: {error}")


def _copier() -> ModuleType:
    """Loaded only here: it takes a second."""
    try:
        import copier
    except ImportError:
        refuse("making a plugin needs copier; install it with: pip install 'postroom[develop]'")
    return copier


def _one_of(what: str, said: str, known: tuple[str, ...]) -> None:
    if said not in known:
        raise Wrong(f"{said!r} is no {what}; one of {', '.join(known)}")


def _instead(name: str) -> str:
    """What may have been meant."""
    meant = re.sub(r"[^a-z0-9]+", "_", name.lower().removeprefix("postroom")).strip("_0123456789")[:30]
    return f", such as {meant}" if _NAME.fullmatch(meant) and not keyword.iskeyword(meant) else ""
