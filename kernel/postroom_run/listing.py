"""What `postroom plugin list` tells of one worker: every instance with its hooks, their counters, breakers and places in the order."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from postroom.dispatch import Call
from postroom.host import Host


def listing(host: Host) -> list[dict[str, Any]]:
    """Every instance in the order of the YAML file, ready for JSON."""
    asked = [(call, place) for chain in host.calls.values() for place, call in enumerate(chain, 1)]
    return [
        {
            "name": name,
            "plugin": host.settings.plugins[name].plugin,
            "mode": host.settings.plugins[name].hooks.mode,
            "isolation": host.settings.plugins[name].hooks.isolation,
            "hooks": {call.hook: _told(call, place) for call, place in asked if call.name == name},
        }
        for name in host.plugins
    ]


def _told(call: Call, place: int) -> dict[str, Any]:
    return asdict(call.counters) | {"breaker": "open" if call.breaker.opened is not None else "closed", "place": place}
