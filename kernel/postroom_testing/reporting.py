"""Writes what became of each test of a contract, a line of JSON each: for `postroom plugin verify`, which runs pytest with `-p` this module.

    pytest -p postroom_testing.reporting --postroom-report FILE test_contract.py

A line has the test's class and name, the contract it belongs to, its outcome (passed, failed, skipped), the reason, and its seconds.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

_OPTION: Final = "--postroom-report"
_KIT: Final = "postroom_testing."
_LONGEST: Final = 4000  # characters of a reason
BASES: Final = ("PluginContract", "AgentContract")  # what the roles' contracts stand on


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(_OPTION, type=Path, default=None, help="write what became of each contract test to this file")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    path: Path | None = item.config.getoption(_OPTION)
    if path is not None and (report.when == "call" or report.outcome != "passed"):
        contract = contract_of(getattr(item, "cls", None))
        _write(path, report, item, contract, str(call.excinfo.value) if call.excinfo else "")
    return report


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _failed_to_collect.append({"class": "", "test": report.nodeid, "contract": "", "outcome": "failed", "reason": report.longreprtext})


def pytest_sessionfinish(session: pytest.Session) -> None:
    path: Path | None = session.config.getoption(_OPTION)
    if path is not None:
        for told in _failed_to_collect:
            _append(path, {**told, "reason": str(told["reason"])[-_LONGEST:], "seconds": 0.0})


_failed_to_collect: list[dict[str, object]] = []


def contract_of(cls: type | None) -> str:
    """The contract of the kit that this class is a subclass of: the most special one; empty for any other class."""
    for one in cls.__mro__ if cls is not None else ():
        if one.__module__.startswith(_KIT) and one.__name__.endswith("Contract"):
            return one.__name__
    return ""


def _write(path: Path, report: pytest.TestReport, item: pytest.Item, contract: str, reason: str) -> None:
    cls = getattr(item, "cls", None)
    told = reason if report.outcome != "passed" else ""
    plugin = getattr(cls, "plugin", None)
    line = {
        "class": cls.__name__ if cls is not None else "",
        "test": item.name,
        "contract": contract,
        "plugin": f"{plugin.__module__}:{plugin.__qualname__}" if isinstance(plugin, type) else "",
        "outcome": report.outcome,
        "reason": told[:_LONGEST],
        "seconds": round(report.duration, 3),
    }
    _append(path, line)


def _append(path: Path, line: dict[str, object]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
