"""Names of folders of others and of public folders, as clients see them (RFC 2342). Pure.

`Other Users/<login>` is that login's Inbox and `Other Users/<login>/Work` its folder Work; `Public Folders/<name>` likewise is the Inbox of the
mailbox that the operator calls so. Both first levels have names of the settings; all else is the client's own mailbox. Names compare without case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from postroom.mailstore import INBOX
from postroom_imap4.listing import is_inbox, key_of


class Kind(Enum):
    """Whose a name is."""

    OWN = "own"
    OTHERS = "other user's"
    PUBLIC = "public"


@dataclass(frozen=True, slots=True)
class Named:
    """A name taken apart. `whose` is a login or a public folder's name, "" where the name ends before it; `folder` is in their mailbox."""

    kind: Kind
    whose: str
    folder: str


@dataclass(frozen=True, slots=True)
class Namespaces:
    """The first levels; empty for none."""

    others: str = ""
    public: str = ""

    def read(self, name: str) -> Named:
        """Whose this name is."""
        first, _, rest = name.partition("/")
        for root, kind in ((self.others, Kind.OTHERS), (self.public, Kind.PUBLIC)):
            if root and key_of(first) == key_of(root):
                whose, _, folder = rest.partition("/")
                return Named(kind, whose, folder or INBOX)
        return Named(Kind.OWN, "", name)

    def is_own(self, name: str) -> bool:
        """Whether a folder of this name in one's own mailbox can be reached: those below the other first levels cannot."""
        return self.read(name).kind is Kind.OWN

    def prefix(self, kind: Kind, whose: str) -> str:
        """What stands before the folders of a mailbox."""
        return f"{self.others if kind is Kind.OTHERS else self.public}/{whose}"


def shown(prefix: str, folder: str) -> str:
    """How a folder of a mailbox is called by clients; `prefix` is "" for their own."""
    if not prefix:
        return folder
    return prefix if is_inbox(folder) else f"{prefix}/{folder}"


def may_match(patterns: Sequence[str], prefix: str) -> bool:
    """Whether any of these LIST patterns could match this name or one below it: by what stands before the first wildcard."""
    below = key_of(prefix) + "/"
    for pattern in patterns:
        star = min((place for place in (pattern.find("*"), pattern.find("%")) if place >= 0), default=len(pattern))
        start = key_of(pattern[:star])
        if below.startswith(start) or start.startswith(below):
            return True
    return False
