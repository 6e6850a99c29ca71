"""LIST, LSUB, STATUS, NAMESPACE, and what changes the tree: CREATE, DELETE, RENAME, SUBSCRIBE."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from itertools import compress
from typing import TYPE_CHECKING, Final

from postroom.errors import NoSuchFolder, StoreError
from postroom.mailstore import DELETED, Folder, FolderStatus, View
from postroom_disk.disk import DiskError
from postroom_imap4 import special_uses
from postroom_imap4.answers import mailbox
from postroom_imap4.attributes import beside_list
from postroom_imap4.commands import Create, Delete, List, Namespace, Rename, Status, Subscribe
from postroom_imap4.listing import Listed, Tree, is_inbox, key_of
from postroom_imap4.replies import Ended, bad, no, ok, untagged

if TYPE_CHECKING:
    from postroom_imap4.session import Session

_AT_ONCE: Final = 50  # answers between two turns of the loop


def object_id(status: FolderStatus) -> bytes:
    """MAILBOXID (RFC 8474 section 4): begins with a letter, so that it is never mistaken for a number."""
    return b"F" + status.object_id.encode()


async def namespace(session: Session, command: Namespace) -> Ended:
    """RFC 2342."""
    await session.wire.send(b'* NAMESPACE (("" "/")) NIL NIL\r\n')
    return ok("that is all")


async def list_folders(session: Session, command: List) -> Ended:
    kind = b"LSUB" if command.is_lsub else b"LIST"
    if not command.is_extended and command.patterns == ("",):  # RFC 9051 section 6.3.9: asks for the delimiter and the root
        await session.wire.send(b'* %b (\\Noselect) "/" ""\r\n' % kind)
        return ok("that is all")
    if "RECURSIVEMATCH" in command.select and not command.select & {"SUBSCRIBED", "SPECIAL-USE"}:
        return bad("RECURSIVEMATCH needs SUBSCRIBED")  # RFC 5258 section 3.1
    if "MYRIGHTS" in command.returns:
        return bad("LIST-MYRIGHTS is not offered")  # RFC 5258 section 3: an unknown option is refused
    folders = await session.box.folders()
    uses = {} if command.is_lsub else await special_uses.of_mailbox(session.box, folders)
    tree = Tree(folders, await session.box.subscriptions(), uses)
    answers = []
    for listed in tree.listed(command):
        answers.append(_line(kind, listed, session.modes.utf8_names))
        if command.status and listed.exists:
            answers.append(await _status_beside(session, listed.name, command.status))
        if command.metadata and listed.exists:
            answers.append(await beside_list(session, listed.name, command.metadata, uses))
        if len(answers) >= _AT_ONCE:
            await session.wire.send(b"".join(answers))
            answers.clear()
            await asyncio.sleep(0)
    await session.wire.send(b"".join(answers))
    return ok("that is all")


def _line(kind: bytes, listed: Listed, utf8: bool) -> bytes:
    child = b' ("CHILDINFO" ("SUBSCRIBED"))' if listed.by_child else b""
    return b'* %b (%b) "/" %b%b\r\n' % (kind, b" ".join(listed.attributes), mailbox(listed.name, utf8), child)


async def _status_beside(session: Session, name: str, items: Sequence[str]) -> bytes:
    """RFC 5819 section 2: a folder that cannot be asked has no STATUS."""
    try:
        return await _status(session, name, items)
    except (StoreError, DiskError):
        return b""


async def status(session: Session, command: Status) -> Ended:
    line = await _status(session, command.name, command.items)
    noted = session.condstore() if "HIGHESTMODSEQ" in command.items else b""
    await session.wire.send(noted + line)
    return ok("that is all")


async def _status(session: Session, name: str, items: Sequence[str]) -> bytes:
    folder = await session.box.folder(name)
    view = folder.view()
    told = b" ".join(b"%b %b" % (item.encode(), _ITEMS[item](view, session)) for item in dict.fromkeys(items) if item in _ITEMS)
    return b"* STATUS %b (%b)\r\n" % (mailbox(name, session.modes.utf8_names), told)


def _deleted_octets(view: View) -> int:
    """DELETED-STORAGE (RFC 9208 section 5.3)."""
    return sum(compress(view.octets, [flags & DELETED for flags in view.flags])) if view.status.deleted else 0


_ITEMS: Final[dict[str, Callable[[View, Session], bytes]]] = {
    "MESSAGES": lambda view, session: b"%d" % view.status.messages,
    "UIDNEXT": lambda view, session: b"%d" % view.status.uidnext,
    "UIDVALIDITY": lambda view, session: b"%d" % view.status.uidvalidity,
    "UNSEEN": lambda view, session: b"%d" % view.status.unseen,
    "DELETED": lambda view, session: b"%d" % view.status.deleted,
    "DELETED-STORAGE": lambda view, session: b"%d" % _deleted_octets(view),
    "SIZE": lambda view, session: b"%d" % view.status.octets,
    "HIGHESTMODSEQ": lambda view, session: b"%d" % max(1, view.status.modseq),
    "MAILBOXID": lambda view, session: b"(%b)" % object_id(view.status),
    "APPENDLIMIT": lambda view, session: b"%d" % session.world.settings.append_limit,
    "RECENT": lambda view, session: b"0",
}


async def create(session: Session, command: Create) -> Ended:
    """A trailing delimiter says that there will be names below it, which every name here may have (RFC 9051 section 6.3.4)."""
    try:
        uses = special_uses.read(" ".join(command.use).encode())
    except special_uses.BadUse as error:
        return no(str(error), b"USEATTR")  # RFC 6154 section 3
    folder = await session.box.create(command.name.rstrip("/"))
    if uses:
        await special_uses.made_for(session.box, folder.name, uses)
    return ok("made", b"MAILBOXID (%b)" % object_id(folder.view().status))


async def delete(session: Session, command: Delete) -> Ended:
    """Who deletes the folder it has selected has none selected any more."""
    selected = session.selected
    await session.box.delete(command.name)
    if selected is not None and key_of(selected.name) == key_of(command.name):
        session.deselect()
        await session.wire.send(untagged("the selected folder was deleted", b"CLOSED"))
    return ok("deleted")


async def rename(session: Session, command: Rename) -> Ended:
    """A selected folder stays selected under its new name where this worker moved it, which is the same object then."""
    await session.box.rename(command.old, command.new.rstrip("/"))
    selected = session.selected
    if selected is not None and not is_inbox(command.old) and _is_at_or_below(selected.name, command.old):
        selected.name = command.new.rstrip("/") + selected.name[len(command.old) :]
    return ok("renamed")


def _is_at_or_below(name: str, other: str) -> bool:
    return f"{key_of(name)}/".startswith(f"{key_of(other)}/")


async def subscribe(session: Session, command: Subscribe) -> Ended:
    """A name that does not exist may be taken off the list at any time, and put on it only where there is such a folder."""
    if command.on:
        await session.box.folder(command.name)
    await session.box.subscribe(command.name, command.on)
    return ok("done")


async def target_of(session: Session, name: str) -> Folder | Ended:
    """A folder to put messages into; the answer where there is none: the client may make it (TRYCREATE, RFC 9051 section 6.3.12)."""
    try:
        return await session.box.folder(name)
    except NoSuchFolder as error:
        return no(str(error), b"TRYCREATE")
