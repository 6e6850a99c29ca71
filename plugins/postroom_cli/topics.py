"""The top of the command line: commands shown by topic, and those that a site's plugins add.

Plain text on purpose: formatting help with rich costs a quarter of a second, which nobody who asks for help should wait.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from postroom_cli.options import ENVIRONMENT, FILE


class Topics(TyperGroup):
    """A group of commands with headings; a command's topic is its `rich_help_panel`."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # typer keeps the types of both to itself
        topics: dict[str, list[tuple[str, str]]] = {}
        width = max(map(len, self.commands))
        for name in self.list_commands(ctx):
            command = self.commands[name]
            topic = getattr(command, "rich_help_panel", None) or "Commands"
            topics.setdefault(str(topic), []).append((f"{name:<{width}}", command.get_short_help_str(limit=200)))
        for topic in sorted(topics, key=_place):
            with formatter.section(topic):
                formatter.write_dl(topics[topic])

    _site = ""  # what --site says, for commands that only a site's plugins know

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        self._site = _given(args)
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        return super().get_command(ctx, cmd_name) or self._of_plugins(cmd_name)

    def _of_plugins(self, name: str) -> Any:
        """A command that a plugin of the site at hand adds; plugins are loaded only when nobody else knows the word."""
        root = Path(self._site or os.environ.get(ENVIRONMENT) or ".").absolute()
        if not (root / FILE).exists():
            return None
        from typer.main import get_group

        from postroom_cli.opened import added_commands

        added = typer.Typer()
        added_commands(root, added)
        return get_group(added).commands.get(name)


def _given(args: Sequence[str]) -> str:
    """The folder behind --site, wherever it stands."""
    for at, word in enumerate(args):
        if word.startswith("--site="):
            return word.removeprefix("--site=")
        if word == "--site" and at + 1 < len(args):
            return args[at + 1]
    return ""


START, PEOPLE, ROAD, CARE = "Start", "People and addresses", "Mail on its way", "Care of a site"
_ORDER = (START, PEOPLE, ROAD, CARE)


def _place(topic: str) -> int:
    return _ORDER.index(topic) if topic in _ORDER else len(_ORDER)
