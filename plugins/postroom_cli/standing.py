"""How plugins stand, as `postroom plugin list` shows it: a line a hook, and under what was wrong with it, in words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

COLUMNS = ("name", "state", "hook", "asked", "calls#", "ms each#", "besides")
Counted = Mapping[str, Any]

_WORDS = (  # counter, one, several
    ("errors", "error", "errors"),
    ("timeouts", "timeout", "timeouts"),
    ("failed_open", "passed unanswered", "passed unanswered"),
    ("failed_closed", "held up unanswered", "held up unanswered"),
    ("agreed", "agreed", "agreed"),
    ("disagreed", "disagreed", "disagreed"),
    ("shadowed", "verdict without effect", "verdicts without effect"),
    ("dropped", "not asked for want of room", "not asked for want of room"),
    ("blocked", "time the loop was blocked", "times the loop was blocked"),
)


def lines(plugins: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, ...]]:
    """Rows of COLUMNS; name and state stand in the first row of each plugin."""
    many = _asked(plugins)
    for each in plugins:
        name = each["name"] if each["plugin"] == each["name"] else f"{each['name']} ({each['plugin']})"
        first = (name, state(each))
        for hook, counted in each["hooks"].items() or {"": {}}.items():
            yield (*first, hook, _place(counted, many.get(hook, 0)), _count(counted), _mean(counted), besides(counted))
            first = (" ", " ")


def state(each: Mapping[str, Any]) -> str:
    """What it may do, where it runs, and whether it is asked at all."""
    words = ["shadow" if each.get("mode") == "shadow" else "loaded"]
    if each.get("isolation") == "process":
        words.append("in a process")
    if any(counted.get("breaker") == "open" for counted in each["hooks"].values()):
        words.append("not asked: it fails")
    return ", ".join(words)


def besides(counted: Counted) -> str:
    """Everything that is not as it should be, and how a shadow fared."""
    said = [f"{counted[name]:,} {one if counted[name] == 1 else several}" for name, one, several in _WORDS if counted.get(name)]
    return ", ".join([*(["breaker open"] if counted.get("breaker") == "open" else []), *said]) or " "


def _asked(plugins: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    """How many answer each hook."""
    many: dict[str, int] = {}
    for hook in (hook for each in plugins for hook in each["hooks"]):
        many[hook] = many.get(hook, 0) + 1
    return many


def _place(counted: Counted, many: int) -> str:
    """When it is asked, where the order is a question."""
    return f"{counted['place']} of {many}" if many > 1 and "place" in counted else " "


def _count(counted: Counted) -> str:
    return f"{counted['calls']:,}" if counted.get("calls") else " "


def _mean(counted: Counted) -> str:
    """Milliseconds a call took."""
    return f"{counted['seconds'] / counted['calls'] * 1000:,.3g}" if counted.get("calls") else " "
