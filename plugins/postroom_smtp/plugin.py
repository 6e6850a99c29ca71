"""The SMTP plugin: its connector with the inbound agent, and the hooks it brings for others (api.py)."""

from __future__ import annotations

from collections.abc import Iterable

from postroom import hookimpl
from postroom.connectors import Connector
from postroom.site import Ground, Site
from postroom_smtp.api import SmtpHooks
from postroom_smtp.connector import SmtpConnector
from postroom_smtp.gate import problems
from postroom_smtp.settings import SmtpSettings


class SmtpPlugin:
    """RFC 5321, inbound."""

    Settings = SmtpSettings
    hookspecs = SmtpHooks  # the host adds them before it registers any plugin

    def __init__(self, settings: SmtpSettings, ground: Ground) -> None:
        self.settings = settings

    @hookimpl
    def connectors(self, site: Site) -> Iterable[Connector]:
        return (SmtpConnector(site, self.settings),)

    @hookimpl
    def check(self, site: Site) -> Iterable[str]:
        return problems(site.providers.smtp)
