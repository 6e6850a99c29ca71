"""Settings that several services have, each written once: where they listen, where passwords may pass, whose tokens count, how many may come.

A model is used as it is, or as the base of a service's own. A type is given to a field, which keeps its default. A wrong value is a
ValidationError of pydantic's; whoever reads the site's file tells it with file, line and remedy.
"""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Annotated, ClassVar, Final, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from postroom_net.https import Request


class Table(BaseModel):
    """A table of the site's file. A key that nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Listener(Table):
    """One address to listen on."""

    port: int = Field(ge=0, le=65535, description="TCP port; 0 takes any free one")
    host: str = Field(default="0.0.0.0", description="address to bind; `::` for IPv6")
    label: str = Field(
        default="", pattern=r"^[a-z0-9-]*$", description="its name in logs and in `demo --json`; made from the others unless said"
    )


class AccessListener(Listener):
    """One at which people get at their mail (RFC 8314 section 3)."""

    service: ClassVar[str]  # the plugin's name
    usual: ClassVar[str]  # the service's name in the registry of ports

    tls: Literal["starttls", "implicit", "none"] = Field(
        default="starttls",
        description="starttls offers STARTTLS where the server has a certificate; implicit starts with the handshake (RFC 8314)",
    )

    def named(self, instance: str) -> str:
        """The label under which the endpoint is told; further instances of the plugin put their own name in front."""
        usual = f"{self.usual}s" if self.tls == "implicit" else self.usual
        return self.label or (usual if instance in ("", self.service) else f"{instance}-{usual}")


def _source(keys: str) -> str:
    if "://" in keys:
        Request.of(keys)  # its ValueError says what is wrong
    return keys


class OAuthSettings(Table):
    """The one whose tokens are taken (OpenID Connect)."""

    issuer: str = Field(min_length=1, description="what tokens must say in `iss`")
    audience: str = Field(min_length=1, description="what they must say in `aud`: this server's name at the issuer")
    keys: Annotated[str, AfterValidator(_source)] = Field(
        min_length=1, description="the issuer's JWK set: an https URL, or a file in the site's folder"
    )
    claim: str = Field(default="email", min_length=1, description="the claim that names the login, mailbox@postoffice")
    configuration: str = Field(default="", description="URL told to clients whose token is refused, where they can learn to get another")


OAuth = Annotated[OAuthSettings | None, Field(description="whose tokens OAUTHBEARER and XOAUTH2 take")]
Binding = Annotated[
    Literal["auto", "always"],
    Field(
        description="auto offers SCRAM-SHA-256-PLUS up to TLS 1.2 only, because clients want `tls-exporter` above it, which Python cannot give; "
        "always is for clients that are known to use `tls-server-end-point`",
    ),
]
Plaintext = Annotated[
    bool | Literal["loopback"],
    Field(description="accept passwords without TLS: false, true, or `loopback` for clients on this machine only"),
]
LoginSeconds = Annotated[float, Field(gt=0, description="seconds until a client must have logged in")]
FailedLogins = Annotated[int, Field(ge=1, description="refused logins in one session after which the connection is closed")]
Connections = Annotated[int, Field(ge=1, description="connections at a time, in each worker")]
ConnectionsPerIp = Annotated[int, Field(ge=1, description="connections at a time from one address, in each worker")]
ConnectionsPerNetwork = Annotated[int, Field(ge=1, description="connections at a time from one IPv6 /64, in each worker")]


def passes(plaintext: bool | Literal["loopback"], peer: str) -> bool:
    """Whether the operator lets this peer's passwords pass without TLS."""
    try:
        return plaintext is True or (plaintext == "loopback" and ip_address(peer).is_loopback)
    except ValueError:
        return False


def _network(text: str) -> str:
    ip_network(text, strict=False)  # its ValueError says what is wrong
    return text


Exempt = Annotated[
    tuple[Annotated[str, AfterValidator(_network)], ...],
    Field(description="addresses and CIDR networks that only `connections` limits"),
]
LOOPBACK: Final = ("127.0.0.1", "::1")
