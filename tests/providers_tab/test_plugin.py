"""The plugin's face: hooks, settings, and what `check` and `health` say."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pluggy
import pytest
from pydantic import ValidationError

from postroom.clock import SystemClock
from postroom.hookspecs import Hooks
from postroom.providers import FAMILIES
from postroom_disk.disk import Disk
from postroom_tab.plugin import TabPlugin
from postroom_tab.settings import TabSettings
from tests.providers_tab.desk import Hub, Remembered


def ground_at(root: Path) -> Any:
    """What the plugin takes of a ground."""
    return SimpleNamespace(root=root, clock=SystemClock(), disk=Disk(), log=Remembered(), bus=Hub().bus())


def test_its_hooks_are_the_kernels() -> None:
    manager = pluggy.PluginManager("postroom")
    manager.add_hookspecs(Hooks)
    plugin = TabPlugin(TabSettings(), ground_at(Path("/nowhere")))
    assert manager.register(plugin)
    assert {call.name for call in manager.get_hookcallers(plugin) or ()} == {"providers", "check", "health"}
    manager.check_pending()


def test_it_offers_all_families_below_the_sites_folder(tmp_path: Path) -> None:
    ground = ground_at(tmp_path)
    plugin = TabPlugin(TabSettings(folder="Settings"), ground)
    tab = plugin.providers(ground)
    assert tuple(tab.families) == FAMILIES

    async def main() -> None:
        await tab.open()
        await tab.close()

    asyncio.run(main())
    assert (tmp_path / "Settings").is_dir()


def test_check_and_health_say_what_is_wrong_in_sentences(tmp_path: Path) -> None:
    (tmp_path / "Config").mkdir()
    (tmp_path / "Config/AUTH.TAB").write_bytes(b"bob@x\tyes\r\nann@x\t1\r\n")
    (tmp_path / "Config/AUTH.TAB").chmod(0o644)
    ground: Any = ground_at(tmp_path)
    plugin = TabPlugin(TabSettings(watch=False), ground)

    async def main() -> None:
        tab = plugin.providers(ground)
        await tab.open()
        wrong, exposed = plugin.check(ground)
        assert wrong.startswith(f"{tmp_path}/Config/AUTH.TAB:1: status: not a number")
        assert "chmod 600" in exposed
        assert list(plugin.health(ground)) == [wrong]
        await tab.close()

    asyncio.run(main())


def test_health_says_when_edits_are_seen_late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: object, **named: object) -> Any:
        raise OSError("inotify watch limit reached")

    monkeypatch.setattr("postroom_tab.providers.awatch", refuse)
    ground: Any = ground_at(tmp_path)
    plugin = TabPlugin(TabSettings(poll_seconds=7), ground)

    async def main() -> None:
        tab = plugin.providers(ground)
        await tab.open()
        assert [*plugin.health(ground)] == [
            "edits of TAB files are seen only every 7 s, because watching failed: inotify watch limit reached"
        ]
        await tab.close()

    asyncio.run(main())
    assert ground.log.events() == ["tab_watch_failed"]


@pytest.mark.parametrize("wrong", [{"folder": ""}, {"poll_seconds": 0}, {"lock_timeout_seconds": -1}, {"wacth": True}])
def test_wrong_settings_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TabSettings(**wrong)  # type: ignore[arg-type]


def test_every_setting_is_described() -> None:
    assert all(field.description for field in TabSettings.model_fields.values())
