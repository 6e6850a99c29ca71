"""The TAB plugin: configuration, logins, lists and directory in the overview's own files. The default for all six provider families."""

from __future__ import annotations

from collections.abc import Iterable

from postroom import hookimpl
from postroom.providers import ProviderSet
from postroom.site import Ground, Site
from postroom_tab.providers import TabProviders
from postroom_tab.settings import TabSettings


class TabPlugin:
    """`tab:` in the YAML file."""

    Settings = TabSettings

    def __init__(self, settings: TabSettings, ground: Ground) -> None:
        folder = ground.root / settings.folder
        self._tables = TabProviders(folder, settings, clock=ground.clock, disk=ground.disk, log=ground.log, bus=ground.bus)

    @hookimpl
    def providers(self, ground: Ground) -> ProviderSet:
        return self._tables

    @hookimpl
    def check(self, site: Site) -> Iterable[str]:
        return [*map(str, self._tables.problems()), *self._tables.exposed()]

    @hookimpl
    def health(self, site: Site) -> Iterable[str]:
        blind = self._tables.blind
        unseen = f"edits of TAB files are seen only every {self._tables.settings.poll_seconds:g} s, because watching failed: {blind}"
        return [*map(str, self._tables.problems()), *([unseen] if blind else [])]
