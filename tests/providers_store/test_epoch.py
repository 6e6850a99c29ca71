from __future__ import annotations

from pathlib import Path

import pytest

from postroom_disk.disk import Disk
from postroom_store import epoch


@pytest.mark.parametrize(
    ("text", "boot", "now", "number"),
    [
        ("", "b1", 500.0, 500),
        ("500 b1", "b1", 900.0, 500),
        ("500 b1", "b2", 900.0, 900),
        ("500 b1", "b2", 100.0, 501),
        ("500 -", "", 900.0, 900),
        ("rub bish", "b1", 7.9, 7),
        ("500", "b1", 100.0, 501),
    ],
)
def test_an_epoch_lasts_as_long_as_the_machine_runs(text: str, boot: str, now: float, number: int) -> None:
    assert epoch.following(text, boot, now)[0] == number


def test_the_epoch_is_kept_in_the_site(tmp_path: Path) -> None:
    disk = Disk()
    assert epoch.current(tmp_path, disk, "b1", 10) == epoch.current(tmp_path, disk, "b1", 20) == 10
    assert epoch.current(tmp_path, disk, "b2", 10) == 11
    assert (tmp_path / "run" / "boot").read_text() == "11 b2\n"


def test_this_machine_tells_its_boot() -> None:
    assert len(epoch.boot_id()) == 36
