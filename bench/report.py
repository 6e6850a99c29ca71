"""Medians and ranges of runs as a table for people, or everything as one JSON document for programs."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from bench.disk import file_system
from bench.meter import CPUACCT
from bench.server import Server


@dataclass(frozen=True, slots=True)
class Figure:
    """A column: its key in a run, its heading with the unit, and whether the ratio to a peer is told."""

    key: str
    heading: str
    ratio: bool = False


@dataclass
class Report:
    """Runs by case and server, in the order in which they were made."""

    question: str
    folder: Path
    servers: Sequence[Server]
    left_out: Mapping[str, str]  # a server's name and why it is not here
    runs: dict[str, dict[str, list[dict[str, float]]]] = field(default_factory=dict)

    def add(self, case: str, server: str, run: dict[str, float]) -> None:
        self.runs.setdefault(case, {}).setdefault(server, []).append(run)

    def text(self, figures: Sequence[Figure]) -> str:
        parts = [f"# {self.question}", *self.facts()]
        parts += [_table(case, rows, figures) for case, rows in self.runs.items()]
        return "\n".join(parts)

    def json(self) -> str:
        return json.dumps(
            {
                "question": self.question,
                "machine": machine(),
                "file_system": asdict(file_system(self.folder)),
                "servers": {s.name: {"version": s.version, "durable": s.durable, "note": s.note} for s in self.servers},
                "left_out": dict(self.left_out),
                "runs": self.runs,
            }
        )

    def facts(self) -> list[str]:
        facts = [f"machine: {machine()}", f"file system of {self.folder}: {file_system(self.folder)}"]
        for server in self.servers:
            note = f" ({server.note})" if server.note else ""
            facts.append(
                f"{server.name} {server.version}{note}: before the 250 is durable: {server.durable}; CPU by {server.groups[0].how}"
            )
        return facts + [f"left out: {name}: {why}" for name, why in self.left_out.items()]


def machine() -> str:
    load = os.getloadavg()[0]
    group = "" if CPUACCT.is_dir() else ", no cpuacct"
    return f"{os.cpu_count()} cores, Linux {platform.release()}, Python {platform.python_version()}, load average {load:.1f}{group}"


def spread(values: Sequence[float]) -> str:
    """The median, and the range it is from."""
    middle = number(statistics.median(values))
    return middle if len(values) == 1 else f"{middle} ({number(min(values))}-{number(max(values))})"


def number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _table(case: str, rows: Mapping[str, Sequence[Mapping[str, float]]], figures: Sequence[Figure]) -> str:
    shown = [f for f in figures if any(f.key in run for runs in rows.values() for run in runs)]
    cells = [["server", "runs", *(f.heading for f in shown)]]
    for name, runs in rows.items():
        values = ([run[f.key] for run in runs if f.key in run] for f in shown)
        cells.append([name, str(len(runs)), *(spread(v) if v else "-" for v in values)])
    return "\n".join(["", f"## {case}", *aligned(cells), *_ratios(rows, shown)])


def aligned(cells: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    rows = ["| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |" for row in cells]
    return [rows[0], "|" + "|".join("-" * (width + 2) for width in widths) + "|", *rows[1:]]


def _ratios(rows: Mapping[str, Sequence[Mapping[str, float]]], figures: Sequence[Figure]) -> list[str]:
    """Ours by theirs, median by median, and more workers by fewer; nothing where one side is missing."""
    told, own = [], [name for name in rows if name.startswith("postroom")]
    for ours in own:
        for peer in (name for name in rows if name not in own[own.index(ours) :]):
            parts = []
            for f in (f for f in figures if f.ratio):
                mine, theirs = ([run[f.key] for run in rows[name] if f.key in run] for name in (ours, peer))
                if mine and theirs and statistics.median(theirs):
                    parts.append(f"{f.heading} x {number(statistics.median(mine) / statistics.median(theirs))}")
            told.append(f"{ours} / {peer}: " + ", ".join(parts))
    return told
