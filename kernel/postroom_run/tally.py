"""What the workers of a site counted about their plugins, as one listing. Pure.

Counts and seconds add up. A breaker is open where any worker's is: somebody's mail goes without that hook. Workers of two generations may
differ in what they have loaded, while a reload is under way; then each has its place, those of the first worker first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Listing = Sequence[Mapping[str, Any]]  # as `Host.listing` gives it


def together(listings: Iterable[Listing]) -> list[dict[str, Any]]:
    """One listing of all workers."""
    found: dict[str, dict[str, Any]] = {}
    for each in (each for listing in listings for each in listing):
        known = found.setdefault(each["name"], {**each, "hooks": {}})
        for hook, counted in each["hooks"].items():
            known["hooks"][hook] = _added(known["hooks"][hook], counted) if hook in known["hooks"] else dict(counted)
    return list(found.values())


def _added(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Two workers' counters of one hook; what is no count (a place in the order) is the first one's."""
    summed = {name: one.get(name, 0) + value for name, value in other.items() if name != "place" and isinstance(value, int | float)}
    open_in_any = "open" in (one.get("breaker"), other.get("breaker"))
    return {**other, **one, **summed, **({"breaker": "open"} if open_in_any else {})}
