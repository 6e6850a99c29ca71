"""A message whose \\Deleted somebody takes back before it is expunged is not expunged."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from postroom.mailstore import DELETED
from postroom_store.folder import LocalFolder
from tests.plugins_imap4.house import serving


@pytest.mark.parametrize("command", ["EXPUNGE", "UID EXPUNGE 1:*", "CLOSE"])
def test_what_is_taken_back_while_an_expunge_waits_for_its_turn_stays(tmp_path: Path, command: str) -> None:
    """Its client had OK for the STORE; the other's command had looked before, and then waited: for the lock, or for a peer that read slowly."""

    async def main() -> None:
        async with serving(tmp_path) as at:
            await at.deliver(3)
            client, other = await at.client("INBOX"), await at.client("INBOX")
            await client.ok("STORE 1:2 +FLAGS.SILENT (\\Deleted)")
            folder = await at.folder()
            assert isinstance(folder, LocalFolder)
            hold = folder.hold

            async def late(**how: bool) -> Any:
                folder.hold = hold  # type: ignore[method-assign]
                await other.ok("STORE 1 -FLAGS (\\Deleted)")
                return await hold(**how)

            folder.hold = late  # type: ignore[method-assign]
            assert (await client.say(command))[-1].startswith(b"T OK")
            for one in (client, other):
                await one.close()
            view = folder.view()
            assert list(view.uids) == [1, 3]
            assert not view.flags[0] & DELETED

    asyncio.run(main())
