"""`postroom plugin verify`: runs the conformance kit's suites on an installed package and writes a report.

The roles of its plugins are told by the hooks they answer. What a suite has to know about a plugin (its settings, what it objects to, addresses it
delivers to) stands in the package's own contract module, found by name; a role that has none there is checked with the defaults.
The suites run in a pytest of their own, away from this process and from the settings of the package's project. Exit codes: 0 conforms, 1 does not, 2 no such package.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata, util
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import url2pathname

from postroom import __version__
from postroom.clock import SystemClock
from postroom.errors import ConfigError, Origin
from postroom_cli.names import Wrong
from postroom_cli.output import SAID_NO, as_json, refuse, say
from postroom_ops.yamlfile import Mistakes, read_yaml

GROUP: Final = "postroom.plugins"
MODULES: Final = (
    "tests/test_contract.py",
    "tests/test_conformance.py",
    "tests/conformance.py",
)  # of a project; a package's own is conformance.py
_KIT: Final = "postroom_testing"


@dataclass(frozen=True, slots=True)
class Role:
    """What a plugin is to the house, and the suite that proves it."""

    name: str
    hooks: tuple[str, ...]
    module: str
    contract: str


ROLES: Final = (
    Role("transfer event", ("mta_pickup", "mta_delivery", "mailbox_delivery"), "transfer", "TransferEventContract"),
    Role("connector", ("connectors",), "connectors", "ConnectorContract"),
    Role("service", ("services",), "services", "ServiceContract"),
    Role("provider", ("providers",), "providers", "ProviderContract"),
    Role("mail store", ("mail_store",), "stores", "MailStoreContract"),
)
ANY: Final = Role("plugin", (), "plugin", "PluginContract")


@dataclass(frozen=True, slots=True)
class Subject:
    """One plugin of the package."""

    name: str  # its entry point
    value: str  # module:class
    roles: tuple[str, ...]

    def suites(self) -> list[Role]:
        """The suites it must pass. A provider's says nothing of the class itself, nor does a plugin without a role have one."""
        own = [role for role in ROLES if role.name in self.roles]
        return own if any(role.name != "provider" for role in own) else [ANY, *own]


@dataclass(frozen=True, slots=True)
class Report:
    """What came of it."""

    package: str
    version: str
    conforms: bool
    plugins: Sequence[Subject]
    contract: str  # the module that says what the suites have to know; empty where there is none
    checks: Sequence[Mapping[str, Any]]
    untold: Sequence[str]  # what was checked with the defaults only
    environment: Mapping[str, str] = field(default_factory=dict)

    def counted(self, outcome: str) -> int:
        return sum(check["outcome"] == outcome for check in self.checks)

    def lines(self) -> list[str]:
        """For people."""
        told = ", ".join(f"{one.name} ({', '.join(one.roles) or 'no role of its own'})" for one in self.plugins)
        counts = ", ".join(f"{self.counted(outcome)} {outcome}" for outcome in ("passed", "failed", "skipped"))
        lines = [f"{self.package} {self.version}: {told}", *(f"{name}: {value}" for name, value in self.environment.items()), ""]
        lines.append(f"What the suites had to know: {self.contract}" if self.contract else "No contract module was found.")
        lines += [*self.untold, ""]
        for check in self.checks:
            lines.append(f"{check['outcome']:<7}  {check['class']}.{check['test']}")
            lines += [f"           {line}" for line in str(check["reason"]).splitlines()[:20] if line.strip()]
        return [*lines, "", f"{counts}.", f"{self.package} {'conforms' if self.conforms else 'does not conform'}."]


def run(package: str, *, settings: Path | None, contract: Path | None, report: Path | None, as_program: bool) -> int:
    """Verify, tell, and write; the exit code."""
    if util.find_spec("pytest") is None:
        refuse("verifying needs pytest; install it with: pip install 'postroom[develop]'")
    told = verify(package, table_of(settings), contract)
    if report is not None:
        text = json.dumps(asdict(told), indent=1, ensure_ascii=False) if report.suffix == ".json" else "\n".join(told.lines())
        report.write_text(text + "\n", "utf-8")
    as_json(asdict(told)) if as_program else say(*told.lines())
    return 0 if told.conforms else SAID_NO


def verify(package: str, table: Mapping[str, Any], contract: Path | None = None) -> Report:
    """The suites of all roles of a package's plugins; Wrong where there is no such package, or no plugin in it."""
    found, points = installed(package)
    subjects = [Subject(point.name, point.value, roles_of(point)) for point in points]
    module = contract or contract_module(found, points)
    checks: list[dict[str, Any]] = []
    if module is not None:
        checks = _suites(module.resolve(), _project(module.resolve()))
    covered = {(check.get("plugin", ""), check["contract"]) for check in checks if check["contract"]}
    left = [(one, role) for one in subjects for role in one.suites() if not _is_covered(one, role, covered, len(points))]
    if left:
        checks += _generated(left, table)
    conforms = bool(checks) and all(check["outcome"] != "failed" for check in checks)
    return Report(
        found.metadata["Name"], found.version, conforms, subjects, str(module or ""), checks, _untold(left, table), _environment()
    )


def table_of(settings: Path | None) -> Mapping[str, Any]:
    """The plugin's table in this YAML file."""
    if settings is None:
        return {}
    try:
        file = read_yaml(settings.read_text("utf-8"))
        if file.mistakes:
            raise Mistakes(file.mistakes)
    except Mistakes as found:
        raise ConfigError(found.mistakes[0].what, origin=Origin(str(settings), found.mistakes[0].line)) from None
    except OSError as error:
        raise Wrong(f"{settings} cannot be read: {error.strerror}") from None
    if not isinstance(file.values, dict):
        raise Wrong(f"{settings} must be a table of settings, as it stands below the plugin's name in postroom.yaml")
    return file.values


def installed(package: str) -> tuple[metadata.Distribution, list[metadata.EntryPoint]]:
    """The distribution of this name (or with a package or an entry point of this name), and its plugins."""
    wanted = package.replace("-", "_").casefold()
    for found in metadata.distributions():
        points = sorted((point for point in found.entry_points if point.group == GROUP), key=lambda point: point.name)
        named = [point for point in points if wanted in (point.name.casefold(), point.module.partition(".")[0].casefold())]
        if str(found.metadata["Name"]).replace("-", "_").casefold() == wanted:
            if not points:
                raise Wrong(f'{package} has no plugin: its pyproject.toml needs a line below [project.entry-points."{GROUP}"]')
            return found, points
        if named:
            return found, named
    raise Wrong(f"{package} is not installed here; from its project's folder: pip install -e .")


def roles_of(point: metadata.EntryPoint) -> tuple[str, ...]:
    """The roles of a plugin, by the hooks of its class; Wrong where it cannot be imported."""
    try:
        plugin = point.load()
    except Exception as error:
        raise Wrong(f"the plugin {point.name} cannot be imported from {point.value}: {type(error).__name__}: {error}") from error
    hooks = {name for name in dir(plugin) if hasattr(getattr(plugin, name, None), "postroom_impl")}
    return tuple(role.name for role in ROLES if hooks & set(role.hooks))


def contract_module(found: metadata.Distribution, points: Sequence[metadata.EntryPoint]) -> Path | None:
    """The package's `conformance.py`, else the contract tests of the project that it was installed from in place, else none."""
    for package in sorted({point.module.partition(".")[0] for point in points}):
        spec = util.find_spec(package)
        own = Path(spec.origin).parent / "conformance.py" if spec is not None and spec.origin else None
        if own is not None and own.is_file():
            return own
    project = _installed_from(found)
    tried = (project / name for name in MODULES) if project is not None else ()
    return next((path for path in tried if path.is_file()), None)


def _installed_from(found: metadata.Distribution) -> Path | None:
    """The project's folder of an editable installation (PEP 610)."""
    told = json.loads(found.read_text("direct_url.json") or "{}")
    if not told.get("dir_info", {}).get("editable"):
        return None
    return Path(url2pathname(urlsplit(told["url"]).path))


def _project(module: Path) -> Path:
    """The folder from which a contract module's imports are meant: above the packages it lies in."""
    folder = module.parent
    while (folder / "__init__.py").exists():
        folder = folder.parent
    return folder


def _is_covered(one: Subject, role: Role, covered: Iterable[tuple[str, str]], plugins: int) -> bool:
    """Whether the contract module has a suite for this role; a suite that names no plugin (a provider's) is the only plugin's. What any role
    proves of the class need not be proven again."""
    contracts = [contract for plugin, contract in covered if plugin == one.value or (not plugin and plugins == 1)]
    return role.contract in contracts or (role is ANY and any(contract != "ProviderContract" for contract in contracts))


def _untold(left: Sequence[tuple[Subject, Role]], table: Mapping[str, Any]) -> list[str]:
    wanted = {
        "transfer event": "which messages it objects to (`cases`)",
        "connector": "addresses (`good`, `bad`, `arrived`)",
        "service": "a conversation (`converse`)",
    }
    return [f"Not told for {one.name} as a {role.name}: {wanted[role.name]}." for one, role in left if role.name in wanted]


def _generated(left: Sequence[tuple[Subject, Role]], table: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The suites with nothing but the settings, in a module made for them."""
    lines = ["import json", "", f"SETTINGS = json.loads({json.dumps(json.dumps(table))})", ""]
    for number, (one, role) in enumerate(left):
        module, _, cls = one.value.partition(":")
        name = "".join(word.capitalize() for word in f"{one.name} {role.name}".replace("-", " ").replace("_", " ").split())
        lines += [
            f"from {module} import {cls.partition('.')[0]} as Plugin{number}",
            f"from {_KIT}.{role.module} import {role.contract} as Contract{number}",
            "",
            f"class Test{name}(Contract{number}):",
            f"    plugin = {'.'.join([f'Plugin{number}', *cls.split('.')[1:]])}",
            "    settings = SETTINGS",
            "",
            f"del Contract{number}  # a name of the module would be collected too",
            "",
        ]
    with tempfile.TemporaryDirectory(prefix="postroom-verify-") as folder:
        path = Path(folder) / "test_generated_contract.py"
        path.write_text("\n".join(lines), "utf-8")
        return _suites(path, path.parent)


def _suites(module: Path, project: Path) -> list[dict[str, Any]]:
    """Run the contract tests of a module in a pytest of their own."""
    with tempfile.TemporaryDirectory(prefix="postroom-verify-") as place:
        folder = Path(place)
        report, ini = folder / "report.jsonl", folder / "pytest.ini"
        ini.write_text(
            "[pytest]\npython_files = *.py\nfilterwarnings =\n  error::ResourceWarning\n  error::RuntimeWarning\n"
            "  error::pytest.PytestUnraisableExceptionWarning\n  error::pytest.PytestUnhandledThreadExceptionWarning\n"
        )
        command = [sys.executable, "-m", "pytest", "-q", "-c", str(ini), "--rootdir", str(project), "--basetemp", str(folder / "tests")]
        command += ["-p", "no:cacheprovider", "-p", "no:randomly", "-p", f"{_KIT}.reporting", "--postroom-report", str(report), str(module)]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)
        told = [json.loads(line) for line in report.read_text("utf-8").splitlines()] if report.exists() else []
    found = [check for check in told if check["contract"] or check["outcome"] == "failed"]
    if not any(check["contract"] for check in found):
        why = "no class in it is a subclass of a contract of postroom_testing" if done.returncode in (0, 5) else done.stdout + done.stderr
        found.append({"class": "", "test": str(module), "contract": "", "outcome": "failed", "reason": why[-4000:], "seconds": 0.0})
    return found


def _environment() -> dict[str, str]:
    now = datetime.fromtimestamp(SystemClock().now(), UTC)
    return {
        "postroom": __version__,
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "pytest": metadata.version("pytest"),
        "date": now.strftime("%Y-%m-%d %H:%M UTC"),
    }
