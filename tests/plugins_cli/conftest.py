"""Fixtures of the command line's tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.plugins_cli.site import YAML, Shell


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """An empty site."""
    monkeypatch.delenv("POSTROOM_SITE", raising=False)
    (tmp_path / "postroom.yaml").write_text(YAML)
    return Shell(tmp_path, monkeypatch)
