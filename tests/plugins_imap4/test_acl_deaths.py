"""Whatever call a SETACL dies at: nobody has rights to a folder that LIST does not show, and who was told OK has them."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from postroom.mailstore import INBOX
from postroom.records import MailboxRecord, PostofficeRecord
from postroom_imap4.commands import SetAcl
from postroom_imap4.doing_acl import set_acl
from postroom_imap4.reach import Reach, Sharing
from postroom_imap4.service import Imap4Service
from postroom_testing.faults import Died, FaultDisk
from postroom_testing.ground import site_in
from tests.plugins_imap4.house import PO

YAML = "server: mail.test\nplugins:\n  tab: {watch: false}\n  store: {}\n  imap4: {listen: [{port: 0, host: 127.0.0.1}]}\n"
BOBS = f"Other Users/bob@{PO}"


def who(sharing: Sharing, box: Any) -> Any:
    """As much of a session as the command asks of."""
    return SimpleNamespace(reach=Reach(sharing, box), world=SimpleNamespace(sharing=sharing))


async def life(root: Path, at: int, how: str) -> bool:
    """Whether the fault came before the end."""
    disk = FaultDisk()
    async with site_in(root, YAML, disk=disk) as parts:
        site = parts.site
        await site.providers.postoffice.postoffices.put(PostofficeRecord(PO, 1, PO))
        await site.providers.postoffice.mailboxes.put(MailboxRecord(PO, "bob"), MailboxRecord(PO, "ann"))
        sharing = next(agent for _, agent in parts.agents if isinstance(agent, Imap4Service)).house.world.sharing
        bob, ann = [await site.store.mailbox(PO, name) for name in ("bob", "ann")]
        await bob.folder(INBOX)
        disk.calls.clear()
        disk.at, disk.how = at, how
        said = False
        with suppress(Died):
            said = (await set_acl(who(sharing, bob), SetAcl(INBOX, "ann", "", "lr"))).is_ok
        died, disk.dead, disk.at = disk.dead, False, 0
        reach = Reach(sharing, ann)
        granted = await reach.rights(await reach.place(BOBS))
        shown = await reach.visible(["*"])
        assert granted in (frozenset(), frozenset("lr")) and (granted or not said)
        assert bool(shown) == bool(granted)
        assert (await set_acl(who(sharing, bob), SetAcl(INBOX, "ann", "", "lr"))).is_ok and await reach.visible(["*"])
        return died


@pytest.mark.long
@pytest.mark.parametrize("how", ["die", "tear"])
def test_a_death_at_every_call(tmp_path: Path, how: str) -> None:
    for at in range(1, 100):
        if not asyncio.run(life(tmp_path / str(at), at, how)):
            assert at > 5, "the register and the list take more than this"
            return
    raise AssertionError("it never came to its end")
