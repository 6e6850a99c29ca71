"""The settings of the SMTP plugin: where it listens, and every bound it keeps."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(_Section):
    """One endpoint."""

    port: int = Field(ge=0, le=65535, description="TCP port; 0 takes any free one")
    host: str = Field(default="0.0.0.0", description="address to listen on; `::` for IPv6")
    label: str = Field(
        default="", pattern=r"^[a-z0-9-]*$", description="its name in logs and in `demo --json`; made from the others unless said"
    )
    tls: Literal["starttls", "required", "implicit", "none"] = Field(
        default="starttls",
        description="starttls offers it where the server has a certificate, required takes no mail before it, implicit starts with the handshake",
    )
    submission: bool = Field(
        default=False, description="for people who log in to send; comes with the submission agent, refused until then"
    )
    proxy: tuple[IPv4Network | IPv6Network, ...] = Field(
        default=(), description="addresses of load balancers that send a PROXY header first; nobody else may"
    )

    @model_validator(mode="after")
    def _possible(self) -> Listen:
        if self.submission:
            raise ValueError("this release has no submission agent; take the entry out of `listen`")
        if self.proxy and self.tls == "implicit":
            raise ValueError("a PROXY header cannot be read in front of implicit TLS; use starttls, or let the balancer end TLS")
        return self


class Limits(_Section):
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


class SmtpSettings(_Section):
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
