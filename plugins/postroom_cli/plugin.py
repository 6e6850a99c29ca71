"""The command line as a plugin: it answers no hook, it asks `commands` of the others."""

from __future__ import annotations

from postroom.site import Ground
from postroom_cli.settings import CliSettings


class CliPlugin:
    """Loaded when a site names it; the script works without a site."""

    Settings = CliSettings

    def __init__(self, settings: CliSettings, ground: Ground) -> None:
        self.settings, self.ground = settings, ground
