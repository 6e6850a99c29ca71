"""What a session that said NOTIFY has in sight: its own folders and those of others it may list and read (RFC 5465 sections 3.1 and 5), by the names
it sees, and the store's hints of their changes.

Folders of others are looked for only where a group names any but the user's own. A share given in a mailbox of which nothing was in sight before is
hinted at by who gives it (shares.py); a right that comes with a new membership in a group is found at the next look around, not at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from postroom.errors import DiskError, StoreError
from postroom.mailstore import Folder, Mailbox
from postroom_imap4.attributes import as_told
from postroom_imap4.listing import key_of
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
        self._owners: set[str] = set()  # of these mailboxes
        self._deaf: Callable[[], None] | None = None

    def follow(self, wishes: Wishes) -> None:
        """Listen to hints of the user's own mailbox, and of what others share anew where that is wished for."""
        self._follow("", self._session.box)
        reach = self._session.reach
        if wishes.names_others and self._deaf is None:
            self._deaf = reach.sharing.shares.follow(reach.postoffice, reach.identifier, self._given)

    def close(self) -> None:
        deaf, self._deaf = self._deaf, None
        if deaf is not None:
            deaf()
        ends, self._ends = self._ends, {}
        for end in ends.values():
            end()
        self._hinted = _nobody  # who was hinted at knows this sight, and neither is to wait for the collector

    def _given(self, owner: str) -> None:
        """Somebody shares a folder; where others of the mailbox are in sight, it hints itself."""
        if owner not in self._owners:
            self._hinted("")

    def is_own(self, name: str) -> bool:
        return self._session.reach.sharing.names.read(name).kind is Kind.OWN

    async def names(self, wishes: Wishes) -> dict[str, bool]:
        """All that may be listed, and whether it may be read too. DiskError."""
        reach = self._session.reach
        found = await reach.own()
        others = await reach.visible(["*"]) if wishes.names_others else {}
        for name in others:
            named = reach.sharing.names.read(name)
            if (prefix := reach.sharing.names.prefix(named.kind, named.whose)) not in self._ends:
                self._follow(prefix, (await reach.place(name)).box)
        return {name: "r" in rights for name, rights in (found | others).items()}

    async def is_there(self, name: str, object_id: str) -> bool:
        """Whether this folder lies there, whatever the user may do with it; any folder where the object id is ""."""
        try:
            place = await self._session.reach.place(name)
            folder = await place.box.folder(place.folder)
            return object_id in ("", folder.view().status.object_id)
        except (StoreError, DiskError):
            return False

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
        self._owners.add(key_of(box.name))


def _nobody(name: str) -> None:
    """A hint that the loop had taken up already."""
