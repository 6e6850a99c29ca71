"""The settings of the SMTP plugin: where it listens, and every bound it keeps."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from pydantic import Field, model_validator

from postroom_net import offered
from postroom_net.settings import Binding, Listener, OAuth, Table
from postroom_smtp.outbound.settings import OutboundSettings


class Listen(Listener):
    """One endpoint."""

    host: str = Field(default="0.0.0.0", description="address to listen on; `::` for IPv6")
    tls: Literal["starttls", "required", "implicit", "none"] = Field(
        default="starttls",
        description="starttls offers it where the server has a certificate, required takes no mail before it, implicit starts with the handshake",
    )
    submission: bool = Field(
        default=False, description="for people who log in to send (RFC 6409): no mail before AUTH, none for AUTH before TLS"
    )
    auth: bool = Field(default=False, description="offer AUTH here too, to whom it makes a sender who may relay; submission always does")
    proxy: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="addresses of load balancers that send a PROXY header first; nobody else may"
    )

    @property
    def asks_login(self) -> bool:
        """Whether AUTH is offered."""
        return self.submission or self.auth

    @model_validator(mode="after")
    def _possible(self) -> Listen:
        if self.proxy and self.tls == "implicit":
            raise ValueError("a PROXY header cannot be read in front of implicit TLS; use starttls, or let the balancer end TLS")
        return self


class AuthSettings(Table):
    """How people log in to send."""

    mechanisms: tuple[offered.Name, ...] = Field(
        default=offered.USUAL,
        min_length=1,
        description="SASL mechanisms in the order in which they are offered; CRAM-MD5 works only for logins whose password is stored in clear "
        "text, SCRAM for those whose password was set or used with PLAIN since this release",
    )
    without_tls: bool = Field(default=False, description="offer AUTH on a line that everybody on the way can read")
    binding: Binding = "auto"
    failures: int = Field(default=3, ge=1, description="refused logins that end a connection")
    oauth: OAuth = None

    @model_validator(mode="after")
    def _possible(self) -> AuthSettings:
        offered.check(self)
        return self


class RelaySettings(Table):
    """Who may send to addresses that are not ours. Any one suffices."""

    authenticated: bool = Field(default=True, description="who has logged in")
    addresses: bool = Field(default=True, description="addresses with a RELAY row in SMTP-ACCESS, and none in SMTP-DENY")
    pop_before_smtp: float = Field(
        default=0, ge=0, le=1440, description="minutes for which an address may relay after a login from it to fetch mail; 0: not at all"
    )
    redirected_domains: bool = Field(
        default=True, description="mail for a domain that DOMAIN.TAB redirects: from everybody (status 1), or from logged-in senders (2)"
    )


class Rates(Table):
    """How much one login or address may send to us, by a bucket in each worker that refills evenly over the hour; 0: no limit."""

    login_messages: int = Field(default=1000, ge=0, description="messages an hour by one login")
    login_recipients: int = Field(default=5000, ge=0, description="recipients an hour by one login")
    address_messages: int = Field(default=0, ge=0, description="messages an hour from one IP address or IPv6 /64")
    address_recipients: int = Field(default=0, ge=0, description="recipients an hour from one IP address or IPv6 /64")


class Limits(Table):
    """Bounds of one conversation."""

    message: int = Field(default=50 << 20, ge=1024, description="octets of a message, as told by SIZE")
    recipients: int = Field(default=1000, ge=100, description="recipients of a message; more are told to come in another one")
    messages: int = Field(default=1000, ge=1, description="messages a connection may send")
    errors: int = Field(default=20, ge=1, description="commands refused for good, between two messages, that end a connection")
    junk_commands: int = Field(default=100, ge=5, description="commands without mail, between two messages, that end a connection")
    header: int = Field(default=102_400, ge=1024, le=131_072, description="octets of a message's header")
    hops: int = Field(default=50, ge=5, description="Received fields of a message; more are a loop")
    command_seconds: float = Field(default=300, gt=0, description="seconds to the end of the next command")
    data_seconds: float = Field(default=180, gt=0, description="seconds between two packets of a message")
    data_rate: float = Field(default=500, ge=1, description="octets a second a message must come in with, after its first data_seconds")
    session_seconds: float = Field(default=14_400, gt=0, description="seconds after which a connection gets no new transaction")


class SmtpSettings(Table):
    """What stands under the plugin's name in the YAML file."""

    listen: tuple[Listen, ...] = Field(default=(Listen(port=25),), min_length=1, description="endpoints of the inbound agent")
    banner: str = Field(default="ESMTP postroom", pattern=r"^[ -~]{1,200}$", description="text of the greeting behind the server's name")
    greet_delay: float = Field(default=0, ge=0, le=30, description="seconds before the greeting; who speaks earlier is turned away")
    bare_lines: Literal["normalize", "note", "reject"] = Field(
        default="normalize",
        description="a CR or LF that stands alone: mended, mended and logged, or refused (except from addresses that may relay)",
    )
    admit: Literal["open", "listed"] = Field(
        default="open", description="open: all but those in SMTP-DENY connect; listed: only those with a CONNECT row in SMTP-ACCESS"
    )
    connections: int = Field(default=2000, ge=1, description="connections of a worker at a time")
    connections_per_ip: int = Field(default=50, ge=1, description="connections of a worker from one address at a time")
    connections_per_network: int = Field(default=100, ge=1, description="connections of a worker from one IPv6 /64 at a time")
    connect_rate: float = Field(default=50, gt=0, description="new connections a second from one address, in the long run")
    connect_burst: int = Field(default=500, ge=1, description="new connections from one address at once")
    exempt: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(IPv4Network("127.0.0.1"), IPv6Network("::1")), description="addresses and networks that only `connections` limits"
    )
    handshake_seconds: float = Field(default=60, gt=0, description="seconds for a TLS handshake, and for a PROXY header")
    relief_seconds: float = Field(
        default=30, gt=0, description="seconds a sender waits while delivery lags, before it is told to try again"
    )
    limits: Limits = Field(default=Limits(), description="bounds of one conversation")
    auth: AuthSettings = Field(default=AuthSettings(), description="how people log in to send")
    relay: RelaySettings = Field(default=RelaySettings(), description="who may send to addresses that are not ours")
    rates: Rates = Field(default=Rates(), description="how much one login or address may send")
    own_sender: bool = Field(
        default=True,
        description="who has logged in sends only from addresses that lead to the login's mailbox; an ADMIN from those of its office",
    )
    own_from: bool = Field(
        default=True,
        description="who has logged in names no address of this site in From that `own_sender` would not let it send from; addresses of other "
        "domains are not looked at",
    )
    hide_client: bool = Field(default=False, description="the Received line of a submitted message does not tell the client's address")
    hold_days: float = Field(
        default=30, ge=0, le=365, description="days for which a submitted message may ask to be held (FUTURERELEASE); 0 does not offer it"
    )
    outbound: OutboundSettings = Field(default=OutboundSettings(), description="how mail leaves the house")

    @model_validator(mode="after")
    def _reachable(self) -> SmtpSettings:
        if any(one.asks_login and one.tls == "none" for one in self.listen) and not self.auth.without_tls:
            raise ValueError("a listener with `tls: none` can take no login; give it starttls, or set `auth: {without_tls: true}`")
        return self
