"""The plugin as the host meets it: its settings, what is wrong at the start, which hooks it offers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from postroom.host import Host
from postroom.settings import ConfigErrors
from postroom_command.settings import CommandSettings, Limits
from postroom_testing.ground import ground_in
from tests.hooks_command.programs import script


def host(folder: Path, table: str, more: str = "") -> Host:
    ground = ground_in(folder, f"server: a.example\n{more}plugins:\n  tab: {{watch: false}}\n  scan: {{plugin: command, {table}}}\n")
    return Host(ground.settings, ground)


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"pickup": []},
        {"pickup": "/bin/true"},
        {"pickup": ["/bin/true"], "shell": True},
        {"pickup": ["/bin/true"], "files": False},
        {"pickup": ["/bin/true"], "arguments": ["{sender}"]},
        {"pickup": ["/bin/true", "a\0b"]},
        {"pickup": ["/bin/true"], "verdicts": {256: "pass"}},
        {"pickup": ["/bin/true"], "verdicts": {-1: "pass"}},
        {"pickup": ["/bin/true"], "verdicts": {1: "bounce"}},
        {"pickup": ["/bin/true"], "environment": {"POSTROOM_SENDER": "x"}},
        {"pickup": ["/bin/true"], "environment": {"A=B": "x"}},
        {"pickup": ["/bin/true"], "environment": {"A": "x\0y"}},
        {"pickup": ["/bin/true"], "limits": {"memory": -1}},
        {"pickup": ["/bin/true"], "processes_at_once": 0},
    ],
    ids=str,
)
def test_settings_that_cannot_be_meant_are_refused(table: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        CommandSettings.model_validate(table)


def test_exit_codes_may_be_written_as_yaml_gives_them() -> None:
    assert CommandSettings.model_validate({"pickup": ["/bin/true"], "verdicts": {"75": "defer"}}).verdicts == {75: "defer"}


@pytest.mark.parametrize("model", [CommandSettings, Limits])
def test_every_setting_says_what_it_is(model: type[CommandSettings]) -> None:
    assert all(field.description for field in model.model_fields.values()) and model.model_json_schema()


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ("pickup: [/nowhere/scan]", "/nowhere/scan is not there. Install the program"),
        ("delivery: [scan]", "scan is no absolute path"),
        ("mailbox: [/etc/passwd]", "cannot be executed"),
        ("pickup: [/etc]", "cannot be executed"),
        ("pickup: [/bin/true], user: no-such-account", "there is no account no-such-account"),
    ],
)
def test_a_program_that_cannot_be_started_is_the_operators_to_mend_before_the_start(tmp_path: Path, table: str, words: str) -> None:
    with pytest.raises(ConfigErrors) as caught:
        host(tmp_path, table)
    assert words in str(caught.value) and "postroom.yaml:4: plugins.scan." in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors) as caught:
        host(tmp_path, "pickup: [/nowhere/a], delivery: [/nowhere/b], user: no-such-account")
    assert len(caught.value.errors) == 3


@pytest.mark.skipif(os.geteuid() != 0, reason="asks what only root may")
def test_an_account_of_its_own_needs_a_server_that_stays_root(tmp_path: Path) -> None:
    with pytest.raises(ConfigErrors, match="only a server that runs as root"):
        host(tmp_path, "pickup: [/bin/true], user: nobody", "user: daemon\n")
    assert host(tmp_path, "pickup: [/bin/true], user: daemon", "user: daemon\n").has("mta_pickup")


def test_only_the_hooks_that_have_a_program_are_offered(tmp_path: Path) -> None:
    one = host(tmp_path, f"delivery: [{script(tmp_path, 'exit 0')}]")
    assert [hook for hook in ("mta_pickup", "mta_delivery", "mailbox_delivery") if one.has(hook)] == ["mta_delivery"]


def test_a_mailbox_program_without_a_post_office_is_never_asked_and_harms_nobody(tmp_path: Path) -> None:
    assert not host(tmp_path, f"mailbox: [{script(tmp_path, 'exit 0')}], pickup: [/bin/true]").has("mta_delivery")


def test_nothing_is_written_or_started_before_the_first_message(tmp_path: Path) -> None:
    (tmp_path / "run" / "private").mkdir(parents=True)
    mark = tmp_path / "run" / "private" / ("A" * 32)
    mark.touch()
    host(tmp_path, "pickup: [/bin/true]")
    assert mark.exists()
