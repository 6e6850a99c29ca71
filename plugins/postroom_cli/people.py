"""The people of a demo: rows of a new site, where missing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from postroom_cli import password, provision
from postroom_cli.creation import first_rows
from postroom_cli.names import Address
from postroom_cli.opened import opened


async def fill(root: Path, domain: str, group: str, accounts: Sequence[tuple[str, str]]) -> None:
    """A domain with these logins, and a group that reaches them all."""
    async with opened(root) as parts:
        providers = parts.site.providers
        await first_rows(parts, domain)
        missing = [account for account in accounts if await providers.authentication.logins.get(account[0]) is None]
        hashes = await asyncio.gather(*(asyncio.to_thread(password.hashed, word) for _, word in missing))  # side by side: 29 ms each
        for (login, _), hashed in zip(missing, hashes, strict=True):
            await provision.add_mailbox(providers, Address.parse(login), hashed)
        if await providers.postoffice.groups.get(domain, group) is None:
            members = [await provision.member(providers, login) for login, _ in accounts]
            await provision.add_group(providers, Address(group, domain), members)
