"""A child's log: each line goes to the worker, which writes it under the plugin's name. Lines that find no room are dropped and counted."""

from __future__ import annotations

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from postroom.site import Log
from postroom_isolation.line import LARGEST, LOG, Broken, Frame, Line

_LONGEST: Final = 2000  # characters of a fact that is text; of a traceback the last ones
_BEHIND: Final = 256 * 1024  # octets that may wait; a child that logs more than its worker reads loses lines


@dataclass(frozen=True, slots=True)
class PipedLog:
    """Implements `postroom.site.Log`; any thread may use it."""

    line: Line
    bound: Mapping[str, object] = field(default_factory=dict)
    lost: list[int] = field(default_factory=lambda: [0])

    def bind(self, **facts: object) -> PipedLog:
        return PipedLog(self.line, {**self.bound, **facts}, self.lost)

    def debug(self, event: str, **facts: object) -> None:
        self._tell("debug", event, facts)

    def info(self, event: str, **facts: object) -> None:
        self._tell("info", event, facts)

    def warning(self, event: str, **facts: object) -> None:
        self._tell("warning", event, facts)

    def error(self, event: str, **facts: object) -> None:
        self._tell("error", event, facts)

    def _tell(self, level: str, event: str, facts: Mapping[str, object]) -> None:
        if self.line.behind > _BEHIND:
            self.lost[0] += 1
            return
        lost, self.lost[0] = self.lost[0], 0
        said: dict[str, Any] = {**self.bound, **facts, **({"lost": lost} if lost else {})}
        data = json.dumps([level, event[:_LONGEST], {key: _fact(value) for key, value in said.items()}], default=str).encode()
        try:
            if len(data) <= LARGEST:
                self.line.send(LOG, data)
        except (OSError, Broken):  # the worker is gone
            pass


def _fact(value: object) -> object:
    if isinstance(value, BaseException):
        return "".join(traceback.format_exception(value))[-_LONGEST:]
    if isinstance(value, str):
        return value[:_LONGEST]
    return value if value is None or isinstance(value, bool | int | float | list | tuple) else str(value)[:_LONGEST]


def pass_on(frame: Frame, log: Log) -> None:
    """In the worker: write a line that came. What is no line is told as one."""
    try:
        level, event, facts = json.loads(frame.data)
        write = {"debug": log.debug, "info": log.info, "warning": log.warning, "error": log.error}[level]
        taken = {f"{key}_" if key == "event" else key: value for key, value in facts.items()}
        write(str(event), **taken)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        log.warning("hook.bad_line", error=str(error))
