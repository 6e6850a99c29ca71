"""The settings of the outbound agent: how it goes out, by whom, and how long it waits."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, StringConstraints, model_validator

from postroom_smtp.outbound.reports import TlsReportSettings

Node = Annotated[str, StringConstraints(pattern=r"^[@#]?[A-Za-z0-9]([A-Za-z0-9.-]{0,253}[A-Za-z0-9])?$")]  # RFC 1985 section 5


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class SmartHost(_Section):
    """A server that takes our mail and sends it on."""

    host: str = Field(min_length=1, description="its name or address; its A and AAAA records are used, not its MX")
    port: int = Field(default=587, ge=1, le=65535, description="TCP port; 465 goes with `tls: implicit`")
    user: str = Field(default="", description="login there; empty: none is asked for")
    password: SecretStr = Field(default=SecretStr(""), description="its password; never logged")
    tls: Literal["verify", "required", "may", "implicit", "none"] = Field(
        default="verify",
        description="verify asks for STARTTLS and a certificate for its name, implicit for the same on a port that begins with TLS, required "
        "for TLS with any certificate, may for TLS where it works; none sends everything in the clear, the password too",
    )

    @property
    def name(self) -> str:
        """As DNS and certificates have it."""
        return self.host.strip("[]").lower().rstrip(".")

    @model_validator(mode="after")
    def _possible(self) -> SmartHost:
        if bool(self.user) != bool(self.password.get_secret_value()):
            raise ValueError("user and password belong together; give both or none")
        if self.user and self.tls == "may":
            raise ValueError("a password must not depend on what the network does to STARTTLS; take verify, or none where you mean it")
        return self


class OutboundSettings(_Section):
    """How mail leaves the house."""

    port: int = Field(default=25, ge=1, le=65535, description="TCP port of the hosts that DNS names")
    helo: str = Field(default="", pattern=r"^[A-Za-z0-9._-]{0,255}$", description="the name we say in EHLO; the server's unless said")
    source: tuple[IPv4Address | IPv6Address, ...] = Field(
        default=(), max_length=2, description="addresses to connect from, one of IPv4 and one of IPv6 at most"
    )
    families: Literal["both", "ipv4", "ipv6"] = Field(default="both", description="addresses to connect to")
    tls: Literal["may", "required", "verify", "none"] = Field(
        default="may",
        description="for hosts that DNS names: may uses TLS where it works, required defers where it does not, verify asks for a "
        "certificate for the host's name too, none sends in the clear",
    )
    ca: str = Field(default="", description="PEM file of the authorities that certificates are checked with; the system's unless said")
    tls_reports: TlsReportSettings = Field(
        default=TlsReportSettings(), description="reports to domains that ask how TLS with their hosts went (RFC 8460)"
    )
    smart_host: SmartHost | None = Field(default=None, description="takes all mail that no other rule sends elsewhere")
    smart_hosts: dict[str, SmartHost] = Field(
        default={}, description="smart hosts by sender, `user@domain` or `domain`; the address counts before the domain"
    )
    connections: int = Field(default=500, ge=1, description="connections of a worker at a time that are kept or in use")
    connections_per_host: int = Field(default=20, ge=1, le=1000, description="connections of a worker to one address at a time")
    per_connection: int = Field(default=100, ge=1, description="messages by one connection")
    idle: float = Field(default=20, ge=0, le=300, description="seconds a connection is kept for the next message")
    patience: float = Field(default=10, gt=0, le=300, description="seconds a message waits for a free connection before it is deferred")
    addresses: int = Field(default=5, ge=1, le=50, description="addresses tried in one attempt at a message")
    down: float = Field(default=60, ge=1, description="seconds an address that failed is not tried; doubles to 16 times that")
    connect_timeout: float = Field(default=30, gt=0, description="seconds for a connection, and for a TLS handshake")
    greeting_timeout: float = Field(default=300, gt=0, description="seconds for the greeting (RFC 5321 section 4.5.3.2.1)")
    command_timeout: float = Field(default=300, gt=0, description="seconds for the answer to a command (sections 4.5.3.2.2 and 3)")
    data_timeout: float = Field(default=120, gt=0, description="seconds for the answer to DATA (section 4.5.3.2.4)")
    block_timeout: float = Field(default=180, gt=0, description="seconds for a block of a message to be taken (section 4.5.3.2.5)")
    final_timeout: float = Field(default=600, gt=0, description="seconds for the answer to a message (section 4.5.3.2.6)")
    etrn: dict[str, tuple[Node, ...]] = Field(
        default={}, description="domains by host: the host is asked now and then to send what it holds for them (RFC 1985)"
    )
    etrn_every: float = Field(default=900, ge=30, description="seconds between two such requests")

    @model_validator(mode="after")
    def _possible(self) -> OutboundSettings:
        if len({address.version for address in self.source}) != len(self.source):
            raise ValueError("source takes one IPv4 and one IPv6 address")
        return self
