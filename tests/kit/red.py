"""A test of the kit, called by hand on a plugin that breaks its contract: it must fail, and say what is wrong."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

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


def own_tests(*parts: type) -> set[str]:
    """The tests that a contract, or its parts together, add to those it stands on."""
    return {name for part in parts for name in vars(part) if name.startswith("test_")}


class RedTables:
    """The tests of tables of broken plugins, by the contract whose tests they show; to be subclassed."""

    tables: ClassVar[Mapping[type[PluginContract], Sequence[Broken]]] = {}

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "broken" in metafunc.fixturenames:
            metafunc.parametrize("broken", [one for table in self.tables.values() for one in table], ids=str)
        if "table" in metafunc.fixturenames:
            metafunc.parametrize(("contract", "table"), list(self.tables.items()), ids=[one.__name__ for one in self.tables])

    def test_it_is_shown(self, broken: Broken, tmp_path: Path) -> None:
        broken.shows(tmp_path)

    def test_each_test_of_the_contract_is_shown_red(self, contract: type[PluginContract], table: Sequence[Broken]) -> None:
        assert own_tests(contract) == {broken.test for broken in table}
