"""`plugin list`: what is in a line, and that a hundred columns hold it."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping
from typing import Any

import pytest

from postroom.dispatch import Counters
from postroom_cli import standing
from postroom_cli.output import table
from tests.plugins_cli.site import Shell

QUIET: Mapping[str, Any] = {"calls": 0, "seconds": 0.0, "breaker": "closed", "place": 1}


def plugin(name: str, hooks: Mapping[str, Mapping[str, Any]], **facts: str) -> dict[str, Any]:
    made = {hook: {**QUIET, **counted} for hook, counted in hooks.items()}
    return {"name": name, "plugin": name, "mode": "enforce", "isolation": "inline", **facts, "hooks": made}


BUSY = [
    plugin("tab", {"providers": {"calls": 2, "seconds": 0.0001}, "check": {}}),
    plugin(
        "scan-b",
        {"mta_pickup": {"calls": 12041, "seconds": 25.1, "errors": 3, "timeouts": 1, "failed_closed": 2, "breaker": "open", "place": 2}},
        plugin="command",
        isolation="process",
    ),
    plugin("clamav", {"mta_pickup": {"calls": 120, "seconds": 1.1, "agreed": 118, "disagreed": 2, "blocked": 1}}, mode="shadow"),
    plugin("cli", {}),
]


def test_a_line_a_hook_and_the_name_once() -> None:
    assert list(standing.lines(BUSY)) == [
        ("tab", "loaded", "providers", " ", "2", "0.05", " "),
        (" ", " ", "check", " ", " ", " ", " "),
        (
            "scan-b (command)",
            "loaded, in a process, not asked: it fails",
            "mta_pickup",
            "2 of 2",
            "12,041",
            "2.08",
            "breaker open, 3 errors, 1 timeout, 2 held up unanswered",
        ),
        ("clamav", "shadow", "mta_pickup", "1 of 2", "120", "9.17", "118 agreed, 2 disagreed, 1 time the loop was blocked"),
        ("cli", "loaded", "", " ", " ", " ", " "),
    ]


@pytest.mark.parametrize("width", [80, 100])
def test_it_fits_the_screen_and_loses_nothing(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        table(standing.COLUMNS, standing.lines(BUSY), empty="")
    lines = out.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    words = " ".join(" ".join(lines).split())
    assert all(word in words for word in ("scan-b", "12,041", "mta_pickup", "breaker", "timeout,"))
    assert width == 80 or len(lines) <= 12


def test_every_counter_has_its_words() -> None:
    """A counter that the dispatcher keeps and nobody is told of would be kept in vain."""
    told = {name for name, _, _ in standing._WORDS}
    assert told == set(Counters.__dataclass_fields__) - {"calls", "seconds"}


def test_the_plugins_of_a_stopped_site(shell: Shell) -> None:
    said = shell("plugin", "list")
    assert said.code == 0 and said.out.splitlines()[-1] == "The site is not running, so nothing is counted."
    assert [line.split()[0] for line in said.out.splitlines() if line.startswith(("tab", "postoffice"))] == ["tab", "postoffice"]
    listed = shell.done("plugin", "list")
    assert [each["name"] for each in listed] == ["tab", "postoffice"]
    assert {"calls", "seconds", "errors", "timeouts", "failed_open", "failed_closed", "breaker", "place"} <= set(
        listed[0]["hooks"]["check"]
    )
