"""Settings of the POP3 service."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from postroom_net import offered


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Listen(_Table):
    """One address to listen on."""

    port: int = Field(ge=0, le=65535, description="TCP port; 0 takes any free one")
    host: str = Field(default="0.0.0.0", description="address to bind; `::` for IPv6")
    label: str = Field(
        default="", pattern=r"^[a-z0-9-]*$", description="its name in logs and in `demo --json`; made from the others unless said"
    )
    tls: Literal["starttls", "implicit", "none"] = Field(
        default="starttls",
        description="starttls offers STLS where the server has a certificate; implicit starts with the handshake (RFC 8314)",
    )

    def named(self, instance: str) -> str:
        """The label under which the endpoint is told; further instances of the plugin put their own name in front."""
        usual = "pop3s" if self.tls == "implicit" else "pop3"
        return self.label or (usual if instance in ("", "pop3") else f"{instance}-{usual}")


class OAuthSettings(_Table):
    """The one whose tokens are taken (OpenID Connect)."""

    issuer: str = Field(min_length=1, description="what tokens must say in `iss`")
    audience: str = Field(min_length=1, description="what they must say in `aud`: this server's name at the issuer")
    keys: str = Field(min_length=1, description="the issuer's JWK set: an https URL, or a file in the site's folder")
    claim: str = Field(default="email", min_length=1, description="the claim that names the login, mailbox@postoffice")
    configuration: str = Field(default="", description="URL told to clients whose token is refused, where they can learn to get another")


class Pop3Settings(_Table):
    """The table `pop3` of the site's file."""

    listen: tuple[Listen, ...] = Field(
        default=(Listen(port=110), Listen(port=995, tls="implicit")),
        description="addresses to listen on; ports below 1024 are bound as root",
    )
    plaintext: bool | Literal["loopback"] = Field(
        default=False, description="accept passwords without TLS: false, true, or `loopback` for clients on this machine only"
    )
    apop: bool = Field(default=False, description="offer APOP; works only for logins whose password is stored in clear text")
    mechanisms: tuple[offered.Name, ...] = Field(
        default=offered.USUAL,
        description="SASL mechanisms in the order in which they are offered; CRAM-MD5 works only for logins whose password is stored in clear "
        "text, SCRAM for those whose password was set or used in the clear since this release. USER and PASS are not among them: "
        "see `plaintext`",
    )
    binding: Literal["auto", "always"] = Field(
        default="auto",
        description="auto offers SCRAM-SHA-256-PLUS up to TLS 1.2 only, because clients want `tls-exporter` above it, which Python cannot give; "
        "always is for clients that are known to use `tls-server-end-point`",
    )
    oauth: OAuthSettings | None = Field(default=None, description="whose tokens OAUTHBEARER and XOAUTH2 take")
    mark_read: bool = Field(
        default=False, description="mark what was retrieved as read for IMAP and web mail, when the session ends with QUIT"
    )
    login_seconds: float = Field(default=120.0, gt=0, description="seconds until a client must have logged in")
    idle_seconds: float = Field(default=600.0, gt=0, description="seconds of silence after login; RFC 1939 asks for 600 at least")
    bad_commands: int = Field(default=20, ge=1, description="mistakes in one session after which the connection is closed")
    failed_logins: int = Field(default=5, ge=1, description="refused logins in one session after which the connection is closed")
    connections: int = Field(default=5000, ge=1, description="connections at a time, in each worker")
    connections_per_ip: int = Field(default=30, ge=1, description="connections at a time from one address, in each worker")
    connections_per_network: int = Field(default=100, ge=1, description="connections at a time from one IPv6 /64, in each worker")
    exempt: tuple[str, ...] = Field(default=("127.0.0.1", "::1"), description="addresses and CIDR networks that only `connections` limits")

    @model_validator(mode="after")
    def _possible(self) -> Pop3Settings:
        if self.oauth is None and offered.WITH_TOKENS & set(self.mechanisms):
            raise ValueError("OAUTHBEARER and XOAUTH2 need `oauth: {issuer, audience, keys}`")
        return self
