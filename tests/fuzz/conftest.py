"""Every fuzz target has the mark `long`: they are run by `./check long`, and in CI."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Called with all items of the run, also those of other folders."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.long)
