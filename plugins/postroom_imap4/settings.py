"""Settings of the IMAP4 service."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from postroom_imap4.rights import kept, read
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

_FIRST_LEVEL = r"^[^/%*\x00-\x1f\x7f]*$"


class Listen(AccessListener):
    """One address to listen on."""

    service: ClassVar[str] = "imap4"
    usual: ClassVar[str] = "imap"


class Public(Table):
    """A mailbox whose folders are everybody's in its post office."""

    mailbox: str = Field(pattern=r"^[^@/]+@[^@/]+$", description="the mailbox, as its login is written: mailbox@postoffice")
    name: str = Field(pattern=r"^[^/%*\x00-\x1f\x7f]+$", description="what its Inbox is called below `public_folders`")
    rights: str = Field(
        default="lrs", description="what everybody may do where a folder's own list of rights (ACL) says nothing; letters of RFC 4314"
    )

    @property
    def box(self) -> str:
        return self.mailbox.partition("@")[0]

    @property
    def postoffice(self) -> str:
        return self.mailbox.partition("@")[2]

    @field_validator("rights")
    @classmethod
    def _known(cls, rights: str) -> str:
        return kept(read(rights))


class Imap4Settings(Table):
    """The table `imap4` of the site's file."""

    listen: tuple[Listen, ...] = Field(
        default=(Listen(port=143), Listen(port=993, tls="implicit")),
        description="addresses to listen on; ports below 1024 are bound as root",
    )
    plaintext: Plaintext = False
    mechanisms: tuple[offered.Name, ...] = Field(
        default=offered.USUAL,
        description="SASL mechanisms in the order in which they are offered; CRAM-MD5 works only for logins whose password is stored in clear "
        "text, SCRAM for those whose password was set or used in the clear since this release. The command LOGIN is not among them: see "
        "`plaintext`",
    )
    binding: Binding = "auto"
    oauth: OAuth = None
    append_limit: int = Field(
        default=64 * 1024 * 1024, ge=1024, description="octets of the largest message that a client may store (APPENDLIMIT, RFC 7889)"
    )
    message_limit: int = Field(
        default=0,
        ge=0,
        description="messages that one command may touch (MESSAGELIMIT, RFC 9738); 0: as many as there are. Clients that do not know "
        "the extension see less than they asked for",
    )
    search: Literal["index", "texts", "files"] = Field(
        default="index",
        description="how SEARCH TEXT and BODY find their messages: `index` keeps an index beside folders of 256 messages and more, `texts` "
        "their decoded text, both made once a folder was searched three times; `files` reads the messages each time. The answers are the same",
    )
    other_users: str = Field(
        default="Other Users",
        pattern=_FIRST_LEVEL,
        description="the first level of the names of folders that others share; empty shares none",
    )
    public_folders: str = Field(
        default="Public Folders", pattern=_FIRST_LEVEL, description="the first level of the names of public folders; empty shows none"
    )
    public: tuple[Public, ...] = Field(default=(), description="mailboxes whose folders everybody of their post office sees")
    login_seconds: LoginSeconds = 120.0
    login_octets: int = Field(default=65_536, ge=4096, description="octets a client may send until it has logged in")
    idle_seconds: float = Field(default=1800.0, gt=0, description="seconds of silence after login; RFC 9051 asks for 1800 at least")
    progress_seconds: float = Field(
        default=15.0, gt=0, description="seconds between two signs of life while a command takes long (INPROGRESS, RFC 9585)"
    )
    notify_folders: int = Field(
        default=1000, ge=1, description="folders that one session may watch (NOTIFY, RFC 5465); a client that wants more is told so"
    )
    bad_commands: int = Field(default=20, ge=1, description="mistakes in a row after which the connection is closed")
    failed_logins: FailedLogins = 5
    connections: Connections = 20_000
    connections_per_ip: ConnectionsPerIp = 100
    connections_per_network: ConnectionsPerNetwork = 200
    exempt: Exempt = LOOPBACK

    @model_validator(mode="after")
    def _possible(self) -> Imap4Settings:
        offered.check(self)
        levels = [level.casefold() for level in (self.other_users, self.public_folders) if level]
        if "inbox" in levels or len(levels) != len(set(levels)):
            raise ValueError("`other_users` and `public_folders` must differ from each other and from Inbox")
        names = [(one.postoffice.casefold(), one.name.casefold()) for one in self.public]
        if len(names) != len(set(names)):
            raise ValueError("two of `public` have the same name in one post office")
        return self
