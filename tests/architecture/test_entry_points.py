"""What is installed is what the project file says: a plugin is one folder plus one entry-point line."""

from __future__ import annotations

from importlib.metadata import EntryPoint, distribution, entry_points

import pytest

from tests.architecture.source import PLUGIN_ROOTS, packages, project

GROUP = "postroom.plugins"


def declared() -> dict[str, str]:
    table = project()["project"]
    assert isinstance(table, dict)
    points = table["entry-points"][GROUP]
    assert isinstance(points, dict)
    return points


def test_the_installed_entry_points_are_the_project_files() -> None:
    installed = {point.name: point.value for point in distribution("postroom").entry_points if point.group == GROUP}
    assert installed == declared(), "install again: pip install -e ."


def test_every_plugin_folder_has_its_line_and_every_line_its_folder() -> None:
    assert {value.partition(".")[0] for value in declared().values()} == {folder.name for folder in packages(*PLUGIN_ROOTS)}


@pytest.mark.parametrize("point", sorted(entry_points(group=GROUP)), ids=lambda p: p.name)
def test_an_entry_point_loads_a_plugin_class_that_names_its_settings(point: EntryPoint) -> None:
    plugin = point.load()
    assert isinstance(plugin, type)
    assert plugin.Settings.model_config.get("extra") == "forbid"  # type: ignore[attr-defined]


@pytest.mark.parametrize("point", sorted(entry_points(group=GROUP)), ids=lambda p: p.name)
def test_every_setting_says_what_it_is(point: EntryPoint) -> None:
    fields = point.load().Settings.model_fields
    assert not [name for name, field in fields.items() if not field.description]
