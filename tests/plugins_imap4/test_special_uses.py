"""What folders are for: by name, as clients say, and as LIST tells it (RFC 6154)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from postroom.mailstore import Mailbox
from postroom_disk.disk import DiskError
from postroom_imap4.special_uses import KEY, BadUse, of_folders, read
from tests.plugins_imap4.house import Client, Served
from tests.plugins_imap4.test_conversations import served


def test_a_use_goes_to_the_likeliest_name() -> None:
    found = of_folders(["Inbox", "JUNK E-mail", "Sent Items", "sent", "Work/Trash"], {})
    assert found == {"sent": (b"\\Sent",), "JUNK E-mail": (b"\\Junk",)}


def test_what_was_said_goes_before_names() -> None:
    found = of_folders(["Inbox", "Sent", "Mine", "Junk", "Trash"], {"Mine": (b"\\Sent", b"\\Archive"), "Junk": ()})
    assert found == {"Mine": (b"\\Sent", b"\\Archive"), "Trash": (b"\\Trash",)}


def test_a_value_is_read_without_case_and_each_use_once() -> None:
    assert read(b" \\sent \\TRASH \\Sent") == (b"\\Sent", b"\\Trash")
    assert read(b"") == ()


@pytest.mark.parametrize("value", [b"\\All", b"\\Flagged", b"Sent", b"\\Sent \\Nonsense", b"\xff"])
def test_what_no_folder_can_be(value: bytes) -> None:
    with pytest.raises(BadUse):
        read(value)


async def attributes_of(client: Client, command: str = 'LIST "" "*"') -> dict[str, bytes]:
    """Uses by folder."""
    found = {}
    for line in await client.ok(command):
        told, _, name = line.partition(b' "/" ')
        found[name.strip().strip(b'"').decode()] = b" ".join(
            one for one in told.split(b"(", 1)[1].rstrip(b")").split() if b"Child" not in one
        )
    return found


def test_a_folder_made_for_a_use_has_it_wherever_it_goes(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.client()
        assert b" CREATE-SPECIAL-USE " in (await client.ok("CAPABILITY"))[0]
        await client.ok("CREATE Trash")
        await client.ok("CREATE Sent")
        assert await attributes_of(client) == {"INBOX": b"", "Sent": b"\\Sent", "Trash": b"\\Trash"}
        assert (await client.say("CREATE Everything (USE (\\All))"))[-1].startswith(b"T NO [USEATTR]")
        assert (await client.say("STATUS Everything (MESSAGES)"))[-1].startswith(b"T NO [NONEXISTENT]")
        await client.ok("CREATE Out/Gone (USE (\\Sent \\Archive))")
        await client.ok("RENAME Out Away")
        expected = {"INBOX": b"", "Sent": b"", "Trash": b"\\Trash", "Away": b"", "Away/Gone": b"\\Sent \\Archive"}
        assert await attributes_of(client) == expected
        chosen = await attributes_of(client, 'LIST (SPECIAL-USE) "" "*" RETURN (SPECIAL-USE)')
        assert chosen == {"Trash": b"\\Trash", "Away/Gone": b"\\Sent \\Archive"}
        await client.ok("DELETE Away/Gone")
        assert (await attributes_of(client))["Sent"] == b"\\Sent"
        await client.close()

    served(tmp_path, test)


def test_a_folder_that_cannot_be_given_its_use_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """RFC 6154 section 3."""

    async def test(at: Served) -> None:
        client, box = await at.client(), type(await at.box())

        async def annotate(self: Mailbox, folder: str, changes: Mapping[str, bytes | None]) -> None:
            if KEY in changes:
                raise DiskError("no space", full=True)

        monkeypatch.setattr(box, "annotate", annotate)
        assert (await client.say("CREATE Out (USE (\\Sent))"))[-1].startswith(b"T NO [UNAVAILABLE]")
        assert await attributes_of(client) == {"INBOX": b""}
        await client.close()

    served(tmp_path, test)


def test_a_damaged_file_takes_no_folder_away(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.client()
        await client.ok("CREATE Out (USE (\\Sent))")
        for path in tmp_path.rglob(".attributes"):
            if b"Sent" not in path.read_bytes():
                path.write_bytes(b"{")
        assert await attributes_of(client) == {"INBOX": b"", "Out": b"\\Sent"}
        assert (await client.say("CREATE Bin (USE (\\Trash))"))[-1].startswith(b"T NO [CORRUPTION]")
        at.log.told.clear()  # which tells the operator of the file
        assert await attributes_of(client) == {"INBOX": b"", "Out": b"\\Sent"}
        await client.close()

    served(tmp_path, test)
