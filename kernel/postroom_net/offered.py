"""What a service offers its people to log in with: mechanisms by their names, and the issuer whose tokens count. Made once a worker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

from postroom_net import oauth, scram
from postroom_net.authentication import Authenticator
from postroom_net.https import Https, HttpsError, Request
from postroom_net.login import Login
from postroom_net.oidc import Clock, Issuer, Verifier
from postroom_net.resolver import Resolver
from postroom_net.sasl import LOGIN, PLAIN, Mechanisms, cram_md5
from postroom_net.settings import OAuthSettings

Name = Literal["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN", "CRAM-MD5", "OAUTHBEARER", "XOAUTH2"]
USUAL: tuple[Name, ...] = ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN")
WITH_TOKENS: frozenset[Name] = frozenset({"OAUTHBEARER", "XOAUTH2"})  # need an issuer
_TIMEOUT = 10.0  # seconds for an issuer's keys
_KEYS = 256 * 1024  # octets of them


class Offer(Protocol):
    """What the operator says of logins to one service."""

    @property
    def mechanisms(self) -> Sequence[Name]: ...
    @property
    def oauth(self) -> OAuthSettings | None: ...


class Log(Protocol):
    """Where it is told that keys cannot be fetched."""

    def warning(self, event: str, **facts: object) -> None: ...


class _Named(Protocol):
    @property
    def server(self) -> str: ...


class Site(Protocol):
    """What this needs of a site; the kernel's `postroom.site.Site`."""

    @property
    def root(self) -> Path: ...
    @property
    def settings(self) -> _Named: ...
    @property
    def disk(self) -> scram.Files: ...
    @property
    def login(self) -> Login: ...
    @property
    def resolver(self) -> Resolver: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def log(self) -> Log: ...


def check(offer: Offer) -> None:
    """ValueError where nobody's tokens are taken by what takes tokens."""
    if offer.oauth is None and WITH_TOKENS & set(offer.mechanisms):
        raise ValueError("OAUTHBEARER and XOAUTH2 need `oauth: {issuer, audience, keys}`")


def authenticator(site: Site, offer: Offer, service: str) -> Authenticator:
    """How people log in to `service`, as it is called in counts and log lines."""
    names = mechanisms(
        offer.mechanisms,
        host=site.settings.server,
        key=scram.SiteKey(site.root / "scram.key", site.disk),
        configuration=offer.oauth.configuration if offer.oauth is not None else "",
    )
    return Authenticator(names, site.login, service, _tokens(site, offer.oauth, service) if offer.oauth is not None else None)


def mechanisms(names: Sequence[Name], *, host: str, key: Callable[[], bytes], configuration: str = "") -> Mechanisms:
    """Those named, in this order. `host` is named in challenges, `key` makes up verifiers (scram.py), `configuration` is told to who shows a
    bad token (oauth.py)."""
    known = {PLAIN.name: PLAIN, LOGIN.name: LOGIN, "CRAM-MD5": cram_md5(host)}
    known |= {mechanism.name: mechanism for mechanism in scram.mechanisms(key, plus="SCRAM-SHA-256-PLUS" in names)}
    known |= {mechanism.name: mechanism for mechanism in oauth.mechanisms(configuration)}
    return Mechanisms([known[name] for name in names])


def _tokens(site: Site, said: OAuthSettings, service: str) -> Verifier:
    """Who can tell a good token of this issuer. A file in the site's folder is read again like an URL."""
    issuer = Issuer(said.issuer, said.audience, said.claim)
    if not said.keys.startswith("https://"):
        path = site.root / said.keys
        return Verifier(issuer, lambda: asyncio.to_thread(path.read_bytes), site.clock)
    https, request = Https(site.resolver, timeout=_TIMEOUT, limit=_KEYS), Request.of(said.keys)

    async def fetch() -> bytes:
        try:
            answer = await https.ask(request)
        except HttpsError as error:
            site.log.warning(f"{service}.token_keys_unavailable", issuer=said.issuer, error=str(error))
            raise OSError(str(error)) from error
        if answer.status != 200:
            raise ValueError(f"{said.keys} answered {answer.status}")
        return answer.body

    return Verifier(issuer, fetch, site.clock)
