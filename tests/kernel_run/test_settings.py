"""The settings: what is written becomes values, and every mistake names its line, the key meant and the remedy."""

from pathlib import Path

import pytest
from pydantic import BaseModel, ConfigDict, Field

from postroom.errors import ConfigError
from postroom.settings import ConfigErrors, load, parse

MISTAKES = {
    "unknown key": (
        "server: a\nwokers: 3\n",
        ["postroom.yaml:2: wokers: no such setting. Did you mean workers?"],
    ),
    "unknown key below a list of nothing like it": (
        "server: a\nlog: {zzz: 3}\n",
        ["postroom.yaml:2: log.zzz: no such setting. Known here: keep, level"],
    ),
    "missing": ("plugins: {}\n", ["postroom.yaml:1: server: this setting is missing. Add it"]),
    "wrong type": ("server: 3\n", ["postroom.yaml:1: server: Input should be a valid string. It is now 3"]),
    "out of range": (
        "server: a\nworkers: 0\n",
        ["postroom.yaml:2: workers: Input should be greater than or equal to 1. It is now 0"],
    ),
    "several, by line": (
        "server: a\nplugins:\n  tab: 3\n  smtp:\n    hooks: {tmeout: 3, on_error: foo}\nwokers: 3\n",
        [
            "postroom.yaml:3: plugins.tab: Input should be a valid dictionary or instance of PluginEntry. It is now 3",
            "postroom.yaml:5: plugins.smtp.hooks.on_error: Input should be 'defer', 'pass', 'reject' or 'quarantine'. It is now 'foo'",
            "postroom.yaml:5: plugins.smtp.hooks.tmeout: no such setting. Did you mean timeout?",
            "postroom.yaml:6: wokers: no such setting. Did you mean workers?",
        ],
    ),
    "written twice": ("server: a\nserver: b\n", ["postroom.yaml:2: server: written twice, first in line 1. Keep one"]),
    "no such plugin in order": (
        "server: a\nplugins: {tab: }\norder: {mta_pickup: [tap]}\n",
        ["postroom.yaml:3: order.mta_pickup.0: no plugin tap is loaded. Did you mean tab?"],
    ),
    "no such family": (
        "server: a\nplugins: {tab: }\nproviders: {defalt: tab}\n",
        ["postroom.yaml:3: providers.defalt: no such provider family. Did you mean default?"],
    ),
    "no such provider": (
        "server: a\nplugins: {tab: }\nproviders:\n  default: tab\n  smtp: sql\n",
        ["postroom.yaml:5: providers.smtp: no plugin sql is loaded. Known here: tab"],
    ),
    "no YAML": ("a: [\n", ["postroom.yaml:2: this is no YAML: did not find expected node content"]),
    "a list": ("- a\n", ["postroom.yaml:1: the file must be a table of settings"]),
    "an alias to its own parent": ("a: &a [*a]\n", ["postroom.yaml:1: this is no YAML: too large or nested too deeply"]),
    "a merge key": ("server: a\n<<: {a: b}\n", ["postroom.yaml:2: this is no YAML: a key must be plain text"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes_are_told_with_line_key_and_remedy(case: str) -> None:
    text, told = MISTAKES[case]
    with pytest.raises(ConfigErrors) as raised:
        parse(text)
    assert [str(error) for error in raised.value.errors] == told


def test_a_control_character_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"postroom.yaml:2: this is no YAML: .*characters are not allowed$"):
        parse("server: a\nuser: \x01\n")


def test_a_billion_laughs_end_quickly() -> None:
    lines = ["a0: &a0 [x,x,x,x,x,x,x,x,x,x]"] + [f"a{n}: &a{n} [{','.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    with pytest.raises(ConfigError, match="too large or nested too deeply"):
        parse("\n".join(lines))


def test_the_whole_example_of_the_design_is_read() -> None:
    settings = parse(
        "server: mail.example.com\nworkers: auto\nplugins:\n  tab: {}\n  store:\n"
        "  clamav: {socket: /run/c, hooks: {on_error: quarantine, timeout: 5}}\n"
        "  scan-b: {plugin: command, pickup: [/usr/local/bin/scan], hooks: {mode: shadow}}\n"
        "providers: {default: tab, authentication: tab}\norder: {mta_delivery: [clamav]}\n"
    )
    assert list(settings.plugins) == ["tab", "store", "clamav", "scan-b"]
    scan, clamav = settings.plugins["scan-b"], settings.plugins["clamav"]
    assert (scan.plugin, scan.table, scan.hooks.mode) == ("command", {"pickup": ["/usr/local/bin/scan"]}, "shadow")
    assert (clamav.plugin, clamav.hooks.on_error, clamav.hooks.on_timeout, clamav.hooks.timeout) == ("clamav", "quarantine", "defer", 5.0)
    assert clamav.table == {"socket": "/run/c"}


def test_keys_are_text_whatever_yaml_thinks() -> None:
    settings = parse("server: a\nplugins:\n  on: {25: x, no: y}\n")
    assert settings.plugins["on"].table == {"25": "x", "no": "y"}


class Port(BaseModel):
    model_config = ConfigDict(extra="forbid")
    port: int
    tls: str | None = None


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid")
    listen: list[Port] = Field(default_factory=list)
    one: Port | None = None
    by_name: dict[str, Port] = Field(default_factory=dict)


PLUGIN_TABLES = {
    "lisen: []": "plugins.smtp.lisen: no such setting. Did you mean listen?",
    "listen: [{prt: 3, port: 3}]": "plugins.smtp.listen.0.prt: no such setting. Did you mean port?",
    "listen: [{tls: x}]": "plugins.smtp.listen.0.port: this setting is missing. Add it",
    "one: {port: 3, tlss: x}": "plugins.smtp.one.tlss: no such setting. Did you mean tls?",
    "by_name: {a: {port: 3, tlss: x}}": "plugins.smtp.by_name.a.tlss: no such setting. Did you mean tls?",
    "listen: [{port: many}]": "plugins.smtp.listen.0.port: Input should be a valid integer, unable to parse string as an integer. "
    "It is now 'many'",
}


@pytest.mark.parametrize("table", PLUGIN_TABLES)
def test_a_plugins_own_table_is_told_like_ours(table: str) -> None:
    settings = parse(f"server: a\nplugins:\n  smtp:\n    {table}\n")
    with pytest.raises(ConfigErrors) as raised:
        settings.table_of(settings.plugins["smtp"], Table)
    assert str(raised.value) == f"postroom.yaml:4: {PLUGIN_TABLES[table]}"


def test_a_folder_without_a_site_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"postroom.yaml: there is no site here. Make one with: postroom init DIR"):
        load(tmp_path)


def test_retry_presets_are_overlaid_by_what_is_said() -> None:
    assert parse("server: a\n").retry.policy().lifetime == 72 * 3600
    policy = parse("server: a\nretry: {preset: overview, delays: [60], tell_every: 3}\n").retry.policy()
    assert (policy.delays, policy.tell_every, policy.tell_after) == ((60.0,), 3, ())
