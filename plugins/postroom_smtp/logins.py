"""How people log in at this plugin's listeners: the mechanisms of the settings, over the site's logins."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from postroom.site import Site
from postroom_net import oauth, scram
from postroom_net.authentication import Authenticator
from postroom_net.https import Https, HttpsError, Request
from postroom_net.oidc import Issuer, Verifier
from postroom_net.sasl import LOGIN, PLAIN, Mechanism, Mechanisms, cram_md5
from postroom_smtp.settings import OAuthSettings, SmtpSettings

_TIMEOUT = 10.0  # seconds for an issuer's keys
_KEYS = 256 * 1024  # octets of them


def authenticator(site: Site, settings: SmtpSettings) -> Authenticator:
    """Made once a worker."""
    tokens = _verifier(site, settings.auth.oauth) if settings.auth.oauth is not None else None
    return Authenticator(Mechanisms(_mechanisms(site, settings)), site.login, "smtp", tokens)


def _mechanisms(site: Site, settings: SmtpSettings) -> Sequence[Mechanism]:
    known = {PLAIN.name: PLAIN, LOGIN.name: LOGIN, "CRAM-MD5": cram_md5(site.settings.server)}
    key = scram.SiteKey(site.root / "scram.key", site.disk)
    known |= {mechanism.name: mechanism for mechanism in scram.mechanisms(key, plus="SCRAM-SHA-256-PLUS" in settings.auth.mechanisms)}
    configuration = settings.auth.oauth.configuration if settings.auth.oauth is not None else ""
    known |= {mechanism.name: mechanism for mechanism in oauth.mechanisms(configuration)}
    return [known[name] for name in settings.auth.mechanisms]


def _verifier(site: Site, said: OAuthSettings) -> Verifier:
    """Keys by https, or from a file that is read again like them."""
    issuer = Issuer(said.issuer, said.audience, said.claim)
    if not said.keys.startswith("https://"):
        path = site.root / said.keys
        return Verifier(issuer, lambda: asyncio.to_thread(path.read_bytes), site.clock)
    https, request = Https(site.resolver, timeout=_TIMEOUT, limit=_KEYS), Request.of(said.keys)

    async def fetch() -> bytes:
        try:
            answer = await https.ask(request)
        except HttpsError as error:
            site.log.warning("smtp.token_keys_unavailable", issuer=said.issuer, error=str(error))
            raise OSError(str(error)) from error
        if answer.status != 200:
            raise ValueError(f"{said.keys} answered {answer.status}")
        return answer.body

    return Verifier(issuer, fetch, site.clock)
