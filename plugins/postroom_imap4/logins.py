"""How people log in here: the mechanisms of the settings, over the site's logins."""

from __future__ import annotations

from postroom.site import Site
from postroom_imap4.settings import Imap4Settings, OAuthSettings
from postroom_net import offered
from postroom_net.authentication import Authenticator
from postroom_net.oidc import Issuer, Verifier
from postroom_net.scram import SiteKey

SERVICE = "imap4"  # as logins are counted and told


def authenticator(site: Site, settings: Imap4Settings) -> Authenticator:
    """Made once a worker."""
    mechanisms = offered.mechanisms(
        settings.mechanisms,
        host=site.settings.server,
        key=SiteKey(site.root / "scram.key", site.disk),
        configuration=settings.oauth.configuration if settings.oauth is not None else "",
    )
    return Authenticator(mechanisms, site.login, SERVICE, _tokens(site, settings.oauth) if settings.oauth is not None else None)


def _tokens(site: Site, said: OAuthSettings) -> Verifier:
    def failed(why: str) -> None:
        site.log.warning("imap4.token_keys_unavailable", issuer=said.issuer, error=why)

    return offered.tokens(Issuer(said.issuer, said.audience, said.claim), said.keys, site.root, site.resolver, site.clock, failed)
