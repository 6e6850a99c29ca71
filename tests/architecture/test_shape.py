"""How the house looks: a budget for the kernel, one shape for every plugin, files that say what they are for."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.architecture.source import CODE_ROOTS, PLUGIN_ROOTS, ROOT, code_lines, functions, modules, packages

BUDGET = 2500


def test_the_kernel_keeps_its_budget() -> None:
    lines = {module.shown: code_lines(module.path) for module in modules("kernel") if module.package == "postroom"}
    assert sum(lines.values()) <= BUDGET, sorted(lines.items(), key=lambda item: -item[1])[:10]


@pytest.mark.parametrize("folder", packages(*PLUGIN_ROOTS), ids=lambda f: f.name)
def test_a_plugin_has_its_table_of_contents(folder: Path) -> None:
    missing = [name for name in ("plugin.py", "settings.py", "py.typed") if not (folder / name).exists()]
    assert not missing, folder


@pytest.mark.parametrize("folder", packages(*CODE_ROOTS), ids=lambda f: f.name)
def test_a_package_is_typed_and_its_init_is_a_docstring(folder: Path) -> None:
    """`postroom/__init__.py` is the face a plugin author meets: the version and the markers; no other package has one."""
    assert (folder / "py.typed").exists()
    body = ast.parse((folder / "__init__.py").read_text()).body
    assert body and _is_docstring(body[0])
    assert len(body) == 1 or folder.name == "postroom"


def test_a_file_opens_by_saying_what_it_is_for() -> None:
    assert not [module.shown for module in modules(*CODE_ROOTS) if not ast.get_docstring(module.tree())]


def test_files_are_chapters_and_functions_sentences() -> None:
    assert not [module.shown for module in modules(*CODE_ROOTS) if len(module.path.read_text().splitlines()) > 600]
    found = [(module.shown, f) for module in modules(*CODE_ROOTS) for f in functions(module.tree())]
    assert not [(shown, f.name) for shown, f in found if (f.end_lineno or 0) - f.lineno >= 60]


def test_there_is_no_drawer_for_odds_and_ends() -> None:
    drawers = {"utils", "util", "helpers", "misc", "common", "manager"}
    assert not [m.shown for m in modules(*CODE_ROOTS) if m.path.stem in drawers]


def test_every_folder_of_code_is_a_package() -> None:
    """A folder without `__init__.py` would be left out of the wheel's types and of these tests."""
    folders = {path.parent for root in CODE_ROOTS for path in (ROOT / root).rglob("*.py")}
    assert not [folder for folder in folders if not (folder / "__init__.py").exists() and "template" not in folder.parts]


def _is_docstring(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
