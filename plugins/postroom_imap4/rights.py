"""Who may do what with a folder (RFC 4314): rights, and the list of who has them. Pure.

A folder's list is kept as attributes of the folder, one for each identifier, named `PREFIX` and the identifier: so two who change it at once
do not undo each other, it goes where its folder goes and ends with it, and no client reaches it by METADATA. A value is its rights as letters.
Letters nobody knows are passed over, which grants less; beside a minus they would take less away, so such an entry takes everything.

Identifiers: a login `mailbox@postoffice`, "anyone" (everybody of the owner's post office), "$group" (a group of it); "-" in front takes
rights away from whoever the rest means. Whoever several identifiers mean has the rights of them all, less what is taken from any of them. The
owner has all rights where no entry is his, and keeps `l` and `a` whatever the list says, so nobody is locked out of his own folder.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from postroom.errors import StoreError
from postroom.mailstore import DELETED, SEEN

ORDER: Final = "lrswipkxtea"  # RFC 4314 section 2.1, as told
Rights = frozenset[str]
ALL: Final[Rights] = frozenset(ORDER)
NONE: Final[Rights] = frozenset()
KEPT: Final[Rights] = frozenset("la")  # the owner's in any case
ANY: Final[Rights] = frozenset("lrikxa")  # one of them is enough for MYRIGHTS
WRITES: Final[Rights] = frozenset("swtie")  # none of them makes a folder READ-ONLY (RFC 4314 section 5.2): all flags are shared here
ADDED: Final = "kxte"  # what RFC 4314 has and RFC 2086 has not, for the RIGHTS= capability
ANYONE: Final = "anyone"
PREFIX: Final = "postroom:acl:"  # no entry of METADATA begins without a slash, so no client sees it
ALL_FLAGS: Final = (1 << 64) - 1

_OLD: Final = {"c": "kx", "d": "te"}  # RFC 4314 section 2.1.1, the first of its two readings


class BadRights(ValueError):
    """The client's move; the text says which right there is not."""


class NotPermitted(StoreError):
    """A right is missing, and the folder is one the login may know of."""


def read(text: str) -> Rights:
    """Rights as a client says them. BadRights for what is none: never passed over in silence (RFC 4314 section 3.1)."""
    found = set[str]()
    for letter in text:
        if letter not in ALL and letter not in _OLD:
            raise BadRights(f"there is no right {letter!a} here")
        found.update(_OLD.get(letter, letter))
    return frozenset(found)


def told(rights: Collection[str]) -> str:
    """As a client reads them: with "c" and "d" for those who know no others (RFC 4314 section 2.1.1)."""
    return kept(rights) + "".join(old for old, new in _OLD.items() if not ALL.isdisjoint(set(new) & set(rights)))


def kept(rights: Collection[str]) -> str:
    """As they are kept."""
    return "".join(letter for letter in ORDER if letter in rights)


def flags_of(rights: Collection[str]) -> int:
    """The flags that these rights let one change (RFC 4314 section 4): \\Seen is `s`, \\Deleted is `t`, all others are `w`."""
    flags = SEEN if "s" in rights else 0
    flags |= DELETED if "t" in rights else 0
    return flags | (ALL_FLAGS & ~(SEEN | DELETED) if "w" in rights else 0)


@dataclass(frozen=True, slots=True)
class Acl:
    """A folder's list. `owner` is the owner's identifier; `entries` have those that go by default, too."""

    owner: str
    entries: Mapping[str, Rights]

    def rights(self, identifiers: Collection[str]) -> Rights:
        """Of whoever these identifiers mean."""
        found = set[str]()
        for identifier in identifiers:
            found |= self.entries.get(identifier, NONE)
        for identifier in identifiers:
            found -= self.entries.get(f"-{identifier}", NONE)
        return frozenset(found | KEPT if self.owner in identifiers else found)

    def entry(self, identifier: str) -> Rights:
        """What the list says of this identifier."""
        found = self.entries.get(identifier, NONE)
        return found | KEPT if identifier == self.owner else found

    def shown(self) -> Iterable[tuple[str, str]]:
        """Identifiers and their rights, the owner's first; those without any are not told."""
        names = [self.owner, *sorted(name for name in self.entries if name != self.owner)]
        return [(name, told(rights)) for name in names if (rights := self.entry(name))]

    def changed(self, identifier: str, mode: str, rights: Rights) -> Rights:
        """What SETACL makes of an entry (RFC 4314 section 3.1)."""
        before = self.entries.get(identifier, NONE)
        return before | rights if mode == "+" else before - rights if mode == "-" else rights


def acl(owner: str, attributes: Mapping[str, bytes], public: Rights = NONE) -> Acl:
    """The list in a folder's attributes, over what goes where it says nothing: all rights for the owner, `public` for anyone."""
    entries: dict[str, Rights] = {owner: ALL}
    if public:
        entries[ANYONE] = public
    for name, value in attributes.items():
        if name.startswith(PREFIX):
            identifier = name.removeprefix(PREFIX)
            entries[identifier] = _read_kept(value, takes=identifier.startswith("-"))
    return Acl(owner, entries)


def _read_kept(value: bytes, *, takes: bool) -> Rights:
    letters = value.decode("latin-1")
    return ALL if takes and not ALL.issuperset(letters) else ALL.intersection(letters)


def value_of(acl: Acl, identifier: str, rights: Rights, public: Rights = NONE) -> bytes | None:
    """What an entry's attribute is to be. An entry without rights goes, unless there are some by default that it must keep away."""
    by_default = identifier == acl.owner or (identifier == ANYONE and bool(public))
    return kept(rights).encode() if rights or by_default else None


def grantable(acl: Acl, identifier: str) -> list[str]:
    """The LISTRIGHTS answer: what the identifier always has, then each right that it may be given, none tied to another."""
    always = KEPT if identifier == acl.owner else NONE
    never = KEPT if identifier == f"-{acl.owner}" else NONE
    return [kept(always), *(letter for letter in ORDER if letter not in always | never), *_OLD]
