"""NOTIFY over folders of others: what a login may not list and read, it is not told of (RFC 5465 sections 3.1 and 5.9)."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.plugins_imap4.house import Client, Served, serving
from tests.plugins_imap4.sharing import BOARD, login, people, shared
from tests.plugins_imap4.test_notify import append, heard, quiet
from tests.plugins_imap4.test_notify_workers import on_bus

MESSAGES = "MessageNew MessageExpunge"
ANN = "Other Users/ann@po.test"
GONE = "NonExistent Noselect HasNoChildren"


def listed(folder: str, attributes: str) -> bytes:
    """The line that tells of a folder of ann's."""
    return b'* LIST (%b) "/" "%b/%b"\r\n' % (b" ".join(b"\\" + one.encode() for one in attributes.split()), ANN.encode(), folder.encode())


async def starts(client: Client, *lines: bytes) -> None:
    """Lines that begin so."""
    for line in lines:
        told = await client.line()
        assert told.startswith(line), told


# Rights that are taken and given


def test_a_shared_folder_is_told_of_as_long_as_it_may_be_read(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        ann, bob = await login(at, "ann"), await login(at, "bob")
        for command in ("CREATE Work", "CREATE Secret", "SETACL Work bob@po.test lr"):
            await ann.ok(command)
        await bob.ok(f'NOTIFY SET (subtree "{ANN}" ({MESSAGES} MailboxName)) (personal (MailboxName))')
        await append(ann, "Secret")
        await quiet(bob)
        await append(ann, "Work")
        await heard(bob, b'* STATUS "%b/Work" (MESSAGES 1 UIDNEXT 2)\r\n' % ANN.encode())
        await ann.ok("SETACL Work bob@po.test l")
        await heard(bob, listed("Work", "HasNoChildren NoAccess"))
        await append(ann, "Work")
        await quiet(bob)
        await ann.ok("SETACL Work bob@po.test lr")
        await heard(bob, listed("Work", "HasNoChildren"))
        assert (await bob.line()).startswith(b'* STATUS "%b/Work" (MESSAGES 2 UIDNEXT 3 UIDVALIDITY ' % ANN.encode())
        await ann.ok("SETACL Secret bob@po.test lr")  # section 5.4: as if it had been made
        assert (await bob.line()).startswith(b'* LIST (\\HasNoChildren) "/" "%b/Secret"' % ANN.encode())
        assert (await bob.line()).startswith(b'* STATUS "%b/Secret" (MESSAGES 1 UIDNEXT 2 UIDVALIDITY ' % ANN.encode())

    shared(tmp_path, test)


def test_a_selected_folder_of_another_is_told_at_once(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        ann, bob = await login(at, "ann"), await login(at, "bob")
        await ann.ok("CREATE Work")
        await ann.ok("SETACL Work bob@po.test lr")
        await bob.ok(f"NOTIFY SET (selected ({MESSAGES}))")
        await bob.ok(f'SELECT "{ANN}/Work"')
        await append(ann, "Work")
        await heard(bob, b"* 1 EXISTS\r\n")

    shared(tmp_path, test)


@pytest.mark.parametrize("wishes", [MESSAGES, f"{MESSAGES} MailboxName"])
def test_a_folder_that_may_be_listed_no_more_is_told_without_access(tmp_path: Path, wishes: str) -> None:
    """Section 5.9, whatever the wishes are; that it does not exist for the client any more is section 5.4."""

    async def test(at: Served) -> None:
        ann, bob = await login(at, "ann"), await login(at, "bob")
        for command in ("CREATE Work", "SETACL Work bob@po.test lr"):
            await ann.ok(command)
        await bob.ok(f'NOTIFY SET (subtree "{ANN}" ({wishes}))')
        await ann.ok("DELETEACL Work bob@po.test")
        await heard(bob, listed("Work", f"{GONE} NoAccess"))
        await append(ann, "Work")
        await quiet(bob)
        await ann.ok("SETACL Work bob@po.test l")
        await heard(bob, listed("Work", "HasNoChildren NoAccess"))
        await ann.ok("SETACL Work bob@po.test r")
        await heard(bob, listed("Work", f"{GONE} NoAccess"))
        await ann.ok("SETACL Work bob@po.test lr")
        await heard(bob, listed("Work", "HasNoChildren"))
        await starts(bob, b'* STATUS "%b/Work" (MESSAGES 1 UIDNEXT 2 ' % ANN.encode())
        await append(ann, "Work")
        await heard(bob, b'* STATUS "%b/Work" (MESSAGES 2 UIDNEXT 3)\r\n' % ANN.encode())

    shared(tmp_path, test)


def test_what_becomes_of_a_folder_without_access_stays_unknown(tmp_path: Path) -> None:
    """RFC 4314 section 6: neither its new name nor its end is told. Another folder in its place is one that was made."""

    async def test(at: Served) -> None:
        ann, bob = await login(at, "ann"), await login(at, "bob")
        for command in ("CREATE Work", "SETACL Work bob@po.test lr", "CREATE Play", "SETACL Play bob@po.test lr"):
            await ann.ok(command)
        await bob.ok(f'NOTIFY SET (subtree "{ANN}" (MailboxName))')
        await ann.ok("DELETEACL Work bob@po.test")
        await heard(bob, listed("Work", f"{GONE} NoAccess"))
        await ann.ok("RENAME Work Job")
        await quiet(bob)
        await ann.ok("DELETE Job")
        await ann.ok("DELETE Play")
        await heard(bob, listed("Play", GONE))
        await ann.ok("CREATE Work")
        await quiet(bob)
        await ann.ok("SETACL Work bob@po.test lr")
        await heard(bob, listed("Work", "HasNoChildren"))

    shared(tmp_path, test)


def test_folders_that_may_be_listed_only_are_told_at_first(tmp_path: Path) -> None:
    """Section 3.1; one's own too, which one may take one's own right to read from."""

    async def test(at: Served) -> None:
        ann, bob = await login(at, "ann"), await login(at, "bob")
        for command in ("CREATE Work", "SETACL Work bob@po.test l", "CREATE Play", "SETACL Play bob@po.test r"):
            await ann.ok(command)
        for command in ("CREATE Mine", "SETACL Mine bob@po.test lw"):
            await bob.ok(command)
        command = f'NOTIFY SET STATUS (mailboxes ("{ANN}/Work" "{ANN}/Play" Mine) ({MESSAGES}))'
        told = await bob.ok(command)
        assert told == [b'* LIST (\\HasNoChildren \\NoAccess) "/" "Mine"\r\n', listed("Work", "HasNoChildren NoAccess")]
        other = await login(at, "bob")
        await other.ok("SETACL Mine bob@po.test lr")
        await heard(bob, b'* LIST (\\HasNoChildren) "/" "Mine"\r\n')

    shared(tmp_path, test)


def test_what_the_client_renames_or_deletes_without_access_is_no_news(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        ann, bob = await login(at, "ann"), await login(at, "bob")
        for name in ("Work", "Play"):
            await ann.ok(f"CREATE {name}")
            await ann.ok(f"SETACL {name} bob@po.test lx")
        await ann.ok("SETACL INBOX bob@po.test lrk")
        assert len(await bob.ok(f'NOTIFY SET (subtree "{ANN}" (MailboxName))')) == 2
        await bob.ok(f'RENAME "{ANN}/Work" "{ANN}/Job"')
        await bob.ok(f'DELETE "{ANN}/Play"')
        await quiet(bob)

    shared(tmp_path, test)


# Shares in mailboxes of which nothing was in sight: they were noticed after five minutes


@pytest.mark.parametrize("identifier", ["bob@po.test", "anyone", "$Staff"])
def test_what_somebody_shares_for_the_first_time_is_noticed_at_once(tmp_path: Path, identifier: str) -> None:
    async def test(at: Served) -> None:
        ann, zoe, eve, bob = [await login(at, name) for name in ("ann", "zoe", "eve@else.test", "bob")]
        listener = zoe if identifier == "$Staff" else bob
        for one in (listener, eve):
            await one.ok(f'NOTIFY SET (subtree "Other Users" ({MESSAGES} MailboxName))')
        await ann.ok("CREATE Work")
        await ann.ok(f"SETACL Work {identifier} lr")
        await heard(listener, listed("Work", "HasNoChildren"))
        await append(ann, "Work")
        await heard(listener, b'* STATUS "%b/Work" (MESSAGES 1 UIDNEXT 2)\r\n' % ANN.encode())
        await quiet(eve)

    shared(tmp_path, test)


def test_what_is_given_back_to_whom_a_minus_kept_out_is_noticed_at_once(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        ann, bob = await login(at, "ann"), await login(at, "bob")
        for command in ("CREATE Work", "SETACL Work anyone lr", "SETACL Work -bob@po.test lr"):
            await ann.ok(command)
        await bob.ok(f'NOTIFY SET (subtree "Other Users" ({MESSAGES} MailboxName))')
        await ann.ok("DELETEACL Work -bob@po.test")
        await heard(bob, listed("Work", "HasNoChildren"))

    shared(tmp_path, test)


def test_what_is_shared_in_another_worker_is_noticed_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with serving(tmp_path) as here, serving(tmp_path, worker=1) as there:
            with on_bus(here), on_bus(there):
                await people(here)
                bob, ann = await login(here, "bob"), await login(there, "ann")
                await bob.ok(f'NOTIFY SET (subtree "Other Users" ({MESSAGES} MailboxName))')
                await ann.ok("SETACL INBOX bob@po.test lr")
                await heard(bob, b'* LIST (\\HasNoChildren) "/" "%b"\r\n' % ANN.encode())
                for one in (bob, ann):
                    await one.close()

    asyncio.run(main())


def test_nobody_listens_any_more_when_all_who_did_are_gone(tmp_path: Path) -> None:
    async def test(at: Served) -> None:
        shares = at.service.house.world.sharing.shares
        bob, zoe = await login(at, "bob"), await login(at, "zoe")
        for one in (bob, zoe):
            await one.ok(f'NOTIFY SET (subtree "Other Users" ({MESSAGES}))')
        assert shares.is_heard
        await bob.ok(f"NOTIFY SET (personal ({MESSAGES}))")
        assert shares.is_heard
        await zoe.ok("NOTIFY NONE")
        assert not shares.is_heard

    shared(tmp_path, test, BOARD)
