"""Annotations of folders and of the server, and what was expunged brought back (RFC 5464, RFC 9590)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from postroom.mailstore import EXPUNGED
from postroom_imap4.attributes import LARGEST, MOST
from tests.plugins_imap4.house import Client, Served
from tests.plugins_imap4.test_conversations import served


async def told(client: Client, command: str) -> list[bytes]:
    return [line.strip() for line in await client.ok(command)]


async def ends(client: Client, command: str | bytes, with_: bytes) -> None:
    last = (await client.say(command))[-1]
    assert last.startswith(b"T " + with_), (command, last)


def test_entries_of_a_folder(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.client()
        assert b" METADATA " in (await client.ok("CAPABILITY"))[0]
        await client.ok("CREATE Work")
        await client.ok('SETMETADATA Work (/private/Comment "of mine" /shared/comment ~{3+}\r\na\0b)')
        assert await told(client, "GETMETADATA Work /private/comment") == [b'* METADATA "Work" (/private/comment "of mine")']
        assert await told(client, "GETMETADATA Work (/shared/comment /private/x)") == [
            b'* METADATA "Work" (/shared/comment ~{3}\r\na\0b /private/x NIL)'
        ]
        await client.ok("RENAME Work Play")
        await client.ok("SETMETADATA Play (/shared/comment NIL)")
        assert await told(client, "GETMETADATA (DEPTH 1) Play (/private /shared)") == [b'* METADATA "Play" (/private/comment "of mine")']
        await ends(client, "GETMETADATA Work /private/comment", b"NO [NONEXISTENT]")
        await ends(client, "SETMETADATA Work (/private/comment NIL)", b"NO [NONEXISTENT]")
        await ends(client, "GETMETADATA Play /other/comment", b"BAD")
        await ends(client, 'SETMETADATA Play (/private "a")', b"BAD")
        await client.close()

    served(tmp_path, test)


def test_depth_and_size(tmp_path: Path) -> None:
    """RFC 5464 sections 4.2.1 and 4.2.2."""

    async def test(at: Served) -> None:
        client = await at.client()
        await client.ok('SETMETADATA INBOX (/private/f/a "12345" /private/f/a/b "123456789" /private/f/c "1" /private/fg "2")')
        line = b'* METADATA "INBOX" (%b)'
        assert await told(client, "GETMETADATA INBOX (DEPTH 1) /private/f") == [line % b'/private/f/a "12345" /private/f/c "1"']
        assert await told(client, "GETMETADATA (DEPTH infinity) INBOX /private/f") == [
            line % b'/private/f/a "12345" /private/f/a/b "123456789" /private/f/c "1"'
        ]
        said = await client.say("GETMETADATA (MAXSIZE 4 DEPTH infinity) INBOX /private/f")
        assert said[0].strip() == line % b'/private/f/c "1"' and said[1].startswith(b"T OK [METADATA LONGENTRIES 9]")
        said = await client.say("GETMETADATA (MAXSIZE 4) INBOX /private/f/a/b")
        assert len(said) == 1 and said[0].startswith(b"T OK [METADATA LONGENTRIES 9]")
        await client.close()

    served(tmp_path, test)


def test_limits_change_nothing_where_they_refuse(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.client()
        large = b"SETMETADATA INBOX (/private/a NIL /private/b {%d+}\r\n%b)" % (LARGEST + 1, b"x" * (LARGEST + 1))
        await ends(client, large, b"NO [METADATA MAXSIZE %d]" % LARGEST)
        many = " ".join(f'/private/n{number} "x"' for number in range(MOST))
        await client.ok(f"SETMETADATA INBOX ({many})")
        await ends(client, 'SETMETADATA INBOX (/private/n0 "y" /private/more "x")', b"NO [METADATA TOOMANY]")
        assert await told(client, "GETMETADATA INBOX (/private/n0 /private/a)") == [b'* METADATA "INBOX" (/private/n0 "x" /private/a NIL)']
        await client.ok('SETMETADATA INBOX (/private/n0 NIL /private/more "x")')
        await client.close()

    served(tmp_path, test)


def test_the_server_has_entries_of_the_asker_only(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client = await at.client()
        await client.ok('SETMETADATA "" (/private/comment "mine")')
        assert await told(client, 'GETMETADATA "" (/private/comment /shared/admin)') == [
            b'* METADATA "" (/private/comment "mine" /shared/admin NIL)'
        ]
        await ends(client, 'SETMETADATA "" (/shared/comment "a")', b"NO [NOPERM]")
        await ends(client, 'SETMETADATA INBOX (/private/vendor/vendor.postroom/x "a")', b"NO [NOPERM]")
        await client.close()

    served(tmp_path, test)


def test_what_the_store_keeps_for_others_is_neither_told_nor_lost(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        client, box = await at.client(), await at.box()
        await box.annotate("Inbox", {"rights": b"secret", "/private/vendor/vendor.postroom/x": b"secret"})
        await client.ok('SETMETADATA INBOX (/private/a "1")')
        lines = await told(client, "GETMETADATA (DEPTH infinity) INBOX (/private /shared)")
        assert lines == [b'* METADATA "INBOX" (/private/a "1")']
        assert (await box.attributes("Inbox"))["rights"] == b"secret"
        await client.close()

    served(tmp_path, test)


def test_a_use_is_an_entry(tmp_path: Path) -> None:
    """RFC 6154 section 4."""

    async def test(at: Served) -> None:
        client = await at.client()
        for name in ("Sent", "Mine"):
            await client.ok(f"CREATE {name}")
        assert await told(client, "GETMETADATA Sent /private/specialuse") == [b'* METADATA "Sent" (/private/specialuse "\\\\Sent")']
        await ends(client, 'SETMETADATA Mine (/private/specialuse "\\\\All")', b"NO [USEATTR]")
        await client.ok('SETMETADATA mine (/private/specialuse "\\\\sent")')
        lines = await told(client, 'LIST "" (Sent Mine) RETURN (METADATA (/private/specialuse))')
        assert [line for line in lines if b"METADATA" in line] == [
            b'* METADATA "Mine" (/private/specialuse "\\\\Sent")',
            b'* METADATA "Sent" (/private/specialuse NIL)',
        ]
        assert any(b"\\Sent" in line and line.endswith(b'"Mine"') for line in lines)
        await client.ok("SETMETADATA Mine (/private/specialuse NIL)")
        await client.ok('SETMETADATA Sent (/private/specialuse "")')
        assert not any(b"\\Sent" in line for line in await told(client, 'LIST "" *'))
        await client.close()

    served(tmp_path, test)


def test_the_user_brings_back_what_was_expunged(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        await at.deliver(3, "kept")
        client = await at.client("INBOX")
        assert await told(client, f'GETMETADATA "" {EXPUNGED}') == [f'* METADATA "" ({EXPUNGED} NIL)'.encode()]
        await ends(client, f'SETMETADATA "" ({EXPUNGED} "all")', b"NO [NONEXISTENT]")
        await client.ok("STORE 1:2 +FLAGS.SILENT (\\Flagged \\Deleted)")
        await client.ok("EXPUNGE")
        (line,) = await client.ok(f'GETMETADATA "" {EXPUNGED}')
        kept = [json.loads(one) for one in line[line.index(b"\r\n") + 2 : line.rindex(b")")].splitlines()]
        assert {one["subject"] for one in kept} == {"kept 0", "kept 1"} and {one["folder"] for one in kept} == {"Inbox"}
        for wrong in ("x", "", "all all"):
            await ends(client, f'SETMETADATA "" ({EXPUNGED} "{wrong}")', b"BAD")
        await ends(client, f'SETMETADATA "" ({EXPUNGED} NIL)', b"BAD")
        await ends(client, f'SETMETADATA "" ({EXPUNGED} "{"0" * 32}")', b"NO [NONEXISTENT]")  # it was OK, and nothing came back
        await ends(client, f'SETMETADATA "" (/private/a "1" {EXPUNGED} "all")', b"NO [CANNOT]")
        first = next(one["id"] for one in kept if one["subject"] == "kept 1")
        assert b"* 2 EXISTS\r\n" in await client.ok(f'SETMETADATA "" ({EXPUNGED} "{first}")')
        (fetched,) = await client.ok("FETCH 2 (FLAGS ENVELOPE)")
        assert b"kept 1" in fetched and b"(\\Flagged)" in fetched
        assert b"* 3 EXISTS\r\n" in await client.ok(f'SETMETADATA "" ({EXPUNGED} "ALL")')
        assert await told(client, f'GETMETADATA "" {EXPUNGED}') == [f'* METADATA "" ({EXPUNGED} NIL)'.encode()]
        await client.close()

    served(tmp_path, test)


@pytest.mark.parametrize("command", ["GETMETADATA INBOX /private/a", 'SETMETADATA INBOX (/private/a "1")'])
def test_a_login_comes_first(tmp_path: Path, command: str) -> None:
    async def test(at: Served) -> None:
        client = await at.connect()
        await ends(client, command, b"BAD")
        await client.close()

    served(tmp_path, test)


def test_a_damaged_file_is_told_as_what_it_is(tmp_path: Path) -> None:
    """It was "the disk refuses; try again later", which helps nobody: now the client is sent to the administrator, who finds the file in the log."""

    async def test(at: Served) -> None:
        client = await at.client()
        await client.ok("CREATE A")
        damaged = next(tmp_path.rglob("bob/A")) / ".attributes"
        damaged.write_text("{")
        (line,) = (await client.say("GETMETADATA A /private/comment"))[-1:]
        assert line == b"T NO [CORRUPTION] a file of this folder is damaged (.attributes); ask the administrator\r\n"
        ((_, _, facts),) = [line for line in at.log.told if line[1] == "imap4.damaged"]
        assert str(facts["error"]).startswith(f"{damaged} is damaged (") and str(facts["error"]).endswith("): mend it or remove it")
        at.log.told.clear()  # no error is left when the house closes
        await client.close()

    served(tmp_path, test)
