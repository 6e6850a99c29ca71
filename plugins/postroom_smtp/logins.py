"""How people log in at this plugin's listeners: the mechanisms of the settings, over the site's logins."""

from __future__ import annotations

from postroom.site import Site
from postroom_net import offered
from postroom_net.authentication import Authenticator
from postroom_net.oidc import Issuer, Verifier
from postroom_net.scram import SiteKey
from postroom_smtp.settings import OAuthSettings, SmtpSettings


def authenticator(site: Site, settings: SmtpSettings) -> Authenticator:
    """Made once a worker."""
    said = settings.auth
    mechanisms = offered.mechanisms(
        said.mechanisms,
        host=site.settings.server,
        key=SiteKey(site.root / "scram.key", site.disk),
        configuration=said.oauth.configuration if said.oauth is not None else "",
    )
    return Authenticator(mechanisms, site.login, "smtp", _tokens(site, said.oauth) if said.oauth is not None else None)


def _tokens(site: Site, said: OAuthSettings) -> Verifier:
    def failed(why: str) -> None:
        site.log.warning("smtp.token_keys_unavailable", issuer=said.issuer, error=why)

    return offered.tokens(Issuer(said.issuer, said.audience, said.claim), said.keys, site.root, site.resolver, site.clock, failed)
