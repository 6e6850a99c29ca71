"""Log lines: JSON, one line a transaction, for people and programs alike.

A call costs the loop an append to a list; one thread renders, writes to `Logging/postroom-YYYYMMDD.log`, and tells warnings
to stderr as well. An error is written within the next moment, the rest within a fifth of a second, and all of it at `close`.
A disk that refuses costs log lines, never mail: they are counted in the first line that can be written again.

Own rendering, not structlog's: its bound logger costs 16 microseconds a line of six facts, this 4.4 (0.7 of them in the loop).
"""

from __future__ import annotations

import json
import os
import sys
import threading
import traceback
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import isfinite
from pathlib import Path
from typing import Final

from postroom_ops.asks import Clock, Files

LEVELS: Final = ("debug", "info", "warning", "error")
_LINGER: Final = 0.2  # seconds a line may wait for company
_MOST: Final = 20_000  # lines in memory; more are counted and dropped
_SECRET: Final = frozenset({"password", "secret", "token", "authorization", "credentials"})
_quote = json.encoder.encode_basestring_ascii
Line = tuple[float, int, str, Mapping[str, object], Mapping[str, object]]


class Writer:
    """The one who writes the site's log file, shared by all loggers of a worker."""

    def __init__(self, folder: Path, clock: Clock, disk: Files, *, level: str = "info", keep: int = 30, stderr: bool = True) -> None:
        self.folder, self.clock, self.disk, self.keep, self.stderr = folder, clock, disk, keep, stderr
        self.lowest = LEVELS.index(level)
        self._lines: deque[Line] = deque()  # one thread gives, one takes
        self._lost = 0
        self._cut_off = False  # the last write was refused, perhaps with a part of it done
        self._day, self._fd = "", -1
        self._wake, self._hurry, self._closing = threading.Event(), threading.Event(), False
        self._woken = False  # `_wake` is set, or was a moment ago: a look at it would cost a third of taking the line
        self._writing = threading.Lock()
        self._thread: threading.Thread | None = None

    def put(self, level: int, event: str, bound: Mapping[str, object], facts: Mapping[str, object]) -> None:
        """Take a line; never waits. The facts are rendered later: they must not change, and `bound` never."""
        if len(self._lines) >= _MOST:
            self._lost += 1
            return
        self._lines.append((self.clock.now(), level, event, bound, facts))
        if level == 3:
            self._hurry.set()
        if not self._woken:
            self._woken = True
            self._wake.set()

    def start(self) -> None:
        """Write in the background from now on."""
        self._thread = threading.Thread(target=self._run, name="postroom-log", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._closing:
            self._wake.wait()
            self._hurry.wait(_LINGER)
            self.flush()

    def flush(self) -> None:
        """Write all lines taken so far."""
        with self._writing:
            self._wake.clear()
            self._hurry.clear()
            self._woken = False  # before the lines are taken: whoever still saw it set has put a line that is taken now
            if lines := [self._lines.popleft() for _ in range(len(self._lines))]:
                self._write(lines)

    def close(self) -> None:
        """Write what is left and stop."""
        self._closing = True
        self._wake.set()
        self._hurry.set()
        if self._thread is not None:
            self._thread.join()
        self.flush()
        if self._fd >= 0:
            self.disk.close(self._fd)
            self._fd = -1

    def _write(self, lines: list[Line]) -> None:
        text = [render(line) for line in lines]
        lost, self._lost = self._lost, 0
        try:
            self._turn(datetime.fromtimestamp(lines[-1][0], UTC))
            told = [render((lines[0][0], 2, "log.lost", {}, {"lines": lost}))] if lost else []
            cut = "\n" if self._cut_off and self._ends_in_a_line() else ""
            self.disk.write_all(self._fd, "".join([cut, *told, *text]).encode())
            self._cut_off = False
        except OSError:
            self._lost += lost + len(lines)
            self._cut_off = True
        if self.stderr and (loud := "".join(one for one, line in zip(text, lines, strict=True) if line[1] >= 2)):
            try:
                sys.stderr.write(loud)
                sys.stderr.flush()
            except (OSError, ValueError):  # nobody reads it any more
                self.stderr = False

    def _ends_in_a_line(self) -> bool:
        """Whether what is there ends in the middle of one: the disk took a part of it."""
        with (self.folder / f"postroom-{self._day}.log").open("rb") as file:
            return file.seek(0, os.SEEK_END) > 0 and file.seek(-1, os.SEEK_END) >= 0 and file.read(1) != b"\n"

    def _turn(self, today: datetime) -> None:
        """A file a day, by UTC; the old ones go."""
        if (day := today.strftime("%Y%m%d")) == self._day:
            return
        self.disk.make_folders(self.folder)
        fd = self.disk.open(self.folder / f"postroom-{day}.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if self._fd >= 0:
            self.disk.close(self._fd)
        self._day, self._fd = day, fd
        oldest = f"postroom-{today - timedelta(days=self.keep):%Y%m%d}.log"
        for path in self.folder.glob("postroom-????????.log"):
            if path.name < oldest:
                self.disk.unlink(path)


@dataclass(frozen=True, slots=True)
class BoundLog:
    """A logger with facts of its own in every line. Implements `postroom.site.Log`."""

    writer: Writer
    bound: Mapping[str, object]

    def bind(self, **facts: object) -> BoundLog:
        return BoundLog(self.writer, {**self.bound, **facts})

    def debug(self, event: str, **facts: object) -> None:
        if self.writer.lowest == 0:
            self.writer.put(0, event, self.bound, facts)

    def info(self, event: str, **facts: object) -> None:
        if self.writer.lowest <= 1:
            self.writer.put(1, event, self.bound, facts)

    def warning(self, event: str, **facts: object) -> None:
        if self.writer.lowest <= 2:
            self.writer.put(2, event, self.bound, facts)

    def error(self, event: str, **facts: object) -> None:
        self.writer.put(3, event, self.bound, facts)


def render(line: Line) -> str:
    """A line as JSON, line feed included; facts named like a secret are masked."""
    when, level, event, bound, facts = line
    second = int(when)
    said = [f'{{"at":"{_second(second)}.{int((when - second) * 1000):03}Z",{_opening(level, event, bound)}']
    for key, value in facts.items():
        said.append(_name(key) + (_quote(value) if type(value) is str and key not in _SECRET else _value(key, value)))
    return ",".join(said) + "}\n"


_openings: dict[tuple[int, str, int], tuple[Mapping[str, object], str]] = {}


def _opening(level: int, event: str, bound: Mapping[str, object]) -> str:
    """Level, event and bound facts: the same for every line that one logger writes of one event, so they are rendered once."""
    known = _openings.get((level, event, id(bound)))
    if known is None:
        if len(_openings) >= 1024:
            _openings.clear()
        said = [f'"level":"{LEVELS[level]}","event":{_quote(event)}', *(_name(key) + _value(key, value) for key, value in bound.items())]
        known = _openings[level, event, id(bound)] = bound, ",".join(said)  # `bound` is kept, so that its id stays its own
    return known[1]


@lru_cache(maxsize=8)
def _second(when: int) -> str:
    return datetime.fromtimestamp(when, UTC).strftime("%Y-%m-%dT%H:%M:%S")


@lru_cache(maxsize=1024)
def _name(key: str) -> str:
    return f"{_quote(key)}:"


def _value(key: str, value: object) -> str:
    if key in _SECRET:
        return '"***"'
    if type(value) is int:
        return repr(value)
    if isinstance(value, str):
        return _quote(value)
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return repr(int(value))
    if isinstance(value, float):
        return f"{value:.6g}" if isfinite(value) else "null"
    if isinstance(value, (list, tuple, set, frozenset)):
        return f"[{','.join(_value('', one) for one in value)}]"
    if isinstance(value, BaseException):
        return _quote("".join(traceback.format_exception(value)))
    return _quote(str(value))
