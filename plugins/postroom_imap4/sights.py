"""What a session that said NOTIFY has in sight: its own folders and those of others it may list and read (RFC 5465 sections 3.1 and 5), by the names
it sees, and the store's hints of their changes.

Folders of others are looked for only where a group names any but the user's own. A share given in a mailbox of which nothing was in sight before is
found at the next look around, not at once: nobody hints at it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from postroom.mailstore import Folder, Mailbox
from postroom_imap4.attributes import as_told
from postroom_imap4.namespaces import Kind, shown
from postroom_imap4.notifying import Wishes

if TYPE_CHECKING:
    from postroom_imap4.selected import Selected
    from postroom_imap4.session import Session


class Sight:
    """One session's. `hinted` is called in the loop with a name as the session sees it, or "" for the tree of folders."""

    def __init__(self, session: Session, hinted: Callable[[str], None]) -> None:
        self._session, self._hinted = session, hinted
        self._ends: dict[str, Callable[[], None]] = {}  # by what stands before the folders of a mailbox

    def follow(self) -> None:
        """Listen to hints of the user's own mailbox."""
        self._follow("", self._session.box)

    def close(self) -> None:
        ends, self._ends = self._ends, {}
        for end in ends.values():
            end()

    def is_own(self, name: str) -> bool:
        return self._session.reach.sharing.names.read(name).kind is Kind.OWN

    async def names(self, wishes: Wishes) -> Sequence[str]:
        """All that may be listed and read. DiskError."""
        own = await self._session.box.folders()
        if not wishes.names_others:
            return own
        reach = self._session.reach
        others = [name for name, rights in (await reach.visible(["*"])).items() if "r" in rights]
        for name in others:
            named = reach.sharing.names.read(name)
            if (prefix := reach.sharing.names.prefix(named.kind, named.whose)) not in self._ends:
                self._follow(prefix, (await reach.place(name)).box)
        return [*own, *others]

    def see(self, selected: Selected) -> None:
        """Listen to hints of the mailbox in which the selected folder lies."""
        if (place := selected.place) is not None and place.prefix not in self._ends:
            self._follow(place.prefix, place.box)

    async def folder(self, name: str) -> Folder:
        """NoSuchFolder where it is gone, or may not be read any more."""
        return (await self._session.reach.open(name, "lr"))[1]

    async def attributes(self, name: str) -> Mapping[str, bytes]:
        """The annotations a client can have set; "" for those of the server."""
        return await as_told(self._session, name)

    def _follow(self, prefix: str, box: Mailbox) -> None:
        def changed(name: str) -> None:
            self._hinted(shown(prefix, name) if name else "")

        self._ends[prefix] = box.follow(changed)
