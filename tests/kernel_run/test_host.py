"""The host: what is loaded, in which order it is asked, and what it says to an operator who was wrong."""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, cast

import pytest
from pydantic import BaseModel, ConfigDict

from postroom import hookimpl, hookspec
from postroom.envelope import Envelope
from postroom.errors import ConfigError
from postroom.host import Host
from postroom.outcome import Outcome
from postroom.settings import ConfigErrors
from postroom.site import Ground, Site
from postroom.transfer import PASS, Stage, TransferEvent, Verdict
from postroom_run.listing import listing
from postroom_testing.ground import Lines, ground_in


@dataclass
class Point:
    """An entry point that counts how often it was loaded."""

    plugin: Any
    value: str = "somewhere:Plugin"
    loaded: int = 0

    def load(self) -> Any:
        self.loaded += 1
        if isinstance(self.plugin, Exception):
            raise self.plugin
        return self.plugin


class ScanSettings(BaseModel):
    model_config = ConfigDict(extra="forbid")
    socket: str = "/run/scan"


class Scan:
    Settings = ScanSettings

    def __init__(self, settings: ScanSettings, ground: Ground) -> None:
        self.settings, self.ground = settings, ground

    @hookimpl
    async def mta_pickup(self, event: TransferEvent) -> Verdict:
        cast(list[str], event.envelope.extra).append(self.ground.name)  # the tests' own way to see who was asked
        return PASS


class SmtpHooks:
    @hookspec
    async def smtp_rcpt(self, event: object) -> object:
        """In order: an answer refuses."""


class Smtp(Scan):
    hookspecs = SmtpHooks


class Rcpt(Scan):
    @hookimpl
    async def smtp_rcpt(self, event: object) -> object:
        return f"{self.ground.name} refuses"


class Misspelt(Scan):
    @hookimpl
    async def mta_pikup(self, event: TransferEvent) -> Verdict:
        return PASS


class WrongArgument(Scan):
    @hookimpl
    async def mta_delivery(self, event: TransferEvent, colour: str) -> Verdict:
        return PASS


class NotAsync(Scan):
    @hookimpl
    def mta_delivery(self, event: TransferEvent) -> Verdict:
        return PASS


class Async(Scan):
    @hookimpl
    async def health(self, site: Site) -> Iterable[str]:
        return []


class Wrapping(Scan):
    @hookimpl(hookwrapper=True)
    def mta_delivery(self, event: TransferEvent) -> Iterable[None]:
        yield


class Optional(Scan):
    @hookimpl(optionalhook=True)
    async def smtp_rcpt(self, event: object) -> object:
        return None


class Refuses(Scan):
    def __init__(self, settings: ScanSettings, ground: Ground) -> None:
        raise ConfigError("the socket is no socket", key="socket")


class Watcher(Scan):
    @hookimpl
    def mta_settled(self, outcomes: object) -> None:
        self.ground.state.setdefault("seen", []).append(outcomes)
        if self.ground.name == "broken":
            raise ValueError("boom")

    @hookimpl
    def health(self, site: Site) -> Iterable[str]:
        if self.ground.name == "broken":
            raise ValueError("boom")
        return [f"{site.name} sees smoke"]


@dataclass
class Offer:
    families: Mapping[str, object]


class Keeps(Scan):
    @hookimpl
    def providers(self, ground: Ground) -> Offer:
        return Offer({family: f"{ground.name}'s {family}" for family in self.settings.socket.split()})


POINTS = {
    "scan": Scan,
    "smtp": Smtp,
    "rcpt": Rcpt,
    "misspelt": Misspelt,
    "wrong": WrongArgument,
    "notasync": NotAsync,
    "isasync": Async,
    "wrapping": Wrapping,
    "optional": Optional,
    "refuses": Refuses,
    "watcher": Watcher,
    "keeps": Keeps,
    "gone": ImportError("no module named clamd"),
}


def host(folder: Path, plugins: str, more: str = "", points: Mapping[str, Point] | None = None) -> Host:
    ground = ground_in(folder, f"server: mail.example.test\nplugins:\n{plugins}{more}")
    offers = points or {name: Point(plugin) for name, plugin in POINTS.items()}
    return Host(ground.settings, ground, cast(Mapping[str, EntryPoint], offers))


def lines(*plugins: str) -> str:
    return "".join(f"  {plugin}:\n" for plugin in plugins)


MISTAKES = {
    "not installed": ("  scam:\n", "3: plugins.scam: no plugin scam is installed. Did you mean scan?"),
    "another's name": ("  a: {plugin: scam}\n", "3: plugins.a: no plugin scam is installed. Did you mean scan?"),
    "cannot be imported": (
        "  gone:\n",
        "3: plugins.gone: somewhere:Plugin cannot be loaded: ImportError: no module named clamd. Reinstall the plugin, or take it out",
    ),
    "wrong setting": ("  scan: {sokket: x}\n", "3: plugins.scan.sokket: no such setting. Did you mean socket?"),
    "misspelt hook": (
        "  misspelt:\n",
        "3: plugins.misspelt: its hook mta_pikup is not known to any loaded plugin. Did you mean mta_pickup?",
    ),
    "a hook nobody brings": ("  rcpt:\n", "3: plugins.rcpt: its hook smtp_rcpt is not known to any loaded plugin"),
    "wrong argument": ("  wrong:\n", "3: plugins.wrong: Plugin 'wrong'"),
    "not async": ("  notasync:\n", "3: plugins.notasync: its hook mta_delivery must be written as async def"),
    "async": ("  isasync:\n", "3: plugins.isasync: its hook health must be written as def"),
    "a wrapper": ("  wrapping:\n", "3: plugins.wrapping: its hook mta_delivery is a wrapper, which the host does not call"),
    "refuses its settings": ("  refuses:\n", "socket: the socket is no socket"),
    "order names a stranger to the hook": (
        "  scan:\n  watcher:\norder: {mta_settled: [scan]}\n",
        "5: order.mta_settled.0: scan has no hook mta_settled. Known here: watcher",
    ),
    "order names no hook": ("  scan:\norder: {mta_pikup: [scan]}\n", "4: order.mta_pikup: no such hook. Did you mean mta_pickup?"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_what_cannot_be_loaded_is_told_with_its_line(case: str, tmp_path: Path) -> None:
    plugins, told = MISTAKES[case]
    with pytest.raises(ConfigErrors) as raised:
        host(tmp_path, plugins)
    [error] = raised.value.errors
    assert told in str(error)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as raised:
        host(tmp_path, lines("scam", "gone", "scan"))
    assert [error.key for error in raised.value.errors] == ["plugins.scam", "plugins.gone"]


def test_a_plugin_that_is_not_named_is_never_imported(tmp_path: Path) -> None:
    points = {"scan": Point(Scan), "gone": Point(ImportError("never"))}
    host(tmp_path, lines("scan"), points=points)
    assert (points["scan"].loaded, points["gone"].loaded) == (1, 0)


def test_two_instances_have_settings_and_names_of_their_own(tmp_path: Path) -> None:
    loaded = host(tmp_path, "  a: {plugin: scan, socket: /a}\n  b: {plugin: scan}\n")
    one, two = (cast(Scan, loaded.plugins[name]) for name in "ab")
    assert (one.settings.socket, two.settings.socket) == ("/a", "/run/scan")
    assert (one.ground.name, two.ground.name) == ("a", "b")


def asked(loaded: Host) -> list[str]:
    """Who is asked at pickup, in order."""
    seen: list[str] = []
    envelope = Envelope("A", "A", "SMTP", None, (), 0.0, extra=cast(Mapping[str, str], seen))
    asyncio.run(_pickup(loaded, envelope))
    return seen


async def _pickup(loaded: Host, envelope: Envelope) -> None:
    await loaded.pickup(TransferEvent(Stage.PICKUP, envelope, cast(Any, None), "SMTP"))


def test_features_case_50_the_order_is_that_of_the_file(tmp_path: Path) -> None:
    names = "  c: {plugin: scan}\n  a: {plugin: scan}\n  b: {plugin: scan}\n"
    loaded = host(tmp_path, names)
    assert asked(loaded) == loaded.order("mta_pickup") == ["c", "a", "b"]
    sorted_by_hand = host(tmp_path, names, "order: {mta_pickup: [b, c]}\n")
    assert asked(sorted_by_hand) == sorted_by_hand.order("mta_pickup") == ["b", "c", "a"]
    with pytest.raises(ConfigError, match=r"no such hook: mta_pikup\. Did you mean mta_pickup"):
        loaded.order("mta_pikup")


def test_a_plugins_own_hooks_are_asked_when_it_is_loaded(tmp_path: Path) -> None:
    loaded = host(tmp_path, lines("rcpt", "smtp"))
    assert loaded.has("smtp_rcpt")
    assert asyncio.run(loaded.ask.__call__("smtp_rcpt", event=None)) == "rcpt refuses"


def test_a_hook_of_an_absent_plugin_may_be_marked_optional(tmp_path: Path) -> None:
    assert not host(tmp_path, lines("optional")).has("smtp_rcpt")


def test_observers_are_told_and_cannot_object(tmp_path: Path) -> None:
    loaded = host(tmp_path, "  broken: {plugin: watcher}\n  watcher:\n")
    outcomes: list[Outcome] = []
    loaded.settled(Envelope("A", "A", "SMTP", None, (), 0.0), outcomes)
    assert loaded.ground.state["seen"] == [outcomes, outcomes]
    assert cast(Lines, loaded.ground.log).events("error") == ["hook.failed"]
    [broken] = [entry for entry in listing(loaded) if entry["name"] == "broken"]
    assert (broken["hooks"]["mta_settled"]["errors"], broken["hooks"]["mta_settled"]["calls"]) == (1, 1)


def test_the_watchdogs_finding_is_counted_for_the_plugin(tmp_path: Path) -> None:
    loaded = host(tmp_path, lines("watcher"))
    module = Watcher.__module__
    assert loaded.knows(module) and not loaded.knows("asyncio.events")
    assert (loaded.blame(module), loaded.blame("asyncio.events")) == ("watcher", "")
    assert listing(loaded)[0]["hooks"]["mta_settled"]["blocked"] == 1


FAMILIES = "  a: {plugin: keeps, socket: postoffice smtp}\n  b: {plugin: keeps, socket: smtp authentication}\n"


def test_the_first_offer_fills_a_family_unless_the_settings_choose(tmp_path: Path) -> None:
    loaded = host(tmp_path, FAMILIES)
    chosen: Any = loaded.choose(loaded.providers())
    assert (chosen.postoffice, chosen.smtp, chosen.authentication) == ("a's postoffice", "a's smtp", "b's authentication")
    loaded = host(tmp_path, FAMILIES, "providers: {default: b}\n")
    chosen = loaded.choose(loaded.providers())
    assert (chosen.postoffice, chosen.smtp) == ("a's postoffice", "b's smtp")
    loaded = host(tmp_path, FAMILIES, "providers: {default: a, smtp: b}\n")
    chosen = loaded.choose(loaded.providers())
    assert chosen.smtp == "b's smtp"


def test_a_family_that_the_chosen_plugin_lacks_is_a_mistake(tmp_path: Path) -> None:
    loaded = host(tmp_path, FAMILIES, "providers: {authentication: a}\n")
    with pytest.raises(ConfigError, match=r":5: providers.authentication: a does not offer this family"):
        loaded.choose(loaded.providers())


def test_a_family_nobody_offers_complains_at_its_first_use(tmp_path: Path) -> None:
    loaded = host(tmp_path, FAMILIES)
    chosen = loaded.choose(loaded.providers())
    with pytest.raises(ConfigError, match=r"no loaded plugin offers the provider family directory\. Load a provider, such as tab"):
        _ = chosen.directory.entries
