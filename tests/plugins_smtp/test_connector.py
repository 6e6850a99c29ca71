"""postroom_smtp.connector, .inbound.endpoints_of, .settings and .plugin."""

from __future__ import annotations

from typing import Any, cast

import pytest
from pydantic import ValidationError

from postroom.errors import ConfigError
from postroom.site import Ground
from postroom_smtp.api import SmtpHooks
from postroom_smtp.inbound import endpoints_of
from postroom_smtp.plugin import SmtpPlugin
from postroom_smtp.settings import Listen, SmtpSettings


def labels(*listen: dict[str, Any]) -> list[str]:
    settings = SmtpSettings(listen=tuple(Listen.model_validate(one) for one in listen))
    return [endpoint.label for endpoint, _ in endpoints_of(settings)]


def test_labels() -> None:
    assert labels({"port": 25}) == ["smtp"]
    assert labels({"port": 25}, {"port": 2525}, {"port": 465, "tls": "implicit"}) == ["smtp", "smtp-2", "smtps"]
    assert labels({"port": 25, "label": "mx"}, {"port": 26}) == ["mx", "smtp"]
    assert [one.label for one, _ in endpoints_of(SmtpSettings(), "inside")] == ["inside-smtp"]
    people = {"port": 587, "submission": True}, {"port": 465, "submission": True, "tls": "implicit"}
    assert labels({"port": 25}, *people) == ["smtp", "submission", "submissions"]
    with pytest.raises(ConfigError, match="two listeners have the label mx"):
        labels({"port": 25, "label": "mx"}, {"port": 26, "label": "mx"})


@pytest.mark.parametrize(
    "table",
    [
        {"listen": []},
        {"listen": [{"port": 70000}]},
        {"listen": [{"port": 587, "submission": True, "tls": "none"}]},
        {"listen": [{"port": 25, "auth": True, "tls": "none"}]},
        {"auth": {"mechanisms": []}},
        {"auth": {"mechanisms": ["GSSAPI"]}},
        {"relay": {"pop_before_smtp": -1}},
        {"listen": [{"port": 465, "tls": "implicit", "proxy": ["10.0.0.1"]}]},
        {"listen": [{"port": 25, "proxy": ["ten"]}]},
        {"bare_lines": "ignore"},
        {"limits": {"recipients": 10}},
        {"banner": "two\r\nlines"},
        {"unknown": 1},
        {"limits": {"unknown": 1}},
    ],
)
def test_settings_that_make_no_sense(table: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SmtpSettings.model_validate(table)


def test_every_setting_says_what_it_is_for() -> None:
    for model in (SmtpSettings, Listen, type(SmtpSettings().limits)):
        assert all(field.description for field in model.model_fields.values())


def test_the_plugin_names_its_settings_and_its_hook_specs() -> None:
    assert SmtpPlugin.Settings is SmtpSettings and SmtpPlugin.hookspecs is SmtpHooks
    plugin = SmtpPlugin(SmtpSettings(), cast(Ground, None))
    assert callable(plugin.connectors) and callable(plugin.check)
