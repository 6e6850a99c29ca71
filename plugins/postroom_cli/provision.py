"""Domains, mailboxes, groups and addresses as an operator thinks of them, written as the rows that make them.

A mailbox is a login, a mailbox row and a map row for every domain of its post office; a group is a group row, its members and map rows.
The map row is written last and taken away first: mail never arrives where nothing is. Each step may be repeated after a
crash. `Refused` says why nothing was changed; it is the operator's move.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from postroom.address import InternalAddress, mailbox, smtp
from postroom.errors import AddressError, PostroomError
from postroom.providers import Providers
from postroom.records import AddressMapRecord, AuthRecord, DomainRecord, GroupRecord, MailboxRecord, MemberRecord, PostofficeRecord
from postroom_cli.names import Address

SYSTEM = "SYSTEM"
OUTSIDE = AddressMapRecord(source="[SMTP:*@*]", destination="[SMTP:*]", account=SYSTEM)  # what is nobody's here goes to the SMTP connector
ROLES = ("postmaster", "abuse")  # RFC 5321 section 4.5.1, RFC 2142 section 4


class Refused(PostroomError):
    """What was asked for cannot be; nothing was changed."""


@dataclass(frozen=True, slots=True)
class Place:
    """A name in a post office, and the addresses that the post office's domains give it."""

    postoffice: str
    name: str
    domains: tuple[str, ...]

    @property
    def address(self) -> InternalAddress:
        return mailbox(self.postoffice, self.name)

    @property
    def login(self) -> str:
        return f"{self.name}@{self.postoffice}"

    def rows(self, names: Iterable[str] = ()) -> list[AddressMapRecord]:
        """A map row for every domain."""
        return [
            AddressMapRecord(source=str(smtp(f"{name}@{domain}")), destination=str(self.address), account=self.postoffice)
            for name in names or (self.name,)
            for domain in self.domains
        ]


async def place(providers: Providers, address: Address) -> Place:
    """Where an address of ours lies. The part behind the at sign may be a domain or a post office."""
    row = await providers.smtp.domains.get(address.domain)
    postoffice = row.account if row else address.domain
    if await providers.postoffice.postoffices.get(postoffice) is None:
        raise Refused(f"{address.domain} is no domain of this site. Add it with: postroom domain add {address.domain}")
    domains = [each.domain for each in await providers.smtp.domains.find() if each.account.casefold() == postoffice.casefold()]
    return Place(postoffice, address.name, tuple(domains))


# Domains.


async def add_domain(providers: Providers, domain: str, postoffice: str = "") -> list[str]:
    """The domain, its post office with a postmaster, and the addresses everybody expects; what was done, a sentence each."""
    if row := await providers.smtp.domains.get(domain):
        raise Refused(f"the domain {domain} exists already ({row.origin or 'in this site'}), with post office {row.account}")
    postoffice, told = postoffice or domain, []
    home = Place(postoffice, ROLES[0], (domain,))
    if await providers.postoffice.postoffices.get(postoffice) is None:
        await providers.postoffice.postoffices.put(PostofficeRecord(name=postoffice, account=postoffice))
        told.append(f"post office {postoffice}")
    if await providers.postoffice.mailboxes.get(postoffice, home.name) is None:
        await providers.postoffice.mailboxes.put(MailboxRecord(postoffice=postoffice, mailbox=home.name))
        told.append(f"mailbox {postoffice}/{home.name}, without a login")
    await providers.smtp.domains.put(DomainRecord(domain=domain, account=postoffice))
    told.append(f"domain {domain}")
    inherited = await _names_of(providers, postoffice)
    await providers.address_map.rows.put(*_missing(await providers.address_map.rows.find(), [*home.rows(ROLES), *inherited(domain)]))
    told.append(f"addresses postmaster@{domain} and abuse@{domain} to {home.address}")
    return told


async def _names_of(providers: Providers, postoffice: str) -> _Inherited:
    return _Inherited(
        postoffice,
        tuple(row.mailbox for row in await providers.postoffice.mailboxes.find() if row.postoffice.casefold() == postoffice.casefold()),
        tuple(row.group for row in await providers.postoffice.groups.find() if row.postoffice.casefold() == postoffice.casefold()),
    )


@dataclass(frozen=True, slots=True)
class _Inherited:
    """The mailboxes and groups of a post office: a further domain gives each an address too."""

    postoffice: str
    mailboxes: tuple[str, ...]
    groups: tuple[str, ...]

    def __call__(self, domain: str) -> list[AddressMapRecord]:
        return [row for name in (*self.mailboxes, *self.groups) for row in Place(self.postoffice, name, (domain,)).rows()]


def _missing(rows: Sequence[AddressMapRecord], wanted: Iterable[AddressMapRecord]) -> list[AddressMapRecord]:
    """Those whose source nobody has yet, each source once."""
    taken = {row.source.casefold() for row in rows}
    by_source: dict[str, AddressMapRecord] = {}
    for row in wanted:
        by_source.setdefault(row.source.casefold(), row)
    return [row for source, row in by_source.items() if source not in taken]


async def delete_domain(providers: Providers, domain: str) -> list[str]:
    """The domain and the map rows of its addresses; the post office too, where it has no other domain and only its postmaster is in it."""
    row = await providers.smtp.domains.get(domain)
    if row is None:
        raise Refused(f"there is no domain {domain}; see: postroom domain list")
    home = await place(providers, Address(ROLES[0], domain))
    people = [
        each.mailbox for each in await providers.postoffice.mailboxes.find() if each.postoffice.casefold() == home.postoffice.casefold()
    ]
    people = [name for name in people if name.casefold() != ROLES[0]]
    groups = [each for each in await providers.postoffice.groups.find() if each.postoffice.casefold() == home.postoffice.casefold()]
    is_last = len(home.domains) == 1
    if is_last and (people or groups):
        names = ", ".join([*people, *(group.group for group in groups)][:5])
        raise Refused(f"{domain} is the only domain of post office {home.postoffice}, which still has {names}; delete those first")
    gone = await mapped(providers, domain)
    await providers.address_map.rows.delete(*gone)
    await providers.smtp.domains.delete(row)
    told = [f"domain {domain}", f"{len(gone)} addresses"]
    if is_last:
        told += await _delete_postoffice(providers, home)
    return told


async def _delete_postoffice(providers: Providers, home: Place) -> list[str]:
    await providers.authentication.logins.delete(AuthRecord(username=home.login))
    await providers.postoffice.mailboxes.delete(MailboxRecord(postoffice=home.postoffice, mailbox=home.name))
    await providers.postoffice.postoffices.delete(PostofficeRecord(name=home.postoffice))
    return [f"post office {home.postoffice} with its postmaster"]


async def mapped(providers: Providers, domain: str) -> list[AddressMapRecord]:
    """The map rows of a domain's addresses, masks included."""
    return [row for row in await providers.address_map.rows.find() if _domain_of(row.source) == domain]


def _domain_of(source: str) -> str:
    try:
        address = InternalAddress.parse(source)
    except AddressError:
        return ""
    return address.domain if address.connector == "SMTP" else ""


# Mailboxes.


async def add_mailbox(providers: Providers, address: Address, secret: str, *, limit: int = -1, rights: str = "USER") -> Place:
    """A mailbox with its login and addresses; `secret` is a hash."""
    where = await place(providers, address)
    await _refuse_if_taken(providers, where)
    row = MailboxRecord(postoffice=where.postoffice, mailbox=where.name, limit=limit)
    await providers.authentication.logins.put(AuthRecord(username=where.login, password=secret, account=where.postoffice, rights=rights))
    await providers.postoffice.mailboxes.put(row)
    await _map(providers, where)
    return where


async def _refuse_if_taken(providers: Providers, where: Place) -> None:
    """A mailbox without a login and without an address of its own counts as unfinished, and is finished."""
    if row := await providers.postoffice.groups.get(where.postoffice, where.name):
        raise Refused(f"{where.postoffice}/{where.name} is a group already ({row.origin or 'in this site'})")
    box = await providers.postoffice.mailboxes.get(where.postoffice, where.name)
    if box and await providers.authentication.logins.get(where.login):
        raise Refused(
            f"the mailbox {where.postoffice}/{where.name} exists already ({box.origin or 'in this site'}); change it with: postroom mailbox set"
        )
    await _refuse_if_mapped(providers, where)


async def _refuse_if_mapped(providers: Providers, where: Place) -> None:
    wanted = {row.source.casefold() for row in where.rows()}
    for row in await providers.address_map.rows.find():
        if row.source.casefold() in wanted and row.destination.casefold() != str(where.address).casefold():
            raise Refused(f"{row.source} leads to {row.destination} already ({row.origin or 'in the address map'}); delete that row first")


async def _map(providers: Providers, where: Place) -> None:
    if missing := _missing(await providers.address_map.rows.find(), where.rows()):
        await providers.address_map.rows.put(*missing)


async def find_mailbox(providers: Providers, address: Address) -> tuple[Place, MailboxRecord]:
    """The mailbox that this address names."""
    where = await place(providers, address)
    row = await providers.postoffice.mailboxes.get(where.postoffice, where.name)
    if row is None:
        raise Refused(f"there is no mailbox {where.postoffice}/{where.name}; see: postroom mailbox list")
    return where, row


async def change_mailbox(
    providers: Providers,
    row: MailboxRecord,
    *,
    limit: int | None = None,
    enable: bool | None = None,
    redirect: Sequence[str] | None = None,
    keep: bool = False,
) -> list[str]:
    """Change what is not None; an empty redirect ends it. What was changed, a sentence each."""
    changed, told = row, []
    if limit is not None:
        changed = replace(changed, limit=limit)
        told.append(f"quota {'none' if limit < 0 else f'{limit} KiB'}")
    if enable is not None:
        changed = replace(changed, status=int(enable))
        told.append(f"mailbox {'enabled' if enable else 'disabled'}")
    if redirect is not None:
        changed = replace(changed, redirect_status=0 if not redirect else 2 if keep else 1, redirect_address=";".join(redirect))
        told.append(f"redirect to {' '.join(redirect)}{' and kept' if keep else ''}" if redirect else "redirect off")
    if told:
        await providers.postoffice.mailboxes.put(changed)
    return told


async def change_login(providers: Providers, where: Place, *, secret: str = "", enable: bool | None = None) -> list[str]:
    """A new password or status; a mailbox without a login gets one with its first password."""
    row = await providers.authentication.logins.get(where.login)
    if not secret and enable is None:
        return []
    if row is None and not secret:
        raise Refused(f"{where.login} has no login yet; make one with: postroom mailbox set --password {where.login}")
    row = row or AuthRecord(username=where.login, account=where.postoffice)
    told = []
    if secret:
        row = replace(row, password=secret)
        told.append(f"password of {where.login}")
    if enable is not None:
        row = replace(row, status=int(enable))
        told.append(f"login {'enabled' if enable else 'disabled'}")
    await providers.authentication.logins.put(row)
    return told


async def delete_mailbox(providers: Providers, address: Address) -> tuple[list[str], list[str]]:
    """The addresses that lead to it, its row and its login; its mail stays on disk. What was deleted, and what still names it: masks
    and groups may serve others, so they stay."""
    where, row = await find_mailbox(providers, address)
    gone = await addresses_of(providers, where.address)
    exact = [each for each in gone if "*" not in each.source]
    await providers.address_map.rows.delete(*exact)
    await providers.postoffice.mailboxes.delete(row)
    logins = await providers.authentication.logins.delete(AuthRecord(username=where.login))
    told = [f"mailbox {where.postoffice}/{where.name}", f"{len(exact)} addresses", f"{logins} login"]
    left = [f"{each.source} leads there ({each.origin or 'in the address map'})" for each in gone if "*" in each.source]
    left += [f"group {each.group} names it ({each.origin or 'in its file'})" for each in await memberships(providers, where.address)]
    return told, left


async def addresses_of(providers: Providers, destination: InternalAddress) -> list[AddressMapRecord]:
    """The map rows that lead here."""
    wanted = str(destination).casefold()
    return [row for row in await providers.address_map.rows.find() if row.destination.strip().casefold() == wanted]


async def memberships(providers: Providers, member: InternalAddress) -> list[MemberRecord]:
    """The group files that name this address."""
    wanted = str(member).casefold()
    return [row for row in await providers.postoffice.members.find() if row.address.strip().casefold() == wanted]


# Groups.


async def add_group(providers: Providers, address: Address, members: Sequence[InternalAddress]) -> Place:
    """A group with its members and addresses."""
    where = await place(providers, address)
    if row := await providers.postoffice.groups.get(where.postoffice, where.name):
        raise Refused(
            f"the group {where.postoffice}/{where.name} exists already ({row.origin or 'in this site'}); change it with: postroom group set"
        )
    if box := await providers.postoffice.mailboxes.get(where.postoffice, where.name):
        raise Refused(f"{where.postoffice}/{where.name} is a mailbox already ({box.origin or 'in this site'})")
    await _refuse_if_mapped(providers, where)
    if members:
        await providers.postoffice.members.put(*member_rows(where, members))
    await providers.postoffice.groups.put(GroupRecord(postoffice=where.postoffice, recipient=str(where.address), group=where.name))
    await _map(providers, where)
    return where


def member_rows(where: Place, members: Iterable[InternalAddress]) -> list[MemberRecord]:
    return [MemberRecord(postoffice=where.postoffice, group=where.name, address=str(member)) for member in dict.fromkeys(members)]


async def find_group(providers: Providers, address: Address) -> tuple[Place, GroupRecord]:
    """The group that this address names."""
    where = await place(providers, address)
    row = await providers.postoffice.groups.get(where.postoffice, where.name)
    if row is None:
        raise Refused(f"there is no group {where.postoffice}/{where.name}; see: postroom group list")
    return replace(where, name=row.group), row


async def members_of(providers: Providers, where: Place) -> list[MemberRecord]:
    """The group's own lines, in order."""
    key = (where.postoffice.casefold(), where.name.casefold())
    return [row for row in await providers.postoffice.members.find() if (row.postoffice.casefold(), row.group.casefold()) == key]


async def change_group(providers: Providers, where: Place, come: Sequence[InternalAddress], leave: Sequence[InternalAddress]) -> list[str]:
    """Take members in and out; Refused where one that should leave is not in it."""
    rows = {row.address.strip().casefold(): row for row in await members_of(providers, where)}
    if strangers := [str(each) for each in leave if str(each).casefold() not in rows]:
        raise Refused(f"not in the group {where.postoffice}/{where.name}: {', '.join(strangers)}")
    if leave:
        await providers.postoffice.members.delete(*(rows[str(each).casefold()] for each in leave))
    if new := [each for each in come if str(each).casefold() not in rows]:
        await providers.postoffice.members.put(*member_rows(where, new))
    return [*(f"{each} is in" for each in come), *(f"{each} is out" for each in leave)]


async def delete_group(providers: Providers, address: Address) -> list[str]:
    """The addresses that lead to it, its row and its members."""
    where, row = await find_group(providers, address)
    exact = [each for each in await addresses_of(providers, where.address) if "*" not in each.source]
    await providers.address_map.rows.delete(*exact)
    await providers.postoffice.groups.delete(row)
    members = await providers.postoffice.members.delete(*await members_of(providers, where))
    return [f"group {where.postoffice}/{where.name}", f"{len(exact)} addresses", f"{members} members"]


async def member(providers: Providers, text: str) -> InternalAddress:
    """What an operator typed for a member or a destination: a bracket form as it stands, an address of ours as the mailbox or group that
    has that name, any other address as SMTP."""
    if text.lstrip().startswith("["):
        return InternalAddress.parse(text)
    address = Address.parse(text)
    row = await providers.smtp.domains.get(address.domain)
    if row:
        for found in (
            await providers.postoffice.mailboxes.get(row.account, address.name),
            await providers.postoffice.groups.get(row.account, address.name),
        ):
            if found:
                return mailbox(row.account, address.name)
    return smtp(str(address))


# Addresses.


async def rows_of(providers: Providers, source: InternalAddress) -> list[AddressMapRecord]:
    """The rows with exactly this left side; Refused where there is none."""
    wanted = str(source).casefold()
    rows = [row for row in await providers.address_map.rows.find() if row.source.strip().casefold() == wanted]
    if not rows:
        raise Refused(f"the address map has no row {source}; see: postroom address list")
    return rows


async def add_address(providers: Providers, source: InternalAddress, destination: str) -> AddressMapRecord:
    """A row for this address or mask, accounted to the post office of its domain."""
    domain = await providers.smtp.domains.get(source.domain)
    to = await member(providers, destination)
    row = AddressMapRecord(source=str(source), destination=str(to), account=domain.account if domain else SYSTEM)
    if known := await providers.address_map.rows.get(row.source, row.destination):
        raise Refused(f"{row.source} leads to {row.destination} already ({known.origin or 'in the address map'})")
    await providers.address_map.rows.put(row)
    return row
