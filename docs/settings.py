"""Writes the settings chapter of the manual from the pydantic models: `python docs/settings.py`.

Every field has its default, what it does and its unit there; `tests/architecture/test_docs.py` fails when one is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from postroom.settings import HookPolicy, Settings

MANUAL = Path(__file__).with_name("manual.md")
START = "\n## Settings\n"
INTRODUCTION = """
Made from the settings' own models. Keys of a nested table are written with a dot. A wrong key or value is an error that names
file, line, the key that was meant, and the remedy; `postroom check` tells them all.
"""


def rows(model: type[BaseModel], prefix: str = "") -> Iterator[str]:
    """One table row a field, nested models after their field."""
    for name, field in model.model_fields.items():
        key = f"{prefix}`{field.alias or name}`"
        inner = next(models(field.annotation), None)
        yield f"| {key} | {_default(field)} | {_text(field.description)} |"
        if inner is not None:
            yield from rows(inner, f"{key}.")


def models(annotation: object) -> Iterator[type[BaseModel]]:
    """Those that a field's type is made of, wherever they are written."""
    if get_origin(annotation) is None and isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models(part)


def _default(field: object) -> str:
    default, factory = getattr(field, "default", None), getattr(field, "default_factory", None)
    if default is PydanticUndefined:
        made = factory() if factory is not None else None
        return "required" if factory is None else "" if isinstance(made, BaseModel) or not made else f"`{_shown(made)}`"
    return "" if default in (None, "", (), []) or isinstance(default, BaseModel) else f"`{_shown(default)}`"


def _shown(value: object) -> str:
    """A value as YAML has it."""
    match value:
        case bool():
            return str(value).lower()
        case list() | tuple():
            return "[" + ", ".join(_shown(one) for one in value) + "]"
        case BaseModel():
            said = [name for name in type(value).model_fields if name in value.model_fields_set]
            return "{" + ", ".join(f"{name}: {_shown(getattr(value, name))}" for name in said) + "}"
    return str(getattr(value, "value", value)).replace("|", "\\|")


def _text(description: str | None) -> str:
    return " ".join((description or "").split()).replace("|", "\\|")


def chapter() -> str:
    """The whole chapter."""
    head = "| key | default | what it does |\n| --- | --- | --- |"
    parts = [START + INTRODUCTION]
    parts.append("\n### The site's own keys\n\n" + "\n".join([head, *rows(Settings)]))
    parts.append("\n\n### `hooks:` of any plugin with transfer events or hooks of its own\n\n" + "\n".join([head, *rows(HookPolicy)]))
    for point in sorted(entry_points(group="postroom.plugins"), key=lambda point: point.name):
        model = getattr(point.load(), "Settings", None)
        table = "\n".join([head, *rows(model)]) if model is not None and model.model_fields else "It has no settings."
        parts.append(f"\n\n### `{point.name}`\n\n{table}")
    return "".join(parts) + "\n"


if __name__ == "__main__":
    text = MANUAL.read_text()
    MANUAL.write_text(text[: text.index(START)] + chapter())
