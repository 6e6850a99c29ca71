"""Every hook has its paragraph in the plugin guide, with its exact arguments, and every setting its own in the manual."""

from __future__ import annotations

import inspect
import re
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


def hooks() -> list[str]:
    """`name(arguments)` of every specification: the kernel's, and those a plugin brings in its api.py."""
    apis = [import_module(f"{folder.name}.api") for folder in packages(*PLUGIN_ROOTS) if (folder / "api.py").exists()]
    return sorted({spec for module in (hookspecs, *apis) for spec in _specifications(module)})


def test_the_kernel_brings_the_hooks_of_the_design() -> None:
    names = {spec.partition("(")[0] for spec in hooks()}
    wanted = "providers mail_store connectors services http_mounts commands mta_pickup mta_delivery mta_settled site_created health check"
    assert set(wanted.split()) <= names


def test_every_hook_has_its_paragraph() -> None:
    guide = GUIDE.read_text()
    assert not [hook for hook in hooks() if f"`{hook}`" not in guide], "not in docs/plugin-guide.md"


@pytest.mark.parametrize("point", sorted(entry_points(group="postroom.plugins")), ids=lambda p: p.name)
def test_every_setting_has_its_paragraph(point: EntryPoint) -> None:
    """Below a heading that has the plugin's name in back quotes, each field has its own in back quotes."""
    section = re.search(rf"(?ms)^#+ [^\n]*`{point.name}`.*?(?=^#+ [^\n]*`|\Z)", MANUAL.read_text())
    fields = sorted(set(_fields(point.load().Settings)))
    assert section or not fields, f"docs/manual.md has no section headed `{point.name}`"
    assert not [name for name in fields if section and f"`{name}`" not in section.group()], "not in docs/manual.md"


def _specifications(module: ModuleType) -> Iterator[str]:
    for _, owner in inspect.getmembers(module, inspect.isclass):
        for name, function in inspect.getmembers(owner, inspect.isfunction):
            if hasattr(function, "postroom_spec"):
                arguments = [word for word in inspect.signature(function).parameters if word != "self"]
                yield f"{name}({', '.join(arguments)})"


def _fields(model: type[BaseModel], seen: frozenset[type[BaseModel]] = frozenset()) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name
        for inner in re.findall(r"[\w.]+", str(field.annotation)):
            owner = inspect.getmodule(model)
            found = getattr(owner, inner.rpartition(".")[2], None)
            if isinstance(found, type) and issubclass(found, BaseModel) and found not in seen:
                yield from _fields(found, seen | {model, found})
