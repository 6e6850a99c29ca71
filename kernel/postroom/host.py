"""The plugins of a site: loaded, ordered, checked, and asked by one typed method a hook.

pluggy registers and checks; `postroom.dispatch` calls what may wait. Whatever cannot be loaded, or does not fit its spec, is a
ConfigError at the start with the line of the settings that names it. A plugin that is not named there is never imported.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import EntryPoint, entry_points
from inspect import iscoroutinefunction
from typing import Any, Final, NoReturn, TypeVar, cast

import pluggy

from postroom.connectors import Connector, Service
from postroom.dispatch import Call, Dispatcher
from postroom.envelope import Envelope
from postroom.errors import ConfigError
from postroom.hookspecs import ASGIApp, Hooks
from postroom.mailstore import MailStore
from postroom.outcome import Outcome
from postroom.providers import FAMILIES, Providers, ProviderSet
from postroom.settings import ConfigErrors, PluginEntry, Section, Settings
from postroom.site import Ground, Site
from postroom.transfer import TransferEvent, Verdict
from postroom_ops.yamlfile import meant

GROUP: Final = "postroom.plugins"
G = TypeVar("G", bound=Ground)
Isolate = Callable[[PluginEntry, EntryPoint], object]


def _inline_only(entry: PluginEntry, point: EntryPoint) -> object:
    raise ConfigError(f"{entry.name} cannot run in a process of its own here")


class Absent:
    """Stands where no plugin fills a role; the first use says so."""

    def __init__(self, what: str, remedy: str) -> None:
        self._error = ConfigError(f"no loaded plugin offers {what}", remedy=remedy)

    def __getattr__(self, name: str) -> NoReturn:
        raise self._error


class Host:
    """All loaded plugins by instance name, in the order of the YAML file."""

    def __init__(
        self, settings: Settings, ground: Ground, available: Mapping[str, EntryPoint] | None = None, isolate: Isolate = _inline_only
    ) -> None:
        """Import, construct and register what the settings name, and nothing else. `isolate` stands for a plugin that is to run in processes
        of its own. ConfigErrors tells all that is wrong."""
        self.settings, self.ground, self._isolate = settings, ground, isolate
        self.ask = Dispatcher(ground.clock, ground.disk, ground.root / "run" / "shadow")
        self.plugins: dict[str, object] = {}
        self._all = pluggy.PluginManager("postroom")
        self._specs: set[type] = set()
        self._all.add_hookspecs(Hooks)
        offers = available if available is not None else {point.name: point for point in entry_points(group=GROUP)}
        _all_or_errors(self._construct(entry, offers) for entry in settings.plugins.values())
        _all_or_errors(self._register(name) for name in reversed(list(self.plugins)))  # pluggy asks the last first
        _all_or_errors(self._check_names())
        self.calls = {hook: self._compile(hook) for hook in self._hooks()}
        _all_or_errors(self._sort(hook, names) for hook, names in settings.order.items())
        self.ask.chains = {hook: calls for hook, calls in self.calls.items() if calls}

    def _construct(self, entry: PluginEntry, offers: Mapping[str, EntryPoint]) -> Iterable[ConfigError]:
        """Import a plugin and make the instance of this entry."""
        point = offers.get(entry.plugin)
        if point is None:
            yield self.settings.error(f"no plugin {entry.plugin} is installed", "plugins", entry.name, remedy=meant(entry.plugin, offers))
            return
        plugin: Any = None
        try:
            if entry.hooks.isolation == "process":
                made = self._isolate(entry, point)
            else:
                plugin = point.load()
                made = plugin(self.settings.table_of(entry, getattr(plugin, "Settings", Section)), self._for(self.ground, entry.name))
        except ConfigErrors as errors:
            yield from errors.errors
        except ConfigError as error:
            yield error
        except Exception as error:
            what = f"{point.value} cannot be loaded: {type(error).__name__}: {error}"
            yield self.settings.error(what, "plugins", entry.name, remedy="Reinstall the plugin, or take it out")
        else:
            self.plugins[entry.name] = made
            if (specs := getattr(plugin, "hookspecs", None)) is not None and specs not in self._specs:  # a second instance brings the same
                self._specs.add(specs)
                self._all.add_hookspecs(specs)

    def _register(self, name: str) -> Iterable[ConfigError]:
        try:
            self._all.register(self.plugins[name], name)
        except pluggy.PluginValidationError as error:
            what = " ".join(str(error).split())
            yield self.settings.error(what, "plugins", name, remedy="The plugin is of another release; update it")

    def _check_names(self) -> Iterable[ConfigError]:
        """Every hook must have a spec, and be `async def` where the spec is and only there."""
        known = [hook for hook, caller in self._callers().items() if caller.has_spec()]
        for hook, caller in self._callers().items():
            for made in caller.get_hookimpls():
                key = ("plugins", made.plugin_name)
                if caller.spec is None and not made.optionalhook:
                    remedy = f"{meant(hook, known)} A hook of a plugin that may be absent is marked hookimpl(optionalhook=True)"
                    yield self.settings.error(f"its hook {hook} is not known to any loaded plugin", *key, remedy=remedy)
                elif made.wrapper or made.hookwrapper:
                    yield self.settings.error(f"its hook {hook} is a wrapper, which the host does not call", *key)
                elif caller.spec is not None and iscoroutinefunction(made.function) != iscoroutinefunction(caller.spec.function):
                    shape = "async def" if iscoroutinefunction(caller.spec.function) else "def"
                    yield self.settings.error(f"its hook {hook} must be written as {shape}", *key)

    def _callers(self) -> dict[str, pluggy.HookCaller]:
        return {name: caller for name, caller in vars(self._all.hook).items() if isinstance(caller, pluggy.HookCaller)}

    def _hooks(self) -> Iterable[str]:
        return (name for name, caller in self._callers().items() if caller.has_spec())

    def _compile(self, hook: str) -> tuple[Call, ...]:
        """The hook as bound calls, in the order in which they are asked."""
        found = reversed(self._callers()[hook].get_hookimpls())
        entries = self.settings.plugins
        return tuple(
            Call(
                made.plugin_name,
                hook,
                made.function,
                tuple(made.argnames),
                entries[made.plugin_name].hooks,
                self.ground.log.bind(plugin=made.plugin_name),
            )
            for made in found
        )

    def _sort(self, hook: str, names: Sequence[str]) -> Iterable[ConfigError]:
        """The settings' own order for one hook: those named come first."""
        calls = {call.name: call for call in self.calls.get(hook, ())}
        if hook not in self.calls:
            yield self.settings.error("no such hook", "order", hook, remedy=meant(hook, self.calls))
            return
        for index, name in enumerate(names):
            if name not in calls:
                yield self.settings.error(f"{name} has no hook {hook}", "order", hook, index, remedy=meant(name, calls))
        self.calls[hook] = tuple(sorted(calls.values(), key=lambda call: names.index(call.name) if call.name in names else len(names)))

    def _for(self, ground: G, name: str) -> G:
        """What one plugin is handed: the same ground under its own name."""
        return replace(ground, name=name, log=self.ground.log.bind(plugin=name))

    # One method a hook of the kernel.

    def providers(self) -> dict[str, ProviderSet]:
        """What each plugin offers; not opened."""
        return {
            call.name: offer
            for call in self._of("providers")
            if (offer := _told(call, ground=self._for(self.ground, call.name))) is not None
        }

    def choose(self, offers: Mapping[str, ProviderSet]) -> Providers:
        """One offer per family, as the settings say, else the first. A family nobody offers complains at its first use."""
        return Providers(**{family: self._chosen(family, offers) for family in FAMILIES})

    def _chosen(self, family: str, offers: Mapping[str, ProviderSet]) -> Any:
        wanted = self.settings.providers.get(family)
        name = wanted or self.settings.providers.get("default", "")
        if name in offers and family in offers[name].families:
            return offers[name].families[family]
        if wanted:
            raise self.settings.error(f"{wanted} does not offer this family", "providers", family, remedy="Name a plugin that does")
        found = (offer.families[family] for offer in offers.values() if family in offer.families)
        return next(found, Absent(f"the provider family {family}", "Load a provider, such as tab"))

    def mail_store(self, providers: Providers) -> MailStore:
        """The first answer; where there is none, a store that complains at its first use."""
        for call in self._of("mail_store"):
            if (store := _told(call, ground=self._for(self.ground, call.name), providers=providers)) is not None:
                return cast(MailStore, store)
        return cast(MailStore, Absent("a mail store", "Load one, such as store"))

    def connectors(self, site: Site) -> list[tuple[str, Connector]]:
        """All connectors with the instance each is of."""
        return [(call.name, one) for call in self._of("connectors") for one in _told(call, site=self._for(site, call.name)) or ()]

    def services(self, site: Site) -> list[tuple[str, Service]]:
        """All services with the instance each is of."""
        return [(call.name, one) for call in self._of("services") for one in _told(call, site=self._for(site, call.name)) or ()]

    def http_mounts(self, site: Site) -> dict[str, ASGIApp]:
        """Prefix to app; the first plugin to claim a prefix has it."""
        mounts: dict[str, ASGIApp] = {}
        for call in self._of("http_mounts"):
            mounts = {**(_told(call, site=self._for(site, call.name)) or {}), **mounts}
        return mounts

    def commands(self, cli: object) -> None:
        """Let every plugin add to the command line."""
        for call in self._of("commands"):
            _told(call, cli=cli)

    def has(self, hook: str) -> bool:
        """Whether anyone would be asked."""
        return self.ask.has(hook)

    async def pickup(self, event: TransferEvent) -> tuple[Verdict, TransferEvent]:
        """The verdict on a message just taken, and the event with its message as the hooks left it."""
        return await self.ask.transfer("mta_pickup", event)

    async def delivery(self, event: TransferEvent) -> tuple[Verdict, TransferEvent]:
        """The verdict on a message about to go to a connector, and the event with its message as the hooks left it."""
        return await self.ask.transfer("mta_delivery", event)

    def settled(self, envelope: Envelope, outcomes: Sequence[Outcome]) -> None:
        """Tell the observers; what they do wrong is counted and logged, and goes no further."""
        for call in self._of("mta_settled"):
            self._observe(call, envelope=envelope, outcomes=outcomes)

    async def site_created(self, site: Site, domain: str) -> None:
        """Let every plugin make its keys, folders and rows, one after the other."""
        for call in self._of("site_created"):
            await _told(call, site=self._for(site, call.name), domain=domain)

    def health(self, site: Site) -> list[str]:
        """What the plugins say is wrong now, and which breakers are open."""
        opened = [
            f"{call.name}: {hook} fails; not asked until a probe succeeds"
            for hook, calls in self.calls.items()
            for call in calls
            if call.breaker.opened is not None
        ]
        return [*opened, *self._sentences("health", site)]

    def check(self, site: Site) -> list[str]:
        """What the plugins complain about."""
        return self._sentences("check", site)

    def _sentences(self, hook: str, site: Site) -> list[str]:
        return [f"{call.name}: {line}" for call in self._of(hook) for line in self._observe(call, site=self._for(site, call.name))]

    def _observe(self, call: Call, **arguments: object) -> list[str]:
        """Ask one who cannot object; his failure is what he says."""
        began = self.ground.clock.monotonic()
        try:
            return list(_told(call, **arguments) or ())
        except Exception as error:
            call.counters.errors += 1
            call.log.error("hook.failed", hook=call.hook, error=f"{type(error).__name__}: {error}"[:500])
            return [f"its hook {call.hook} failed: {type(error).__name__}: {error}"]
        finally:
            call.counters.calls += 1
            call.counters.seconds += self.ground.clock.monotonic() - began

    def _of(self, hook: str) -> tuple[Call, ...]:
        return self.calls[hook]

    # For people.

    def order(self, hook: str) -> list[str]:
        """The instances in the order in which they are asked; ConfigError for a hook nobody knows."""
        if hook not in self.calls:
            raise ConfigError(f"no such hook: {hook}", remedy=meant(hook, self.calls))
        return [call.name for call in self.calls[hook]]

    def knows(self, module: str) -> bool:
        """Whether this module belongs to a loaded plugin."""
        return bool(self.owner(module))

    def blame(self, module: str) -> str:
        """The instance whose code blocked the loop, counted; empty where it is no plugin's."""
        name = self.owner(module)
        for call in (call for chain in self.calls.values() for call in chain if call.name == name):
            call.counters.blocked += 1
        return name

    def close(self) -> None:
        """End the children of isolated plugins."""
        for name, plugin in self.plugins.items():
            if self.settings.plugins[name].hooks.isolation == "process" and (close := getattr(plugin, "close", None)) is not None:
                close()

    def owner(self, module: str) -> str:
        """The instance that this module belongs to; empty where it is no plugin's."""
        package = module.partition(".")[0]
        return next((name for name, plugin in self.plugins.items() if type(plugin).__module__.partition(".")[0] == package), "")


def _told(call: Call, **arguments: object) -> Any:
    """The answer of one plugin; an error on the way names him."""
    try:
        return call.function(*[arguments[name] for name in call.wants])
    except Exception as error:
        error.add_note(f"in {call.hook} of the plugin {call.name}")
        raise


def _all_or_errors(found: Iterable[Iterable[ConfigError] | ConfigError]) -> None:
    mistakes = [error for one in found for error in ([one] if isinstance(one, ConfigError) else one)]
    if mistakes:
        raise ConfigErrors(mistakes)
