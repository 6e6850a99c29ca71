"""The virus scanner: asks clamd about every message at pickup or at delivery (system overview section 4.1.2)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from postroom import hookimpl
from postroom.connectors import Service
from postroom.settings import Policy
from postroom.site import Ground, Site
from postroom.transfer import TransferEvent, Verdict
from postroom_clamav.checking import problems
from postroom_clamav.scanner import Scanner
from postroom_clamav.service import ClamavService
from postroom_clamav.settings import ClamavSettings

_MEANWHILE: Final[dict[Policy, str]] = {
    "defer": "waits in the queue",
    "pass": "goes on without being scanned",
    "reject": "is refused",
    "quarantine": "is set aside",
}


class ClamavPlugin:
    """One clamd; a second instance may ask another."""

    Settings = ClamavSettings

    def __init__(self, settings: ClamavSettings, ground: Ground) -> None:
        self.settings = settings
        self.scanner = Scanner(settings, ground)

    @hookimpl
    async def mta_pickup(self, event: TransferEvent) -> Verdict:
        return await self.scanner.pickup(event)

    @hookimpl
    async def mta_delivery(self, event: TransferEvent) -> Verdict:
        return await self.scanner.delivery(event)

    @hookimpl
    def services(self, site: Site) -> Iterable[Service]:
        return (ClamavService(self.scanner, site),)

    @hookimpl
    def health(self, site: Site) -> Iterable[str]:
        if failure := self.scanner.pool.failure:
            yield f"{failure}; until it answers, mail {_MEANWHILE[self.scanner.on_error]}. Start clamd, or look at its log"

    @hookimpl
    def check(self, site: Site) -> Iterable[str]:
        return problems(self.settings, self.scanner.address, site)
