"""The IMAP4 plugin: lets people at their mail and folders where they lie (system overview section 5.3)."""

from __future__ import annotations

from collections.abc import Iterable

from postroom import hookimpl
from postroom.connectors import Service
from postroom.site import Ground, Site
from postroom_imap4.listing import key_of
from postroom_imap4.service import Imap4Service
from postroom_imap4.settings import Imap4Settings


class Imap4Plugin:
    """One listener's worth of settings; a second instance may serve other ports."""

    Settings = Imap4Settings

    def __init__(self, settings: Imap4Settings, ground: Ground) -> None:
        self.settings = settings

    @hookimpl
    def services(self, site: Site) -> Iterable[Service]:
        return [Imap4Service(self.settings, site)]

    @hookimpl
    def check(self, site: Site) -> Iterable[str]:
        has_tls = site.tls.server_context() is not None
        for listen in self.settings.listen:
            if listen.tls == "implicit" and not has_tls:
                yield f"imap4: port {listen.port} is for TLS and the server has no certificate: set `tls: {{certificate, key}}`"
            elif not has_tls and self.settings.plaintext is False:
                yield f"imap4: nobody can log in on port {listen.port}: set `tls: {{certificate, key}}`, or `plaintext` where that is safe"
        rows = site.providers.postoffice.mailboxes.snapshot()
        known = {key_of(f"{row.mailbox}@{row.postoffice}") for row in rows or () if row.status}
        for one in self.settings.public if rows is not None else ():
            if key_of(one.mailbox) not in known:
                yield f"imap4: the public folder {one.name} shows nothing: make the mailbox {one.mailbox}, or take it out of `public`"
