"""Events and verdicts as JSON: what crosses between a worker and a child, by the types of its fields and nothing else.

A dataclass crosses as the list of its fields. Which class an event is of is named as `module:qualname`, and only a TransferEvent that the
kernel or a plugin's `api` module defines is taken. Pure. A verdict that is none raises `Nonsense`.
"""

from __future__ import annotations

import dataclasses
import json
import re
import reprlib
import types
import typing
from collections.abc import Callable, Mapping
from enum import Enum
from functools import cache
from importlib import import_module
from operator import attrgetter
from typing import Any, Final

from postroom.dispatch import Nonsense
from postroom.message import Message
from postroom.transfer import PASS, Defer, Discard, Pass, Quarantine, Reject, TransferEvent, Verdict

PASSED: Final = b'{"says":"pass"}'  # by far the most frequent answer: told and read without a parser
WORDS: Final[dict[str, Callable[[str], Verdict]]] = {"defer": Defer, "reject": Reject, "quarantine": Quarantine, "discard": Discard}
_WHY: Final = 500  # characters of a reason
_ID: Final = re.compile(r"[0-9A-F]{32}")
_write: Final = json.JSONEncoder(check_circular=False, separators=(",", ":")).encode
Turn = Callable[[Any], Any] | None  # None: JSON has it as it is


@dataclasses.dataclass(frozen=True, slots=True)
class Replaced:
    """A verdict whose message lies in the descriptor beside it."""

    id: str
    size: int


def write_event(hook: str, event: TransferEvent) -> bytes:
    """What a child is asked. The message crosses beside it. TypeError for an event that may not cross."""
    kind, message = type(event), event.message
    return _write([hook, _name(kind), _row(kind).out(event), message.id, message.size]).encode()


def read_event(data: bytes, message: Callable[[str, int], Message]) -> tuple[str, TransferEvent]:
    """The hook that is asked, and the event with this message."""
    hook, name, row, message_id, size = json.loads(data.decode())
    return hook, _row(_named(name)).with_message(row, message(message_id, size))


def write_verdict(verdict: Verdict) -> bytes:
    """A verdict without a message; Nonsense where it is none. A reason becomes one short line."""
    match verdict:
        case Pass():
            return PASSED
        case Defer(why) | Reject(why) | Quarantine(why) | Discard(why) if isinstance(why, str):
            return json.dumps({"says": type(verdict).__name__.lower(), "why": " ".join(why[: 8 * _WHY].split())[:_WHY]}).encode()
    raise Nonsense(f"answered {reprlib.repr(verdict)}, which is no verdict")


def write_replaced(message_id: str, size: int) -> bytes:
    return json.dumps({"says": "replace", "id": message_id, "size": size}).encode()


def write_error(error: BaseException) -> bytes:
    return json.dumps({"says": "error", "why": f"{type(error).__name__}: {error}"[:_WHY]}).encode()


def read_answer(data: bytes) -> Verdict | Replaced:
    """A child's answer; Raised where its hook failed, Nonsense where it is no answer at all."""
    if data == PASSED:
        return PASS
    try:
        said = json.loads(data)
        says, why = said["says"], said.get("why", "")
        if says == "replace" and _ID.fullmatch(said["id"]) and type(said["size"]) is int and said["size"] >= 0:
            return Replaced(said["id"], said["size"])
        if says in WORDS and isinstance(why, str):
            return WORDS[says](why[:_WHY])
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Nonsense(f"the child answered {data[:100]!r}, which cannot be read: {error}") from None
    if says == "error" and isinstance(why, str):
        raise Raised(why[:_WHY])
    raise Nonsense(f"the child answered {data[:100]!r}, which is no verdict")


class Raised(Exception):
    """The plugin's hook raised in its child; the text is what."""


class _Row:
    """A dataclass to a list of its fields and back. A field that holds its default's own object is null: most of an envelope is."""

    def __init__(self, kind: type, without: str = "") -> None:
        hints = typing.get_type_hints(kind)
        fields = [field for field in dataclasses.fields(kind) if field.init and field.name != without]
        self._make, self._names = kind, [field.name for field in fields]
        self._get = attrgetter(*self._names)
        turns = [(at, field, *_turn(hints[field.name])) for at, field in enumerate(fields)]
        self._turns = [(at, out, back, _default(field)) for at, field, out, back in turns if out or back]

    def out(self, value: Any) -> list[Any]:
        row = list(self._get(value))
        for at, out, _, default in self._turns:
            row[at] = None if (one := row[at]) is default else out(one) if out else one
        return row

    def back(self, row: list[Any]) -> Any:
        return self._make(*self._back(row))

    def with_message(self, row: list[Any], message: Message) -> TransferEvent:
        event: TransferEvent = self._make(message=message, **dict(zip(self._names, self._back(row), strict=True)))
        return event

    def _back(self, row: list[Any]) -> list[Any]:
        for at, _, back, default in self._turns:
            row[at] = default if (one := row[at]) is None else back(one) if back else one
        return row


def _default(field: dataclasses.Field[Any]) -> Any:
    """The object that stands where nothing was said; what no value is where there is none. Optional fields have None for both."""
    if field.default is not dataclasses.MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not dataclasses.MISSING else None


_known: dict[type[TransferEvent], _Row] = {}


def _row(kind: type[TransferEvent]) -> _Row:
    if kind not in _known:
        if not _may_cross(kind):
            raise TypeError(f"{_name(kind)} is no transfer event of the kernel or of a plugin's api")
        _known[kind] = _Row(kind, without="message")
    return _known[kind]


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


@cache
def _named(name: str) -> type[TransferEvent]:
    module, _, qualname = name.partition(":")
    if module != TransferEvent.__module__ and not module.endswith(".api"):
        raise TypeError(f"{name} may not cross")
    kind = attrgetter(qualname)(import_module(module))
    if not (isinstance(kind, type) and issubclass(kind, TransferEvent)):
        raise TypeError(f"{name} is no transfer event")
    return kind


def _may_cross(kind: type) -> bool:
    return issubclass(kind, TransferEvent) and (kind is TransferEvent or kind.__module__.endswith(".api"))


@cache
def _turn(hint: Any) -> tuple[Turn, Turn]:
    """How a value of this type becomes JSON, and how it comes back. TypeError for a type that does not."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in (str, int, float, bool):
        return None, None
    if isinstance(hint, type) and issubclass(hint, Enum):
        return {one: one.value for one in hint}.__getitem__, {one.value: one for one in hint}.__getitem__
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return (row := _Row(hint)).out, row.back
    if origin in (typing.Union, types.UnionType) and len(inner) == 2 and inner[1] is types.NoneType:
        out, back = _turn(inner[0])
        return _unless_none(out), _unless_none(back)
    if origin in (tuple, frozenset) and (origin is frozenset or inner[1:] == (...,)):
        out, back = _turn(inner[0])
        return _each(out, list), _each(back, origin)
    if origin is not None and issubclass(origin, Mapping) and inner == (str, str):
        return dict, None
    raise TypeError(f"a field of type {hint} cannot cross to another process")


def _unless_none(turn: Turn) -> Turn:
    return None if turn is None else lambda value: None if value is None else turn(value)


def _each(turn: Turn, into: Callable[[Any], Any]) -> Turn:
    return into if turn is None else lambda values: into([turn(value) for value in values])
