"""The table in the site's file: what it means, and what is refused with which words."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from postroom_clamav.scanner import address_of
from postroom_clamav.settings import ClamavSettings
from postroom_testing.ground import ground_in


def test_an_empty_table_means_debian_s_clamd() -> None:
    settings = ClamavSettings()
    assert str(settings.socket) == "/run/clamav/clamd.ctl" and settings.action == "reject" and settings.strip


def test_a_connector_s_own_table_changes_what_it_says_and_no_more() -> None:
    settings = ClamavSettings.model_validate(
        {"action": "reject", "max_size": 5000, "connectors": {"pop": {"action": "quarantine"}, "LS": {"scan": False}}}
    )
    assert (settings.rules_of("POP").action, settings.rules_of("POP").max_size) == ("quarantine", 5000)
    assert (settings.rules_of("SMTP").action, settings.rules_of("LS").scan, settings.rules_of("SMTP").scan) == ("reject", False, True)


def test_where_clamd_listens(tmp_path: Path) -> None:
    ground = ground_in(tmp_path)
    assert str(address_of(ClamavSettings.model_validate({"socket": "run/c"}), ground)) == str(tmp_path / "run/c")
    assert str(address_of(ClamavSettings(), ground)) == "/run/clamav/clamd.ctl"
    assert str(address_of(ClamavSettings(host="av.example.test"), ground)) == "av.example.test port 3310"


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ({"socket": "/a", "host": "b"}, "say one of them"),
        ({"port": 3310}, "needs a `host`"),
        ({"notify": ["operator"]}, "give the address"),
        ({"connectors": {"POP": {"notify": ["operator"]}}}, "give the address"),
        ({"operator": "nobody"}, "must be an address"),
        ({"action": "delete"}, "quarantine"),
        ({"connectors": {"POP": {"socket": "/a"}}}, "Extra"),
        ({"connections": 0}, "greater"),
    ],
)
def test_what_does_not_fit_together_is_refused(table: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        ClamavSettings.model_validate(table)
