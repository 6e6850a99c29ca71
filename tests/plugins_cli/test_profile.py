"""The bundled profiles: they make sites that load."""

from __future__ import annotations

import pytest

from postroom.settings import parse
from postroom_cli import profile
from postroom_cli.dns import to_publish

ALL = {"tab", "store", "postoffice", "smtp", "pop3", "imap4", "cli"}


@pytest.mark.parametrize("name", ["site", "demo"])
@pytest.mark.parametrize("base", [0, 2000])
def test_a_profile_is_a_site(name: str, base: int) -> None:
    text = profile.fill(profile.read(name), {"server": "mail.example.test", **profile.demo_ports(base)}, ALL)
    assert set(parse(text).plugins) == ALL - {"cli"}


def test_what_is_not_installed_is_left_out_with_its_comment() -> None:
    text = profile.fill(profile.read("site"), {"server": "mail.example.test"}, ALL - {"pop3"})
    assert set(parse(text).plugins) == {"tab", "store", "postoffice", "smtp", "imap4"}
    assert "fetch their mail" not in text and "mail from other servers" in text


def test_the_demo_listens_on_loopback_only() -> None:
    settings = parse(profile.fill(profile.read("demo"), {"server": "x.example", **profile.demo_ports(2000)}, ALL))
    listening = [entry for name in ("smtp", "pop3", "imap4") for entry in settings.plugins[name].table["listen"]]
    assert {entry["host"] for entry in listening} == {"127.0.0.1"}
    assert [entry["port"] for entry in listening] == [2525, 2587, 2465, 2110, 2995, 2143, 2993]


def test_what_is_installed_is_seen_without_loading_it() -> None:
    import subprocess
    import sys

    code = (
        "import sys; from postroom_cli.profile import installed; print(sorted(installed())); sys.exit('postroom_tab.plugin' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "'tab'" in done.stdout


def test_dns_records() -> None:
    said = {(record.name, record.kind): record.value for record in to_publish("example.org", "mx.example.org", {"pop3"})}
    assert said["example.org.", "MX"] == "10 mx.example.org."
    assert said["example.org.", "TXT"] == '"v=spf1 mx -all"'
    assert said["_dmarc.example.org.", "TXT"].startswith('"v=DMARC1; p=none;')
    assert ("_pop3s._tcp.example.org.", "SRV") in said
    assert not any("pop3" in record.name for record in to_publish("example.org", "mx.example.org", ()))
