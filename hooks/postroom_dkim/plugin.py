"""The DKIM signer: mail that this site originates goes out signed (RFC 6376, RFC 8463)."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from postroom import hookimpl
from postroom.connectors import Service
from postroom.site import Ground, Site
from postroom.transfer import TransferEvent, Verdict
from postroom_dkim.checking import problems
from postroom_dkim.settings import DkimSettings
from postroom_dkim.signer import Signer
from postroom_dkim.tending import DkimService


class DkimPlugin:
    """One signer; a second instance would sign a second time."""

    Settings = DkimSettings

    def __init__(self, settings: DkimSettings, ground: Ground) -> None:
        self.settings, self.ground = settings, ground
        self.signer = Signer(settings, ground)

    @hookimpl
    async def mta_delivery(self, event: TransferEvent) -> Verdict:
        return await self.signer.delivery(event)

    @hookimpl
    async def site_created(self, site: Site, domain: str) -> None:
        await asyncio.to_thread(self.signer.shelf.ensure, domain)

    @hookimpl
    def services(self, site: Site) -> Iterable[Service]:
        self.signer.open(site)
        return (DkimService(self.settings, self.signer, site),)

    @hookimpl
    def commands(self, cli: Any) -> None:
        from postroom_dkim.commands import grouped  # a server never needs it

        cli.add_typer(grouped(self.ground, self.signer.shelf, self.settings.keep), name="dkim", help="Keys that sign outgoing mail.")

    @hookimpl
    def health(self, site: Site) -> Iterable[str]:
        return [fault for domain, fault in self.signer.faults.items() if site.router.is_ours(domain)]

    @hookimpl
    def check(self, site: Site) -> Iterable[str]:
        return problems(self.signer.shelf, site)
