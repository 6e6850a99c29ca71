"""What stands for a plugin with `isolation: process`: an object with its hooks, whose every call crosses to a child.

The plugin is never imported here. A first child is started when the site is put together, so that what is wrong with the plugin or its table is a
ConfigError at the start, with file, line, key and remedy as the child found them. Only transfer events can cross: whoever offers more is told to
write `inline`. No child outlives the object that stands for it, nor the worker.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

from postroom.errors import ConfigError, Origin
from postroom.hookspecs import Hooks, hookimpl
from postroom.host import GROUP
from postroom.settings import FILE_NAME, ConfigErrors, PluginEntry, Settings, parse
from postroom.site import Ground
from postroom.transfer import TransferEvent, Verdict
from postroom_isolation.octets import Replacements
from postroom_isolation.pool import Pool
from postroom_isolation.process import NotUp, Order

_SPEC: Final = "postroom_spec"  # where `hookspec` leaves its mark
INLINE: Final = "Write inline"


class Isolated:
    """A plugin in processes of its own, as the host sees it; its hooks are methods of a class made for it."""

    def __init__(self, pool: Pool) -> None:
        self.pool = pool
        self._end = weakref.finalize(self, pool.close)

    def close(self) -> None:
        """End its children."""
        self._end()


class Isolation:
    """Makes what stands for a plugin; the host's `isolate`."""

    def __init__(self, ground: Ground) -> None:
        self._ground, self._settings = ground, ground.settings
        self._replacements = Replacements(ground.root, ground.disk)
        self._made: list[weakref.ref[Isolated]] = []

    def __call__(self, entry: PluginEntry, point: EntryPoint) -> Isolated:
        """A child is up and has said what it offers, or ConfigErrors has what is wrong."""
        log = self._ground.log.bind(plugin=entry.name)
        pool = Pool(self._order(entry, point), entry.hooks, self._ground.clock, log, self._replacements, self._counting(entry.name))
        try:
            offered = self._first(pool, entry, point)
        except BaseException:
            pool.close()
            raise
        kind = type("Isolated", (Isolated,), {"__module__": point.module, **dict(_hooks(offered))})
        made: Isolated = kind(pool)
        self._made.append(weakref.ref(made))
        return made

    def close(self) -> None:
        """End the children of all that was made: for a site that could not be put together."""
        for made in self._made:
            if (one := made()) is not None:
                one.close()

    def _order(self, entry: PluginEntry, point: EntryPoint) -> Order:
        path = self._ground.root / FILE_NAME
        try:
            text = path.read_text("utf-8")
            same = parse(text, str(path)) == self._settings
        except (OSError, UnicodeDecodeError, ConfigError):
            same = False
        if not same:  # a child must not follow other settings than the rest of the site
            raise self._settings.error("the settings changed while they were read", "plugins", entry.name, remedy="Try again")
        return Order(str(self._ground.root), text, str(path), entry.name, point.value, self._ground.worker, entry.hooks.memory)

    def _first(self, pool: Pool, entry: PluginEntry, point: EntryPoint) -> list[Mapping[str, Any]]:
        """The first child's hooks, once it is up and they are fit."""
        try:
            child = pool.make()
            said = child.greet()
        except (NotUp, OSError) as error:
            what = f"{point.value} cannot be started in a process of its own: {error}"
            raise self._settings.error(what, "plugins", entry.name, remedy="Reinstall the plugin, or take it out") from None
        if "refused" in said:
            raise ConfigErrors([_mistake(one) for one in said["refused"]])
        if mistakes := list(self._unfit(entry, said["hooks"])):
            raise ConfigErrors(mistakes)
        pool.admit(child)
        found: list[Mapping[str, Any]] = said["hooks"]
        return found

    def _unfit(self, entry: PluginEntry, offered: Iterable[Mapping[str, Any]]) -> Iterator[ConfigError]:
        specs = dict(_specs(self._settings))
        here, error = ("plugins", entry.name), self._settings.error
        if not offered:
            yield error("it has no transfer event that could run in a process of its own", *here, "hooks", "isolation", remedy=INLINE)
        for one in offered:
            hook = one["hook"]
            if hook in specs and not _is_transfer(specs[hook]):
                what = f"its hook {hook} is no transfer event, and only those can run in a process of their own"
                yield error(what, *here, "hooks", "isolation", remedy=INLINE)
            elif one["wraps"]:
                yield error(f"its hook {hook} is a wrapper, which the host does not call", *here)
            elif not one["waits"]:
                yield error(f"its hook {hook} must be written as async def", *here)
            elif extra := [name for name in one["wants"] if name != "event"]:
                yield error(f"its hook {hook} asks for {', '.join(extra)}; there is only event", *here, remedy="Update the plugin")

    def _counting(self, name: str) -> Callable[[str], None]:
        metrics = self._ground.metrics

        def counted(why: str) -> None:
            metrics.counter("hook_children_ended_total", "Children of isolated plugins that had to be replaced", plugin=name, why=why).inc()

        return counted


def _hooks(offered: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, object]]:
    return ((one["hook"], _hook(one["hook"], one["optional"])) for one in offered)


def _hook(name: str, optional: bool) -> object:
    async def ask(self: Isolated, event: TransferEvent) -> Verdict:
        return await self.pool.ask(name, event)

    ask.__name__ = name
    return hookimpl(optionalhook=optional)(ask)


def _specs(settings: Settings) -> Iterator[tuple[str, Callable[..., object]]]:
    """The hooks of the kernel and of the `api` of every plugin that runs inline."""
    owners: list[object] = [Hooks]
    points = {point.name: point for point in entry_points(group=GROUP)}
    for entry in settings.plugins.values():
        if entry.hooks.isolation == "inline" and entry.plugin in points:
            owners += _classes(f"{points[entry.plugin].module.partition('.')[0]}.api")
    for owner in owners:
        for name, function in vars(owner).items():
            if hasattr(function, _SPEC):
                yield name, function


def _classes(module: str) -> list[object]:
    try:
        return [one for one in vars(import_module(module)).values() if isinstance(one, type)]
    except Exception:  # it has no api; or it cannot be imported, which the host tells with its line
        return []


def _is_transfer(spec: Callable[..., object]) -> bool:
    """A hook that answers with a Verdict is asked about a TransferEvent."""
    says = spec.__annotations__.get("return")
    return says == Verdict or (isinstance(says, str) and says.rpartition(".")[2] == "Verdict")


def _mistake(said: Mapping[str, Any]) -> ConfigError:
    origin = Origin(said["where"], said["line"]) if said["where"] else None
    return ConfigError(said["what"], origin=origin, key=said["key"], remedy=said["remedy"])
