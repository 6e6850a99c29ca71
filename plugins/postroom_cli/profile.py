"""A new site's YAML file, from a profile that ships with the package: pure but for reading the profile.

A profile names every plugin of a full installation, one line each; lines of plugins that are not installed are left out.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from importlib.metadata import entry_points
from importlib.resources import files
from importlib.util import find_spec
from string import Template

GROUP = "postroom.plugins"
PORTS = {
    "smtp": 525,
    "submission": 587,
    "submissions": 465,
    "pop3": 110,
    "pop3s": 995,
    "imap": 143,
    "imaps": 993,
}  # what `demo` adds to its port base; 2000 gives 2525, 2587, 2465, 2110, 2995, 2143, 2993
_PLUGIN = re.compile(r"  ([a-z0-9_-]+):")


def read(name: str) -> str:
    """A profile's text."""
    return files("postroom_cli").joinpath("profiles", f"{name}.yaml").read_text("utf-8")


def fill(profile: str, values: Mapping[str, str], installed: Collection[str]) -> str:
    """The profile with its values, without the plugins that are not installed and the comments above them."""
    kept: list[str] = []
    comments: list[str] = []
    for line in profile.splitlines():
        if line.startswith("  #"):
            comments.append(line)
            continue
        match = _PLUGIN.match(line)
        if match is None or match[1] in installed:
            kept += [*comments, line]
        comments.clear()
    return Template("\n".join(kept) + "\n").substitute(values)


def installed() -> frozenset[str]:
    """The plugins that could be loaded; none is imported."""
    return frozenset(point.name for point in entry_points(group=GROUP) if find_spec(point.module.partition(".")[0]) is not None)


def demo_ports(base: int) -> dict[str, str]:
    """The demo's ports; base 0 takes free ones."""
    return {name: str(base + offset if base else 0) for name, offset in PORTS.items()}
