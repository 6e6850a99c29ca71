"""The post office plugin: its class, its hooks."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

from postroom.connectors import Connector
from postroom.hookspecs import hookimpl
from postroom.records import MailboxRecord, PostofficeRecord
from postroom.site import Ground, Site
from postroom_postoffice import forwarding
from postroom_postoffice.api import PostofficeHooks
from postroom_postoffice.connector import PostofficeConnector
from postroom_postoffice.faults import faults
from postroom_postoffice.settings import PostofficeSettings

POSTMASTER = "postmaster"  # RFC 5321 section 4.5.1: reserved, and wanted in every domain


class PostofficePlugin:
    """Connector SF."""

    Settings = PostofficeSettings
    hookspecs = PostofficeHooks

    def __init__(self, settings: PostofficeSettings, ground: Ground) -> None:
        self._settings, self._ground = settings, ground

    @hookimpl
    def connectors(self, site: Site) -> Iterable[Connector]:
        return [PostofficeConnector(self._settings, site)]

    @hookimpl
    async def site_created(self, site: Site, domain: str) -> None:
        """The domain's post office and its postmaster, where missing."""
        provider = site.providers.postoffice
        row = await site.providers.smtp.domains.get(domain)
        name = (row.account if row else "") or domain
        if await provider.postoffices.get(name) is None:
            await provider.postoffices.put(PostofficeRecord(name=name, account=name))
        if await provider.mailboxes.get(name, POSTMASTER) is None:
            await provider.mailboxes.put(MailboxRecord(postoffice=name, mailbox=POSTMASTER))
        if domain.lower() == self._settings.srs.domain.lower():
            forwarding.make_secret(site.disk, site.root / self._settings.srs.secret)
            table = site.providers.address_map.rows
            known = {row.source.lower() for row in await table.find()}
            await table.put(*(row for row in forwarding.rows(domain, name) if row.source.lower() not in known))

    @hookimpl
    def check(self, site: Site) -> Iterable[str]:
        rows = faults(site.providers, max_members=self._settings.max_members)
        return chain(rows, forwarding.faults(self._settings.srs, site))
