"""Every hook has its paragraph in the plugin guide, with its exact signature, when it is asked, its deadline, what a failure means, and an example;
and every setting has its own in the manual."""

from __future__ import annotations

import ast
import inspect
import re
import runpy
import textwrap
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from types import ModuleType

import pytest
from pydantic import BaseModel

from postroom import hookspecs
from tests.architecture.source import PLUGIN_ROOTS, ROOT, packages

GUIDE = ROOT / "docs/plugin-guide.md"
MANUAL = ROOT / "docs/manual.md"
WRITER = runpy.run_path(str(ROOT / "docs/settings.py"), run_name="settings")  # what writes its last chapter


def _specifications(module: ModuleType) -> Iterator[tuple[str, inspect.Signature, bool]]:
    for _, owner in inspect.getmembers(module, inspect.isclass):
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            if hasattr(function, "postroom_spec"):
                signature = inspect.signature(function)
                arguments = [one for word, one in signature.parameters.items() if word != "self"]
                yield name, signature.replace(parameters=arguments), inspect.iscoroutinefunction(function)


def specifications() -> dict[str, tuple[inspect.Signature, bool]]:
    """Every specification by name, and whether it is `async`: the kernel's, and those a plugin brings in its api.py."""
    apis = [import_module(f"{folder.name}.api") for folder in packages(*PLUGIN_ROOTS) if (folder / "api.py").exists()]
    return {name: (signature, waits) for module in (hookspecs, *apis) for name, signature, waits in _specifications(module)}


SPECIFICATIONS = specifications()


def called(name: str) -> str:
    """The hook as it is called: `name(arguments)`."""
    return f"{name}({', '.join(SPECIFICATIONS[name][0].parameters)})"


def section(name: str) -> str:
    """The guide's words on a hook: from its heading to the next one."""
    found = re.search(rf"(?ms)^### `{re.escape(called(name))}`$.*?(?=^##+ |\Z)", GUIDE.read_text())
    assert found, f"docs/plugin-guide.md has no heading `{called(name)}`"
    return found.group()


def test_the_kernel_brings_the_hooks_of_the_design() -> None:
    wanted = "providers mail_store connectors services http_mounts commands mta_pickup mta_delivery mta_settled site_created health check"
    assert set(wanted.split()) <= set(SPECIFICATIONS)


@pytest.mark.parametrize("name", sorted(SPECIFICATIONS))
def test_every_hook_has_its_signature_in_the_guide(name: str) -> None:
    signature, waits = SPECIFICATIONS[name]
    arguments = ", ".join(f"{one.name}: {one.annotation}" for one in signature.parameters.values())
    line = f"`{name}({arguments}) -> {signature.return_annotation}`{' (async)' if waits else ''}"
    assert line in section(name).splitlines()


@pytest.mark.parametrize("name", sorted(SPECIFICATIONS))
def test_every_hook_is_told_in_full(name: str) -> None:
    """When it is asked, its deadline, what a failure means, and an example with this very signature."""
    words, (signature, waits) = section(name), SPECIFICATIONS[name]
    assert all(f"* **{what}**: " in words for what in ("Asked", "Deadline", "Failure")), words
    example = re.search(r"(?s)```python\n(.*?)```", words)
    assert example, f"no example of {name}"
    (made,) = ast.parse(textwrap.dedent(example[1])).body
    assert isinstance(made, ast.AsyncFunctionDef if waits else ast.FunctionDef) and made.name == name
    own = [(one.arg, ast.unparse(one.annotation) if one.annotation else "") for one in made.args.args[1:]]
    assert own == [(one.name, one.annotation) for one in signature.parameters.values()]
    assert ast.unparse(made.returns or ast.Constant(None)) == signature.return_annotation
    assert [ast.unparse(one) for one in made.decorator_list] == ["hookimpl"]


def test_the_python_of_the_guide_can_be_parsed() -> None:
    for text in re.findall(r"(?ms)^```python\n(.*?)^```", GUIDE.read_text()):
        ast.parse(text)


@pytest.mark.parametrize("point", sorted(entry_points(group="postroom.plugins")), ids=lambda p: p.name)
def test_every_setting_has_its_paragraph(point: EntryPoint) -> None:
    """Below a heading that has the plugin's name in back quotes, each field has its own in back quotes."""
    section = re.search(rf"(?ms)^#+ [^\n]*`{point.name}`.*?(?=^#+ [^\n]*`|\Z)", MANUAL.read_text())
    fields = sorted(set(_fields(point.load().Settings)))
    assert section or not fields, f"docs/manual.md has no section headed `{point.name}`"
    assert not [name for name in fields if section and f"`{name}`" not in section.group()], "not in docs/manual.md"


def test_the_settings_chapter_is_made_from_the_models_as_they_are() -> None:
    """`python docs/settings.py` writes it."""
    assert MANUAL.read_text().endswith(WRITER["chapter"]()), "run python docs/settings.py"


def _fields(model: type[BaseModel], seen: frozenset[type[BaseModel]] = frozenset()) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name
        for inner in WRITER["models"](field.annotation):
            if inner not in seen:
                yield from _fields(inner, seen | {model, inner})
