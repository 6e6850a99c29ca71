"""Making sites: `init`, and `demo` up to where it is served."""

from __future__ import annotations

import json
import ssl
import stat
from pathlib import Path

import pytest

from postroom.errors import ConfigError
from postroom.settings import load
from postroom_cli import authority, demo, profile, provision
from postroom_cli.main import run
from postroom_net.passwords import verify

SOME = frozenset({"tab", "postoffice"})


@pytest.fixture(autouse=True)
def rows_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the plugins that these tests do not ask for."""
    monkeypatch.setattr(profile, "installed", lambda: SOME)


def test_init_makes_a_site_and_says_what_comes_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "new" / "site"
    assert run(["init", str(root), "--domain", "Example.ORG", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["domain"], told["server"]) == ("example.org", "mail.example.org")
    assert {record["type"] for record in told["dns"]} == {"A", "MX", "TXT"}
    assert load(root).server == "mail.example.org"
    assert "[SMTP:*@*]\t[SMTP:*]" in (root / "Config" / "ADDRESS-MAP.TAB").read_text()
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    for command in told["next"][:1]:
        assert run(command.replace("NAME", "alice").split()[1:]) == 0
    assert run(["check", str(root)]) == 1  # without the SMTP connector nothing can go out
    assert run(["init", str(root), "--domain", "example.org"]) == 1
    assert "is a site already" in capsys.readouterr().err


def test_init_that_fails_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profile, "installed", lambda: frozenset({"postoffice"}))  # nobody keeps rows
    assert run(["init", str(tmp_path / "site"), "--domain", "example.org"]) == 1
    assert not (tmp_path / "site" / "postroom.yaml").exists()
    monkeypatch.setattr(profile, "installed", lambda: SOME)
    assert run(["init", str(tmp_path / "site"), "--domain", "example.org"]) == 0


def test_a_demo_is_made_once_and_told_again(tmp_path: Path) -> None:
    memory = demo.prepare(tmp_path, 0)
    assert [account["login"] for account in memory.accounts] == ["alice@example.test", "bob@example.test"]
    assert stat.S_IMODE((tmp_path / "demo.json").stat().st_mode) == 0o600
    rows = {line.split("\t")[0]: line.split("\t")[2] for line in (tmp_path / "Config" / "AUTH.TAB").read_text().splitlines()}
    assert all(verify(rows[account["login"]], account["password"]) for account in memory.accounts)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert demo.prepare(tmp_path, 0) == demo.prepare(tmp_path, None) == memory
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_demo_that_was_not_finished_is_finished_with_the_same_passwords(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(provision, "add_mailbox", crash)
        with pytest.raises(KeyboardInterrupt):
            demo.prepare(tmp_path, 0)
    promised = demo.Memory.read(tmp_path)
    assert promised is not None and not promised.finished
    assert demo.prepare(tmp_path, 0).accounts == promised.accounts
    assert "sales" in (tmp_path / "Config" / "Postoffices" / "example.test" / "GROUP-MAP.TAB").read_text()


def test_what_the_operator_deleted_stays_deleted(tmp_path: Path) -> None:
    demo.prepare(tmp_path, 0)
    assert run(["mailbox", "delete", "bob@example.test", "--site", str(tmp_path)]) == 0
    demo.prepare(tmp_path, 0)
    assert "bob" not in (tmp_path / "Config" / "AUTH.TAB").read_text()


def test_ports_move_unless_the_file_was_changed_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        profile,
        "read",
        lambda name: (
            "server: $server\nplugins: {tab: {}, postoffice: {}}\n# $smtp\ntls: {certificate: tls/server.pem, key: tls/server.key}\n"
        ),
    )
    demo.prepare(tmp_path, None)
    path = tmp_path / "postroom.yaml"
    assert "# 2525" in path.read_text()
    demo.prepare(tmp_path, 5000)
    assert "# 5525" in path.read_text()
    path.write_text(path.read_text() + "# mine\n")
    demo.prepare(tmp_path, None)
    import typer

    with pytest.raises(typer.Exit):
        demo.prepare(tmp_path, 0)
    assert "# mine" in path.read_text() and "changed by hand" in capsys.readouterr().err


def test_a_real_site_is_not_taken_for_a_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "postroom.yaml").write_text("server: x.example\n")
    assert run(["demo", "--site", str(tmp_path)]) == 1
    assert "not a demo" in capsys.readouterr().err


def test_a_broken_memory_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "demo.json").write_text("{")
    with pytest.raises(ConfigError, match=r"demo\.json.*Delete"):
        demo.prepare(tmp_path, 0)


def test_the_ready_line_and_the_page(capsys: pytest.CaptureFixture[str]) -> None:
    told = {"ready": True, "site": "/s", "workers": [1], "endpoints": {"smtp": "127.0.0.1:25", "pop3": "127.0.0.1:110"}}
    memory = demo.Memory([{"login": "alice@example.test", "password": "secret"}])
    demo._tell(told, memory, as_program=True)
    assert json.loads(capsys.readouterr().out) == {**told, "accounts": memory.accounts, "ca": "/s/tls/ca.pem"}
    demo._tell(told, memory, as_program=False)
    page = capsys.readouterr().out
    assert all(text in page for text in ("127.0.0.1:25", "alice@example.test", "secret", "Ctrl-C"))


def test_the_authority_signs_and_renews(tmp_path: Path) -> None:
    now = 1_800_000_000.0
    authority.provide(tmp_path, ["mail.example.test", "127.0.0.1"], now)
    first = {name: (tmp_path / name).read_bytes() for name in (authority.CA, authority.CERTIFICATE)}
    assert stat.S_IMODE((tmp_path / authority.CA_KEY).stat().st_mode) == stat.S_IMODE((tmp_path / authority.KEY).stat().st_mode) == 0o600
    authority.provide(tmp_path, ["mail.example.test"], now + 300 * 86400)
    assert (tmp_path / authority.CERTIFICATE).read_bytes() == first[authority.CERTIFICATE]
    authority.provide(tmp_path, ["mail.example.test"], now + 380 * 86400)
    assert (tmp_path / authority.CERTIFICATE).read_bytes() != first[authority.CERTIFICATE]
    assert (tmp_path / authority.CA).read_bytes() == first[authority.CA]
    context = ssl.create_default_context(cafile=tmp_path / authority.CA)
    assert len(context.get_ca_certs()) == 1
