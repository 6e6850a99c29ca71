"""A YAML file as values that remember their lines, and a pydantic model's refusals told in those terms.

Keys are always text, so `on:` or `25:` never turn into something else. Every mistake is told at once. Aliases cannot blow a file up.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Any, Final, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

_NODES: Final = 100_000  # scalars, lists and tables a file may hold
_DEEPEST: Final = 50
M = TypeVar("M", bound=BaseModel)
Key = tuple[str | int, ...]


@dataclass(frozen=True, slots=True)
class Mistake:
    """What is wrong, where, and what to do about it."""

    line: int
    key: str
    what: str
    remedy: str = ""


class Mistakes(Exception):
    """All that is wrong with a text, by line."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda mistake: mistake.line))
        super().__init__(str(self.mistakes))


@dataclass(frozen=True, slots=True)
class YamlFile:
    """Values, and the line of every key."""

    values: Any
    lines: Mapping[Key, int]
    mistakes: Sequence[Mistake] = ()

    def mistake(self, what: str, key: Key = (), remedy: str = "") -> Mistake:
        """A mistake about this key, with the line of the nearest key that is there."""
        known = next((key[:n] for n in range(len(key), -1, -1) if key[:n] in self.lines), ())
        return Mistake(self.lines.get(known, 0), ".".join(map(str, key)), what, remedy)

    def read(self, model: type[M], values: Any, below: Key = ()) -> M:
        """These values, which stood below that key, as a model; Mistakes with all that it refuses."""
        try:
            return model.model_validate(values)
        except ValidationError as refused:
            told: dict[Key, Mistake] = {}
            for one in refused.errors():
                key = (*below, *one["loc"])
                if one["type"] != "missing":  # pydantic adds the names of union members; the operator did not write them
                    key = next(key[:n] for n in range(len(key), -1, -1) if key[:n] in self.lines or n == 0)
                told.setdefault(key, self.mistake(*_explain(model, key, len(below), one)))
            raise Mistakes(told.values()) from None


def _explain(model: type[BaseModel], key: Key, below: int, mistake: Any) -> tuple[str, Key, str]:
    """What is wrong at this key, and what to do."""
    if mistake["type"] == "extra_forbidden":
        return "no such setting", key, meant(str(key[-1]), _fields_at(model, key[below:-1]))
    if mistake["type"] == "missing":
        return "this setting is missing", key, "Add it"
    return mistake["msg"], key, f"It is now {mistake['input']!r:.60}"


def _fields_at(model: Any, key: Key) -> Iterable[str]:
    """The names that may stand at this place."""
    for step in key:
        if _is_model(model):
            model = _model_or_inner(model.model_fields[step].annotation) if step in model.model_fields else None
        else:
            model = _inner(model)
    return model.model_fields if _is_model(model) else ()


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _model_or_inner(annotation: Any) -> Any:
    """An optional is what it may be; a list or table stays one, for its index is a step of its own."""
    if get_origin(annotation) in (Union, UnionType):
        return next((a for a in get_args(annotation) if _is_model(a)), None)
    return annotation


def _inner(annotation: Any) -> Any:
    """What a list or table holds."""
    return _model_or_inner(next((a for a in reversed(get_args(annotation)) if a is not Ellipsis), None))


def meant(word: str, known: Iterable[str]) -> str:
    """The remedy for a name nobody knows."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1, cutoff=0.6)
    return f"Did you mean {close[0]}?" if close else f"Known here: {', '.join(names) or 'nothing'}"


def read_yaml(text: str) -> YamlFile:
    """The text as values with lines; Mistakes where it is no YAML."""
    loader = yaml.CSafeLoader(text)
    try:
        node = loader.get_single_node()
        builder = _Builder()
        values = builder.build(node, ()) if node is not None else {}
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise Mistakes([Mistake(mark.line + 1 if mark else 0, "", f"this is no YAML: {error.problem}")]) from None
    except yaml.reader.ReaderError as error:
        raise Mistakes([Mistake(text.count("\n", 0, error.position) + 1, "", f"this is no YAML: {error.reason}")]) from None
    finally:
        loader.dispose()
    return YamlFile(values, builder.lines, builder.mistakes)


class _Builder:
    """Nodes into values, remembering the line of every key."""

    def __init__(self) -> None:
        self.lines: dict[Key, int] = {(): 1}
        self.mistakes: list[Mistake] = []
        self._scalars = yaml.constructor.SafeConstructor()
        self._left = _NODES

    def build(self, node: yaml.Node, key: Key) -> Any:
        self._left -= 1
        if self._left < 0 or len(key) > _DEEPEST:  # an alias to its own parent ends here too
            raise yaml.MarkedYAMLError(problem="too large or nested too deeply", problem_mark=node.start_mark)
        self.lines.setdefault(key, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._table(node, key)
        if isinstance(node, yaml.SequenceNode):
            return [self.build(child, (*key, index)) for index, child in enumerate(node.value)]
        return self._scalars.construct_object(node)

    def _table(self, node: yaml.MappingNode, key: Key) -> dict[str, Any]:
        table: dict[str, Any] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode) or name.tag.endswith(":merge"):
                raise yaml.MarkedYAMLError(problem="a key must be plain text", problem_mark=name.start_mark)
            here = (*key, name.value)
            if name.value in table:
                what = f"written twice, first in line {self.lines[here]}"
                self.mistakes.append(Mistake(name.start_mark.line + 1, ".".join(map(str, here)), what, "Keep one"))
                continue
            self.lines[here] = name.start_mark.line + 1
            table[name.value] = self.build(value, here)
        return table
