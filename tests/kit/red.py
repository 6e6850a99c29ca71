"""A test of the kit, called by hand on a plugin that breaks its contract: it must fail, and say what is wrong."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from postroom_testing.plugin import PluginContract


@dataclass(frozen=True)
class Broken:
    """A plugin that is broken, the test that must show it, and a part of what the test must say."""

    contract: type[PluginContract]
    plugin: type
    test: str
    says: str
    arguments: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        return f"{self.plugin.__name__}-{self.test}"

    def shows(self, tmp_path: Path) -> None:
        contract: Any = type("Contract", (self.contract,), {"plugin": self.plugin, "patience": 0.7})()
        test = getattr(contract, self.test)
        given = {"tmp_path": tmp_path, **dict(self.arguments)}
        with pytest.raises((AssertionError, pytest.fail.Exception)) as caught:
            test(**{name: given[name] for name in inspect.signature(test).parameters})
        assert self.says in str(caught.value), f"{self} said: {caught.value}"
