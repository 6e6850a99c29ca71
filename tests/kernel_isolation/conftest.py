"""Children of these tests import the tests' own plugins."""

from __future__ import annotations

import pytest

from tests.kernel_isolation.world import paths


@pytest.fixture(autouse=True)
def _paths(monkeypatch: pytest.MonkeyPatch) -> None:
    paths(monkeypatch)
