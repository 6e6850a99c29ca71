"""A mailbox is deleted: its mail is told of, or goes too, beside a server or without one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from postroom.mailstore import Target
from postroom.message import MemoryMessage, new_id
from postroom_cli.awake import alone, awake
from tests.plugins_cli.site import YAML, Shell, with_people

ALICE = "alice@example.test"
TEXT = b"Subject: for Alice\r\n\r\nHello.\r\n"


def with_mail(shell: Shell) -> Path:
    """Alice's mailbox with a message in it; its directory."""
    (shell.root / "postroom.yaml").write_text(YAML.replace("tab: {},", "tab: {}, store: {},"))

    async def fill() -> None:
        async with awake(shell.root) as parts:
            for name in ("alice", "bob"):
                (placed,) = await parts.site.store.deliver(MemoryMessage(new_id(), TEXT), [Target("example.test", name)], arrived=1.0)
                assert not isinstance(placed, Exception), placed

    with_people(shell)
    asyncio.run(fill())
    return shell.root / "Postoffices" / "example.test" / "MAILROOT" / "alice"


def test_without_purge_it_is_said_where_the_mail_lies(shell: Shell) -> None:
    directory = with_mail(shell)
    said = shell("mailbox", "delete", ALICE)
    assert said.code == 0
    assert said.out.splitlines()[-2:] == [
        f"left as it is: its mail ({len(TEXT)} B) in {directory}",
        f"It goes with: postroom mailbox delete {ALICE} --purge",
    ]
    assert list(directory.rglob("*.MAI"))
    assert shell("mailbox", "delete", ALICE).code == 1
    assert "its mail" in shell("mailbox", "delete", ALICE, "--purge", "--yes").out, "the row went before, the mail goes now"
    assert not list(directory.rglob("*.MAI"))
    assert "no mailbox" in shell("mailbox", "delete", ALICE, "--purge", "--yes").err, "there is nothing left of it"
    assert "no mailbox" in shell("mailbox", "delete", "nobody@example.test", "--purge", "--yes").err


def test_a_purge_asks_first(shell: Shell) -> None:
    directory = with_mail(shell)
    for answer in ("n\n", ""):
        said = shell("mailbox", "delete", ALICE, "--purge", stdin=answer)
        assert said.code == 1 and "all its mail for good?" in said.err
        assert list(directory.rglob("*.MAI")) and shell.done("mailbox", "show", ALICE)
    assert shell("mailbox", "delete", ALICE, "--purge", stdin="y\n").code == 0
    assert not list(directory.rglob("*.MAI"))


def test_it_goes_beside_a_server_too_and_nobody_elses_does(shell: Shell) -> None:
    directory = with_mail(shell)
    with alone(shell.root):  # as a server has it
        gone = shell.done("mailbox", "delete", ALICE, "--purge", "--yes")
    assert gone["deleted"][-1] == f"its mail, {len(TEXT)} B" and gone["mail"] == {"octets": 0, "where": None}
    assert not list(directory.rglob("*.MAI"))
    assert len(list((directory.parent / "bob").rglob("*.MAI"))) == 1


def test_a_site_without_a_store_has_nothing_to_purge(shell: Shell) -> None:
    with_people(shell)
    said = shell("mailbox", "delete", ALICE, "--purge", "--yes")
    assert said.code == 1 and "loads no mailbox store" in said.err
    assert shell.done("mailbox", "show", ALICE)
