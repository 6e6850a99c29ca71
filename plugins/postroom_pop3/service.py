"""The POP3 service of one worker: listens on its endpoints and looks after its connections.

Cancelling `run` hangs up on everybody without UPDATE. `drain` closes the listeners, sends away who has not logged in, and waits for
the others to quit.
"""

from __future__ import annotations

from collections.abc import Sequence

from postroom.connectors import Endpoint
from postroom.site import Site
from postroom_net import offered
from postroom_net.limits import ConnectionLimits
from postroom_net.wheel import TimerWheel
from postroom_pop3.connection import HANDSHAKE, Connection, House
from postroom_pop3.errands import SERVICE, Counts, World
from postroom_pop3.maildrop import Locks
from postroom_pop3.settings import Listen, Pop3Settings


class Pop3Service:
    """A `Service` of the kernel's."""

    def __init__(self, settings: Pop3Settings, site: Site) -> None:
        self.settings, self.site = settings, site
        self.name = site.name or "pop3"
        self.tls = site.tls.server_context()
        self._served = [listen for listen in settings.listen if listen.tls != "implicit" or self.tls is not None]
        self.house = self._furnish()
        self._listeners = self.house.listeners(HANDSHAKE, self._failed, site.clock.sleep)

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """Without a certificate there is no implicit TLS; `check` says so."""
        return [Endpoint(listen.named(self.site.name), listen.host, listen.port) for listen in self._served]

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            for label, listen in {listen.named(self.site.name): listen for listen in self._served}.items():
                await self._listen(label, listen)  # one label may have several sockets: IPv4 and IPv6
            self.site.ready(self)
            await self.house.wheel.run()
        finally:
            await self.house.close(self._listeners)

    async def drain(self) -> None:
        """Return when the last session has ended."""
        await self.house.drain(self._listeners)

    def _furnish(self) -> House:
        site, settings = self.site, self.settings
        locks = Locks(site.root / "run" / "locks", site.disk)
        counts = Counts(site.metrics)
        world = World(
            settings,
            site.login,
            site.store,
            site.providers.postoffice,
            locks,
            site.log,
            self.tls,
            offered.authenticator(site, settings, SERVICE),
            counts,
        )
        limits = ConnectionLimits(settings.connections, settings.connections_per_ip, settings.connections_per_network, settings.exempt)
        return House(TimerWheel(site.clock), limits, site.settings.server, world, site.clock)

    async def _listen(self, label: str, listen: Listen) -> None:
        house, stls = self.house, listen.tls == "starttls"
        context = self.tls if listen.tls == "implicit" else None
        for sock in self.site.sockets.get(label, ()):
            await self._listeners.open(sock, lambda take_over: Connection(house, take_over, stls=stls), context)

    def _failed(self, ip: str, error: Exception) -> None:
        self.site.log.debug("pop3.lost", login="", peer=ip, error=f"TLS handshake: {error}")
