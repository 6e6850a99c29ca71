"""One frozen record per table of the overview's section 6, fields in file order.

`origin` says where a record was read and takes no part in comparison. Addresses stay text here: a record must be able to hold what an
operator wrote, and whoever uses it parses it and can then say in which line the mistake is.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from postroom.errors import Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """What all records share."""

    origin: Origin | None = field(default=None, compare=False, repr=False)
    extra: tuple[str, ...] = ()  # trailing columns we do not know; kept


@dataclass(frozen=True, slots=True)
class PostofficeRecord(Record):
    """POSTOFFICE.TAB: a tenant."""

    name: str
    status: int = 1  # 1 enabled, 0 disabled
    account: str = ""


@dataclass(frozen=True, slots=True)
class MailboxRecord(Record):
    """Postoffices/<PO>/MAILBOX.TAB."""

    postoffice: str
    mailbox: str
    status: int = 1
    limit: int = -1  # KiB; -1 unlimited
    redirect_status: int = 0  # 0 off, 1 forward without keeping, 2 forward and keep
    redirect_address: str = ""  # bracket addresses joined by ";"


@dataclass(frozen=True, slots=True)
class GroupRecord(Record):
    """Postoffices/<PO>/GROUP-MAP.TAB."""

    postoffice: str
    recipient: str  # bracket address that reaches the group
    group: str  # the group's name and its member file's


@dataclass(frozen=True, slots=True)
class MemberRecord(Record):
    """Postoffices/<PO>/GROUPS/<group>.TAB: one bracket address a line."""

    postoffice: str
    group: str
    address: str


@dataclass(frozen=True, slots=True)
class DomainRecord(Record):
    """DOMAIN.TAB: a domain we answer for."""

    domain: str
    status: int = 1
    redirect_status: int = 0  # 0 off, 1 on, 2 for authenticated senders only
    redirect_hosts: str = ""  # host or host:port, joined by ";"
    account: str = ""  # the post office


@dataclass(frozen=True, slots=True)
class AccessRecord(Record):
    """SMTP-ACCESS.TAB and SMTP-DENY.TAB: an address mask and the right it grants or denies."""

    mask: str  # an IP address with stars per part, or CIDR
    status: int = 1
    right: str = "CONNECT"  # CONNECT or RELAY
    account: str = "SYSTEM"


@dataclass(frozen=True, slots=True)
class BlacklistRecord(Record):
    """SMTP-BLACKLIST.TAB: senders of the banned domain may not write to the target domain."""

    target: str
    banned: str  # stars allowed
    status: int = 1
    account: str = ""


@dataclass(frozen=True, slots=True)
class AddressMapRecord(Record):
    """ADDRESS-MAP.TAB: the order of rows is meaning."""

    source: str  # a mask in bracket form
    destination: str
    scope: str = "0"
    account: str = ""


@dataclass(frozen=True, slots=True)
class AuthRecord(Record):
    """AUTH.TAB: a login."""

    username: str  # mailbox@postoffice
    status: int = 1
    password: str = field(default="", repr=False)  # a hash with its scheme ("$argon2id$..."), or clear text
    account: str = ""  # the post office
    rights: str = "USER"  # USER, ADMIN, SYSADMIN
    description: str = ""


@dataclass(frozen=True, slots=True)
class ListRecord(Record):
    """Postoffices/<PO>/LIST.TAB. Beyond the named columns `options` keeps the rest by name."""

    postoffice: str
    name: str
    status: int = 1
    kind: int = 0  # 0 unmoderated, 1 moderated
    moderator: str = ""
    address: str = ""
    posting: int = 0  # 0 members, 1 anyone, 2 password, 3 moderator
    description: str = ""
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class ListMemberRecord(Record):
    """Postoffices/<PO>/LISTS/<list>.TAB."""

    postoffice: str
    list: str
    address: str
    kind: int = 0
    status: int = 1


@dataclass(frozen=True, slots=True)
class DirectoryRecord(Record):
    """Postoffices/<PO>/DIRECTORY.TAB: an entry for address look-up."""

    postoffice: str
    address: str
    name: str = ""
    telephone: str = ""
    description: str = ""
