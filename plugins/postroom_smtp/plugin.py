"""The SMTP plugin: its connector with the inbound agent, and the hooks it brings for others (api.py)."""

from __future__ import annotations

from collections.abc import Iterable

from postroom import hookimpl
from postroom.connectors import Connector
from postroom.site import Ground, Site
from postroom_smtp.api import SmtpHooks
from postroom_smtp.connector import SmtpConnector
from postroom_smtp.gate import problems
from postroom_smtp.inbound import without_certificate
from postroom_smtp.settings import SmtpSettings


class SmtpPlugin:
    """RFC 5321, RFC 6409."""

    Settings = SmtpSettings
    hookspecs = SmtpHooks  # the host adds them before it registers any plugin

    def __init__(self, settings: SmtpSettings, ground: Ground) -> None:
        self.settings = settings

    @hookimpl
    def connectors(self, site: Site) -> Iterable[Connector]:
        return (SmtpConnector(site, self.settings),)

    @hookimpl
    def check(self, site: Site) -> Iterable[str]:
        lacking = () if site.tls.server_context() is not None else without_certificate(self.settings, site.name)
        return [*problems(site.providers.smtp), *lacking]
