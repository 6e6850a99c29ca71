"""Settings of the POP3 service."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, model_validator

from postroom_net import offered
from postroom_net.settings import (
    LOOPBACK,
    AccessListener,
    Binding,
    Connections,
    ConnectionsPerIp,
    ConnectionsPerNetwork,
    Exempt,
    FailedLogins,
    LoginSeconds,
    OAuth,
    Plaintext,
    Table,
)


class Listen(AccessListener):
    """One address to listen on."""

    service: ClassVar[str] = "pop3"
    usual: ClassVar[str] = "pop3"

    tls: Literal["starttls", "implicit", "none"] = Field(
        default="starttls",
        description="starttls offers STLS where the server has a certificate; implicit starts with the handshake (RFC 8314)",
    )


class Pop3Settings(Table):
    """The table `pop3` of the site's file."""

    listen: tuple[Listen, ...] = Field(
        default=(Listen(port=110), Listen(port=995, tls="implicit")),
        description="addresses to listen on; ports below 1024 are bound as root",
    )
    plaintext: Plaintext = False
    apop: bool = Field(default=False, description="offer APOP; works only for logins whose password is stored in clear text")
    mechanisms: tuple[offered.Name, ...] = Field(
        default=offered.USUAL,
        description="SASL mechanisms in the order in which they are offered; CRAM-MD5 works only for logins whose password is stored in clear "
        "text, SCRAM for those whose password was set or used in the clear since this release. USER and PASS are not among them: "
        "see `plaintext`",
    )
    binding: Binding = "auto"
    oauth: OAuth = None
    mark_read: bool = Field(
        default=False, description="mark what was retrieved as read for IMAP and web mail, when the session ends with QUIT"
    )
    login_seconds: LoginSeconds = 120.0
    idle_seconds: float = Field(default=600.0, gt=0, description="seconds of silence after login; RFC 1939 asks for 600 at least")
    bad_commands: int = Field(default=20, ge=1, description="mistakes in one session after which the connection is closed")
    failed_logins: FailedLogins = 5
    connections: Connections = 5000
    connections_per_ip: ConnectionsPerIp = 30
    connections_per_network: ConnectionsPerNetwork = 100
    exempt: Exempt = LOOPBACK

    @model_validator(mode="after")
    def _possible(self) -> Pop3Settings:
        offered.check(self)
        return self
