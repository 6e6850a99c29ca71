"""What one login can reach: its own folders, those others share with it, and public ones; and what it may do there (RFC 4314, RFC 2342).

Every command that names a folder asks here, by the rights it needs (RFC 4314 section 4). A folder that the login may not know of, because it lacks
`l`, answers as one that is not there, word for word (section 6). People of one post office share with each other and with nobody else: post
offices are tenants. A folder of somebody else is judged by the disk at each command, so that other workers' changes count at once; an own one
by the register where nothing was ever shared, which costs nothing, and else by the disk when it is opened.
Raises NoSuchFolder, NotPermitted, StoreError, DiskError; the session answers them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from postroom.errors import NoSuchFolder
from postroom.mailstore import INBOX, Folder, Mailbox, MailStore
from postroom.providers import PostofficeProvider
from postroom_imap4 import namespaces, rights
from postroom_imap4.circles import Circles
from postroom_imap4.listing import is_inbox, key_of
from postroom_imap4.namespaces import Kind, Namespaces
from postroom_imap4.register import OWN, Register
from postroom_imap4.rights import ALL, ANYONE, NONE, NotPermitted, Rights
from postroom_imap4.settings import Public
from postroom_imap4.shares import Shares

_AT_ONCE = 200  # folders between two turns of the loop


@dataclass(frozen=True, slots=True)
class Place:
    """A folder that may or may not be there. `prefix` stands before the folders of its mailbox, "" before the login's own."""

    box: Mailbox
    folder: str  # its name in the mailbox
    prefix: str = ""

    @property
    def is_own(self) -> bool:
        return not self.prefix

    @property
    def shown(self) -> str:
        return namespaces.shown(self.prefix, self.folder)

    @property
    def owner(self) -> str:
        return identifier(self.box.name, self.box.postoffice)

    def beside(self, folder: str) -> Place:
        """Another folder of the same mailbox."""
        return Place(self.box, folder, self.prefix)


def identifier(mailbox: str, postoffice: str) -> str:
    """A login as a list of rights has it."""
    return key_of(f"{mailbox}@{postoffice}")


def missing(shown: str) -> NoSuchFolder:
    """One text for what is not there and for what may not be known of."""
    return NoSuchFolder(f"there is no folder {shown}")


@dataclass(frozen=True)
class Sharing:
    """What the logins of a worker share."""

    names: Namespaces
    public: Sequence[Public]
    store: MailStore
    postoffices: PostofficeProvider
    register: Register
    circles: Circles
    shares: Shares

    def public_of(self, postoffice: str) -> Mapping[str, Public]:
        """The public folders of a post office, by key."""
        return {key_of(one.name): one for one in self.public if key_of(one.postoffice) == key_of(postoffice)}

    def by_default(self, box: Mailbox) -> Rights:
        """What everybody may do with a mailbox's folders where their lists say nothing."""
        return next((rights.read(one.rights) for one in self.public if _is(one, box)), NONE)

    async def box(self, postoffice: str, mailbox: str) -> Mailbox | None:
        """A mailbox that is in use; the spelling is the record's."""
        record = await self.postoffices.mailboxes.get(postoffice, mailbox)
        return None if record is None or not record.status else await self.store.mailbox(record.postoffice, record.mailbox)


class Reach:
    """One login's."""

    def __init__(self, sharing: Sharing, box: Mailbox) -> None:
        self.sharing, self._box = sharing, box
        self.identifier = identifier(box.name, box.postoffice)

    @property
    def postoffice(self) -> str:
        return self._box.postoffice

    async def identifiers(self) -> frozenset[str]:
        """All that a list of rights may call this login by."""
        groups = await self.sharing.circles.of(self._box.postoffice, self._box.name)
        return frozenset((self.identifier, ANYONE, *(f"${name}" for name in groups)))

    # Names

    async def place(self, name: str) -> Place:
        """What a name means. NoSuchFolder where it can mean nothing to this login."""
        named = self.sharing.names.read(name)
        if named.kind is Kind.OWN:
            return Place(self._box, name)
        found = await self._public(named.whose) if named.kind is Kind.PUBLIC else await self._other(named.whose)
        if found is None:
            raise missing(name)
        return found.beside(named.folder)

    async def _other(self, login: str) -> Place | None:
        mailbox, _, postoffice = login.rpartition("@")
        if not mailbox or key_of(postoffice) != key_of(self._box.postoffice) or key_of(login) == self.identifier:
            return None
        box = await self.sharing.box(postoffice, mailbox)
        return None if box is None else self._at(box)

    def _at(self, box: Mailbox) -> Place:
        """The Inbox of somebody else. One that is public has the operator's rights by this name, too."""
        return Place(box, INBOX, self.sharing.names.prefix(Kind.OTHERS, f"{box.name}@{box.postoffice}"))

    async def _public(self, name: str) -> Place | None:
        one = self.sharing.public_of(self._box.postoffice).get(key_of(name))
        box = await self.sharing.box(one.postoffice, one.box) if one is not None else None
        if one is None or box is None:
            return None
        return Place(box, INBOX, self.sharing.names.prefix(Kind.PUBLIC, one.name))

    # Rights

    async def acl(self, place: Place) -> rights.Acl:
        """The folder's list. NoSuchFolder."""
        try:
            return rights.acl(place.owner, await place.box.attributes(place.folder), self.sharing.by_default(place.box))
        except NoSuchFolder:
            raise missing(place.shown) from None

    async def rights(self, place: Place) -> Rights:
        """What this login may do with the folder. NoSuchFolder, for an own folder only where it has rights of its own."""
        return (await self._judged(place))[0]

    async def _judged(self, place: Place) -> tuple[Rights, Sequence[str]]:
        """The login's rights, and by which of its identifiers the register must have somebody else's folder."""
        if place.is_own and not self.sharing.register.has(place.box.postoffice, OWN, key_of(place.box.name)):
            return ALL, ()
        acl, mine = await self.acl(place), await self.identifiers()
        named = () if place.is_own or self.sharing.by_default(place.box) else [one for one in mine if one in acl.entries]
        return acl.rights(mine), named

    async def may(self, place: Place, needed: Collection[str], *, any_of: bool = False) -> Rights:
        """The login's rights, where it has those needed: all, or any one. NotPermitted, NoSuchFolder."""
        found = await self.rights(place)
        if not (found.intersection(needed) if any_of else found.issuperset(needed)):
            raise denied(place, found)
        return found

    async def open(self, name: str, needed: Collection[str]) -> tuple[Place, Folder, Rights]:
        """A folder, with what this login may do there. Somebody else's that is opened by name will be found by LIST too. NotPermitted,
        NoSuchFolder."""
        place = await self.place(name)
        found, named = await self._judged(place)
        if not found.issuperset(needed):
            raise denied(place, found)
        try:
            folder = await place.box.folder(place.folder)
        except NoSuchFolder:
            raise missing(place.shown) from None
        await self.note(place, named)
        return place.beside(folder.name), folder, found

    async def above(self, place: Place) -> tuple[Place, Rights] | None:
        """The nearest folder above, with the login's rights there (RFC 4314 section 4, CREATE). None for the first level of its own mailbox,
        where it may do everything; above the first level of another mailbox is its Inbox, as the names show it."""
        parent = place.folder.rpartition("/")[0]
        while parent:
            try:
                return place.beside(parent), await self._rights_if_there(place.beside(parent))
            except NoSuchFolder:
                parent = parent.rpartition("/")[0]
        if place.is_own or is_inbox(place.folder):
            return None
        inbox = place.beside(INBOX)
        return inbox, await self.rights(inbox)

    async def _rights_if_there(self, place: Place) -> Rights:
        await place.box.folder(place.folder)
        return await self.rights(place)

    async def may_create(self, place: Place) -> Place | None:
        """The folder whose list the new one gets, where there is one. NotPermitted, NoSuchFolder."""
        above = await self.above(place)
        if above is None:
            if place.is_own:
                return None
            raise missing(place.shown)
        parent, found = above
        if "k" not in found:
            raise denied(parent, found, place.shown)
        return parent

    # What there is

    async def own(self) -> dict[str, Rights]:
        """The login's own folders, with its rights there. DiskError."""
        if not self.sharing.register.has(self.postoffice, OWN, key_of(self._box.name)):
            return dict.fromkeys(await self._box.folders(), ALL)
        return dict(await self._granted(Place(self._box, INBOX), await self.identifiers()))

    # Who shares with this login

    async def visible(self, patterns: Sequence[str]) -> dict[str, Rights]:
        """Folders of others and public ones that LIST may tell of, by the name shown, with the rights there; those that these patterns could match."""
        found: dict[str, Rights] = {}
        mine = await self.identifiers()
        for place in await self._mailboxes(patterns, mine):
            for name, granted in await self._granted(place, mine):
                if "l" in granted:
                    found[namespaces.shown(place.prefix, name)] = granted
            await asyncio.sleep(0)
        return found

    async def _mailboxes(self, patterns: Sequence[str], mine: Collection[str]) -> list[Place]:
        sharing, found = self.sharing, list[Place]()
        names, postoffice = sharing.names, self._box.postoffice
        if names.public and namespaces.may_match(patterns, names.public):
            for one in sharing.public_of(postoffice).values():
                if namespaces.may_match(patterns, names.prefix(Kind.PUBLIC, one.name)) and (place := await self._public(one.name)):
                    found.append(place)
        if names.others and namespaces.may_match(patterns, names.others):
            owners = {owner for one in mine for owner in sharing.register.owners(postoffice, one)}
            public = {key_of(one.box) for one in sharing.public_of(postoffice).values()}
            for owner in sorted(owners - public - {key_of(self._box.name)}):
                login = f"{owner}@{postoffice}"
                if namespaces.may_match(patterns, names.prefix(Kind.OTHERS, login)) and (place := await self._other(login)):
                    found.append(place)
        return found

    async def _granted(self, place: Place, mine: Collection[str]) -> list[tuple[str, Rights]]:
        """The rights in each folder of a mailbox that gives any; a register that says too much of it is put right."""
        by_default = self.sharing.by_default(place.box)
        attributes, names = await place.box.all_attributes(), await place.box.folders()
        acls = {}
        for number, name in enumerate(names, 1):
            acls[name] = rights.acl(place.owner, attributes.get(name, {}), by_default)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        if not by_default:
            named = {one for acl in acls.values() for one in acl.entries}
            await self._forget(place, [one for one in mine if one not in named])
        return [(name, granted) for name, acl in acls.items() if (granted := acl.rights(mine))]

    async def _forget(self, place: Place, identifiers: Sequence[str]) -> None:
        """Nothing in the mailbox is shared with these. Somebody may just have begun: so the entry goes first, and comes back where that was so."""
        postoffice, owner, register = place.box.postoffice, key_of(place.box.name), self.sharing.register
        gone = [one for one in identifiers if register.has(postoffice, one, owner)]
        for one in gone:
            register.remove(postoffice, one, owner)
        if gone:
            now = [rights.acl(place.owner, kept) for kept in (await place.box.all_attributes()).values()]
            await self.note(place, [one for one in gone if any(one in acl.entries for acl in now)])

    async def note(self, place: Place, identifiers: Sequence[str]) -> None:
        """Have the register say that folders of this mailbox may be shared with these. DiskError."""
        register, postoffice, owner = self.sharing.register, place.box.postoffice, key_of(place.box.name)
        for one in identifiers:
            if not register.has(postoffice, one, owner):
                await asyncio.to_thread(register.add, postoffice, one, owner)


async def inherited(above: Place) -> dict[str, bytes]:
    """The list of rights that a new folder gets from the one above (RFC 4314 section 4)."""
    kept = await above.box.attributes(above.folder)
    return {name: value for name, value in kept.items() if name.startswith(rights.PREFIX)}


def between(above: str, folder: str) -> list[str]:
    """The levels that are made with a folder, below the one above it, from the lowest up: a list that cannot be kept takes its folder away, and
    those below it first."""
    levels = folder.split("/")
    names = ["/".join(levels[:depth]) for depth in range(len(levels) - 1, 0, -1)]
    return [name for name in names if not f"{key_of(above)}/".startswith(f"{key_of(name)}/")]


def denied(place: Place, found: Rights, shown: str = "") -> Exception:
    """The error for a right that is missing: it tells nothing of a folder without `l` (RFC 4314 section 6)."""
    shown = shown or place.shown
    return NotPermitted(f"you may not do this with {shown}") if "l" in found else missing(shown)


def _is(one: Public, box: Mailbox) -> bool:
    return (key_of(one.box), key_of(one.postoffice)) == (key_of(box.name), key_of(box.postoffice))
