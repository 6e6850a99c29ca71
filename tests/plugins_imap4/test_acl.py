"""Rights as clients give, take and see them (RFC 4314), between people on one site."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydantic import ValidationError

from postroom.mailstore import DELETED, SEEN, Mailbox
from postroom_disk.disk import DiskError
from postroom_imap4.plugin import Imap4Plugin
from postroom_imap4.register import OWN
from postroom_imap4.service import Imap4Service
from postroom_imap4.settings import Imap4Settings
from tests.plugins_imap4.house import PO, Client, Served, letter
from tests.plugins_imap4.sharing import BOARD, delivered, login, shared, somebody
from tests.plugins_imap4.wire import literal

BOBS = "Other Users/bob@po.test"
HIDDEN = [b"T NO [NONEXISTENT] "]


async def names(client: Client, command: str = 'LIST "" "*"') -> list[str]:
    return [line.split(b' "/" ')[1].strip().strip(b'"').decode() for line in await client.ok(command) if line.startswith(b"* LIST")]


async def refused(client: Client, command: str | bytes) -> bytes:
    line = (await client.say(command))[-1]
    assert line.startswith(b"T NO "), line
    return line


def test_lists_are_given_and_told_as_rfc_4314_shows(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        bob = await at.client()
        (capabilities,) = await bob.ok("CAPABILITY")
        assert {b"ACL", b"RIGHTS=kxte", b"LIST-MYRIGHTS"} <= set(capabilities.split())
        await bob.ok("CREATE Drafts")
        owner = b"bob@po.test lrswipkxteacd"
        assert await bob.ok("GETACL Drafts") == [b'* ACL "Drafts" ' + owner + b"\r\n"]
        await bob.ok("SETACL Drafts ann lrswida")  # section 2.1.1: "d" is "te"
        assert await bob.ok("GETACL Drafts") == [b'* ACL "Drafts" %b ann@po.test lrswitead\r\n' % owner]
        await bob.ok("SETACL Drafts Ann@PO.test lrswi")
        await bob.ok("SETACL Drafts ann +cda")
        assert await bob.ok("GETACL Drafts") == [b'* ACL "Drafts" %b ann@po.test lrswikxteacd\r\n' % owner]
        await bob.ok("SETACL Drafts ann -c")
        await bob.ok("SETACL Drafts -ann wetd")
        await bob.ok("SETACL Drafts $staff w")
        await bob.ok("SETACL Drafts anyone l")
        await bob.ok("DELETEACL Drafts ann")
        told = b'* ACL "Drafts" %b $staff w -ann@po.test wted anyone l\r\n' % owner
        assert await bob.ok("GETACL Drafts") == [told]
        await bob.ok("SETACL Drafts bob lr")
        assert (await bob.ok("GETACL Drafts"))[0].startswith(b'* ACL "Drafts" bob@po.test lra ')
        assert await bob.ok("MYRIGHTS Drafts") == [b'* MYRIGHTS "Drafts" lra\r\n']
        assert await refused(bob, "DELETE Drafts") == b"T NO [NOPERM] you may not do this with Drafts\r\n"
        await bob.ok("SETACL Drafts bob lrswipkxtea")
        assert await bob.ok("LISTRIGHTS Drafts smith") == [b'* LISTRIGHTS "Drafts" smith "" l r s w i p k x t e a c d\r\n']
        assert await bob.ok("LISTRIGHTS Drafts bob") == [b'* LISTRIGHTS "Drafts" bob la r s w i p k x t e c d\r\n']

    shared(tmp_path, test)


@pytest.mark.parametrize(
    ("command", "end"),
    [
        ("SETACL INBOX ann lrq", b"T BAD"),
        ("SETACL INBOX ann lrQ", b"T BAD"),
        ("SETACL INBOX ann 0", b"T BAD"),
        ("SETACL INBOX - lr", b"T BAD"),
        ("SETACL INBOX --ann lr", b"T BAD"),
        ("SETACL INBOX a/b lr", b"T BAD"),
        ("LISTRIGHTS INBOX -", b"T BAD"),
        ("SETACL INBOX nobody lr", b"T NO [NONEXISTENT]"),
        ("SETACL INBOX -nobody lr", b"T NO [NONEXISTENT]"),
        ("SETACL INBOX $nobody lr", b"T NO [NONEXISTENT]"),
        ("SETACL INBOX eve@else.test lr", b"T NO [NONEXISTENT]"),  # post offices are tenants
        ("DELETEACL INBOX nobody", b"T OK"),  # somebody who is gone can be taken off
        ("SETACL INBOX nobody -lr", b"T OK"),
        ("SETACL Nowhere ann lr", b"T NO [NONEXISTENT]"),
        ("DELETEACL Nowhere ann", b"T NO [NONEXISTENT]"),
        ("GETACL Nowhere", b"T NO [NONEXISTENT]"),
        ("LISTRIGHTS Nowhere ann", b"T NO [NONEXISTENT]"),
        ("MYRIGHTS Nowhere", b"T NO [NONEXISTENT]"),
        ('MYRIGHTS "Other Users"', b"T NO [NONEXISTENT]"),
        ('MYRIGHTS "Other Users/bob@po.test"', b"T NO [NONEXISTENT]"),  # one's own folders have one name
        ('CREATE "Other Users/x"', b"T NO [NONEXISTENT]"),
        ('CREATE "Public Folders/x"', b"T OK"),  # there are no public folders on this site
    ],
)
def test_what_is_refused(tmp_path: Path, command: str, end: bytes) -> None:
    async def test(at: Served) -> None:
        bob = await at.client()
        assert (await bob.say(command))[-1].startswith(end)

    shared(tmp_path, test)


def test_a_folder_is_shared_and_found(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        await delivered(at, "bob", 3)
        bob, ann, eve = await at.client(), await login(at, "ann"), await login(at, "eve@else.test")
        await bob.ok("CREATE Work/2026")
        await bob.ok("CREATE Secret")
        assert await names(ann) == ["INBOX"]
        await bob.ok("SETACL INBOX ann lrs")
        await bob.ok("SETACL Work/2026 ann lr")
        assert await ann.ok("NAMESPACE") == [b'* NAMESPACE (("" "/")) (("Other Users/" "/")) NIL\r\n']
        assert sorted(await names(ann)) == ["INBOX", "Other Users", BOBS, f"{BOBS}/Work", f"{BOBS}/Work/2026"]
        assert await ann.ok('LIST "" "%"') == [
            b'* LIST (\\HasNoChildren) "/" "INBOX"\r\n',
            b'* LIST (\\NonExistent \\Noselect \\HasChildren) "/" "Other Users"\r\n',
        ]
        assert await ann.ok('LIST "" "Other Users/%"') == [b'* LIST (\\HasChildren) "/" "%b"\r\n' % BOBS.encode()]
        listed = await ann.ok(f'LIST "" "{BOBS}*" RETURN (MYRIGHTS STATUS (MESSAGES))')
        assert b'* MYRIGHTS "%b" lrs\r\n' % BOBS.encode() in listed
        assert b'* MYRIGHTS "%b/Work/2026" lr\r\n' % BOBS.encode() in listed
        assert b'* STATUS "%b" (MESSAGES 3)\r\n' % BOBS.encode() in listed
        assert await ann.ok('LIST "" INBOX RETURN (MYRIGHTS)') == [
            b'* LIST (\\HasNoChildren) "/" "INBOX"\r\n',
            b'* MYRIGHTS "INBOX" lrswipkxteacd\r\n',
        ]
        told = await ann.say(f'SELECT "{BOBS}"')
        assert told[-1].startswith(b"T OK [READ-WRITE]") and b"* 3 EXISTS\r\n" in told
        assert b"* OK [PERMANENTFLAGS (\\Seen)] flags are kept\r\n" in told
        assert (await ann.say(f'SELECT "{BOBS}/Work/2026"'))[-1].startswith(b"T OK [READ-ONLY]")
        for who in (ann, eve):
            unlike = await refused(who, f'SELECT "{BOBS}/Secret"'), await refused(who, f'SELECT "{BOBS}/Nothing"')
            assert unlike[0].replace(b"Secret", b"Nothing") == unlike[1]
        assert (await refused(eve, f'SELECT "{BOBS}"')).startswith(b"T NO [NONEXISTENT]") and await names(eve) == ["INBOX"]

    shared(tmp_path, test)


def test_public_folders(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        await delivered(at, "board", 2)
        board, ann, eve = await login(at, "board"), await login(at, "ann"), await login(at, "eve@else.test")
        assert (await ann.ok("NAMESPACE"))[0].endswith(b'(("Public Folders/" "/"))\r\n')
        assert sorted(await names(ann)) == ["INBOX", "Public Folders", "Public Folders/Board"]
        told = await ann.say('SELECT "Public Folders/Board"')
        assert told[-1].startswith(b"T OK [READ-WRITE]") and b"* 2 EXISTS\r\n" in told
        await ann.ok("FETCH 1 BODY[]")
        assert (await refused(ann, "STORE 1 +FLAGS (\\Deleted)")).startswith(b"T NO [NOPERM]")
        assert (await refused(ann, 'CREATE "Public Folders/Board/2026"')).startswith(b"T NO [NOPERM]")
        await board.ok("CREATE Archive")
        await board.ok("SETACL Archive anyone lr")
        await board.ok("SETACL Archive ann +ik")
        assert await ann.ok('MYRIGHTS "Public Folders/Board/Archive"') == [b'* MYRIGHTS "Public Folders/Board/Archive" lrikc\r\n']
        await ann.ok('CREATE "Public Folders/Board/Archive/2025"')  # and it gets the list of the one above
        assert await board.ok("GETACL Archive/2025") == [b'* ACL "Archive/2025" board@po.test lrswipkxteacd ann@po.test ikc anyone lr\r\n']
        await board.ok("DELETEACL Archive anyone")  # keeps what goes by default away
        zoe = await login(at, "zoe")
        assert b"\\NonExistent" in (await zoe.ok('LIST "" "Public Folders/Board/Archive"'))[0]  # only 2025 below it may be seen
        assert (await refused(zoe, 'SELECT "Public Folders/Board/Archive"')).startswith(b"T NO [NONEXISTENT]")
        assert await ann.ok('LIST "" "Public Folders/Board"') and not await eve.ok('LIST "" "Public*"')
        assert await ann.ok('GETQUOTAROOT "Public Folders/Board"') == [
            b'* QUOTAROOT "Public Folders/Board" "Public Folders/Board"\r\n',
            b'* QUOTA "Public Folders/Board" ()\r\n',
        ]
        assert await ann.ok('GETQUOTA "Public Folders/Board"') == [b'* QUOTA "Public Folders/Board" ()\r\n']
        assert (await refused(eve, 'GETQUOTA "Public Folders/Board"')).startswith(b"T NO [NONEXISTENT]")

    shared(tmp_path, test, BOARD)


def test_negative_rights_groups_and_anyone(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        bob, ann, zoe = await at.client(), await login(at, "ann"), await login(at, "zoe")
        await bob.ok("SETACL INBOX $staff lrs")
        assert await ann.ok(f'MYRIGHTS "{BOBS}"') == [b'* MYRIGHTS "%b" lrs\r\n' % BOBS.encode()]
        assert BOBS in await names(zoe)  # the register knows groups
        await bob.ok("SETACL INBOX -ann rs")
        assert await ann.ok(f'MYRIGHTS "{BOBS}"') == [b'* MYRIGHTS "%b" l\r\n' % BOBS.encode()]
        assert (await refused(ann, f'SELECT "{BOBS}"')).startswith(b"T NO [NOPERM]")
        await zoe.ok(f'SELECT "{BOBS}"')
        await bob.ok("SETACL INBOX anyone i")
        await bob.ok("SETACL INBOX -anyone ls")
        assert (await zoe.ok(f'MYRIGHTS "{BOBS}"'))[-1] == b'* MYRIGHTS "%b" ri\r\n' % BOBS.encode()
        assert BOBS not in await names(zoe)
        assert await bob.ok("MYRIGHTS INBOX") == [b'* MYRIGHTS "INBOX" lrwipkxteacd\r\n']

    shared(tmp_path, test)


def test_a_right_taken_away_counts_at_the_next_command(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        await delivered(at, "bob", 2)
        bob = await at.client()
        await bob.ok("SETACL INBOX ann lrswtei")
        ann = await login(at, "ann", BOBS)
        await ann.ok("STORE 1 +FLAGS (\\Flagged \\Deleted)")
        await bob.ok("SETACL INBOX ann lrw")
        told = await ann.say("STORE 2 +FLAGS (\\Deleted)")
        assert told[-1].startswith(b"T NO [NOPERM]")
        assert b"* OK [PERMANENTFLAGS (\\Answered \\Flagged \\Draft \\*)] flags are kept\r\n" in told
        assert (await refused(ann, "EXPUNGE")).startswith(b"T NO [NOPERM]")
        await bob.ok("DELETEACL INBOX ann")
        lines = []
        ann.send(b"x FETCH 1 FLAGS\r\n")
        while line := await ann.line():
            lines.append(line)
        assert lines[-1].startswith(b"* BYE ") and not any(b"FETCH" in line for line in lines)
        assert [one.flags & DELETED for one in map((await at.folder()).view().message, range(2))] == [DELETED, 0]

    shared(tmp_path, test)


@pytest.mark.parametrize("leave", ["CLOSE", "UNSELECT", "SELECT INBOX", "LOGOUT"])
def test_a_folder_that_may_not_be_read_any_more_can_be_left(tmp_path: Path, leave: str) -> None:
    """CLOSE expunges nothing then (RFC 4314 section 4)."""

    async def test(at: Served) -> None:
        await delivered(at, "bob")
        bob = await at.client()
        await bob.ok("SETACL INBOX ann lrte")
        ann = await login(at, "ann", BOBS)
        await ann.ok("STORE 1 +FLAGS (\\Deleted)")
        await bob.ok("DELETEACL INBOX ann")
        assert (await ann.say(leave))[-1].startswith(b"T OK")
        assert len((await at.folder()).view()) == 1

    shared(tmp_path, test)


def test_an_idling_client_is_shown_out(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        bob = await at.client()
        await bob.ok("SETACL INBOX ann lr")
        ann = await login(at, "ann", BOBS)
        ann.send(b"i IDLE\r\n")
        assert await ann.line() == b"+ idling\r\n"
        await bob.ok("DELETEACL INBOX ann")
        assert (await ann.line()).startswith(b"* BYE ")

    shared(tmp_path, test)


def test_copies_keep_the_flags_one_may_set(tmp_path: Path) -> None:
    """The examples of RFC 4314 section 4."""

    async def test(at: Served) -> None:
        bob, ann = await at.client(), await login(at, "ann", "INBOX")
        text = letter()
        for flags in (b"\\Draft \\Deleted", b"\\Answered", b"$Forwarded \\Seen"):
            await ann.ok(b"APPEND INBOX (%b) %b" % (flags, literal(text)))
        for rights, kept in (
            ("rwis", [b"(\\Draft)", b"(\\Answered)", b"(\\Seen $Forwarded)"]),
            ("rsti", [b"(\\Deleted)", b"()", b"(\\Seen)"]),
            ("i", [b"()", b"()", b"()"]),
        ):
            await bob.ok(f"CREATE {rights}")
            await bob.ok(f"SETACL {rights} ann {rights}")
            assert (await ann.say(f'COPY 1:3 "{BOBS}/{rights}"'))[-1].startswith(b"T OK [COPYUID ")
            await ann.ok(b'APPEND "%b/%b" (\\Draft \\Deleted) %b' % (BOBS.encode(), rights.encode(), literal(text)))
            await bob.ok(f"SELECT {rights}")
            told = [line.split(b"FLAGS ")[1].rstrip(b")\r\n") + b")" for line in await bob.ok("FETCH 1:* FLAGS")]
            assert [sorted(one.strip(b"()").split()) for one in told] == [sorted(one.strip(b"()").split()) for one in (*kept, kept[0])]

    shared(tmp_path, test)


def test_a_folder_that_is_deleted_takes_its_rights_along(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        bob, ann = await at.client(), await login(at, "ann")
        for folder in ("Work", "Work/Sub"):  # one that holds another leaves its directory behind
            await bob.ok("CREATE Work/Sub") if folder == "Work" else None
            await bob.ok(f"SETACL {folder} ann lr")
            await ann.ok(f'SELECT "{BOBS}/{folder}"')
            await ann.ok("UNSELECT")
            await bob.ok(f"DELETE {folder}")
            await bob.ok(f"CREATE {folder}")
            assert (await refused(ann, f'SELECT "{BOBS}/{folder}"')).startswith(b"T NO [NONEXISTENT]")
            assert await names(ann) == ["INBOX"]

    shared(tmp_path, test)


def test_rights_go_where_the_folder_goes(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        bob, ann = await at.client(), await login(at, "ann")
        await bob.ok("CREATE Work")
        await bob.ok("SETACL Work ann lrxk")
        ann_again = await login(at, "ann", f"{BOBS}/Work")
        await bob.ok("RENAME Work Play")
        assert await ann.ok(f'MYRIGHTS "{BOBS}/Play"') == [b'* MYRIGHTS "%b/Play" lrkxc\r\n' % BOBS.encode()]
        await ann_again.ok("NOOP")
        await bob.ok("CREATE Box")
        assert (await refused(ann, f'RENAME "{BOBS}/Play" "{BOBS}/Box/Play"')).startswith(b"T NO [NONEXISTENT]")
        await bob.ok("SETACL Box ann lk")
        await ann.ok(f'RENAME "{BOBS}/Play" "{BOBS}/Box/Play"')
        assert sorted(await names(bob)) == ["Box", "Box/Play", "INBOX"]
        assert (await refused(ann, f'RENAME "{BOBS}/Box/Play" Mine')).startswith(b"T NO [CANNOT]")
        assert (await refused(ann, f'RENAME INBOX "{BOBS}/Box/Play/Mine"')).startswith(b"T NO [CANNOT]")

    shared(tmp_path, test)


def test_a_new_folder_gets_the_list_of_the_one_above_and_no_other(tmp_path: Path) -> None:
    """RFC 4314 section 4. Inbox is above nothing but what others make below it: who shares Inbox has not shared folders made later."""

    async def test(at: Served) -> None:
        bob, ann = await at.client(), await login(at, "ann")
        await bob.ok("CREATE Work")
        await bob.ok("SETACL Work ann lrk")
        await bob.ok("SETACL INBOX ann lrk")
        await bob.ok("CREATE Work/Sub")
        await bob.ok("CREATE Private")
        await ann.ok(f'CREATE "{BOBS}/Hers"')
        for folder, told in (("Work/Sub", "lrkc"), ("Hers", "lrkc")):
            assert await ann.ok(f'MYRIGHTS "{BOBS}/{folder}"') == [f'* MYRIGHTS "{BOBS}/{folder}" {told}\r\n'.encode()]
        assert (await refused(ann, f'MYRIGHTS "{BOBS}/Private"')).startswith(b"T NO [NONEXISTENT]")

    shared(tmp_path, test)


def test_a_folder_that_cannot_get_its_list_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(at: Served) -> None:
        bob = await at.client()
        await bob.ok("CREATE Work")
        await bob.ok("SETACL Work -anyone lrs")

        async def annotate(self: Mailbox, folder: str, changes: object) -> None:
            raise DiskError("no space", full=True)

        monkeypatch.setattr(type(await at.box()), "annotate", annotate)
        assert (await refused(bob, "CREATE Work/Sub")).startswith(b"T NO [UNAVAILABLE]")
        assert sorted(await names(bob)) == ["INBOX", "Work"]

    shared(tmp_path, test)


# Annotations (RFC 5464 section 3.3).


def test_private_annotations_are_each_ones_own_and_shared_ones_are_one(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        bob, ann, zoe = await at.client(), await login(at, "ann"), await login(at, "zoe")
        await bob.ok("SETACL INBOX ann lrw")
        await bob.ok("SETACL INBOX zoe lr")
        await bob.ok('SETMETADATA INBOX (/private/comment "bob" /shared/comment "all")')
        await ann.ok(f'SETMETADATA "{BOBS}" (/private/comment "ann" /shared/x "y")')
        ask = f'GETMETADATA "{BOBS}" (/private/comment /shared/comment /shared/x)'
        told = b'* METADATA "%b" (/private/comment %b /shared/comment "all" /shared/x "y")\r\n'
        assert await ann.ok(ask) == [told % (BOBS.encode(), b'"ann"')]
        assert await zoe.ok(ask) == [told % (BOBS.encode(), b"NIL")]
        assert await bob.ok("GETMETADATA INBOX (/private/comment /shared/x)") == [
            b'* METADATA "INBOX" (/private/comment "bob" /shared/x "y")\r\n'
        ]
        assert (await refused(zoe, f'SETMETADATA "{BOBS}" (/shared/x "z")')).startswith(b"T NO [NOPERM]")
        assert (await refused(ann, f'SETMETADATA "{BOBS}" (/private/specialuse "\\\\Sent")')).startswith(b"T NO [USEATTR]")
        everything = b"".join(await ann.ok(f'GETMETADATA (DEPTH infinity) "{BOBS}" (/private /shared)'))
        assert b"bob" not in everything.replace(BOBS.encode(), b"") and b"acl" not in everything
        await bob.ok("SETACL INBOX zoe l")
        assert (await refused(zoe, ask)).startswith(b"T NO [NOPERM]")

    shared(tmp_path, test)


def test_who_shares_a_folder_cannot_fill_the_owners_room(tmp_path: Path) -> None:
    """Private entries of others lie in the file that has the owner's list of rights: when it was full, he could give none."""

    async def test(at: Served) -> None:
        bob = await at.client()
        await bob.ok("SETACL INBOX anyone lr")
        ended = b""
        for name in ("ann", "zoe", "board"):
            client = await login(at, name)
            for number in range(4):
                value = literal(b"\xe9" * 8000)
                ended = (await client.say(b'SETMETADATA "%b" (/private/%d ~%b)' % (BOBS.encode(), number, value)))[-1]
        assert ended.startswith(b"T NO [METADATA TOOMANY]")
        await bob.ok("SETACL INBOX ann lrs")
        await bob.ok('SETMETADATA INBOX (/private/comment "mine")')

    shared(tmp_path, test)


# The register.


def test_a_lost_register_is_mended_by_looking(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        bob, ann = await at.client(), await login(at, "ann")
        await bob.ok("SETACL INBOX ann lr")
        register = at.service.house.world.sharing.register
        for client, heal in ((ann, f'SELECT "{BOBS}"'), (bob, "GETACL INBOX")):
            assert BOBS in await names(ann)
            register.remove(PO, "ann@po.test", "bob")
            assert BOBS not in await names(ann)
            await client.ok(heal)
        assert BOBS in await names(ann)

    shared(tmp_path, test)


def test_a_register_that_says_too_much_is_put_right(tmp_path: Path) -> None:
    """A death between the register and the folder's list leaves this."""

    async def test(at: Served) -> None:
        register = at.service.house.world.sharing.register
        ann = await login(at, "ann")
        register.add(PO, "ann@po.test", "bob")
        register.add(PO, "ann@po.test", "gone")
        assert await names(ann) == ["INBOX"]
        assert not register.has(PO, "ann@po.test", "bob")

    shared(tmp_path, test)


def test_a_share_given_while_the_register_is_put_right_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(at: Served) -> None:
        register, box = at.service.house.world.sharing.register, await at.box()
        ann, bob = await login(at, "ann"), await at.client()
        register.add(PO, "ann@po.test", "bob")
        remove = register.remove

        def meanwhile(postoffice: str, identifier: str, owner: str) -> None:
            path = next(tmp_path.rglob("MAILROOT/bob/Inbox"))
            (path / ".attributes").write_text('{"postroom:acl:ann@po.test": "lr"}')
            remove(postoffice, identifier, owner)

        await bob.ok("SELECT INBOX")
        monkeypatch.setattr(register, "remove", meanwhile)
        assert await names(ann) == ["INBOX"]
        monkeypatch.undo()
        assert register.has(PO, "ann@po.test", "bob") and BOBS in await names(ann)
        assert box.name == "bob"

    shared(tmp_path, test)


def test_a_full_disk_shares_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(at: Served) -> None:
        bob, ann = await at.client(), await login(at, "ann")

        async def annotate(self: Mailbox, folder: str, changes: object) -> None:
            raise DiskError("no space", full=True)

        monkeypatch.setattr(type(await at.box()), "annotate", annotate)
        assert (await refused(bob, "SETACL INBOX ann lr")).startswith(b"T NO [UNAVAILABLE]")
        assert at.service.house.world.sharing.register.has(PO, OWN, "bob")
        assert await names(ann) == ["INBOX"]

    shared(tmp_path, test)


def test_catenate_and_multisearch_reach_no_further_than_reading(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        await delivered(at, "bob")
        bob, ann = await at.client(), await login(at, "ann", "INBOX")
        url = f'APPEND INBOX CATENATE (URL "/{BOBS.replace(" ", "%20")}/;UID=1")'
        search = f'ESEARCH IN (mailboxes "{BOBS}") ALL'
        for rights, may in (("l", False), ("lr", True)):
            await bob.ok(f"SETACL INBOX ann {rights}")
            assert (await ann.say(url))[-1].startswith(b"T OK" if may else b"T NO [BADURL")
            assert bool(await ann.ok(search)) == may

    shared(tmp_path, test)


def test_subscriptions_to_folders_of_others(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        bob, ann = await at.client(), await login(at, "ann")
        assert (await refused(ann, f'SUBSCRIBE "{BOBS}"')).startswith(b"T NO [NONEXISTENT]")
        await bob.ok("SETACL INBOX ann lr")
        await ann.ok(f'SUBSCRIBE "{BOBS}"')
        assert await ann.ok('LSUB "" "*"') == [b'* LSUB () "/" "%b"\r\n' % BOBS.encode()]
        await bob.ok("DELETEACL INBOX ann")
        assert await ann.ok('LSUB "" "*"')  # never a NO (RFC 4314 section 4)
        (line,) = await ann.ok('LIST (SUBSCRIBED) "" "*"')
        assert b"\\NonExistent" in line
        await ann.ok(f'UNSUBSCRIBE "{BOBS}"')

    shared(tmp_path, test)


def test_seen_is_shared(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        await delivered(at, "bob", 2)
        bob = await at.client()
        await bob.ok("SETACL INBOX ann lr")
        ann = await login(at, "ann", BOBS)
        await ann.ok("FETCH 1 BODY[]")
        await bob.ok("SETACL INBOX ann lrs")
        await ann.ok("FETCH 2 BODY[]")
        assert [one.flags & SEEN for one in map((await at.folder()).view().message, range(2))] == [0, SEEN]

    shared(tmp_path, test)


def test_who_is_gone_shares_nothing(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        bob, ann = await at.client(), await login(at, "ann")
        await bob.ok("SETACL INBOX ann lr")
        mailboxes = at.site.providers.postoffice.mailboxes
        record = await mailboxes.get(PO, "bob")
        assert record is not None
        await mailboxes.delete(record)
        assert await names(ann) == ["INBOX"]
        assert (await refused(ann, f'SELECT "{BOBS}"')).startswith(b"T NO [NONEXISTENT]")

    shared(tmp_path, test)


def test_many_sharers_are_not_all_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """LIST looks into mailboxes that share with the asker, and where the pattern can match."""

    async def test(at: Served) -> None:
        bob, ann, zoe = await at.client(), await login(at, "ann"), await login(at, "zoe")
        await bob.ok("SETACL INBOX ann lr")
        looked, store = [], type(at.site.store)
        mailbox = store.mailbox

        async def counted(self: object, postoffice: str, name: str) -> Mailbox:
            looked.append(name)
            return await mailbox(at.site.store, postoffice, name)

        monkeypatch.setattr(store, "mailbox", counted)
        await zoe.ok('LIST "" "*"')
        await ann.ok('LIST "" "Work*"')
        assert not looked
        await ann.ok('LIST "" "*"')
        assert looked == ["bob"]

    shared(tmp_path, test)


def test_two_workers(tmp_path: Path) -> None:
    """A second service on the same site with a register of its own, as another worker has it."""

    async def test(at: Served) -> None:
        await delivered(at, "bob")
        other = Imap4Service(at.service.settings, at.site)
        other.house.world.spills.open()
        bob, ann = await somebody(at.service, "bob"), await somebody(other, "ann")
        assert (await bob.say("SETACL INBOX ann lrt")).startswith(b"OK")
        assert (await ann.say(f'SELECT "{BOBS}"')).startswith(b"OK [READ-WRITE]")
        assert (await bob.say("SETACL INBOX ann lr")).startswith(b"OK")
        assert (await ann.say("STORE 1 +FLAGS (\\Deleted)")).startswith(b"NO [NOPERM]")
        ann.hang_up()
        bob.hang_up()
        await asyncio.sleep(0)

    shared(tmp_path, test)


# What the operator says.


def test_check_names_a_public_mailbox_that_is_not_there(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        told = list(Imap4Plugin(at.service.settings, at.site).check(at.site))
        assert told == ["imap4: the public folder Away shows nothing: make the mailbox board@else.test, or take it out of `public`"]

    shared(tmp_path, test, BOARD)


@pytest.mark.parametrize(
    "said",
    [
        {"other_users": "INBOX"},
        {"other_users": "a/b"},
        {"other_users": "All", "public_folders": "all"},
        {"public": [{"mailbox": "board", "name": "Board"}]},
        {"public": [{"mailbox": "board@po", "name": "a/b"}]},
        {"public": [{"mailbox": "board@po", "name": "Board", "rights": "lrq"}]},
        {"public": [{"mailbox": "board@po", "name": "Board"}, {"mailbox": "b2@PO", "name": "board"}]},
    ],
)
def test_settings_that_cannot_be(said: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Imap4Settings.model_validate(said)


def test_the_names_of_the_namespaces_can_be_set(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        bob, ann = await at.client(), await login(at, "ann")
        assert await ann.ok("NAMESPACE") == [b'* NAMESPACE (("" "/")) (("K&APY-nnen/" "/")) (("All/" "/"))\r\n']
        await bob.ok("SETACL INBOX ann lr")
        await ann.ok('SELECT "K&APY-nnen/bob@po.test"')
        await ann.ok('SELECT "All/Board"')
        await ann.ok('CREATE "Other Users/mine"')

    shared(tmp_path, test, f"{BOARD}, other_users: Können, public_folders: All")


def test_sharing_can_be_turned_off(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        bob, ann = await at.client(), await login(at, "ann")
        await bob.ok("SETACL INBOX ann lr")
        assert await ann.ok("NAMESPACE") == [b'* NAMESPACE (("" "/")) NIL NIL\r\n']
        assert await names(ann) == ["INBOX"]
        assert (await refused(ann, f'SELECT "{BOBS}"')).startswith(b"T NO [NONEXISTENT]")

    shared(tmp_path, test, "plaintext: loopback, other_users: ''")
