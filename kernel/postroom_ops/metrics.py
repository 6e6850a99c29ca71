"""Numbers about the running server: a registry a worker, one exposition a site.

A metric is asked for once and the bound child kept (0.4 microseconds a count); labels are never looked up on the road of a
message. The supervisor adds up what its workers tell.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics, generate_latest

SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 30.0)
M = TypeVar("M", Counter, Gauge, Histogram)


class Metrics:
    """What a worker counts. Names get the prefix `postroom_`; a name keeps its kind and its label names."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self._registry = CollectorRegistry(auto_describe=False)
        self._known: dict[str, Counter | Gauge | Histogram] = {}

    def counter(self, name: str, help: str, **labels: str) -> Counter:
        """A count that only grows, bound to these labels."""
        return self._bound(Counter, name, help, labels)

    def gauge(self, name: str, help: str, **labels: str) -> Gauge:
        """A level, bound to these labels; the levels of all workers are added up."""
        return self._bound(Gauge, name, help, labels)

    def histogram(self, name: str, help: str, buckets: Sequence[float] = SECONDS, **labels: str) -> Histogram:
        """Durations in seconds (or sizes with buckets of their own), bound to these labels."""
        made = Histogram(f"postroom_{name}", help, tuple(labels), registry=None, buckets=buckets) if name not in self._known else None
        return self._bound(Histogram, name, help, labels, made)

    def _bound(self, kind: type[M], name: str, help: str, labels: dict[str, str], made: M | None = None) -> M:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = made or kind(f"postroom_{name}", help, tuple(labels), registry=None)
            self._registry.register(known)
        if not isinstance(known, kind):
            raise ValueError(f"metric {name} is a {type(known).__name__} already")
        return known.labels(**labels) if labels else known

    def exposition(self) -> str:
        """All of it in the text format of Prometheus."""
        return generate_latest(self._registry).decode()


def merge(texts: Iterable[str]) -> str:
    """The expositions of several workers as one: samples of the same name and labels are added up."""
    values: dict[str, float] = {}
    for line in (line for text in texts for line in text.splitlines() if line):
        if line.startswith("#"):
            values.setdefault(line, 0.0)
        else:
            sample, _, value = line.rpartition(" ")
            values[sample] = values.get(sample, 0.0) + float(value)
    return "".join(_grouped(values))


def _grouped(values: dict[str, float]) -> Iterable[str]:
    """Each family's comment lines, then its samples, whichever worker told them first."""
    families: dict[str, list[str]] = {}
    family = ""
    names = [line.split(" ", 3)[2] for line in values if line.startswith("# TYPE ")]
    for line, value in values.items():
        if line.startswith("#"):
            family = line.split(" ", 3)[2]
            families.setdefault(family, []).append(f"{line}\n")
        else:
            name = line.partition("{")[0]
            owner = max((one for one in names if name == one or name.startswith(f"{one}_")), key=len, default=family)
            families.setdefault(owner, []).append(f"{line} {value:.17g}\n")
    return (line for lines in families.values() for line in lines)
