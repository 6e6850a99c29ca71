"""The template rendered for tests, and a rendered plugin installed where processes that start later find it.

The history of templates goes beside the test's folder: a developer's own is left alone.
"""

from __future__ import annotations

import os
import shutil
import tomllib
from pathlib import Path
from unittest import mock

from postroom import __version__
from postroom_cli import newplugin


def rendered(folder: Path, name: str, kind: str, *, author: str = "Rita", license: str = "Apache-2.0") -> Path:
    """The project of a plugin, as `postroom plugin new` makes it."""
    folder.mkdir(parents=True, exist_ok=True)
    project = folder / f"postroom-{name}"
    answers = {"name": name, "kind": kind, "author": author, "license": license, "year": 2026, "postroom_version": __version__}
    with mock.patch.dict(os.environ, {"XDG_DATA_HOME": str(folder.parent / "data")}):
        newplugin.render(project, answers)
    return project


def install(project: Path, lib: Path) -> None:
    """What an installer leaves behind in a folder of the module path: the packages, and the metadata with the entry points."""
    told = tomllib.loads((project / "pyproject.toml").read_text())["project"]
    shutil.copytree(project / "src", lib, dirs_exist_ok=True)
    metadata = lib / f"{told['name'].replace('-', '_')}-{told['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {told['name']}\nVersion: {told['version']}\n")
    points = told["entry-points"]["postroom.plugins"]
    (metadata / "entry_points.txt").write_text("[postroom.plugins]\n" + "".join(f"{name} = {value}\n" for name, value in points.items()))
