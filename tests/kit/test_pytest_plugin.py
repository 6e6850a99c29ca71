"""The pytest plugin: its fixtures do what they say, and it costs nothing where they are not used."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from postroom_testing.faults import FaultDisk
from postroom_testing.ground import Lines
from tests.kit.toys import WordScanner

YAML = "server: mail.example.test\nplugins:\n  tab: {watch: false}\n  toy: {word: bad}\n"


def test_it_is_registered() -> None:
    assert [point.value for point in entry_points(group="pytest11") if point.name == "postroom.testing"] == [
        "postroom_testing.pytest_plugin"
    ]


def test_loading_it_imports_nothing_of_postroom() -> None:
    """It is loaded in every pytest run of the environment."""
    code = (
        "import sys, pytest; before = set(sys.modules); import postroom_testing.pytest_plugin;"
        "print(*sorted(set(sys.modules) - before - {'typing', 'contextlib', 'pathlib'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["postroom_testing", "postroom_testing.pytest_plugin"]


def test_the_clock_is_turned_by_hand(postroom_clock: Any) -> None:
    async def main() -> None:
        sleeping = asyncio.create_task(postroom_clock.sleep(3600))
        await postroom_clock.advance(3600)
        assert sleeping.done()

    asyncio.run(main())


def test_a_site_is_opened_with_the_other_fixtures(
    postroom_site: Any, postroom_log: Lines, postroom_disk: FaultDisk, postroom_clock: Any, postroom_letter: Any, tmp_path: Path
) -> None:
    async def main() -> None:
        async with postroom_site(YAML, plugins={"toy": WordScanner}) as parts:
            ground = parts.site
            assert (ground.root, ground.clock, ground.disk, ground.log) == (tmp_path, postroom_clock, postroom_disk, postroom_log)
            assert list(parts.host.plugins) == ["tab", "toy"] and parts.host.has("mta_pickup")

    asyncio.run(main())
    assert postroom_disk.calls, "the site was made with the disk of the test"
    assert postroom_letter(b"x").peek() == b"x"
