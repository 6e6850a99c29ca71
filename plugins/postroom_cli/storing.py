"""Looking at mailboxes on disk, and setting them right on a site that is stopped."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from postroom_cli.awake import awake
from postroom_cli.names import Address
from postroom_cli.opened import opened
from postroom_cli.provision import find_mailbox
from postroom_run.assembly import Assembled


async def look(root: Path, wanted: Sequence[str], *, repair: bool, watched: bool) -> Mapping[str, Sequence[str]]:
    """What is wrong in each mailbox (or was, with `repair`), by name."""
    async with awake(root) if repair else opened(root) as parts:
        found = {}
        for postoffice, name in _progress(await _mailboxes(parts, wanted), watched=watched):
            found[f"{postoffice}/{name}"] = await parts.site.store.check(postoffice, name, repair=repair)
        return found


async def _mailboxes(parts: Assembled, wanted: Sequence[str]) -> list[tuple[str, str]]:
    if not wanted:
        return [(row.postoffice, row.mailbox) for row in await parts.site.providers.postoffice.mailboxes.find()]
    rows = [(await find_mailbox(parts.site.providers, Address.parse(text)))[1] for text in wanted]
    return [(row.postoffice, row.mailbox) for row in rows]


def _progress(mailboxes: Sequence[tuple[str, str]], *, watched: bool) -> Iterable[tuple[str, str]]:
    """The same, with a bar on stderr for people who wait."""
    if not watched or not os.isatty(2) or len(mailboxes) < 10:
        return mailboxes
    from rich.console import Console
    from rich.progress import track

    return track(mailboxes, description="mailboxes", console=Console(stderr=True), transient=True)
