"""`postroom mailbox undelete` on a site that is stopped: what is kept is listed, chosen, and comes back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from postroom.mailstore import SEEN, Folder
from postroom.message import MemoryMessage, new_id
from postroom_cli.awake import awake
from tests.plugins_cli.site import YAML, Shell, with_people

ALICE = "alice@example.test"


@pytest.fixture
def expunged(shell: Shell) -> Shell:
    """Two messages expunged from Inbox, one with the folder it was in."""
    (shell.root / "postroom.yaml").write_text(YAML.replace("tab: {},", "tab: {}, store: {},"))
    with_people(shell)

    async def fill() -> None:
        async with awake(shell.root) as parts:
            box = await parts.site.store.mailbox("example.test", "alice")
            inbox, work = await box.folder("Inbox"), await box.create("Work")
            for number, folder in enumerate((inbox, inbox, work)):
                await folder.append(MemoryMessage(new_id(), b"Subject: \x1b[2J%d\r\n\r\n.\r\n" % number), flags=SEEN, arrived=1.8e9)
            await inbox.expunge(inbox.view().uids)
            await box.delete("Work")

    asyncio.run(fill())
    return shell


def subjects(shell: Shell, folder: str) -> list[bytes]:
    async def look() -> list[bytes]:
        async with awake(shell.root) as parts:
            found: Folder = await (await parts.site.store.mailbox("example.test", "alice")).folder(folder)
            view = found.view()
            assert set(view.flags) <= {SEEN} and {view.message(row).arrived for row in range(len(view))} <= {1.8e9}
            return [view.subject(row)[-1:] for row in range(len(view))]

    return asyncio.run(look())


def test_what_is_kept_is_listed_without_control_characters(expunged: Shell) -> None:
    said = expunged("mailbox", "undelete", ALICE, "--list")
    assert said.code == 0 and "\x1b" not in said.out and "Work" in said.out
    rows = expunged.done("mailbox", "undelete", ALICE, "--list")
    assert sorted(row["folder"] for row in rows) == ["Inbox", "Inbox", "Work"]
    assert expunged.done("mailbox", "undelete", ALICE, "--list", "--folder", "work")[0]["subject"].endswith("2")


def test_one_comes_back_then_a_folder_then_all(expunged: Shell) -> None:
    rows = expunged.done("mailbox", "undelete", ALICE, "--list", "--folder", "Inbox")
    first = next(row for row in rows if row["subject"].endswith("0"))
    assert expunged.done("mailbox", "undelete", ALICE, first["id"]) == {"count": 1}
    assert subjects(expunged, "Inbox") == [b"0"]
    assert expunged("mailbox", "undelete", ALICE, "--folder", "work").out == "1 message is back\n"
    assert subjects(expunged, "Work") == [b"2"]
    assert expunged.done("mailbox", "undelete", ALICE, "--all") == {"count": 1}
    assert subjects(expunged, "Inbox") == [b"0", b"1"]
    assert expunged("mailbox", "undelete", ALICE, "--list").out == "Nothing expunged is kept for this mailbox.\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "say which"),
        (("FFFF",), "no message that can be brought back"),
        (("--folder", "Nowhere"), "nothing to bring back"),
    ],
)
def test_what_cannot_be_done_is_said_and_nothing_changes(expunged: Shell, arguments: tuple[str, ...], told: str) -> None:
    said = expunged("mailbox", "undelete", ALICE, *arguments)
    assert said.code == 1 and told in said.err
    assert len(expunged.done("mailbox", "undelete", ALICE, "--list")) == 3
    assert "no mailbox" in expunged("mailbox", "undelete", "nobody@example.test", "--list").err


def test_a_site_without_a_store_says_so(shell: Shell, tmp_path: Path) -> None:
    with_people(shell)
    said = shell("mailbox", "undelete", ALICE, "--list")
    assert said.code == 1 and "mail store" in said.err
