"""A new domain gets its keys, and what to publish of them is printed: by `init`, and by `domain add`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from postroom.errors import PostroomError
from postroom_cli import profile
from postroom_cli.main import run
from postroom_dkim.shelf import Shelf
from tests.plugins_cli.site import Shell

SIGNED = "server: mail.example.test\nplugins: {tab: {}, postoffice: {}, dkim: {rsa_bits: 1024}}\nproviders: {default: tab}\n"


@pytest.fixture
def signing(shell: Shell) -> Shell:
    (shell.root / "postroom.yaml").write_text(SIGNED)
    return shell


def keys(root: Path, domain: str) -> dict[str, str]:
    """What the files say must be published."""
    return {f"{path.stem}._domainkey.{domain}.": path.read_text().strip() for path in (root / "dkim" / domain).glob("*.txt")}


def published(records: list[dict[str, str]]) -> dict[str, str]:
    """The DKIM records of these, as one text each."""
    return {one["name"]: one["value"].replace('" "', "").strip('"') for one in records if "_domainkey" in one["name"]}


def test_init_prints_the_keys_it_has_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(profile, "installed", lambda: frozenset({"tab", "postoffice", "dkim"}))
    root = tmp_path / "site"
    assert run(["init", str(root), "--domain", "example.org", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert len(keys(root, "example.org")) == 2 and published(told["dns"]) == keys(root, "example.org")


def test_a_further_domain_gets_keys_and_its_records_are_printed(signing: Shell) -> None:
    told = signing.done("domain", "add", "Example.NET")
    assert len(keys(signing.root, "example.net")) == 2 and published(told["dns"]) == keys(signing.root, "example.net")
    assert {"MX", "TXT"} == {one["type"] for one in told["dns"]} and told["domain"] == "example.net"
    said = signing("domain", "add", "example.org")
    assert said.code == 0 and "added: domain example.org" in said.out
    (rsa,) = [name for name in keys(signing.root, "example.org") if "r._" in name]
    assert "Publish in DNS:" in said.out and f"  {rsa}" in said.out and "v=DKIM1; k=rsa;" in said.out


def test_a_site_without_a_signer_prints_the_other_records(shell: Shell) -> None:
    told = shell.done("domain", "add", "example.net")
    assert not published(told["dns"]) and ["example.net.", "MX"] in [[one["name"], one["type"]] for one in told["dns"]]
    assert not (shell.root / "dkim").exists()


def test_keys_that_cannot_be_made_are_told_and_the_domain_is_there(signing: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(shelf: Shelf, domain: str) -> None:
        raise PostroomError("no entropy today")

    with monkeypatch.context() as patch:
        patch.setattr(Shelf, "ensure", refuse)
        said = signing("domain", "add", "example.net")
    assert said.code == 1 and said.err == (
        "postroom: example.net is added, but what a plugin needs for it could not be made: no entropy today\n"
    )
    assert signing.done("domain", "list")[0]["domain"] == "example.net"


def test_the_profile_has_srs_and_it_is_off() -> None:
    from postroom.settings import parse
    from postroom_postoffice.settings import PostofficeSettings

    text = profile.fill(profile.read("site"), {"server": "mail.example.test"}, {"tab", "postoffice"})
    said = PostofficeSettings.model_validate(parse(text).plugins["postoffice"].table)
    assert said.srs.domain == "" and "srs: {domain:" in text
