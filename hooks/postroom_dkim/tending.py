"""The signer's own loop in a worker: new keys sign once DNS shows them, old ones go when their time is over.

Every worker looks; the lock of the keys and the list in its file make what they do one thing. A name server that cannot tell is asked again the
next time, and a disk that refuses changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from postroom.connectors import Endpoint
from postroom.errors import DiskError
from postroom.site import Site
from postroom_dkim import records, sets
from postroom_dkim.errors import KeyFault, NothingWaits
from postroom_dkim.records import Record
from postroom_dkim.sets import KeySet
from postroom_dkim.settings import DkimSettings
from postroom_dkim.shelf import Shelf
from postroom_dkim.signer import Signer
from postroom_net.resolver import Resolver, Temporary


class DkimService:
    """A `Service` of the kernel's without endpoints."""

    endpoints: Sequence[Endpoint] = ()

    def __init__(self, settings: DkimSettings, signer: Signer, site: Site) -> None:
        self.name = site.name or "dkim"
        self._settings, self._signer, self._site = settings, signer, site
        self._shelf: Shelf = signer.shelf

    async def run(self) -> None:
        """Tend the keys until cancelled."""
        self._signer.copies.sweep()
        while True:
            for domain in self._shelf.domains():
                await self.tend(domain)
            await self._site.clock.sleep(self._settings.look_every)

    async def drain(self) -> None:
        """Nothing is under way that could not be left."""

    async def tend(self, domain: str) -> None:
        """Look at one domain's keys, and do what is due."""
        try:
            waiting = sets.find(self._shelf.sets(domain), "next")
            if waiting is not None and self._is_due(waiting):
                await self._activate(domain, waiting)
            for one in await asyncio.to_thread(self._shelf.drop_old, domain):
                self._site.log.info("dkim.dropped", domain=domain, selectors=one.selectors, then="take their records out of DNS")
        except (KeyFault, DiskError) as error:
            self._site.log.error("dkim.tending", domain=domain, error=str(error))

    def _is_due(self, waiting: KeySet) -> bool:
        after = self._settings.activate_after * 3600
        return bool(after) and self._site.clock.now() - waiting.since >= after

    async def _activate(self, domain: str, waiting: KeySet) -> None:
        try:
            missing = await not_shown(self._site.resolver, self._shelf.records(domain, waiting))
        except Temporary as error:
            self._site.log.info("dkim.not_told", domain=domain, error=str(error))
            return
        if missing:
            self._site.log.info("dkim.waiting", domain=domain, missing=[record.name for record in missing])
            return
        try:
            await asyncio.to_thread(self._shelf.activate, domain)
        except NothingWaits:  # another worker was first
            return
        self._site.log.info("dkim.activated", domain=domain, selectors=waiting.selectors)


async def not_shown(resolver: Resolver, wanted: Sequence[Record]) -> list[Record]:
    """Those that DNS does not have. Temporary where it cannot be told."""
    answers = await asyncio.gather(*(resolver.txt(record.name) for record in wanted))
    return [record for record, answered in zip(wanted, answers) if not records.is_shown(record, answered)]
