"""Which groups of its post office a mailbox is in, for "$group" in a list of rights. Groups within groups count, in any order and circle.

A member counts where it is written as a mailbox or group of the post office (`[SF:PO/NAME]`): other addresses are the address map's affair, which
may change who they reach, and rights must not. Read anew only when the tables have changed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from postroom.address import InternalAddress
from postroom.errors import AddressError
from postroom.providers import PostofficeProvider
from postroom.records import GroupRecord, MemberRecord
from postroom_imap4.listing import key_of

Key = tuple[str, str]  # post office and name


def _key(postoffice: str, name: str) -> Key:
    return key_of(postoffice), key_of(name)


def _internal(text: str) -> Key | None:
    try:
        address = InternalAddress.parse(text)
    except AddressError:
        return None
    return _key(address.postoffice, address.name) if address.connector == "SF" and address.name else None


def memberships(groups: Iterable[GroupRecord], members: Iterable[MemberRecord]) -> Mapping[Key, frozenset[str]]:
    """The groups that each name is a member of, by group name, directly. A group is reached by its own name and by its address."""
    reached: dict[Key, Key] = {}
    for group in groups:
        own = _key(group.postoffice, group.group)
        reached.setdefault(own, own)
        if (address := _internal(group.recipient)) is not None:
            reached[address] = own
    found: dict[Key, set[str]] = {}
    for member in members:
        group_key, who = _key(member.postoffice, member.group), _internal(member.address)
        if who is not None and who[0] == group_key[0]:
            found.setdefault(reached.get(who, who), set()).add(group_key[1])
    return {key: frozenset(names) for key, names in found.items()}


def closure(direct: Mapping[Key, frozenset[str]], postoffice: str, mailbox: str) -> frozenset[str]:
    """All groups a mailbox is in, through groups too."""
    start = _key(postoffice, mailbox)
    found: set[str] = set()
    left = list(direct.get(start, ()))
    while left:
        name = left.pop()
        if name not in found:
            found.add(name)
            left += direct.get((start[0], name), ())
    return frozenset(found)


class Circles:
    """A worker's look-up of groups."""

    def __init__(self, provider: PostofficeProvider) -> None:
        self._provider = provider
        self._versions: tuple[int, int] | None = None
        self._direct: Mapping[Key, frozenset[str]] = {}

    async def of(self, postoffice: str, mailbox: str) -> frozenset[str]:
        """Names of its groups. DiskError where a remote provider cannot be asked."""
        groups, members = self._provider.groups, self._provider.members
        if (versions := (groups.version, members.version)) != self._versions:
            self._direct = memberships(await groups.find(), await members.find())
            self._versions = versions
        return closure(self._direct, postoffice, mailbox)

    async def has(self, postoffice: str, name: str) -> bool:
        """Whether the post office has a group of this name."""
        wanted = _key(postoffice, name)
        return any(_key(group.postoffice, group.group) == wanted for group in await self._provider.groups.find(postoffice=postoffice))
