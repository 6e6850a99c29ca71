"""The inbound agent: listens on the site's sockets and keeps the conversations (overview section 3.1.1).

`run` serves until it is cancelled; then messages that the kernel has are answered, every conversation is cut and nothing of it is left.
`drain` comes before that and is polite: no new peer, idle ones are told 421, transactions may end.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from postroom.connectors import Endpoint
from postroom.errors import ConfigError
from postroom.site import Site
from postroom_net.listening import Listeners
from postroom_smtp.connection import Connection
from postroom_smtp.house import House
from postroom_smtp.session import Door
from postroom_smtp.settings import Listen, SmtpSettings

_ANSWER = 2.0  # seconds for the answers to messages that were handed over when the agent ends


def endpoints_of(settings: SmtpSettings, instance: str = "smtp") -> tuple[tuple[Endpoint, Listen], ...]:
    """Each listener with its label: its own, or `smtp`, `smtps`, `submission`, `submissions`, counted from the second of a kind on; further
    instances of the plugin put their own name in front. ConfigError for a label said twice."""
    found: dict[str, tuple[Endpoint, Listen]] = {}
    front = "" if instance in ("", "smtp") else f"{instance}-"
    for listen in settings.listen:
        kind = f"{front}{'submission' if listen.submission else 'smtp'}{'s' if listen.tls == 'implicit' else ''}"
        made = next(name for name in (kind, *(f"{kind}-{n}" for n in range(2, 1000))) if name not in found)
        label = listen.label or made
        if label in found:
            raise ConfigError(f"two listeners have the label {label}", key="listen", remedy="Give each a label of its own")
        found[label] = (Endpoint(label, listen.host, listen.port), listen)
    return tuple(found.values())


def without_certificate(settings: SmtpSettings, instance: str) -> Iterator[str]:
    """What listeners lack while the site has no certificate."""
    for endpoint, listen in endpoints_of(settings, instance):
        if listen.tls == "implicit":
            yield f"the listener {endpoint.label} starts with TLS and is not opened: set `tls: certificate` and `tls: key`"
        elif listen.asks_login and not settings.auth.without_tls:
            yield f"nobody can log in at the listener {endpoint.label}, because there is no TLS: set `tls: certificate` and `tls: key`"


def door_of(listen: Listen, label: str, *, certified: bool, without_tls: bool) -> Door:
    """What a listener is for, as its conversations see it."""
    return Door(
        label,
        starttls=certified and listen.tls in ("starttls", "required"),
        sealed=listen.tls == "required" or (listen.submission and not without_tls),
        submission=listen.submission,
        login=listen.asks_login,
    )


class InboundAgent:
    """The agent of one worker."""

    name = "smtp.inbound"

    def __init__(self, site: Site, settings: SmtpSettings) -> None:
        self._site = site
        certified = site.tls.server_context() is not None
        self._served = [one for one in endpoints_of(settings, site.name) if certified or one[1].tls != "implicit"]
        self.house = House.of(site, settings)
        self._listeners = Listeners(self.house.sealing)

    @property
    def endpoints(self) -> Sequence[Endpoint]:
        """Without a certificate there is no implicit TLS; `check` says so."""
        return [endpoint for endpoint, _ in self._served]

    async def run(self) -> None:
        house = self.house
        await house.gate.open()
        deaf = house.seen.follow(self._site.login) if house.settings.relay.pop_before_smtp else None
        try:
            for endpoint, listen in self._served:
                await self._listen(endpoint, listen)
            self._site.ready(self)
            await house.wheel.run()
        finally:
            if deaf is not None:
                deaf()
            await self._stop()

    async def _listen(self, endpoint: Endpoint, listen: Listen) -> None:
        house = self.house
        context = house.tls.server_context() if listen.tls == "implicit" else None
        door = door_of(
            listen, endpoint.label, certified=house.tls.server_context() is not None, without_tls=house.settings.auth.without_tls
        )
        for sock in self._site.socket_for(endpoint):
            await self._listeners.open(sock, lambda take_over: Connection(house, listen, door, take_over), context)

    async def drain(self) -> None:
        """Stop accepting; return when the last conversation has ended."""
        house = self.house
        house.draining = True
        await self._listeners.close()
        for connection in list(house.connections):
            connection.drain()
        while house.connections:
            house.empty.clear()
            await house.empty.wait()

    async def _stop(self) -> None:
        """Whose message the kernel has is answered before all is cut, for whoever hears nothing sends it again."""
        await self._listeners.close()
        answering = [connection for connection in list(self.house.connections) if connection.is_answering]
        waiting = [task for connection in answering if (task := connection.task) is not None]
        if waiting:
            await asyncio.wait(waiting, timeout=_ANSWER)
        for connection in answering:
            connection.drain()
        tasks = [task for connection in list(self.house.connections) if (task := connection.task) is not None]
        for connection in list(self.house.connections):
            connection.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.house.gate.close()
