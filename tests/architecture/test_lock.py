"""requirements.txt is the lock that a clean clone is tested with: every dependency pinned, every file hashed, no registry named.

Made by: uv pip compile --universal --generate-hashes --no-header --extra test pyproject.toml -o requirements.txt
"""

from __future__ import annotations

import re

from tests.architecture.source import ROOT, project

LOCK = (ROOT / "requirements.txt").read_text()


def test_every_dependency_is_pinned() -> None:
    table = project()["project"]
    assert isinstance(table, dict)
    extras = table["optional-dependencies"]
    asked = [*table["dependencies"], *(line for line in (*extras["develop"], *extras["test"]) if not line.startswith("postroom["))]
    names = {_plain(re.match(r"[\w.-]+", line).group()) for line in asked}  # type: ignore[union-attr]
    pinned = {_plain(name) for name in re.findall(r"(?m)^([\w.-]+)==", LOCK)}
    assert names <= pinned


def test_every_pin_has_its_hashes() -> None:
    entries = re.split(r"(?m)^(?=[\w.-]+==)", LOCK)[1:]
    assert entries
    assert not [entry.splitlines()[0] for entry in entries if "--hash=sha256:" not in entry]


def test_no_registry_is_named() -> None:
    assert not re.search(r"(?i)https?:|--(extra-)?index|--find-links|file:", LOCK)


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
