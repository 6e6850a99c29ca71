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
