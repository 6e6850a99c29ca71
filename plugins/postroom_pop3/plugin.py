"""The POP3 plugin: lets people fetch their mail (system overview section 5.1)."""

from __future__ import annotations

from collections.abc import Iterable

from postroom import hookimpl
from postroom.connectors import Service
from postroom.site import Ground, Site
from postroom_pop3.service import Pop3Service
from postroom_pop3.settings import Pop3Settings


class Pop3Plugin:
    """One listener's worth of settings; a second instance may serve other ports."""

    Settings = Pop3Settings

    def __init__(self, settings: Pop3Settings, ground: Ground) -> None:
        self.settings = settings

    @hookimpl
    def services(self, site: Site) -> Iterable[Service]:
        return [Pop3Service(self.settings, site)]

    @hookimpl
    def check(self, site: Site) -> Iterable[str]:
        has_tls = site.tls.server_context() is not None
        for listen in self.settings.listen:
            if listen.tls == "implicit" and not has_tls:
                yield f"pop3: port {listen.port} is for TLS and the server has no certificate: set `tls: {{certificate, key}}`"
            elif not has_tls and self.settings.plaintext is False:
                yield f"pop3: nobody can log in on port {listen.port}: set `tls: {{certificate, key}}`, or `plaintext` where that is safe"
