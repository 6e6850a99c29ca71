"""The scanner's own loop in a worker: connections that rest are closed, and a clamd of which nothing was heard is asked for a sign of life."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from postroom.connectors import Endpoint
from postroom.site import Site
from postroom_clamav.scanner import Scanner

_EVERY: Final = 10.0  # seconds between two looks


class ClamavService:
    """A `Service` of the kernel's without endpoints."""

    endpoints: Sequence[Endpoint] = ()

    def __init__(self, scanner: Scanner, site: Site) -> None:
        self.name = site.name or "clamav"
        self._scanner, self._site = scanner, site
        scanner.courier.open(site)

    async def run(self) -> None:
        """Tend the pool until cancelled."""
        pool = self._scanner.pool
        self._scanner.copies.sweep()
        try:
            while True:
                await pool.tend()
                await self._site.clock.sleep(_EVERY)
        finally:
            pool.close()

    async def drain(self) -> None:
        """Return when the last notice is on its way; scans end with the messages they belong to."""
        await self._scanner.courier.drain()
