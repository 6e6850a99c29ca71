"""The IMAP4 service of one worker: listens on its endpoints and looks after its connections.

Cancelling `run` hangs up on everybody. `drain` closes the listeners, says BYE to who has no command under way, and waits for the others' commands.
"""

from __future__ import annotations

from collections.abc import Sequence

from postroom.connectors import Endpoint
from postroom.site import Site
from postroom_imap4.circles import Circles
from postroom_imap4.connection import HANDSHAKE, Connection, House
from postroom_imap4.contents import Aid
from postroom_imap4.indexed import Index
from postroom_imap4.namespaces import Namespaces
from postroom_imap4.reach import Sharing
from postroom_imap4.register import Register
from postroom_imap4.settings import Imap4Settings, Listen
from postroom_imap4.shares import Shares
from postroom_imap4.spilling import Spills
from postroom_imap4.texts import Texts
from postroom_imap4.world import SERVICE, Counts, World
from postroom_net import offered
from postroom_net.limits import ConnectionLimits
from postroom_net.wheel import TimerWheel


class Imap4Service:
    """A `Service` of the kernel's."""

    def __init__(self, settings: Imap4Settings, site: Site) -> None:
        self.settings, self.site = settings, site
        self.name = site.name or "imap4"
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
        self.house.world.spills.open()
        try:
            for label, listen in {listen.named(self.site.name): listen for listen in self._served}.items():
                await self._listen(label, listen)  # one label may have several sockets: IPv4 and IPv6
            self.site.ready(self)
            await self.house.wheel.run()
        finally:
            await self.house.close(self._listeners)
            if self.house.world.aid is not None:
                await self.house.world.aid.close()

    async def drain(self) -> None:
        """Return when the last session has ended."""
        await self.house.drain(self._listeners)

    def _furnish(self) -> House:
        site, settings = self.site, self.settings
        spills = Spills(site.root / "run" / self.name / str(site.worker), site.disk)
        world = World(
            site.settings.server,
            settings,
            site.login,
            offered.authenticator(site, settings, SERVICE),
            site.store,
            site.providers.postoffice,
            spills,
            site.clock,
            site.log,
            self.tls,
            Counts(site.metrics),
            self._sharing(),
            self._aid(),
        )
        limits = ConnectionLimits(settings.connections, settings.connections_per_ip, settings.connections_per_network, settings.exempt)
        return House(TimerWheel(site.clock), limits, world)

    def _aid(self) -> Aid | None:
        """What SEARCH has beside the messages themselves."""
        match self.settings.search:
            case "index":
                return Index(self.site.disk, self.site.clock)
            case "texts":
                return Texts(self.site.disk, self.site.clock)
        return None

    def _sharing(self) -> Sharing:
        settings, postoffices = self.settings, self.site.providers.postoffice
        names = Namespaces(settings.other_users, settings.public_folders if settings.public else "")
        register = Register(self.site.root, self.site.disk, self.site.clock.now)
        return Sharing(names, settings.public, self.site.store, postoffices, register, Circles(postoffices), Shares(self.site.bus))

    async def _listen(self, label: str, listen: Listen) -> None:
        house, starttls = self.house, listen.tls == "starttls"
        context = self.tls if listen.tls == "implicit" else None
        for sock in self.site.sockets.get(label, ()):
            await self._listeners.open(sock, lambda take_over: Connection(house, take_over, starttls=starttls), context)

    def _failed(self, ip: str, error: Exception) -> None:
        self.site.log.debug("imap4.lost", login="", peer=ip, error=f"TLS handshake: {error}")
