"""`postroom check` and what it looks at."""

from __future__ import annotations

from pathlib import Path

import pytest

from postroom.clock import SystemClock
from postroom_cli.checking import file_system
from postroom_net.tls import make_ca, make_certificate
from tests.plugins_cli.site import Shell, with_people

MOUNTS = "/dev/sda1 / ext4 rw 0 0\nsrv:/x /mnt/mail\\040box nfs4 rw 0 0\ntmpfs /mnt/mail tmpfs rw 0 0\nbroken\n"


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/srv/site", "ext4"), ("/mnt/mail box/site", "nfs4"), ("/mnt/mail", "tmpfs"), ("/mnt/mailbox", "ext4"), ("/mnt/mail/x", "tmpfs")],
)
def test_the_file_system_is_that_of_the_deepest_mount(path: str, kind: str) -> None:
    assert file_system(Path(path), MOUNTS) == kind


def test_a_sound_site(shell: Shell) -> None:
    assert with_people(shell).done("check") == {"ok": True, "problems": []}


def test_everything_is_told_at_once_with_its_row(shell: Shell) -> None:
    with_people(shell)
    shell.done("address", "add", "x@example.test", "[LS:example.test/news]")
    shell.done("address", "add", "y@example.test", "[SF:example.test/gone]")
    shell.done("address", "delete", "postmaster@example.test")
    shell.done("mailbox", "set", "alice@example.test", "--redirect", "[SF:example.test/gone]")
    with (shell.root / "Config" / "ADDRESS-MAP.TAB").open("a") as file:
        file.write("nonsense\t[SF:example.test/alice]\t0\t\r\n")
    said = shell("check", "--json")
    problems = "\n".join(said.json["problems"])
    assert (said.code, said.json["ok"]) == (1, False)
    for part in (
        "ADDRESS-MAP.TAB:5: it leads to the connector LS, which is not loaded",
        "ADDRESS-MAP.TAB:6: it leads to [SF:example.test/gone], which is refused (550 5.1.1",
        "nobody is postmaster@example.test. Say who: postroom address add postmaster@example.test",
        "ADDRESS-MAP.TAB:7",
    ):
        assert part in problems, problems


def test_a_certificate_that_expired_or_soon_will(shell: Shell) -> None:
    """Nobody told: mail of careful servers stayed away, and `check` had nothing to complain about."""
    with_people(shell)
    authority = make_ca("test", 0)
    for name, days in (("old", -1), ("near", 3), ("good", 30)):
        pair = make_certificate(authority, [name], SystemClock().now() - 86_400 * (90 - days), days=90)
        (shell.root / f"{name}.pem").write_bytes(pair.certificate + pair.key)
    with (shell.root / "postroom.yaml").open("a") as file:
        names = ", ".join(f"{name}.test: {{certificate: {name}.pem, key: {name}.pem}}" for name in ("near", "good"))
        file.write(f"tls: {{certificate: old.pem, key: old.pem, names: {{{names}}}}}\n")
    said = shell("check", "--json")
    assert said.code == 1 and len(said.json["problems"]) == 2
    assert said.json["problems"][0].startswith("the server's certificate expired on ")
    assert said.json["problems"][1].startswith("the certificate for near.test expires on ")


def test_settings_that_cannot_be_read_are_all_told(shell: Shell) -> None:
    (shell.root / "postroom.yaml").write_text("server: x.example\nplugins: {tab: {nonsense: 1}, nobody: {}}\n")
    said = shell("check", "--json")
    assert said.code == 1 and len(said.json["problems"]) == 2


def test_a_network_file_system_is_refused(shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from postroom_cli import checking

    (tmp_path / "mounts").write_text(f"srv:/x {tmp_path} nfs4 rw 0 0\n")
    monkeypatch.setattr(checking, "MOUNTS", tmp_path / "mounts")
    said = shell("check")
    assert said.code == 1 and "network file system (nfs4)" in said.out and "cluster profile" in said.out
