"""What all sessions of the service share: whom they ask, what is offered, what is counted."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from postroom.clock import Clock
from postroom.mailstore import MailStore
from postroom.providers import PostofficeProvider
from postroom.site import Log
from postroom_imap4.contents import Aid
from postroom_imap4.reach import Sharing
from postroom_imap4.settings import Imap4Settings
from postroom_imap4.spilling import Spills
from postroom_net.authentication import Authenticator
from postroom_net.login import Login

if TYPE_CHECKING:
    from postroom_ops.metrics import Metrics

SERVICE: Final = "imap4"  # as logins are counted and told


class Counts:
    """What is counted of all sessions of the service."""

    def __init__(self, metrics: Metrics) -> None:
        told = "Logins, by what was said"
        self.connections = metrics.counter("imap4_connections_total", "Connections that were served")
        self.logged_in = metrics.counter("imap4_logins_total", told, outcome="ok")
        self.refused = metrics.counter("imap4_logins_total", told, outcome="refused")
        self.commands = metrics.counter("imap4_commands_total", "Commands that were answered; counted at a session's end")
        self.appended = metrics.counter("imap4_appended_messages_total", "Messages that clients stored")
        self.octets = metrics.counter("imap4_sent_octets_total", "Octets sent to clients; counted at a session's end")


@dataclass(frozen=True)
class World:
    """Whom a session asks."""

    host: str
    settings: Imap4Settings
    login: Login
    authenticator: Authenticator
    store: MailStore
    postoffices: PostofficeProvider
    spills: Spills
    clock: Clock
    log: Log
    tls: ssl.SSLContext | None
    counts: Counts
    sharing: Sharing
    aid: Aid | None = None  # what helps SEARCH TEXT and BODY
