"""Case 50: who is asked before whom is what the settings say, in every process, after every restart, whatever the hash seed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.flows import scanned
from tests.flows.scanned import LOGIN, Scanned

pytestmark = pytest.mark.long

NAMES = ["m-b", "m-z", "m-a", "m-q", "m-c"]
PLUGINS = "\n".join(f"  {name}: {{plugin: marks{', hooks: {isolation: process}' if name == 'm-q' else ''}}}" for name in NAMES)
ORDER = "order: {mta_pickup: [m-c, m-q]}\n"
WANTED = ["m-c", "m-q", "m-b", "m-z", "m-a"]
ORDERS = """
import json, sys
from pathlib import Path
from postroom.settings import load
from postroom_testing.ground import asleep_in
root = Path(sys.argv[1])
host = asleep_in(root, (root / "postroom.yaml").read_text()).host
print(json.dumps({hook: host.order(hook) for hook in sorted(host.calls)}))
host.close()
"""


@pytest.fixture
def site(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    scanned.put_on_path(monkeypatch, scanned.install(tmp_path / "lib", marks="Marks"))
    return scanned.site_with(scanned.template(tmp_path_factory.mktemp("made")), tmp_path, PLUGINS, ORDER)


def test_case_50_every_process_asks_in_the_same_order(site: Path) -> None:
    def orders(seed: str) -> dict[str, list[str]]:
        env = {**os.environ, "PYTHONHASHSEED": seed}
        done = subprocess.run([sys.executable, "-c", ORDERS, str(site)], env=env, capture_output=True, text=True, check=True)
        found: dict[str, list[str]] = json.loads(done.stdout)
        return found

    first, *others = (orders(seed) for seed in ("0", "1", "4242"))
    assert others == [first] * len(others)
    assert first["mta_pickup"] == WANTED and first["health"][:5] == first["health"]
    assert first["mta_delivery"] == []


def test_case_50_messages_are_asked_about_in_that_order_by_every_worker_and_after_a_restart(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for life, seed in enumerate(("7", "99")):
        monkeypatch.setenv("PYTHONHASHSEED", seed)
        with scanned.serving(site, workers=2) as server:
            for number in range(6):  # whichever worker has it
                assert server.send(f"life-{life}-{number}", "Marks") == 250
            assert marks(server, f"life-{life}-", 6) == [WANTED] * 6


def marks(server: Scanned, mark: str, number: int) -> list[list[str]]:
    """Who marked each of these messages, in their order: the last mark stands first."""
    texts = [server.arrived(LOGIN, f"{mark}{count}") for count in range(number)]
    return [[line[8:].decode() for line in text.split(b"\r\n") if line.startswith(b"X-Mark: ")][::-1] for text in texts]


def test_a_command_on_a_stopped_site_asks_the_plugin_and_leaves_no_child(site: Path) -> None:
    program = str(Path(sys.executable).with_name("postroom"))
    command = [program, "plugin", "order", "mta_pickup", "--json", "--site", str(site)]
    done = subprocess.run(command, env={**os.environ, "PYTHONWARNINGS": "default"}, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["plugins"] == WANTED and "ResourceWarning" not in done.stderr
    left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if _is_child_of(path, site)]
    assert not left


def _is_child_of(cmdline: Path, site: Path) -> bool:
    """Whether this is an isolated plugin's process that was started in this test's environment."""
    try:
        is_child = b"postroom_isolation.child" in cmdline.read_bytes()
        return is_child and str(site.parent).encode() in cmdline.with_name("environ").read_bytes()
    except (OSError, ValueError):  # gone, or not ours to see
        return False
