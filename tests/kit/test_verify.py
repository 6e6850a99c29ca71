"""`postroom plugin verify` on packages that are installed as pip leaves them: metadata on the path, a project beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from importlib import util
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from postroom.errors import ConfigError
from postroom_cli import verification
from postroom_cli.main import run
from postroom_cli.names import Wrong
from tests.architecture.source import ROOT

pytestmark = pytest.mark.long

SCANNER = "from tests.kit.toys import WordScanner\n\n\nclass Toy(WordScanner):\n    pass\n"
FORGETFUL = SCANNER.replace(
    "    pass", "    async def judge(self, event):\n        from postroom.transfer import Pass\n\n        return Pass()"
)
HEALTHY = """
from postroom import hookimpl
from tests.kit.toys import WordSettings


class Toy:
    Settings = WordSettings

    def __init__(self, settings, ground): ...

    @hookimpl
    def health(self, site):
        return ()
"""
CONTRACT = """
from postroom_testing.transfer import TransferEventContract
from tests.kit.test_toys import CASES
from {package}.plugin import Toy


class TestToy(TransferEventContract):
    plugin = Toy
    cases = CASES


del TransferEventContract


def test_of_its_own():
    assert True
"""
Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Installs a package with a plugin in place; its project's folder."""
    site = tmp_path / "environment"
    site.mkdir()

    def make(package: str, plugin: str, *, points: str = "{package} = {package}.plugin:Toy", contract: str = "") -> Path:
        project, info = tmp_path / f"project-{package}", site / f"{package}-1.2.dist-info"
        (project / "src" / package).mkdir(parents=True)
        (project / "src" / package / "__init__.py").write_text('"""A toy."""\n')
        (project / "src" / package / "plugin.py").write_text(plugin)
        (project / "tests").mkdir()
        if contract:
            (project / "tests" / "test_contract.py").write_text(contract.format(package=package))
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package.replace('_', '-')}\nVersion: 1.2\n")
        (info / "entry_points.txt").write_text(f"[postroom.plugins]\n{points.format(package=package)}\n")
        (info / "direct_url.json").write_text(json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}}))
        paths = [str(project / "src"), str(site), str(ROOT)]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(paths))
        for path in reversed(paths):
            monkeypatch.syspath_prepend(path)
        return project

    return make


def test_a_package_that_conforms(install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install("toy_good", SCANNER, contract=CONTRACT)
    report = tmp_path / "report.txt"
    assert run(["plugin", "verify", "toy-good", "--report", str(report)]) == 0, capsys.readouterr().out
    lines = report.read_text().splitlines()
    assert lines[0] == "toy-good 1.2: toy_good (transfer event)" and lines[-1] == "toy-good conforms."
    assert "passed   TestToy.test_each_case_gets_its_verdict" in lines
    assert not [line for line in lines if "test_of_its_own" in line], "only what belongs to a contract counts"


def test_a_package_that_does_not(install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install("toy_bad", FORGETFUL, contract=CONTRACT)
    report = tmp_path / "report.json"
    assert run(["plugin", "verify", "toy_bad", "--report", str(report), "--json"]) == 1
    told = json.loads(report.read_text())
    assert json.loads(capsys.readouterr().out) == told
    assert (told["package"], told["version"], told["conforms"]) == ("toy-bad", "1.2", False)
    assert told["plugins"] == [{"name": "toy_bad", "value": "toy_bad.plugin:Toy", "roles": ["transfer event"]}]
    assert set(told["environment"]) == {"postroom", "python", "system", "pytest", "date"}
    failed = {check["test"]: check for check in told["checks"] if check["outcome"] == "failed"}
    assert "Reject was expected" in failed["test_each_case_gets_its_verdict"]["reason"]
    assert {check["contract"] for check in told["checks"]} == {"TransferEventContract"}
    assert {"test_settings_have_a_schema", "test_hostile_messages_get_a_verdict"} <= {check["test"] for check in told["checks"]} - set(
        failed
    )


def test_without_a_contract_module_the_defaults_are_checked_and_the_report_says_so(install: Install, tmp_path: Path) -> None:
    install("toy_alone", SCANNER)
    settings = tmp_path / "settings.yaml"
    settings.write_text("word: bad\n")
    told = verification.verify("toy_alone", verification.table_of(settings))
    assert told.conforms and told.contract == "" and told.counted("passed") > 15
    assert told.untold == ["Not told for toy_alone as a transfer event: which messages it objects to (`cases`)."]
    assert {check["class"] for check in told.checks} == {"TestToyAloneTransferEvent"}


def test_settings_that_the_plugin_refuses_are_a_failed_check(install: Install) -> None:
    install("toy_set", HEALTHY)
    told = verification.verify("toy_set", {"word": ""})
    assert not told.conforms and {check["contract"] for check in told.checks} == {"PluginContract"}
    assert any("at least 1 character" in str(check["reason"]) for check in told.checks if check["outcome"] == "failed")


def test_a_contract_module_that_cannot_be_imported_is_told(install: Install) -> None:
    project = install("toy_odd", SCANNER, contract="import no_such_module_here\n")
    (failed,) = [one for one in verification._suites(project / "tests" / "test_contract.py", project) if one["outcome"] == "failed"][:1]
    assert "no_such_module_here" in failed["reason"]


def test_a_contract_module_without_a_contract_proves_nothing(install: Install) -> None:
    project = install("toy_empty", SCANNER, contract="def test_nothing():\n    pass\n")
    (told,) = verification._suites(project / "tests" / "test_contract.py", project)
    assert told["outcome"] == "failed" and "no class in it" in told["reason"]


def test_wrong_usage_is_told_and_exits_with_2(install: Install, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install("toy_none", SCANNER, points="")
    install("toy_broken", "raise RuntimeError('half of it is missing')\n")
    for package, says in (
        ("no-such-package", "is not installed here"),
        ("toy-none", "has no plugin"),
        ("toy_broken", "RuntimeError: half of it is missing"),
    ):
        assert run(["plugin", "verify", package]) == 2
        assert says in capsys.readouterr().err
    assert run(["plugin", "verify", "toy-none", "--settings", str(tmp_path / "none.yaml")]) == 2


def test_without_pytest_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(util, "find_spec", lambda name: None)
    assert run(["plugin", "verify", "postroom"]) == 1
    assert "pip install 'postroom[develop]'" in capsys.readouterr().err


def test_settings_must_be_a_table(tmp_path: Path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("- one\n")
    with pytest.raises(Wrong, match="must be a table"):
        verification.table_of(path)
    path.write_text("a: 1\na: 2\n")
    with pytest.raises(ConfigError, match=r"settings\.yaml:2"):
        verification.table_of(path)


@pytest.mark.parametrize(
    ("value", "roles"),
    [
        ("tests.kit.toys:WordScanner", ("transfer event",)),
        ("tests.kit.toys:LinePlugin", ("service",)),
        ("tests.kit.toys:DropPlugin", ("connector",)),
        ("postroom_tab.plugin:TabPlugin", ("provider",)),
        ("postroom_store.plugin:StorePlugin", ("mail store",)),
        ("postroom_clamav.plugin:ClamavPlugin", ("transfer event", "service")),
        ("postroom_cli.plugin:CliPlugin", ()),
    ],
)
def test_roles_are_told_by_the_hooks(value: str, roles: tuple[str, ...]) -> None:
    assert verification.roles_of(EntryPoint("x", value, "postroom.plugins")) == roles


def test_which_suites_a_plugin_must_pass() -> None:
    def suites(*roles: str) -> list[str]:
        return [role.contract for role in verification.Subject("x", "x:X", roles).suites()]

    assert suites() == ["PluginContract"]
    assert suites("provider") == ["PluginContract", "ProviderContract"]
    assert suites("transfer event", "service") == ["TransferEventContract", "ServiceContract"]


def test_the_packages_own_module_comes_before_its_projects_tests(install: Install) -> None:
    project = install("toy_own", SCANNER, contract=CONTRACT)
    found, points = verification.installed("toy_own")
    assert verification.contract_module(found, points) == project / "tests" / "test_contract.py"
    own = project / "src" / "toy_own" / "conformance.py"
    own.write_text(CONTRACT.format(package="toy_own"))
    assert verification.contract_module(found, points) == own
