"""Settings that several plugins share are refused in each with the file's line and key, before anything starts."""

from __future__ import annotations

from importlib.metadata import entry_points

import pytest

from postroom.errors import ConfigError
from postroom.settings import parse

TOKENS = "issuer: 'https://id.test', audience: mail, keys: 'http://id.test/keys'"


@pytest.mark.parametrize(
    ("plugin", "table", "key"),
    [
        *((plugin, "exempt: [mail.example.test]", "exempt.0") for plugin in ("imap4", "pop3", "smtp")),
        *((plugin, f"oauth: {{{TOKENS}}}", "oauth.keys") for plugin in ("imap4", "pop3")),
        ("smtp", f"auth: {{oauth: {{{TOKENS}}}}}", "auth.oauth.keys"),
    ],
)
def test_what_is_no_address_is_told_with_its_line(plugin: str, table: str, key: str) -> None:
    settings = parse(f"server: mail.test\nplugins:\n  {plugin}:\n    {table}\n", "postroom.yaml")
    (point,) = entry_points(group="postroom.plugins", name=plugin)
    with pytest.raises(ConfigError) as refused:
        settings.table_of(settings.plugins[plugin], point.load().Settings)
    assert str(refused.value).startswith(f"postroom.yaml:4: plugins.{plugin}.{key}: "), str(refused.value)


@pytest.mark.parametrize("plugin", ["imap4", "pop3", "smtp"])
def test_a_misspelt_key_of_a_listener_was_told_that_nothing_is_known_there(plugin: str) -> None:
    settings = parse(f"server: mail.test\nplugins:\n  {plugin}:\n    listen:\n      - {{port: 25, hots: '::'}}\n", "postroom.yaml")
    (point,) = entry_points(group="postroom.plugins", name=plugin)
    with pytest.raises(ConfigError) as refused:
        settings.table_of(settings.plugins[plugin], point.load().Settings)
    told = str(refused.value).splitlines()
    assert f"postroom.yaml:5: plugins.{plugin}.listen.0.hots: no such setting. Did you mean host?" in told
