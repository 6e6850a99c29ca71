"""`postroom why`: every step with its row."""

from __future__ import annotations

from pathlib import Path

from tests.plugins_cli.site import Shell, with_people


def steps(shell: Shell, recipient: str, *more: str) -> tuple[bool, list[str]]:
    said = shell("why", "rita@example.org", recipient, *more, "--json")
    assert said.code == (0 if said.json["arrives"] else 1)
    return said.json["arrives"], [f"{step['depth']} {step['what']}" for step in said.json["steps"][1:]]


def test_a_mailbox(shell: Shell) -> None:
    with_people(shell)
    assert steps(shell, "Alice@EXAMPLE.test") == (
        True,
        ["0 [SMTP:Alice@EXAMPLE.test] leads to [SF:example.test/alice]", "1 delivered: example.test/alice/Inbox"],
    )


def test_each_step_names_its_row_by_file_and_line(shell: Shell) -> None:
    said = with_people(shell).done("why", "<>", "bob@example.test")
    rows = [row for step in said["steps"] for row in step["rows"]]
    assert rows[0].startswith(f"{shell.root}/Config/ADDRESS-MAP.TAB:4: [SMTP:bob@example.test]")
    assert rows[1] == f"{shell.root}/Config/Postoffices/example.test/MAILBOX.TAB:3: example.test | bob | 1 | 2048 | 0 | "


def test_a_group_with_a_redirect_and_somebody_elsewhere(shell: Shell) -> None:
    with_people(shell).done("mailbox", "set", "bob@example.test", "--redirect", "alice@example.test", "--keep")
    arrives, said = steps(shell, "sales@example.test")
    assert arrives
    assert said == [
        "0 [SMTP:sales@example.test] leads to [SF:example.test/sales]",
        "1 [SF:example.test/sales] stands for 3 others",
        "2 [SF:example.test/alice]",
        "3 delivered: example.test/alice/Inbox",
        "2 [SF:example.test/bob]",
        "3 [SF:example.test/bob] stands for another address and a copy is kept",
        "4 [SF:example.test/alice]",
        "5 delivered: example.test/alice/Inbox",
        "2 [SMTP:rita@example.org] cannot be resolved: example.org is not ours and no row of the address map takes it",
    ]


def test_a_circle_of_redirects_ends(shell: Shell) -> None:
    with_people(shell)
    shell.done("mailbox", "set", "alice@example.test", "--redirect", "bob@example.test")
    shell.done("mailbox", "set", "bob@example.test", "--redirect", "alice@example.test")
    arrives, said = steps(shell, "alice@example.test")
    assert arrives and said[-1] == "5 delivered: example.test/alice/Inbox"


def test_nobody(shell: Shell) -> None:
    with_people(shell).done("mailbox", "set", "bob@example.test", "--disable")
    assert steps(shell, "nobody@example.test")[1] == [
        "0 [SMTP:nobody@example.test] cannot be resolved: example.test is ours and has no such address"
    ]
    assert steps(shell, "bob@example.test")[1][-1] == "1 refused: 550 5.2.1 this mailbox is disabled"
    assert steps(shell, "x@elsewhere.example")[0] is False


def test_a_message_decides_the_folder(shell: Shell, tmp_path: Path) -> None:
    with_people(shell)
    (tmp_path / "junk.eml").write_bytes(b"Subject: win\r\nX-ME-Content: Deliver-To=Junk\r\n\r\n")
    assert (
        steps(shell, "alice@example.test", "--message", str(tmp_path / "junk.eml"))[1][-1] == "1 delivered: example.test/alice/Junk E-Mail"
    )
    assert shell("why", "a@b.example", "alice@example.test", "--message", str(tmp_path / "none")).code == 2


def test_asking_changes_nothing(shell: Shell) -> None:
    before = sorted(path for path in with_people(shell).root.rglob("*") if path.suffix != ".lock")
    steps(shell, "sales@example.test")
    assert sorted(path for path in shell.root.rglob("*") if path.suffix != ".lock") == before


def test_an_address_that_is_none_is_wrong_usage(shell: Shell) -> None:
    assert shell("why", "rita@example.org", "alice").code == 2
    assert shell("why", "rita@example.org", "<>").code == 2


YAML = """server: mail.example.test
plugins: {tab: {}, postoffice: {}, smtp: {listen: [{port: 0, host: 127.0.0.1}]}}
providers: {default: tab}
"""


def test_mail_to_another_house_goes_for_people_of_this_one(shell: Shell) -> None:
    """It was "Relaying denied" for everybody, and exit code 1, while the mail went out."""
    (shell.root / "postroom.yaml").write_text(YAML)
    with_people(shell).done("address", "add", "[SMTP:*]", "[SMTP:*]")
    own = shell("why", "alice@example.test", "rita@example.org")
    assert own.code == 0
    assert own.out.splitlines()[-1] == (
        "  the connector SMTP gets it, next hop example.org, from [SMTP:alice@example.test] once logged in; others hear: 550 5.7.1 Relaying denied"
    )
    strange = shell("why", "eve@example.net", "rita@example.org")
    assert strange.code == 1 and "from who has logged in or may relay; others hear: 550" in strange.out
    nobody = shell("why", "nobody@example.test", "rita@example.org")
    assert nobody.code == 1 and "may relay" in nobody.out
    assert shell("why", "<>", "rita@example.org").code == 0


def test_what_an_address_of_ours_sends_on_is_asked_of_nobody(shell: Shell) -> None:
    """A row, a group, a redirect: no stranger is refused for where they lead."""
    (shell.root / "postroom.yaml").write_text(YAML)
    with_people(shell).done("address", "add", "[SMTP:*]", "[SMTP:*]")
    shell.done("address", "add", "away@example.test", "[SMTP:rita@example.org]")
    shell.done("mailbox", "set", "bob@example.test", "--redirect", "rita@example.org")
    gets = "the connector SMTP gets it, next hop example.org"
    assert steps(shell, "away@example.test")[1][-1] == f"1 {gets}"
    assert steps(shell, "bob@example.test") == (
        True,
        [
            "0 [SMTP:bob@example.test] leads to [SF:example.test/bob]",
            "1 [SF:example.test/bob] stands for another address",
            "2 [SMTP:rita@example.org] leads to [SMTP:rita@example.org]",
            f"3 {gets}",
        ],
    )
