"""From settings to a site: the one place where the parts are put together, for the worker, the planner and the command line.

`assemble` binds, locks, replays and reads nothing; `awake` opens what was assembled, and closes it.
Mistakes of the operator are ConfigErrors.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from socket import socket

from postroom.addressmap import Router
from postroom.connectors import Agent, Connector
from postroom.errors import ConfigError, DiskError
from postroom.host import Absent, Host
from postroom.journal import Journal, Replay
from postroom.mta import Mta
from postroom.outbound import Outbound
from postroom.providers import Providers, ProviderSet
from postroom.records import AuthRecord
from postroom.settings import Settings
from postroom.site import Ground, Site
from postroom.spool import Spool
from postroom_isolation.isolating import Isolation
from postroom_net.login import Login, LoginNames, Row
from postroom_net.resolver import Resolver
from postroom_net.tls import TlsContexts, TlsError
from postroom_run.control import Control


@dataclass(frozen=True)
class Assembled:
    """A site and what moves in it."""

    host: Host
    offers: Mapping[str, ProviderSet]
    site: Site
    mta: Mta
    connectors: Mapping[str, Connector]
    agents: Sequence[tuple[str, Agent]]  # with the instance each is of

    @property
    def has_store(self) -> bool:
        return not isinstance(self.site.store, Absent)


class Asleep(Journal):
    """A journal nobody opened: for those who only look at a site. Who registers recovery with it will not be asked."""

    def replayer(self, kinds: Collection[int], replay: Callable[[Replay], None]) -> None:
        pass


def assemble(
    ground: Ground,
    control: Control,
    *,
    sockets: Mapping[str, Sequence[socket]] | None = None,
    ready: Callable[[Agent], None] = lambda agent: None,
) -> Assembled:
    """All parts of a site, connected and asleep. The children of isolated plugins are up; the host's `close` ends them."""
    isolation = Isolation(ground)
    try:
        return _connect(ground, Host(ground.settings, ground, isolate=isolation), control, sockets or {}, ready)
    except BaseException:
        isolation.close()
        raise


def _connect(
    ground: Ground, host: Host, control: Control, sockets: Mapping[str, Sequence[socket]], ready: Callable[[Agent], None]
) -> Assembled:
    settings = ground.settings
    offers = host.providers()
    providers = host.choose(offers)
    store = host.mail_store(providers)
    spool = Spool(ground.root, ground.disk, ground.journal, ground.clock, damaged=_damaged(ground))
    mta = _mta(ground, host, providers, spool)
    site = Site(
        **vars(ground),
        providers=providers,
        store=store,
        spool=spool,
        intake=mta,
        router=mta.router,
        login=_login(ground, providers),
        tls=tls_contexts(settings, ground.root),
        resolver=Resolver(ground.clock, settings.dns.servers, settings.dns.port, settings.dns.timeout),
        ask=host.ask,
        control=control,
        sockets=sockets,
        ready=ready,
    )
    connectors = _by_acronym(settings, host.connectors(site))
    mta.connectors = {acronym: connector for acronym, (_, connector) in connectors.items()}
    agents = [(name, agent) for name, connector in connectors.values() for agent in connector.agents()]
    return Assembled(host, offers, site, mta, mta.connectors, [*agents, *host.services(site)])


@asynccontextmanager
async def awake(parts: Assembled) -> AsyncIterator[int]:
    """The parts opened, in the order in which one stands on the other, and closed in reverse; how many records were replayed.

    The journal's slot must be open. ConfigError or DiskError when something cannot be opened."""
    site = parts.site
    async with AsyncExitStack() as opened:
        opened.callback(parts.host.close)
        opened.callback(site.login.close)
        opened.push_async_callback(site.resolver.close)
        for offer in parts.offers.values():
            opened.push_async_callback(offer.close)
            await offer.open()
        opened.push_async_callback(site.journal.close)
        if parts.has_store:
            site.journal.settle = site.store.settle
        replayed = site.journal.recover()
        await site.journal.start()
        if parts.has_store:
            opened.push_async_callback(site.store.close)
            await site.store.open()
        opened.push_async_callback(_let_go, parts.mta)
        yield replayed


async def _let_go(mta: Mta) -> None:
    """What is still under way is given up before the journal closes, which could not note any more what came of it."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0):
            await mta.drain()


def _mta(ground: Ground, host: Host, providers: Providers, spool: Spool) -> Mta:
    settings = ground.settings
    outbound = Outbound(
        spool,
        ground.clock,
        ground.log,
        settings.server,
        settings.retry.policy(),
        observe=host.settled,
        most_per_hop=settings.limits.per_hop,
    )
    mta = Mta(
        spool,
        Router(providers),
        host,
        outbound,
        ground.clock,
        ground.log,
        reply_within=settings.spool.reply_within,
        most_in_flight=settings.limits.in_flight,
        express=settings.spool.express,
    )
    outbound.accept = mta.accept
    return mta


def _damaged(ground: Ground) -> Callable[[str, str], None]:
    counter = ground.metrics.counter("spool_damaged_total", "Pairs that could not be read and went to Bad Mail")

    def damaged(item: str, why: str) -> None:
        counter.inc()
        ground.log.error("spool.damaged", id=item, why=why)

    return damaged


def _by_acronym(settings: Settings, found: Sequence[tuple[str, Connector]]) -> dict[str, tuple[str, Connector]]:
    """Connectors by acronym; two of one name would each get half of the mail."""
    connectors: dict[str, tuple[str, Connector]] = {}
    for name, connector in found:
        if connector.acronym in connectors:
            other = connectors[connector.acronym][0]
            raise settings.error(
                f"{name} and {other} are both the connector {connector.acronym}", "plugins", name, remedy="Load one of them"
            )
        connectors[connector.acronym] = (name, connector)
    return connectors


def _login(ground: Ground, providers: Providers) -> Login:
    async def lookup(name: str) -> Row | None:
        return await providers.authentication.logins.get(name)

    said = ground.settings.login
    return Login(lookup, ground.clock, names=LoginNames(said.separators, said.postoffice), outages=(DiskError, ConfigError))


class Rehashing:
    """Replaces passwords that are clear text, or that not all mechanisms can be served from, after a login, in batches; what a crash forgets is
    caught at the next login."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._waiting: dict[str, tuple[AuthRecord, str]] = {}
        if site.settings.login.rehash:
            site.login.observers.append(self._logged_in)

    def _logged_in(self, login: str, password: str | bytes, row: Row) -> None:
        clear = password.decode("utf-8", "replace") if isinstance(password, bytes) else password
        from postroom_net.passwords import is_current

        if isinstance(row, AuthRecord) and not is_current(row.password):
            self._waiting[row.username] = (row, clear)

    async def write(self) -> None:
        """Write what came together. A row that changed meanwhile is left alone; DiskError leaves the rest for the next time."""
        from postroom_net.passwords import hash_password  # argon2 is not loaded before it is needed

        logins = self._site.providers.authentication.logins
        hashed = []
        for name, (row, clear) in list(self._waiting.items()):
            hash = await asyncio.to_thread(hash_password, clear)
            if await logins.get(name) == row:
                hashed.append(replace(row, password=hash))
        if hashed:
            await logins.put(*hashed)
        self._waiting.clear()


def tls_contexts(settings: Settings, root: Path) -> TlsContexts:
    """The certificates the settings name; ConfigError with the line where one cannot be used."""
    said = settings.tls
    names = {name: (root / pair.certificate, root / pair.key) for name, pair in said.names.items()}
    try:
        return TlsContexts(said.certificate and root / said.certificate, said.key and root / said.key, names)
    except TlsError as error:
        raise settings.error(str(error), "tls", remedy="Correct the paths, or take the section out") from None
