"""The site's one YAML file as typed values.

Every mistake is told at once, each as a `ConfigError` with file, line, the key meant and the remedy; nothing starts with
half a configuration. A plugin's own table is validated by the plugin's model, through `Settings.table_of`; the keys `plugin`
and `hooks` in it are the kernel's. Keys are always text, so `on:` or `25:` never turn into something else.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from postroom.errors import ConfigError, Origin
from postroom.providers import FAMILIES
from postroom.retry import PRESETS, RetryPolicy
from postroom_ops.yamlfile import Key, Mistake, Mistakes, YamlFile, meant, read_yaml

FILE_NAME = "postroom.yaml"
M = TypeVar("M", bound=BaseModel)
Policy = Literal["defer", "pass", "reject", "quarantine"]
Seconds = Annotated[float, Field(gt=0)]


class ConfigErrors(ConfigError):
    """Several mistakes; `errors` has each by itself, the text has a line for each."""

    def __init__(self, errors: Sequence[ConfigError]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = tuple(errors)


class Section(BaseModel):
    """What all tables of the file share: unknown keys are mistakes, values do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HookPolicy(Section):
    """The reserved key `hooks` of a plugin's table: how its hooks are called, whatever its code thinks of it."""

    timeout: Seconds = Field(default=30.0, description="seconds a hook may wait before `on_timeout` is applied")
    on_error: Policy = Field(default="defer", description="what an error, a nonsense answer or an open breaker means for the message")
    on_timeout: Policy = Field(default="defer", description="what a missed deadline means for the message")
    mode: Literal["enforce", "shadow"] = Field(
        default="enforce", description="shadow: runs on a copy, is logged and counted, has no effect"
    )
    isolation: Literal["inline", "process"] = Field(
        default="inline", description="process: transfer events run in children that are killed at the deadline"
    )
    processes: int = Field(default=2, ge=1, le=64, description="children of an isolated plugin that a worker keeps at most")
    memory: int = Field(default=512, ge=0, description="MiB that such a child may use; 0: no limit")
    breaker: int = Field(default=10, ge=1, description="failures in a row after which the hook is not asked any more")
    probe: Seconds = Field(default=30.0, description="seconds an open breaker waits before it tries the hook once")


class PluginEntry(Section):
    """One line of `plugins`: an instance, the plugin it is of, its policy, and its own table as it was written."""

    name: str
    plugin: str = Field(description="the plugin's entry point; the instance's name unless said")
    hooks: HookPolicy = HookPolicy()
    table: dict[str, Any] = {}


class SpoolSettings(Section):
    """How messages wait."""

    express: bool = Field(default=True, description="hand accepted messages on in memory; false writes every pair into its queue folder")
    segment: int = Field(default=16 << 20, ge=1 << 20, description="octets of a journal segment")
    reply_within: Seconds = Field(default=30.0, description="seconds a peer waits for the pickup verdict before it is told 250")


class RetryTimes(Section):
    """When what could not be delivered is tried again, and when its sender hears of it. What is not said is the preset's."""

    preset: Literal["", "default", "overview"] = Field(default="", description="overview: every 3 hours, as the old servers did")
    delays: tuple[Seconds, ...] = Field(default=(), description="seconds after each failed attempt; the last one repeats")
    lifetime: Seconds | None = Field(default=None, description="seconds since arrival after which a message is returned")
    tell_after: tuple[Seconds, ...] | None = Field(default=None, description="ages in seconds at which the sender hears of the delay")
    tell_every: int | None = Field(default=None, ge=0, description="or: a delay notice per so many attempts")

    def times(self, base: RetryPolicy) -> RetryPolicy:
        """What is said here, over a preset or the site's own times."""
        said = {name: getattr(self, name) for name in ("delays", "lifetime", "tell_after", "tell_every")}
        return replace(
            PRESETS[self.preset] if self.preset else base, **{name: value for name, value in said.items() if value not in (None, ())}
        )


class RetrySettings(RetryTimes):
    """The site's times, and those of some next hops."""

    domains: dict[str, RetryTimes] = Field(default={}, description="other times by next hop, a domain; what is not said is the site's")

    def policy(self) -> RetryPolicy:
        """The policy the kernel follows."""
        base = self.times(PRESETS["default"])
        return replace(base, hops={name.lower(): one.times(base) for name, one in self.domains.items()})


class LimitSettings(Section):
    """Bounds of the whole server."""

    in_flight: int = Field(default=400, ge=1, description="messages a worker carries at once; above it listeners stop reading for a while")
    per_hop: int = Field(default=100, ge=1, description="attempts to one next hop that a worker makes at once")
    drain: Seconds = Field(default=30.0, description="seconds a worker that stops lets its sessions end")
    memory: int = Field(default=0, ge=0, description="MiB a worker may use before it is drained and replaced; 0: no limit")


class LogSettings(Section):
    """What is written to Logging/."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="lines below this level are not written")
    keep: int = Field(default=30, ge=1, description="days a log file is kept")


class CertificateSettings(Section):
    """A certificate for further names, chosen by SNI."""

    certificate: Path = Field(description="PEM file with the chain; relative to the site")
    key: Path = Field(description="PEM file with the private key; relative to the site")


class TlsSettings(Section):
    """The server's certificate; without one no service offers TLS."""

    certificate: Path | None = Field(default=None, description="PEM file with the chain; relative to the site")
    key: Path | None = Field(default=None, description="PEM file with the private key; relative to the site")
    names: dict[str, CertificateSettings] = Field(default={}, description="further certificates by the host name asked for")


class DnsSettings(Section):
    """Who is asked for names; the machine's own resolver file unless said."""

    servers: tuple[str, ...] = Field(default=(), description="name server addresses")
    port: int = Field(default=53, ge=1, le=65535, description="their port")
    timeout: Seconds = Field(default=5.0, description="seconds one question may take")
    trusted: bool | None = Field(default=None, description="whether the servers' word on DNSSEC counts; unsaid: where they are on loopback")


class LoginSettings(Section):
    """How people may write their login, for all services alike."""

    separators: str = Field(default="@", description="characters that may stand for the at sign, such as `@#%`")
    postoffice: str = Field(default="", description="the post office of a login without one; empty refuses such logins")
    rehash: bool = Field(default=True, description="replace clear text passwords by hashes after a login")


class Settings(Section):
    """The whole file."""

    server: str = Field(min_length=1, description="the name the server gives itself; must resolve to it")
    workers: Annotated[int, Field(ge=1, le=256)] | Literal["auto"] = Field(default="auto", description="processes; auto: one a core")
    user: str = Field(default="", description="account to run as when started by root")
    plugins: dict[str, PluginEntry] = Field(default={}, description="what is loaded, and the order in which hooks are asked")
    providers: dict[str, str] = Field(default={}, description="plugin by provider family; `default` for all others")
    order: dict[str, list[str]] = Field(default={}, description="plugins by hook that are asked first, in this order")
    spool: SpoolSettings = SpoolSettings()
    retry: RetrySettings = RetrySettings()
    limits: LimitSettings = LimitSettings()
    log: LogSettings = LogSettings()
    tls: TlsSettings = TlsSettings()
    dns: DnsSettings = DnsSettings()
    login: LoginSettings = LoginSettings()
    _file: YamlFile = PrivateAttr(default_factory=lambda: YamlFile({}, {}))
    _where: str = PrivateAttr(default=FILE_NAME)

    def table_of(self, entry: PluginEntry, model: type[M]) -> M:
        """A plugin's own table as its model; ConfigErrors with line and remedy."""
        try:
            return self._file.read(model, entry.table, ("plugins", entry.name))
        except Mistakes as found:
            raise _refused(found.mistakes, self._where) from None

    def error(self, what: str, *key: str | int, remedy: str = "") -> ConfigError:
        """A mistake found later, told with the line of the key it is about."""
        return _error(self._file.mistake(what, key, remedy), self._where)


def load(root: Path) -> Settings:
    """The settings of the site in this folder; ConfigError (or ConfigErrors) with all that is wrong."""
    path = root / FILE_NAME
    try:
        return parse(path.read_text("utf-8"), str(path))
    except FileNotFoundError:
        raise ConfigError("there is no site here", origin=Origin(str(path)), remedy="Make one with: postroom init DIR --domain D") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot be read: {error}", origin=Origin(str(path))) from None


def parse(text: str, where: str = FILE_NAME) -> Settings:
    """The settings in this text; `where` is how its mistakes name it."""
    try:
        file = read_yaml(text)
        if not isinstance(file.values, dict):
            raise Mistakes([file.mistake("the file must be a table of settings")])
        return _settings(file, where)
    except Mistakes as found:
        raise _refused(found.mistakes, where) from None


def _settings(file: YamlFile, where: str) -> Settings:
    values = dict(file.values)
    if isinstance(values.get("plugins"), dict):
        values["plugins"] = {name: _entry(name, table) for name, table in values["plugins"].items()}
    try:
        settings = file.read(Settings, values)
    except Mistakes as found:
        raise Mistakes([*file.mistakes, *found.mistakes]) from None
    settings._file, settings._where = file, where
    if mistakes := [*file.mistakes, *(file.mistake(*wrong) for wrong in _cross_check(settings))]:
        raise Mistakes(mistakes)
    return settings


def _error(mistake: Mistake, where: str) -> ConfigError:
    return ConfigError(mistake.what, origin=Origin(where, mistake.line), key=mistake.key, remedy=mistake.remedy)


def _refused(mistakes: Sequence[Mistake], where: str) -> ConfigErrors:
    return ConfigErrors([_error(mistake, where) for mistake in mistakes])


def _entry(name: str, table: Any) -> Any:
    """A plugin's table, the kernel's keys and its own apart; what is no table is left for the model to refuse."""
    if table is None or isinstance(table, dict):
        own = dict(table or {})
        return {"name": name, "plugin": own.pop("plugin", name), "hooks": own.pop("hooks", None) or {}, "table": own}
    return table


def _cross_check(settings: Settings) -> Iterable[tuple[str, Key, str]]:
    """What one section says about another: what is wrong, at which key, and the remedy."""
    families = (*FAMILIES, "default")
    for family, name in settings.providers.items():
        if family not in families:
            yield "no such provider family", ("providers", family), meant(family, families)
        elif name not in settings.plugins:
            yield f"no plugin {name} is loaded", ("providers", family), meant(name, settings.plugins)
    for hook, names in settings.order.items():
        for index, name in enumerate(names):
            if name not in settings.plugins:
                yield f"no plugin {name} is loaded", ("order", hook, index), meant(name, settings.plugins)
