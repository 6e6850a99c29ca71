"""Who may import whom (DESIGN section 2): the tower stands on the kernel, and plugins stand beside each other."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Collection, Iterable
from pathlib import Path

from tests.architecture.source import CODE_ROOTS, PLUGIN_ROOTS, ROOT, Module, modules, packages, project

PLUGINS = {folder.name for folder in packages(*PLUGIN_ROOTS)}
LIBRARIES = ("postroom_disk", "postroom_mime", "postroom_net", "postroom_ops")


def test_the_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_contracts_name_every_package() -> None:
    """A package that the contracts do not know is a package they do not check."""
    tool = project()["tool"]
    assert isinstance(tool, dict)
    known = set(tool["importlinter"]["root_packages"])
    assert known == {folder.name for folder in packages(*CODE_ROOTS)}


def test_the_kernel_imports_no_plugin() -> None:
    kernel = [module for module in modules("kernel") if module.package == "postroom"]
    assert kernel and not _importing(kernel, PLUGINS | {"postroom_testing"})


def test_a_library_knows_neither_kernel_nor_plugins() -> None:
    libraries = [module for module in modules("kernel") if module.package in LIBRARIES]
    assert libraries and not _importing(libraries, PLUGINS | {"postroom", "postroom_testing"})


def test_a_plugin_imports_of_another_only_its_api() -> None:
    """Our own plugin's modules are free to meet; nobody imports the conformance kit on a path a user takes."""
    found = [
        pair for module in modules(*PLUGIN_ROOTS) for pair in _importing([module], (PLUGINS | {"postroom_testing"}) - {module.package})
    ]
    assert not [(shown, other) for shown, other in found if other != f"{_top(other)}.api"]


def test_only_the_host_imports_pluggys_manager() -> None:
    """`hookspecs.py` takes the two markers; whoever else needs one has it from there or from `postroom`."""
    importers = {m.shown for m in modules(*CODE_ROOTS) if any(_top(i.module) == "pluggy" for i in m.imports())}
    assert importers <= {"kernel/postroom/host.py", "kernel/postroom/hookspecs.py"}
    managers = {m.shown for m in modules(*CODE_ROOTS) if "PluginManager" in m.path.read_text()}
    assert managers == {"kernel/postroom/host.py"}


def _importing(importers: Iterable[Module], packages: Collection[str]) -> list[tuple[str, str]]:
    """Who imports what of these packages."""
    return [(module.shown, one.module) for module in importers for one in module.imports() if _top(one.module) in packages]


def _top(module: str) -> str:
    return module.partition(".")[0]
