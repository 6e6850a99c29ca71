"""NOTIFY over folders of others: what a login may not list and read, it is not told of (RFC 5465 sections 3.1 and 5.9)."""

from __future__ import annotations

from pathlib import Path

from tests.plugins_imap4.house import Served
from tests.plugins_imap4.sharing import login, shared
from tests.plugins_imap4.test_notify import append, heard, quiet

MESSAGES = "MessageNew MessageExpunge"
ANN = "Other Users/ann@po.test"


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
        assert (await bob.line()).startswith(b"* LIST (\\NonExistent \\Noselect ")
        await append(ann, "Work")
        await quiet(bob)
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
