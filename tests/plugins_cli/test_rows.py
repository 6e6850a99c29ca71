"""Domains, mailboxes, groups and addresses, as rows in the TAB files and back."""

from __future__ import annotations

import io

import pytest

from postroom_net.passwords import verify
from tests.plugins_cli.site import Shell, with_people


def test_a_domain_brings_its_post_office_and_postmaster(shell: Shell) -> None:
    assert shell.done("domain", "add", "Example.Test")["postoffice"] == "example.test"
    assert shell.table("DOMAIN.TAB") == [["example.test", "1", "0", "", "example.test"]]
    assert shell.table("POSTOFFICE.TAB") == [["example.test", "1", "example.test"]]
    assert [row[:2] for row in shell.table("ADDRESS-MAP.TAB")] == [
        ["[SMTP:postmaster@example.test]", "[SF:example.test/postmaster]"],
        ["[SMTP:abuse@example.test]", "[SF:example.test/postmaster]"],
    ]
    said = shell("domain", "add", "example.test")
    assert (said.code, "exists already" in said.err) == (1, True)


def test_a_mailbox_is_a_login_a_row_and_an_address_in_each_domain(shell: Shell) -> None:
    shell.done("domain", "add", "example.test")
    shell.done("domain", "add", "example.net", "--postoffice", "example.test")
    made = shell.done("mailbox", "add", "alice@example.net", "--quota", "500M", "--password-stdin", stdin="päss word\n")
    assert made == {
        "mailbox": "example.test/alice",
        "login": "alice@example.test",
        "addresses": ["alice@example.test", "alice@example.net"],
    }
    assert ["alice", "1", "512000", "0", ""] in shell.table("Postoffices/example.test/MAILBOX.TAB")
    ((login, status, secret, account, rights, *_),) = shell.table("AUTH.TAB")
    assert (login, status, account, rights) == ("alice@example.test", "1", "example.test", "USER")
    assert secret.startswith("$argon2id$") and verify(secret, "päss word")
    assert [row[0] for row in shell.table("ADDRESS-MAP.TAB") if row[1] == "[SF:example.test/alice]"] == [
        "[SMTP:alice@example.test]",
        "[SMTP:alice@example.net]",
    ]


def test_a_further_domain_gives_everybody_an_address(shell: Shell) -> None:
    with_people(shell).done("domain", "add", "example.net", "--postoffice", "example.test")
    sources = {row[0] for row in shell.table("ADDRESS-MAP.TAB")}
    assert {f"[SMTP:{name}@example.net]" for name in ("postmaster", "abuse", "alice", "bob", "sales")} <= sources


def test_a_password_made_up_is_told_once_and_works(shell: Shell) -> None:
    shell.done("domain", "add", "example.test")
    word = shell.done("mailbox", "add", "alice@example.test")["password"]
    assert len(word) >= 16 and verify(shell.table("AUTH.TAB")[0][2], word)
    assert "password" not in shell.done("mailbox", "show", "alice@example.test")
    said = shell("mailbox", "set", "alice@example.test", "--password")
    assert said.code == 0 and word not in said.out and not verify(shell.table("AUTH.TAB")[0][2], word)


def test_a_person_at_a_terminal_is_asked_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    import getpass

    from postroom_cli import password
    from postroom_cli.names import Wrong

    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())
    typed = iter(["one", "two", "one", "one", ""])
    monkeypatch.setattr(getpass, "getpass", lambda prompt: next(typed))
    with pytest.raises(Wrong, match="differ"):
        password.ask(from_stdin=False)
    assert password.ask(from_stdin=False) == ("one", False)
    assert password.ask(from_stdin=False)[1] is True


def test_what_is_taken_stays_as_it_is(shell: Shell) -> None:
    before = {path: path.read_bytes() for path in with_people(shell).root.glob("Config/**/*.TAB")}
    for arguments, why in (
        (("mailbox", "add", "ALICE@example.test"), "exists already"),
        (("mailbox", "add", "sales@example.test"), "is a group already"),
        (("group", "add", "bob@example.test"), "is a mailbox already"),
        (("group", "add", "sales@example.test"), "exists already"),
        (("mailbox", "add", "x@elsewhere.example"), "no domain of this site"),
        (("address", "add", "alice@example.test", "alice@example.test"), "already"),
        (("mailbox", "delete", "nobody@example.test"), "no mailbox"),
        (("group", "set", "sales@example.test", "--remove", "nobody@example.test"), "not in the group"),
        (("address", "delete", "*@example.test"), "has no row"),
        (("domain", "delete", "example.test"), "still has alice, bob, sales"),
    ):
        said = shell(*arguments)
        assert (said.code, said.out) == (1, ""), arguments
        assert why in said.err and "Traceback" not in said.err, said.err
    assert {path: path.read_bytes() for path in shell.root.glob("Config/**/*.TAB")} == before


def test_an_address_that_leads_elsewhere_is_not_taken_over(shell: Shell) -> None:
    shell.done("domain", "add", "example.test")
    shell.done("address", "add", "alice@example.test", "rita@example.org")
    said = shell("mailbox", "add", "alice@example.test")
    assert said.code == 1 and "leads to [SMTP:rita@example.org] already" in said.err
    assert [row[0] for row in shell.table("Postoffices/example.test/MAILBOX.TAB")] == ["postmaster"]


def test_add_finishes_what_a_crash_left_half_done(shell: Shell) -> None:
    with_people(shell)
    table = shell.root / "Config" / "ADDRESS-MAP.TAB"
    table.write_text("".join(line for line in table.read_text().splitlines(True) if "bob" not in line))
    (shell.root / "Config" / "AUTH.TAB").write_text("")
    assert shell.done("mailbox", "add", "bob@example.test")["mailbox"] == "example.test/bob"
    assert any(row[0] == "[SMTP:bob@example.test]" for row in shell.table("ADDRESS-MAP.TAB"))


def test_a_mailbox_is_changed(shell: Shell) -> None:
    with_people(shell)
    shell.done(
        "mailbox",
        "set",
        "bob@example.test",
        "--redirect",
        "rita@example.org",
        "--redirect",
        "alice@example.test",
        "--keep",
        "--quota",
        "none",
    )
    row = next(row for row in shell.table("Postoffices/example.test/MAILBOX.TAB") if row[0] == "bob")
    assert row == ["bob", "1", "-1", "2", "[SMTP:rita@example.org];[SF:example.test/alice]"]
    shell.done("mailbox", "set", "bob@example.test", "--no-redirect", "--disable", "--no-login")
    shown = shell.done("mailbox", "show", "bob@example.test")
    assert (shown["status"], shown["redirect"], shown["login status"]) == ("disabled", "", "disabled")
    assert shown["groups"] == ["sales"] and shown["row"].endswith("MAILBOX.TAB:3")
    assert shell("mailbox", "set", "bob@example.test").code == 2


def test_delete_takes_exact_rows_only(shell: Shell) -> None:
    with_people(shell)
    shell.done("address", "add", "*@example.test", "alice@example.test")
    shell.done("address", "add", "al@example.test", "alice@example.test")
    gone = shell.done("mailbox", "delete", "alice@example.test")
    assert gone["deleted"] == ["mailbox example.test/alice", "2 addresses", "1 login"]
    assert [each.split(" (")[0] for each in gone["left"]] == ["[SMTP:*@example.test] leads there", "group sales names it"]
    assert [row[0] for row in shell.table("AUTH.TAB")] == ["bob@example.test"]
    assert {row[0] for row in shell.table("ADDRESS-MAP.TAB") if row[1] == "[SF:example.test/alice]"} == {"[SMTP:*@example.test]"}


def test_a_domain_goes_when_its_people_went(shell: Shell) -> None:
    with_people(shell)
    for kind, name in (("group", "sales"), ("mailbox", "alice"), ("mailbox", "bob")):
        shell.done(kind, "delete", f"{name}@example.test")
    shell.done("domain", "delete", "example.test")
    assert [shell.done(kind, "list") for kind in ("domain", "mailbox", "group", "address")] == [[], [], [], []]
    assert shell("mailbox", "list").out == "No mailboxes yet. Add one with: postroom mailbox add NAME@DOMAIN\n"


def test_one_domain_of_two_goes_with_its_addresses_only(shell: Shell) -> None:
    with_people(shell).done("domain", "add", "example.net", "--postoffice", "example.test")
    before = {row[0] for row in shell.table("ADDRESS-MAP.TAB")}
    shell.done("domain", "delete", "example.net")
    assert {row[0] for row in shell.table("ADDRESS-MAP.TAB")} == {source for source in before if "example.net" not in source}
    assert len(shell.done("mailbox", "list", "example.test")) == 3


def test_a_group_is_changed(shell: Shell) -> None:
    with_people(shell).done("group", "set", "sales@example.test", "--remove", "rita@example.org", "--add", "max@example.org")
    shown = shell.done("group", "show", "sales@example.test")
    assert shown["members"] == ["[SF:example.test/alice]", "[SF:example.test/bob]", "[SMTP:max@example.org]"]
    shell.done("group", "delete", "sales@example.test")
    assert shell.done("group", "list") == [] and not any("sales" in row[0] for row in shell.table("ADDRESS-MAP.TAB"))


def test_an_address_keeps_its_place_when_it_is_led_elsewhere(shell: Shell) -> None:
    with_people(shell)
    before = [row[0] for row in shell.table("ADDRESS-MAP.TAB")]
    shell.done("address", "set", "alice@example.test", "bob@example.test")
    assert [row[0] for row in shell.table("ADDRESS-MAP.TAB")] == before
    assert shell.done("address", "show", "alice@example.test")[0]["destination"] == "[SF:example.test/bob]"
    shell.done("address", "set", "alice@example.test", "bob@example.test")
    assert len(shell.done("address", "show", "alice@example.test")) == 1


def test_tables_fit_eighty_columns_and_carry_no_colours(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with_people(shell)
    for kind in ("domain", "mailbox", "group", "address"):
        out = shell(kind, "list").out
        assert out and "\x1b" not in out and max(map(len, out.splitlines())) <= 80, out
    assert "[SF:example.test/alice]" in shell("address", "list").out


def test_a_strange_row_cannot_drive_the_terminal(shell: Shell) -> None:
    with_people(shell)
    path = shell.root / "Config" / "Postoffices" / "example.test" / "MAILBOX.TAB"
    path.write_text(path.read_text() + "evil\x1b[31m\t1\t-1\t0\t\r\n")
    assert "\x1b" not in shell("mailbox", "list").out
